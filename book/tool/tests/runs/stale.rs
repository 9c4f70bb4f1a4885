//! When a capture is stale, and what follows.
use crate::{EDITION, TOP, Workspace, assert_has, shell};
use std::fs;

/// What was changed is named, and nothing else is.
#[test]
fn a_capture_is_stale_when_what_it_depends_on_has_changed() {
    let workspace = Workspace::new(TOP);
    workspace.capture(&["top"]).unwrap();
    let (leaf, top) = ("crates/leaf/src/lib.rs", "crates/top/src/main.rs");
    let leaf_manifest = "crates/leaf/Cargo.toml";
    let definitions = "book/runs/x.toml";
    let tests = "[dev-dependencies]\ntop = { path = \"../top\" }\n\
                 [[test]]\nname = \"t\"\ntest = false\n[lints]\nworkspace = true\n";
    let cases = [
        // Comments, layout, tests and lints decide nothing.
        (leaf, "//! A.", "//! B, in other words.", ""),
        (leaf, "{ 1 }", "{\n    // why\n    1\n}", ""),
        (leaf_manifest, "[package]", "# c\n[package]", ""),
        (leaf_manifest, EDITION, &format!("{EDITION}{tests}"), ""),
        (definitions, "+)' }", "+)', tolerance = 0.5, compare = false }", ""),
        (definitions, "class = \"checked\"", "class = \"recorded\"", ""),
        // Tokens do, wherever they stand.
        (leaf, "{ 1 }", "{ 2 }", "package leaf"),
        (top, ".5", ".6", "package top"),
        ("crates/leaf/told/early.rs", "two;", "two; use deep as d;", "package top"),
        ("crates/leaf/told/deep.rs", "{ 2 }", "{ 3 }", "package top"),
        ("crates/top/words.txt", "a word", "a wort", "package top"),
        (leaf_manifest, "0.1.0", "0.2.0", "package leaf"),
        (
            "crates/top/Cargo.toml",
            "leaf.workspace = true\n",
            "",
            "package leaf (gone), package top",
        ),
        ("data/a.txt", "1", "2", "file data/a.txt"),
        (definitions, "loss (", "los. (", "definition"),
        (definitions, "\"target\"]", "\"target\", \"--\", \"-v\"]", "definition"),
        (
            definitions,
            "files = [\"data\"]",
            "packages = [\"top\"]",
            "file data/a.txt (gone)",
        ),
    ];
    for (file, old, new, stale) in cases {
        let before = workspace.read(file);
        workspace.replace(file, old, new);
        assert_eq!(workspace.stale("top"), stale, "{file}: {old} -> {new}");
        workspace.write(file, &before);
        assert_eq!(workspace.stale("top"), "", "{file}, put back");
    }
    for (file, stale) in [
        ("data/deep/b.txt", "file data/deep/b.txt (new)"),
        ("data/.hidden", ""),
        ("crates/leaf/build.rs", "package leaf"),
        ("crates/leaf/src/table.bin", "package leaf"),
        ("crates/leaf/tests/t.rs", ""),
        ("crates/leaf/exercises/e.rs", ""),
    ] {
        workspace.write(file, "x");
        assert_eq!(workspace.stale("top"), stale, "{file}");
        fs::remove_file(workspace.root().join(file)).unwrap();
    }
}

#[test]
fn dependencies_are_followed_however_they_are_written() {
    let workspace = Workspace::new(TOP);
    for table in [
        "[dependencies]\nleaf = { path = \"../leaf\" }\n",
        "[dependencies]\nother = { path = \"../x/../leaf\", package = \"leaf\" }\n",
        "[build-dependencies]\nleaf.workspace = true\n",
        "[target.'cfg(unix)'.dependencies]\nleaf = { path = \"../leaf\" }\n",
    ] {
        let manifest =
            format!("[package]\nname = \"top\"\nversion = \"0.1.0\"\n{EDITION}{table}");
        workspace.write("crates/top/Cargo.toml", &manifest);
        let definition = shell("a", "recorded", "echo", "packages = [\"top\"]");
        workspace.write("book/runs/x.toml", &definition);
        workspace.capture(&["a"]).unwrap();
        let runs = workspace.runs();
        let inputs = &runs.get("a").unwrap().captured().unwrap().inputs;
        assert!(inputs.contains_key("package leaf"), "{table}");
    }
}

#[test]
fn modules_of_features_are_inputs_of_commands_with_features() {
    let with = "[with]\nclass = \"recorded\"\npackages = [\"leaf\"]\n\
                command = [\"echo\", \"--features\", \"gpu\"]\n";
    let plain = shell("plain", "recorded", "echo", "packages = [\"leaf\"]");
    let workspace = Workspace::new(&(plain + with));
    let library = "#[cfg(feature = \"gpu\")]\npub(crate) mod gpu;\npub mod host;\n";
    workspace.write("crates/leaf/src/lib.rs", library);
    let files = ["gpu.rs", "gpu/deep.rs", "host.rs"];
    let write = |file: &str, text: &str| {
        workspace.write(&format!("crates/leaf/src/{file}"), text)
    };
    files.iter().for_each(|file| write(file, "fn f() {}"));
    workspace.capture(&["plain", "with"]).unwrap();
    for file in files {
        let of_feature = file != "host.rs";
        write(file, "fn g() {}");
        let stale = ["plain", "with"].map(|id| !workspace.stale(id).is_empty());
        assert_eq!(stale, [!of_feature, true], "{file}");
        write(file, "fn f() {}");
    }
}

#[test]
fn a_stale_checked_run_is_a_problem_and_a_recorded_one_is_not() {
    let never = shell("never", "recorded", "echo {t}", "external = [\"t\"]");
    let workspace = Workspace::new(
        &("# A comment.\n".to_string()
            + &shell("kept", "checked", "echo", "")
            + &shell("noted", "recorded", "echo", "")
            + &never),
    );
    let again = "`cargo run -p book-tool -- capture kept`";
    let problems = workspace.problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_has(&problems[0], &["book/runs/x.toml:2: ", "`kept` has no capture", again]);
    let runs = workspace.runs();
    let error = runs.get("never").unwrap().captured().unwrap_err().to_string();
    assert_has(&error, &["`never` has no capture", "capture never --with t=PATH`"]);

    workspace.capture(&["kept", "noted"]).unwrap();
    assert_eq!(workspace.problems(), [""; 0]);
    workspace.write("data/a.txt", "2\n");
    assert_eq!(workspace.stale("noted"), "file data/a.txt");
    let problems = workspace.problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let parts = ["book/runs/x.toml:2: ", "`kept` is stale", "file data/a.txt", again];
    assert_has(&problems[0], &parts);

    // --stale makes the checked run, and not the recorded one; then there is none left.
    let (kept, noted) = ("book/runs/kept.json", "book/runs/noted.json");
    let before = workspace.read(noted);
    workspace.capture(&["--stale"]).unwrap();
    assert_eq!(workspace.problems(), [""; 0]);
    assert_eq!(workspace.stale("noted"), "file data/a.txt");
    assert_eq!(workspace.read(noted), before);
    workspace.write(kept, &workspace.read(kept).replace("T", "T "));
    let before = workspace.read(kept);
    workspace.capture(&["--stale"]).unwrap();
    assert_eq!(workspace.read(kept), before);
}

#[test]
fn captures_that_belong_to_nothing_are_problems() {
    let workspace = Workspace::new(&shell("kept", "recorded", "echo", ""));
    workspace.write("book/runs/kept.json", "{\"command\": 1}\n");
    workspace.write("book/runs/left.json", "{}\n");
    let problems = workspace.problems();
    assert_eq!(problems.len(), 2, "{problems:#?}");
    let parts = ["book/runs/x.toml:1: ", "kept.json cannot be read", "capture kept`"];
    assert_has(&problems[0], &parts);
    assert_has(&problems[1], &["book/runs/left.json:1: ", "no run `left` is defined"]);
    workspace.capture(&["kept"]).unwrap();
    assert_eq!(workspace.problems().len(), 1);
}
