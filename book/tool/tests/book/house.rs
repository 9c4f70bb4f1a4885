//! The rules of the house, read from the chapters.
use crate::helpers::*;
use book_tool::diff;
use book_tool::house::Change;
use std::fs;

#[test]
fn a_step_is_what_a_chapter_tells() {
    let folder = workspace();
    let (house, problems) = house(folder.path());
    assert_eq!(problems, "the book has 0 problems:");
    let change = |file: &str, from: Option<&str>| Change {
        file: file.into(),
        from: from.map(String::from),
    };
    let ch01 = ["lib.rs", "layer.rs", "model.rs", "train.rs", "main.rs"];
    assert_eq!(house.step("ch01").unwrap(), ch01.map(|file| change(file, None)));
    // Its main.rs differs in the chapter's name alone.
    let ch02 = [
        change("lib.rs", Some("ch01_base")),
        change("model.rs", Some("ch01_base")),
        change("wide.rs", None),
    ];
    assert_eq!(house.step("ch02_wider").unwrap(), ch02);
    // What ch02 had from ch01 is compared with ch01's.
    let ch03 = [
        change("lib.rs", Some("ch02_wider")),
        change("engine.rs", None),
        change("engine/queue.rs", None),
        change("train.rs", Some("ch01_base")),
        change("main.rs", Some("ch02_wider")),
    ];
    assert_eq!(house.step("ch03").unwrap(), ch03);
    assert_eq!(house.chapter("ch03").unwrap().about, "Chapter 3: ranks.");
}

#[test]
fn an_unknown_chapter_is_an_error_that_lists_those_there_are() {
    let text = refused_page("{{#step ch07}}");
    let expected = "book/src/index.md:6: no chapter `ch07`; there are ch01_base, ";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_retold_file_equal_to_its_ancestor_is_an_error() {
    let folder = workspace();
    let root = folder.path();
    replace(
        root,
        "chapters/ch03_ranks/src/lib.rs",
        "\"../../ch02_wider/src/model.rs\"",
        "\"model.rs\"",
    );
    replace(root, "chapters/ch03_ranks/src/lib.rs", "#[path = \"model.rs\"]\n", "");
    let model =
        fs::read_to_string(root.join("chapters/ch02_wider/src/model.rs")).unwrap();
    write(root, "chapters/ch03_ranks/src/model.rs", &model);
    let text = refused(root);
    let expected =
        "chapters/ch03_ranks/src/model.rs:1: retold, but equal to ch02_wider's";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_file_is_named_where_it_was_last_told() {
    let folder = workspace();
    replace(
        folder.path(),
        "chapters/ch03_ranks/src/lib.rs",
        "ch02_wider/src/model",
        "ch01_base/src/model",
    );
    let text = refused(folder.path());
    let expected = "ch03_ranks/src/lib.rs:5: model.rs is named as told in ch01_base, \
                    but ch02_wider told it last";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn a_path_that_leads_nowhere_and_a_file_that_nothing_names_are_errors() {
    let folder = workspace();
    replace(
        folder.path(),
        "chapters/ch03_ranks/src/lib.rs",
        "ch02_wider/src/wide",
        "ch02_wider/src/wider",
    );
    write(folder.path(), "chapters/ch02_wider/src/lost.rs", "//! Lost.\n");
    // Named, but elsewhere.
    write(folder.path(), "chapters/ch02_wider/src/layer.rs", "//! Lost.\n");
    let text = refused(folder.path());
    assert!(text.contains("ch03_ranks/src/lib.rs:8: #[path]: there is no "), "{text}");
    assert!(
        text.contains("ch02_wider/src/lost.rs:1: no `mod` in lib.rs leads here"),
        "{text}"
    );
    assert!(
        text.contains("ch02_wider/src/layer.rs:1: no `mod` in lib.rs leads here"),
        "{text}"
    );
    assert!(text.starts_with("the book has 3 problems:"), "{text}");
}

#[test]
fn what_a_contents_page_says_must_be_there() {
    let folder = workspace();
    let root = folder.path();
    let lib = |chapter: &str| format!("chapters/{chapter}/src/lib.rs");
    let add = |chapter: &str, text: &str| {
        let file = lib(chapter);
        let before = fs::read_to_string(root.join(&file)).unwrap();
        write(root, &file, &(before + text));
    };
    add("ch01_base", "#[path = \"../../ch02_wider/src/wide.rs\"]\npub mod wide;\n");
    add("ch02_wider", "#[cfg(test)]\nmod lost;\npub(crate) mod inline {}\n");
    add("ch03_ranks", "#[path = \"engine/queue.rs\"]\nmod queue;\n");
    add("ch03_ranks", "#[path = \"../../../shared/tools/src/lib.rs\"]\nmod tools;\n");
    write(root, &lib("ch04_broken"), "//! Broken.\n\nfn {\n");
    write(root, "chapters/ch04_broken/Cargo.toml", "");
    write(root, &lib("ch05_silent"), "// Says nothing.\n");
    write(root, "chapters/ch05_silent/Cargo.toml", "");
    write(root, "chapters/ch06_empty/Cargo.toml", "");
    let said = refused(root);
    for expected in [
        "ch01_base/src/lib.rs:5: wide.rs is named as told in ch02_wider, which comes \
         later",
        "ch02_wider/src/lib.rs:10: there is no lost.rs here",
        "ch03_ranks/src/lib.rs:10: #[path = \"engine/queue.rs\"]: expected",
        "ch03_ranks/src/lib.rs:12: #[path = \"../../../shared/tools/src/lib.rs\"]: exp",
        "ch04_broken/src/lib.rs:3: this is not Rust",
        "ch05_silent/src/lib.rs:1: no `//!` that says",
        "ch06_empty/src/lib.rs:1: cannot be read",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    assert!(said.starts_with("the book has 7 problems"), "{said}");
}

#[test]
fn a_folder_is_told_as_a_whole_and_retold_in_part() {
    let folder = workspace();
    let root = folder.path();
    let engine = "chapters/ch03_ranks/src/engine";
    fs::rename(root.join(engine.to_string() + ".rs"), root.join(engine).join("mod.rs"))
        .unwrap();
    // Between them, a chapter that has it by name.
    let path = "../../ch03_ranks/src/engine/mod.rs";
    let lib = format!("//! Chapter 9: more.\n#[path = \"{path}\"]\npub mod engine;\n");
    write(root, "chapters/ch09_more/src/lib.rs", &lib);
    write(root, "chapters/ch09_more/Cargo.toml", "");
    let main = |chapter: &str, number: u32| {
        format!(
            "//! The program of chapter {number}.\n\
             fn main() {{\n    {chapter}::go();\n}}\n"
        )
    };
    write(root, "chapters/ch09_more/src/main.rs", &main("ch09_more", 9));
    let src = "chapters/ch10_most/src";
    write(root, &format!("{src}/lib.rs"), "//! Chapter 10: most.\npub mod engine;\n");
    write(root, &format!("{src}/main.rs"), &main("ch10_most", 10));
    write(root, &format!("{src}/engine/mod.rs"), "//! Runs ranks.\npub mod queue;\n");
    write(root, &format!("{src}/engine/queue.rs"), "//! What waits longer.\n");
    write(root, "chapters/ch10_most/Cargo.toml", "");
    let (house, problems) = house(root);
    assert!(problems.starts_with("the book has 1 problem:"), "{problems}");
    let equal = "ch10_most/src/engine/mod.rs:1: retold, but equal to ch03_ranks's";
    assert!(problems.contains(equal), "{problems}");
    let queue = &house.chapter("ch09").unwrap().files[2];
    assert_eq!(
        (&queue.file[..], &queue.told_in[..]),
        ("engine/queue.rs", "ch03_ranks")
    );
    let step = house.step("ch10").unwrap();
    let files: Vec<_> = step.iter().map(|change| &change.file[..]).collect();
    // Its main.rs differs in the chapter's name and number alone.
    assert_eq!(files, ["lib.rs", "engine/mod.rs", "engine/queue.rs"]);
    assert_eq!(step[2].from.as_deref(), Some("ch03_ranks"));
    assert_eq!(house.chapter("ch10").unwrap().number(), Some(10));
    let html = diff::step(&house, "ch10").unwrap();
    assert!(html.contains("ch03_ranks/src/engine/queue.rs</code> → "), "{html}");
}
