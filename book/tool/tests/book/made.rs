//! Pages are made from the code, and need nothing but themselves.
use crate::helpers::*;
use book_tool::book::{Stale, build};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

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
