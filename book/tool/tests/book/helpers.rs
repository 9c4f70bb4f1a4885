//! What the tests of the book do to a workspace.
pub use crate::common::*;
use book_tool::book::{Stale, build};
use book_tool::house::House;
use book_tool::problem::Problems;
use std::fs;
use std::path::{Path, PathBuf};

pub fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

pub fn replace(root: &Path, file: &str, old: &str, new: &str) {
    let text = fs::read_to_string(root.join(file)).unwrap();
    assert!(text.contains(old), "{file} has no {old}");
    write(root, file, &text.replacen(old, new, 1));
}

pub fn house(root: &Path) -> (House, String) {
    let mut problems = Problems::default();
    let house = House::load(root, &mut problems).unwrap();
    (house, problems.to_string())
}

pub fn built(root: &Path) -> PathBuf {
    build(root, None, Stale::Refuse).unwrap()
}

pub fn html(root: &Path, page: &str) -> String {
    fs::read_to_string(built(root).join(page)).unwrap()
}

/// What a build says that must fail.
pub fn refused(root: &Path) -> String {
    format!("{:#}", build(root, None, Stale::Refuse).unwrap_err())
}

/// What a build says whose front page ends with `text`; its first line is line 6.
pub fn refused_page(text: &str) -> String {
    let folder = workspace();
    let page = format!("# Front\n\nSee\nthis.\n\n{text}\n");
    write(folder.path(), "book/src/index.md", &page);
    refused(folder.path())
}
