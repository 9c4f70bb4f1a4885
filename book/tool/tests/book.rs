//! Everything in the book is made from the crates, and whatever is broken or stale
//! fails the build at its line.
use book_tool::book::{Stale, build};
use book_tool::house::{Change, House};
use book_tool::problem::Problems;
use book_tool::{diff, source};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A copy of the workspace of three chapters.
fn workspace() -> TempDir {
    let folder = TempDir::new().unwrap();
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/house");
    copy(&fixture, folder.path());
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => fs::write(&target, fs::read(&path).unwrap()).unwrap(),
        }
    }
}

fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn replace(root: &Path, file: &str, old: &str, new: &str) {
    let text = fs::read_to_string(root.join(file)).unwrap();
    assert!(text.contains(old), "{file} has no {old}");
    write(root, file, &text.replacen(old, new, 1));
}

fn house(root: &Path) -> (House, String) {
    let mut problems = Problems::default();
    let house = House::load(root, &mut problems).unwrap();
    (house, problems.to_string())
}

fn built(root: &Path) -> PathBuf {
    build(root, None, Stale::Refuse).unwrap()
}

fn html(root: &Path, page: &str) -> String {
    fs::read_to_string(built(root).join(page)).unwrap()
}

/// What a build says that must fail.
fn refused(root: &Path) -> String {
    format!("{:#}", build(root, None, Stale::Refuse).unwrap_err())
}

/// What a build says whose front page ends with `text`; its first line is line 6.
fn refused_page(text: &str) -> String {
    let folder = workspace();
    let page = format!("# Front\n\nSee\nthis.\n\n{text}\n");
    write(folder.path(), "book/src/index.md", &page);
    refused(folder.path())
}

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

#[test]
fn a_hunk_says_what_it_is_inside() {
    let folder = workspace();
    let root = folder.path();
    let body = "    let a = 1;\n    let b = 2;\n\n    let c = 3;\n    let d = 4;\n";
    let mut old = String::new();
    let heads = [
        "pub(crate) fn one() {",
        "pub const unsafe fn two() {",
        "extern \"C\" fn three(",
        "macro_rules! four {",
        "impl<T> Five for Vec<T> {",
        "pub(in crate::six) struct Six {",
    ];
    for head in heads {
        old += &format!("{head}\n{body}    change();\n}}\n\n");
    }
    let diff = |old: &str, new: &str| {
        let file = |chapter: &str| format!("chapters/{chapter}/src/model.rs");
        write(root, &file("ch01_base"), old);
        write(root, &file("ch02_wider"), new);
        let (house, _) = house(root);
        let a = "ch01_base/src/model.rs";
        diff::diff(&house, a, "ch02_wider/src/model.rs").unwrap()
    };
    let html = diff(&old, &old.replace("change()", "changed()"));
    for head in heads {
        let head = head.trim_end_matches(['(', '{', ' ']);
        let head =
            head.replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
        assert!(html.contains(&format!("⋯ {head}\n")), "{head}: {html}");
    }
    // What is inside a function is not around what follows it; one line is left out.
    let nested = "fn outer() {\n    let a = 1;\n        fn inner() {}\n    \
               let b = 2;\n    let c = 3;\n    let d = 4;\n    change();\n}\n";
    let html = diff(nested, &nested.replace("change()", "changed()"));
    assert!(html.contains("⋯ fn outer()\n"), "{html}");
    let html = diff("\n1\n2\n3\n4\n", "\n1\n2\n3\n5\n");
    assert!(html.contains("⋯ \n"), "{html}");
    // What begins at the margin is inside nothing.
    let html = diff("fn a() {\n}\n\n\n\nfn b() {}\n", "fn a() {\n}\n\n\n\nfn c() {}\n");
    assert!(html.contains("⋯ \n"), "{html}");
    // From and to nothing, and at the end of a file.
    for (old, new) in [("", "fn a() {}\n"), ("fn a() {}", ""), (&old, &old[..200])] {
        assert!(diff(old, new).contains("<pre class=\"hljs\"><span class=\"line"));
    }
    // Lines of Windows are equal to others.
    let html = diff("fn a() {}\r\nfn b() {}\r\n", "fn a() {}\nfn c() {}");
    assert!(html.contains(">+1</span>") && !html.contains('\r'), "{html}");
}

#[test]
fn differing_words_are_marked_and_lines_counted() {
    let folder = workspace();
    let (house, _) = house(folder.path());
    let html = diff::diff(&house, "ch01_base/src/model.rs", "ch02_wider/src/model.rs");
    let html = html.unwrap();
    // Of the changed line, only what was put in.
    assert!(
        html.contains("(<b class=\"hljs-number\">2.0</b><b> </b><b>*</b><b> </b>x);"),
        "{html}"
    );
    assert!(
        html.contains("<span class=\"plus\">+2</span> <span class=\"minus\">−1</span>")
    );
    // Numbers of the old file for what was removed, of the new one for the rest.
    assert!(html.contains("<span class=\"line removed\" data-line=\"15\"><i>-</i>"));
    assert!(html.contains("<span class=\"line added\" data-line=\"16\"><i>+</i>"));
    // Of an item, the numbers are those in its file.
    let forward = |chapter: &str| format!("{chapter}/src/model.rs:Model::forward");
    let item = diff::diff(&house, &forward("ch01_base"), &forward("ch02_wider"));
    assert!(item.unwrap().contains("<span class=\"line removed\" data-line=\"15\">"));
    // Unchanged lines far away are left out, and it is said where one is.
    assert!(!html.contains("second: "), "{html}");
    assert!(html.contains("⋯ impl Model"), "{html}");
}

#[test]
fn a_step_shows_every_file_folded() {
    let folder = workspace();
    let (house, _) = house(folder.path());
    let html = diff::step(&house, "ch03").unwrap();
    let row = "<tr><td><code>train.rs</code></td><td>retold</td>\
               <td><code>ch01_base</code></td>\
               <td><span class=\"plus\">+2</span> <span class=\"minus\">−2</span>";
    assert!(html.contains(row), "{html}");
    assert!(
        html.contains("<td><code>engine/queue.rs</code></td><td>new</td><td></td>")
    );
    assert_eq!(html.matches("<details class=\"file\">").count(), 5);
    assert!(
        html.contains(
            "<b>,</b><b> </b><b>ranks</b><b>:</b><b> </b>\
             <b class=\"hljs-type\">usize</b>"
        ),
        "{html}"
    );
}

#[test]
fn equal_things_have_no_difference_to_show() {
    let text = refused_page(
        "{{#diff ch01_base/src/model.rs:Model ch02_wider/src/model.rs:Model}}",
    );
    assert!(text.contains("index.md:6: `ch01_base/src/model.rs:Model` and"), "{text}");
    assert!(text.contains("are equal"), "{text}");
}

#[test]
fn items_are_found_by_name() {
    let folder = workspace();
    let find = |item: &str| {
        let spec = format!("ch01_base/src/layer.rs:{item}");
        source::find(folder.path(), &spec).map(|found| (found.first_line, found.text))
    };
    let (line, text) = find("Layer").unwrap();
    assert_eq!(line, 6);
    assert!(
        text.starts_with("/// One number.\n#[derive(Clone)]\npub struct"),
        "{text}"
    );
    assert!(text.ends_with("pub weight: f64,\n}\n"), "{text}");
    // A method loses the indentation of its block.
    let (line, text) = find("Layer::forward").unwrap();
    assert_eq!(line, 16);
    let expected = "/// `weight · x`.\npub fn forward(&self, x: f64) -> f64 {\n    \
                    self.weight * x\n}\n";
    assert_eq!(text, expected);
    assert_eq!(find("inner::forward").unwrap().0, 37);
    assert_eq!(find("Model::clone").unwrap().0, 42);
    assert_eq!(find("SCALE").unwrap().1.lines().count(), 2);
    assert!(find("twice").unwrap().1.contains("($x:expr)"));
    assert!(find("Maker::make").unwrap().1.starts_with("/// From a seed."));
    assert_eq!(find("Maker").unwrap().1.lines().count(), 5);
    assert!(find("Maker::make::seed").is_err() && find("Layer::forward::x").is_err());
    let error = format!("{:#}", find("backward").unwrap_err());
    assert_eq!(error, "chapters/ch01_base/src/layer.rs: there is no item `backward`");
    // In a module, of a type with parameters, of a reference to it, of a union.
    let file = "chapters/ch01_base/src/layer.rs";
    let text = fs::read_to_string(folder.path().join(file)).unwrap();
    let more = "pub mod deep {\n    pub struct Of<T>(T);\n    \
                impl<T: Copy> Go for Of<T> {\n        const N: usize = 1;\n        \
                fn go(&self) {}\n    }\n}\n\
                impl Go for &Layer {\n    fn go(&self) {}\n}\n\
                union Both {\n    a: u8,\n}\n";
    write(folder.path(), file, &(text.clone() + more));
    assert_eq!(find("deep::Of::go").unwrap(), (56, "fn go(&self) {}\n".into()));
    assert_eq!(find("deep::Of::N").unwrap().0, 55);
    assert_eq!(find("Layer::go").unwrap().0, 60);
    assert_eq!(find("Both").unwrap().1.lines().count(), 3);
    for lost in ["Of", "Of::go", "deep", "deep::lost", "forward::x", ""] {
        assert_eq!(find(lost).is_ok(), lost == "deep", "{lost}");
    }
    // What a file says of itself is not the first item's.
    write(folder.path(), file, "//! A layer.\n// Why.\nfn first() {}\n");
    assert_eq!(find("first").unwrap(), (2, "// Why.\nfn first() {}\n".into()));
    write(folder.path(), file, &(text.clone() + "\nfn {\n"));
    let error = format!("{:#}", find("Layer").unwrap_err());
    assert!(error.contains("layer.rs: line 53: this is not Rust: "), "{error}");
    write(folder.path(), file, &text);
    // Two methods of one name would be a guess.
    let file = "chapters/ch01_base/src/layer.rs";
    let twin = "impl Layer {\n    fn forward() {}\n}\n";
    let text = fs::read_to_string(folder.path().join(file)).unwrap() + twin;
    write(folder.path(), file, &text);
    let error = format!("{:#}", find("Layer::forward").unwrap_err());
    assert!(
        error.contains("several items `Layer::forward`, in lines 16, 53"),
        "{error}"
    );
}

/// What is on the page, what the build says; all of them at once, each at its line.
const BREAKS: [(&str, &str); 34] = [
    (
        "{{#diff ch01_base/src/lost.rs ch02_wider/src/model.rs}}",
        "cannot read chapters/ch01_base/src/lost.rs",
    ),
    ("{{#code ch01_base/src/layer.rs:lost}}", "there is no item `lost`"),
    ("{{#code shared/tools/src/lost.rs}}", "cannot read shared/tools/src/lost.rs"),
    ("{{#run lost}}", "lost"),
    ("It is {{#value lost.loss}} nats.", "lost"),
    ("{{#figure lost caption=\"x\"}}", "no figure `lost`"),
    ("{{#figure lost}}", "a figure needs a caption"),
    ("{{#exercise ch01_base ex1_lost}}", "ch01_base has no exercise `ex1_lost`"),
    ("The sum $\\frac{1}$ is", "formula `\\frac{1}`"),
    ("It costs $5 a day.", "opens a formula that does not end"),
    ("[there](lost.md)", "SUMMARY.md has no page lost.md"),
    ("[there](more/second.md#lost)", "more/second.md has no heading #lost"),
    ("[here](#lost)", "index.md has no heading #lost"),
    ("![picture](lost.svg)", "link to `lost.svg`"),
    ("[contents](SUMMARY.md)", "SUMMARY.md has no page SUMMARY.md"),
    ("<a href=\"lost.html\">there</a>", "link to `lost.html`"),
    ("```\ncode\n```", "a block of code without a language"),
    ("    indented();", "an indented block of code"),
    ("{{#include lost.md}}", "no directive `include`"),
    ("  {{#step ch01}}", "stands alone in its line"),
    ("{{#run a head=3 color=red}}", "has no option `color`"),
    ("{{#run a head=few}}", "head=few: expected a number of lines"),
    ("{{#run}}", "takes 1 arguments, not 0"),
    ("{{#run \"a}}", "a quotation mark is not closed"),
    ("It is {{#value lost\n}}", "`{{#` without `}}` in its line"),
    ("{{#figure whole caption=\"It is {{#value lost.loss}}.\"}}", "no run `lost`"),
    ("> - {{#step ch01}}", "stands alone in its line"),
    ("[to][nothing]", "a link by reference that is defined nowhere"),
    ("Said elsewhere[^none].", "a footnote that is defined nowhere"),
    ("[up](../index.md)", "a path inside the book"),
    ("[root](/etc/hostname)", "a path inside the book"),
    ("<a\nhref='lost.html'>there</a>", "link to `lost.html`"),
    ("```,ignore\ncode\n```", "a block of code without a language"),
    // Last: what comes after it is code.
    ("````sh\ncode\n```", "a block of code that does not end"),
];

#[test]
fn every_break_fails_the_build_at_its_line() {
    for (text, expected) in BREAKS {
        let said = refused_page(text);
        assert!(said.starts_with("the book has 1 problem:\n"), "{text}: {said}");
        let line = said.lines().nth(1).unwrap();
        let place = "  book/src/index.md:6: ";
        assert!(line.starts_with(place), "{text}: {said}");
        assert!(line.contains(expected), "{text}: {said}");
    }
}

#[test]
fn all_breaks_are_listed_at_once() {
    let breaks = BREAKS.map(|(text, _)| text.to_string() + "\n\n");
    let text = breaks.concat();
    let said = refused_page(&text);
    assert_eq!(said.lines().count(), 1 + BREAKS.len(), "{said}");
    let lines = said.lines().skip(1).map(|line| line.split(':').nth(1).unwrap());
    assert!(lines.map(|line| line.parse::<usize>().unwrap()).is_sorted(), "{said}");
    let mut line = 6;
    for ((_, expected), text) in BREAKS.iter().zip(breaks) {
        let place = format!("  book/src/index.md:{line}: ");
        let mut found = said.lines().filter(|said| said.starts_with(&place));
        assert!(found.any(|said| said.contains(expected)), "{line} {expected}: {said}");
        line += text.matches('\n').count();
    }
}

#[test]
fn what_is_wrong_twice_in_a_line_is_told_once() {
    let said = refused_page("[to](lost.md) and [to](lost.md)");
    assert!(said.starts_with("the book has 1 problem:\n"), "{said}");
}

/// A front page that must build, as it looks then.
fn shown(page: &str) -> String {
    let folder = workspace();
    write(folder.path(), "book/src/index.md", page);
    html(folder.path(), "index.html")
}

#[test]
fn directives_and_formulas_in_code_are_code() {
    for (fence, end) in [
        ("```sh", "```"),
        ("~~~~ sh title", "~~~~~~"),
        ("1. - ```sh $5", "     ```"),
        ("> ```sh", "> ```"),
        ("- Of a list:\n\n   ```sh", "   ```"),
    ] {
        let indent = match fence.rsplit_once(['`', '~']).map_or("", |(start, _)| start)
        {
            start if start.starts_with('>') => "> ",
            start if start.starts_with('1') => "     ",
            start if start.starts_with('-') => "   ",
            _ => "",
        };
        let page = format!(
            "# Front\n\n{fence}\n{indent}{{{{#step ch09}}}} $a$\n{end}\n\n\
             Then $b$ and \\$3.\n"
        );
        let html = shown(&page);
        assert!(html.contains("{{#step ch09}} $a$"), "{page}\n{html}");
        assert_eq!(html.matches("<math").count(), 1, "{page}\n{html}");
    }
    // Backticks inside a line begin no block.
    let html = shown("# Front\n\n``` a ``` is code and $b$ is not.\n\n{{#step ch03}}");
    assert_eq!(html.matches("<math").count(), 1, "{html}");
    assert!(html.contains("<div class=\"step\">"), "{html}");
}

#[test]
fn text_goes_on_after_a_directive() {
    let directives = [
        "{{#diff ch01_base/src/model.rs ch02_wider/src/model.rs}}",
        "{{#step ch02}}",
        "{{#house}}",
        "{{#sizes}}",
        "{{#guards}}",
        "{{#code ch01_base/src/model.rs:Model}}",
        "{{#figure whole caption=\"Is *it*?\"}}",
    ];
    let mut page = String::from("# Front\n\n");
    for directive in directives {
        page += &format!("Before *it*.\n{directive}\nAfter *it*.\n\n");
    }
    // On Windows, too.
    for page in [page.clone(), page.replace('\n', "\r\n")] {
        let html = shown(&page);
        for text in ["<p>Before <em>it</em>.</p>", "<p>After <em>it</em>.</p>"] {
            assert_eq!(html.matches(text).count(), directives.len(), "{html}");
        }
    }
}

#[test]
fn listings_are_whole() {
    let folder = workspace();
    let root = folder.path();
    // No newline at the end, fences inside, and what mdBook would hide.
    let text = "//! ```sh\n//! ls\n//! ```\nconst SCRIPT: &str = r\"\n\
                # comment\n## twice\n  #\n#pragma\n\";\n#[derive(Clone)]\nstruct Last;";
    write(root, "chapters/ch01_base/src/layer.rs", text);
    write(root, "scripts/x.patch", "-a\n+b\n");
    write(root, "scripts/x.sh", "# First\r\nls ````");
    let page = "# Front\n\n{{#code ch01_base/src/layer.rs}}\n\
                {{#code scripts/x.patch}}\n{{#code scripts/x.sh}}\nAfter *it*.\n";
    write(root, "book/src/index.md", page);
    let html = html(root, "index.html");
    let lines = "r\"\n# comment\n## twice\n  #\n#pragma\n\";\n#[derive(Clone)]\n\
                 struct Last;</code>";
    assert!(html.contains(lines), "{html}");
    let title = "<code>chapters/ch01_base/src/layer.rs</code><";
    assert!(html.contains(title), "{html}");
    assert!(html.contains("># First\nls ````\n</code>"), "{html}");
    assert!(html.contains("<code class=\"language-diff\">-a\n+b\n</code>"));
    assert!(html.contains("<em>it</em>"), "{html}");
}

#[test]
fn sizes_count_code_without_tests() {
    let folder = workspace();
    let root = folder.path();
    let code = "//! Layer.\nuse std::fmt;\n#[cfg(test)]\nuse std::io;\n\n\
                #[cfg(test)]\nmod early {\n    const A: &str = \"\n}\n\";\n}\n\
                #[cfg(feature = \"x\")]\nfn kept() {}\n#[cfg(test)]\nfn helper() {}\n\
                #[cfg(test)]\nimpl A for B {\n    // why\n}\nfn last() {}\n";
    write(root, "chapters/ch01_base/src/layer.rs", code);
    write(root, "book/src/index.md", "# Front\n\n{{#sizes}}\n");
    let html = html(root, "index.html");
    // 3 of lib.rs, 4 of layer.rs, 11 of model.rs, 5 of train.rs, 3 of main.rs.
    let row = "<td>5</td><td>54</td><td>0</td><td>+0 −0</td><td>26</td>";
    assert!(html.contains(row), "{html}");
    // 6 and 1 of lib.rs, 2 and 1 of model.rs; of code 3, 2, and 1 of wide.rs.
    let row = "<td>1</td><td>2</td><td>2</td><td>+8 −2</td><td>6</td>";
    assert!(html.contains(row), "{html}");
}

#[test]
fn captions_are_markdown() {
    let page = "# Front\n\n{{#figure whole caption=\"`a < b` and $x^2$, 50% ~\"}}\n";
    let html = shown(page);
    assert!(html.contains("<p><code>a &lt; b</code> and <math"), "{html}");
}

#[test]
fn links_of_all_kinds_lead_somewhere() {
    let folder = workspace();
    let root = folder.path();
    write(
        root,
        "book/src/my page.md",
        "# Größe, *in* `Bytes` [x](#a)\n\n<a id='a'></a>\n",
    );
    write(root, "book/src/data.txt", "Data.\n");
    write(root, "book/src/plain.html", "Plain.\n");
    replace(
        root,
        "book/src/SUMMARY.md",
        "- [Second]",
        "[Mine](<my page.md>)\n\n- [Second]",
    );
    let second = "# Second\n\n## `a_b-c`!\n\n## A -- `b::c` & $x$\n\n\
                  Two\nlines\n---\n\nterm\n: what it is\n\n\
                  ## Same {#same}\n\n## Same\n\n### Same\n\n<a\nid=\"raw\"></a>\n\n\
                  [f](../index.md \"Title\") [s](./../more/second.md)\n";
    write(root, "book/src/more/second.md", second);
    let ids = ["a_b-c", "a--bc--x", "two-lines", "term", "same", "same-1", "raw"];
    let links: String =
        ids.iter().map(|id| format!("[x](more/second.md#{id})\n")).collect();
    let page = format!(
        "# Front\n\n{links}\n[1](my%20page.md#gr%C3%B6%C3%9Fe-in-bytes-x)\n\
         [2](<my page.md#größe-in-bytes-x>) [3](my%20page.md#a) [4](data.txt)\n\
         [8](plain.html) \
         <me@example.org> [5](mailto:me@example.org) [6](tel:1) <https://example.org>\n\
         [7][def] `a[i][j]` <A HREF='data.txt'>x</A>[^1] [not a link]\n\n\
         [def]: more/second.md\n[^1]: A note.\n"
    );
    write(root, "book/src/index.md", &page);
    let html = html(root, "more/second.html");
    for id in ids {
        assert_eq!(
            html.matches(&format!("id=\"{id}\"")).count(),
            if id == "same" { 2 } else { 1 },
            "{id}: {html}"
        );
    }
    write(root, "book/src/index.md", "# Front\n\n[x](more/second.md#same-2)\n");
    assert!(refused(root).contains("has no heading #same-2"));
}

#[test]
fn summary_and_pages_agree() {
    let folder = workspace();
    write(folder.path(), "book/src/lost.md", "# Lost\n");
    let said = refused(folder.path());
    assert!(said.contains("book/src/lost.md:1: not in SUMMARY.md"), "{said}");
    let folder = workspace();
    fs::remove_file(folder.path().join("book/src/more/second.md")).unwrap();
    let said = refused(folder.path());
    assert!(
        said.contains("SUMMARY.md:4: there is no page book/src/more/second.md"),
        "{said}"
    );
    // Of a chapter's sections, too.
    replace(
        folder.path(),
        "book/src/SUMMARY.md",
        "more/second.md)\n",
        "more/second.md)\n  - [Third](third.md)\n",
    );
    let said = refused(folder.path());
    assert!(
        said.contains("SUMMARY.md:5: there is no page book/src/third.md"),
        "{said}"
    );
    // With all that is wrong elsewhere.
    assert!(said.contains("index.md:3: link to `more/second.md"), "{said}");
}

#[test]
fn what_mdbook_warns_of_fails_the_build() {
    let said = refused_page("<div>\n\nnot closed");
    assert!(said.contains("mdBook warns"), "{said}");
}

#[test]
fn code_changes_pages() {
    let folder = workspace();
    let page = "# Front\n\n{{#step ch01}}\n\n{{#code ch01_base/src/train.rs:train}}\n\n\
                {{#house}}\n\n{{#sizes}}\n";
    write(folder.path(), "book/src/index.md", page);
    let before = html(folder.path(), "index.html");
    replace(folder.path(), "chapters/ch01_base/src/train.rs", "0..steps", "1..=steps");
    let after = html(folder.path(), "index.html");
    assert_eq!(before.matches("1..=steps").count(), 0);
    // In the step it is cut into pieces with colours.
    assert_eq!(after.matches("1..=steps").count(), 1);
    let piece = "<span class=\"hljs-number\">1</span>..=steps";
    assert!(!before.contains(piece) && after.contains(piece));
    // A line more: in the step's table, and in the chapter's size.
    replace(
        folder.path(),
        "chapters/ch01_base/src/train.rs",
        "    for",
        "    let a = 1;\n    for",
    );
    let longer = html(folder.path(), "index.html");
    assert!(after.contains("+8</span>") && longer.contains("+9</span>"), "{longer}");
    let lines = |html: &str| -> usize {
        let cell = html.split("<td>5</td><td>").nth(1).unwrap();
        cell.split('<').next().unwrap().parse().unwrap()
    };
    assert_eq!(lines(&longer), lines(&after) + 1);
}

#[test]
fn the_house_is_drawn_from_the_chapters() {
    let folder = workspace();
    write(folder.path(), "book/src/index.md", "# Front\n\n{{#house}}\n\n{{#guards}}\n");
    let html = html(folder.path(), "index.html");
    for row in [
        "<td><code>model.rs</code></td><td><b>new</b></td><td><b>retold</b></td>\
         <td>·</td><td><code>ch02_wider</code></td>",
        "<td><code>train.rs</code></td><td><b>new</b></td><td>·</td>\
         <td><b>retold</b></td><td><code>ch03_ranks</code></td>",
        "<td><code>wide.rs</code></td><td></td><td><b>new</b></td><td>·</td>",
    ] {
        assert!(html.contains(row), "{row}\n{html}");
    }
    // Chapters before what they share.
    let [chapter, tools] =
        ["Chapter 1: a model of two numbers. 1 test.", "no chapter teaches. 2 tests."]
            .map(|text| html.find(text).unwrap_or_else(|| panic!("{text}\n{html}")));
    assert!(chapter < tools);
    assert!(
        html.contains("That tools are sharp. <span class=\"count\">2</span>"),
        "{html}"
    );
    assert!(html.contains("<li>a drill turns</li>"), "{html}");
    assert!(!html.contains("ch02_wider</code></h3>"), "it has no tests: {html}");
    assert_eq!(html.matches("<tr><td><code>model.rs</code>").count(), 1, "{html}");
}

#[test]
fn tests_that_do_not_say_what_they_guard_are_errors() {
    let folder = workspace();
    write(folder.path(), "book/src/index.md", "# Front\n\n{{#guards}}\n");
    replace(folder.path(), "shared/tools/tests/tools.rs", "//! That", "// That");
    let said = refused(folder.path());
    assert!(
        said.contains("shared/tools/tests/tools.rs:1: tests without a `//!`"),
        "{said}"
    );
    write(folder.path(), "shared/tools/tests/more.rs", "//! More.\n#[test]\nfn {\n");
    let said = refused(folder.path());
    assert!(said.contains("shared/tools/tests/more.rs:3: this is not Rust"), "{said}");
    assert!(said.starts_with("the book has 2 problems"), "{said}");
}

#[test]
fn formulas_become_mathml_that_markdown_leaves_alone() {
    let folder = workspace();
    let page = "# Front\n\nA $a_i * b_i$ and *this* and $c * d$; `$x$`, \\$5.\n\n\
                | $|x|$ | y |\n| --- | --- |\n| $\\sum_i$ | 2 |\n\n$$\na = b\n$$\n\n\
                ```sh\necho $HOME $x$\n```\n";
    write(folder.path(), "book/src/index.md", page);
    let html = html(folder.path(), "index.html");
    assert_eq!(html.matches("<math").count(), 5, "{html}");
    assert_eq!(html.matches("display=\"block\"").count(), 1);
    // The stars are products, not emphasis.
    assert_eq!(html.matches("<em>").count(), 1, "{html}");
    assert_eq!(html.matches("<mo>∗</mo>").count(), 2, "{html}");
    assert!(html.contains("<code>$x$</code>, $5."), "{html}");
    assert_eq!(html.matches("<th>").count(), 2, "{html}");
    assert!(html.contains("echo $HOME $x$"), "{html}");
}

#[test]
fn a_directive_can_be_shown_instead_of_followed() {
    let folder = workspace();
    let page = "# Front\n\nWrite `\\{{#value a.b}}`, or\n\n```text\n{{#run a}}\n```\n";
    write(folder.path(), "book/src/index.md", page);
    let html = html(folder.path(), "index.html");
    assert!(html.contains("<code>{{#value a.b}}</code>"), "{html}");
    assert!(html.contains("{{#run a}}\n"), "{html}");
}

#[test]
fn nothing_was_written_when_something_is_wrong() {
    let folder = workspace();
    write(folder.path(), "book/src/index.md", "# Front\n\n{{#step ch09}}\n");
    refused(folder.path());
    assert!(!folder.path().join("target").exists());
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.flat_map(below).collect()
}

#[test]
fn the_book_of_this_workspace_needs_no_network() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let css = fs::read_to_string(root.join("book/theme/ferrotron.css")).unwrap();
    assert!(css.contains(viz::THEME_CSS), "figures have other colours on dark pages");
    let dest = TempDir::new().unwrap();
    let book = build(root, Some(dest.path()), Stale::Show).unwrap();
    assert!(book.join("fonts/stix-two-math.woff2").is_file());
    let mut pages = 0;
    for path in files(&book) {
        let Some(extension @ ("html" | "css")) =
            path.extension().and_then(|extension| extension.to_str())
        else {
            continue;
        };
        let text = fs::read_to_string(&path).unwrap();
        pages += usize::from(extension == "html");
        // What a page loads by itself: not where its links lead.
        for loads in
            ["src=\"http", "src=\"//", "url(http", "url(\"http", "url(//", "@import"]
        {
            assert!(!text.contains(loads), "{}: {loads}", path.display());
        }
        for link in text.split("<link ").skip(1) {
            let link = link.split('>').next().unwrap();
            assert!(!link.contains("href=\"http"), "{}: {link}", path.display());
        }
    }
    assert!(pages > 3);
}

/// Two runs that depend on `data.txt`, captured.
fn with_runs() -> TempDir {
    let folder = workspace();
    let root = folder.path();
    write(root, "data.txt", "1.5\n");
    let run = |id: &str, class: &str| {
        format!(
            "[{id}]\nclass = \"{class}\"\nfiles = [\"data.txt\"]\n\
             command = [\"sh\", \"-c\", \
             \"echo 'begin <b>'; echo; cat data.txt; echo end\"]\n\
             [{id}.metrics]\nloss = {{ pattern = '^([0-9.]+)$' }}\n"
        )
    };
    let runs = run("quick", "checked") + &run("long", "recorded");
    write(root, "book/runs/test.toml", &runs);
    let arguments = ["capture", "quick", "long"];
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_book-tool"))
        .args(arguments)
        .current_dir(root)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    folder
}

#[test]
fn runs_are_shown_and_their_numbers_stand_in_the_text() {
    let folder = with_runs();
    let page = "# Front\n\nIt is {{#value quick.loss}}, \
                twice {{#value 2 * long.loss .1}}.\n\n\
                {{#run quick}}\n\n{{#run long head=1 tail=1}}\n";
    write(folder.path(), "book/src/index.md", page);
    let html = html(folder.path(), "index.html");
    assert!(html.contains("It is 1.5, twice 3.0."), "{html}");
    assert!(html.contains("begin &lt;b&gt;\n<i></i>\n1.5\nend</pre>"), "{html}");
    // Of the other, the middle is folded.
    assert!(html.contains("<summary>⋯ 2 more lines</summary>"), "{html}");
    assert_eq!(html.matches("more lines").count(), 1, "{html}");
    assert!(html.contains("<pre class=\"output\">end</pre>"), "{html}");
    assert!(
        html.contains("checked: made again") && html.contains("; recorded."),
        "{html}"
    );
    let hash = html.split("<li>file data.txt <code>").nth(1).unwrap();
    assert_eq!(hash.find("</code>"), Some(10), "{html}");
    assert!(!html.contains("class=\"stale\""), "{html}");
}

#[test]
fn a_checked_run_that_is_stale_fails_the_build_and_a_recorded_one_says_so() {
    let folder = with_runs();
    let root = folder.path();
    write(root, "book/src/index.md", "# Front\n\n{{#run quick}}\n\n{{#run long}}\n");
    write(root, "data.txt", "1.25\n");
    let said = refused(root);
    let expected = "book/runs/test.toml:1: the checked run `quick` is stale";
    assert!(said.contains(expected) && said.contains("data.txt"), "{said}");
    assert!(!said.contains("`long`"), "{said}");
    // While writing, both are shown for what they are.
    let dest = build(root, None, Stale::Show).unwrap();
    let html = fs::read_to_string(dest.join("index.html")).unwrap();
    let banner = "Changed since this was captured: file data.txt";
    assert_eq!(html.matches(banner).count(), 2, "{html}");
    // A comment in a definition changes nothing; a command does.
    write(root, "data.txt", "1.5\n");
    built(root);
    replace(root, "book/runs/test.toml", "echo end", "echo END");
    assert!(refused(root).contains("`quick` is stale"));
}

#[test]
fn wrong_definitions_and_captures_of_nothing_fail_the_build() {
    let folder = with_runs();
    let root = folder.path();
    replace(root, "book/runs/test.toml", "class = \"checked\"", "class = \"chekced\"");
    let said = refused(root);
    assert!(said.contains("book/runs/test.toml:2: run `quick`"), "{said}");
    // While writing, too.
    let said = format!("{:#}", build(root, None, Stale::Show).unwrap_err());
    assert!(said.contains("book/runs/test.toml:2: run `quick`"), "{said}");
    let folder = with_runs();
    fs::remove_file(folder.path().join("book/runs/test.toml")).unwrap();
    let said = refused(folder.path());
    assert!(said.contains("book/runs/long.json:1: no run `long` is defined"), "{said}");
}

#[test]
fn exercises_are_introduced_in_their_own_words() {
    let folder = workspace();
    let root = folder.path();
    let fixture =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/exercises");
    copy(&fixture.join("chapters/ch01_sums"), &root.join("chapters/ch04_sums"));
    let page = "# Front\n\n{{#exercise ch04_sums ex1_sum}}\n\nTo [it](#ex1_sum).\n";
    write(root, "book/src/index.md", page);
    let stub = "chapters/ch04_sums/exercises/ex1_sum.rs";
    let title = fs::read_to_string(root.join(stub)).unwrap();
    let title = title.lines().next().unwrap().trim_start_matches("//! # ").to_string();
    let html = html(root, "index.html");
    assert!(html.contains(&title), "{title}: {html}");
    assert!(html.contains("<h3 id=\"ex1_sum\">"), "{html}");
    assert!(
        html.contains("cargo test -p ch04_sums --test exercises ex1_sum"),
        "{html}"
    );
    assert!(html.contains("<summary>Hint</summary>"), "{html}");
    // Without a hint it is no exercise.
    replace(root, stub, "## Hint\n//!\n", "## Help\n//!\n");
    let said = refused(root);
    assert!(said.contains("chapters/ch04_sums/exercises/ex1_sum.rs:"), "{said}");
    // What is wrong in its docs is told where they are.
    replace(root, stub, "## Help", "## Hint");
    replace(root, stub, "Iterators can", "$\\frac{1}$ can\n//! [or](lost.md) can");
    let said = refused(root);
    assert!(said.contains("exercises/ex1_sum.rs:13: formula `\\frac{1}`"), "{said}");
    assert!(said.contains("exercises/ex1_sum.rs:14: link to `lost.md`"), "{said}");
    assert!(said.starts_with("the book has 2 problems"), "{said}");
}

#[test]
fn the_readme_quotes_captured_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let runs = book_tool::runs::Runs::load(root).unwrap();
    let output =
        &runs.get("ch01_default").unwrap().captured().unwrap().sessions[0].output;
    let quoted =
        |line: &&str| line.starts_with("step ") || line.starts_with("600 steps");
    let lines: Vec<_> = readme.lines().filter(quoted).collect();
    assert!(lines.len() > 5);
    for line in lines {
        assert!(output.iter().any(|said| said == line), "no such output: {line}");
    }
    for preset in ["tiny", "small"] {
        let run = format!("compare_torch_{preset}");
        let value = |expression: &str| {
            book_tool::runs::value(&runs, &expression.replace("RUN", &run)).unwrap()
        };
        let row = format!(
            "| {}× ({}–{}) | {}× | {}× |",
            value("RUN.speed_ratio .2"),
            value("RUN.speed_ratio_min .2"),
            value("RUN.speed_ratio_max .2"),
            value("RUN.peak_bytes / RUN.torch_peak_bytes .2"),
            value(
                "RUN.peak_bytes / (RUN.torch_peak_bytes - RUN.torch_runtime_bytes) .2"
            ),
        );
        assert!(readme.contains(&row), "{preset}: expected {row}");
    }
}
