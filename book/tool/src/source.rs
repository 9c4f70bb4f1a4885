//! Pieces of source files, by name.
use anyhow::{Context, Result, anyhow, bail};
use std::fs;
use std::path::Path;
use syn::spanned::Spanned;

/// A file, or a part of it.
#[derive(Debug)]
pub struct Source {
    /// The file as seen from the workspace's root.
    pub path: String,
    /// The text, ending in a newline.
    pub text: String,
    /// The number of its first line in the file.
    pub first_line: usize,
}

/// Folders that are named from the workspace's root; all else is a chapter's.
const FROM_ROOT: [&str; 5] = ["shared/", "tests/", "book/", "data/", "scripts/"];

/// `ch01_single_gpu/src/train.rs`, `shared/ops/src/tape.rs:Tape::backward`: a file, and
/// the item in it.
///
/// An item is a function, type, trait, constant or macro by its name, a method as
/// `Type::method`, either in a module as `module::name`. It comes with its attributes
/// and the comments above it.
///
/// # Errors
/// No such file, or no or several such items.
pub fn find(root: &Path, spec: &str) -> Result<Source> {
    let (file, item) = match spec.split_once(':') {
        Some((file, item)) => (file, Some(item)),
        None => (spec, None),
    };
    let from_root = FROM_ROOT.iter().any(|folder| file.starts_with(folder));
    let path = if from_root { file.to_string() } else { format!("chapters/{file}") };
    let full = root.join(&path);
    let text = read(&full).with_context(|| format!("cannot read {path}"))?;
    let Some(item) = item else { return Ok(Source { path, text, first_line: 1 }) };
    let (first_line, end) = lines_of(&text, item).with_context(|| path.clone())?;
    let lines: Vec<_> = text.lines().collect();
    let mut first_line = first_line;
    while first_line > 1 && is_comment(lines[first_line - 2]) {
        first_line -= 1;
    }
    let text = dedent(&lines[first_line - 1..end]);
    Ok(Source { path, text, first_line })
}

/// A file's text; each line ends in a newline, the last one too.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> std::io::Result<String> {
    let mut text = fs::read_to_string(path)?.replace("\r\n", "\n");
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// What a Rust file holds; otherwise, in which line it is not Rust, and why.
///
/// # Errors
/// It is not Rust.
pub fn parse(text: &str) -> Result<syn::File, (usize, String)> {
    syn::parse_file(text)
        .map_err(|e| (e.span().start().line, format!("this is not Rust: {e}")))
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//") && !line.trim_start().starts_with("//!")
}

/// Without the indentation that all lines share.
fn dedent(lines: &[&str]) -> String {
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let full = lines.iter().filter(|line| !line.trim().is_empty());
    let shared = full.map(indent).min().unwrap_or(0);
    let cut = |line: &&str| format!("{}\n", line.get(shared..).unwrap_or_default());
    lines.iter().map(cut).collect()
}

/// First and last line of an item, from 1.
fn lines_of(text: &str, name: &str) -> Result<(usize, usize)> {
    let file = parse(text).map_err(|(line, what)| anyhow!("line {line}: {what}"))?;
    let path: Vec<_> = name.split("::").collect();
    let mut found = vec![];
    search(&file.items, &path, &mut found);
    match &found[..] {
        [one] => Ok(*one),
        [] => bail!("there is no item `{name}`"),
        several => {
            let lines: Vec<_> = several.iter().map(|(s, _)| s.to_string()).collect();
            bail!("there are several items `{name}`, in lines {}", lines.join(", "))
        }
    }
}

fn search(items: &[syn::Item], path: &[&str], found: &mut Vec<(usize, usize)>) {
    let [name, rest @ ..] = path else { return };
    for item in items {
        if rest.is_empty() && ident(item).is_some_and(|ident| ident == name) {
            found.push(span(item));
        }
        match item {
            syn::Item::Mod(module) if module.ident == name => {
                let items = module.content.as_ref().map(|(_, items)| &items[..]);
                search(items.unwrap_or_default(), rest, found);
            }
            syn::Item::Impl(block) if type_name(&block.self_ty) == *name => {
                for item in &block.items {
                    if rest.len() == 1 && member(item).is_some_and(|i| i == rest[0]) {
                        found.push(span(item));
                    }
                }
            }
            syn::Item::Trait(block) if block.ident == name => {
                for item in &block.items {
                    if let syn::TraitItem::Fn(method) = item
                        && rest.len() == 1
                        && method.sig.ident == rest[0]
                    {
                        found.push(span(item));
                    }
                }
            }
            _ => {}
        }
    }
}

fn span(item: &impl Spanned) -> (usize, usize) {
    let span = item.span();
    (span.start().line, span.end().line)
}

fn ident(item: &syn::Item) -> Option<&syn::Ident> {
    use syn::Item::*;
    match item {
        Const(x) => Some(&x.ident),
        Enum(x) => Some(&x.ident),
        Fn(x) => Some(&x.sig.ident),
        Macro(x) => x.ident.as_ref(),
        Mod(x) => Some(&x.ident),
        Static(x) => Some(&x.ident),
        Struct(x) => Some(&x.ident),
        Trait(x) => Some(&x.ident),
        Type(x) => Some(&x.ident),
        Union(x) => Some(&x.ident),
        _ => None,
    }
}

fn member(item: &syn::ImplItem) -> Option<&syn::Ident> {
    match item {
        syn::ImplItem::Fn(x) => Some(&x.sig.ident),
        syn::ImplItem::Const(x) => Some(&x.ident),
        _ => None,
    }
}

fn type_name(ty: &syn::Type) -> String {
    match ty {
        syn::Type::Path(path) => {
            path.path.segments.last().map(|s| s.ident.to_string()).unwrap_or_default()
        }
        syn::Type::Reference(reference) => type_name(&reference.elem),
        _ => String::new(),
    }
}
