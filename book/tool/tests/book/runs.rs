//! Captured runs, exercises and README on the page.
use crate::helpers::*;
use book_tool::book::{Stale, build};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

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
        html.contains("checked: must give the same") && html.contains("; recorded."),
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
        &runs.get("ch04_default").unwrap().captured().unwrap().sessions[0].output;
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
        let run = format!("compare_ddp_{preset}");
        let value = |metric: &str| {
            book_tool::runs::value(&runs, &format!("{run}.{metric} .2")).unwrap()
        };
        let beside = format!(
            "{}× ({}–{}) at `{preset}`",
            value("speed_ratio"),
            value("speed_ratio_min"),
            value("speed_ratio_max"),
        );
        assert!(readme.contains(&beside), "{preset}: expected {beside}");
    }
}
