//! Differences and listings, by word and by name.
use crate::helpers::*;
use book_tool::{diff, source};
use std::fs;

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
