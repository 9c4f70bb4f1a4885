//! Runs on small workspaces: what a capture keeps, when it is stale, what goes wrong.
mod captures;
mod check;
mod definitions;
mod failures;
mod stale;
mod values;

use book_tool::runs::{CaptureArgs, Metric, Runs, main_capture};
use std::fs;
use std::path::Path;

const EDITION: &str = "edition = \"2024\"\n";

/// A workspace in a temporary folder.
struct Workspace {
    folder: tempfile::TempDir,
}

impl Workspace {
    /// Two packages, `leaf` and `top`, which depends on it and takes in files of it;
    /// data/a.txt; and these definitions in book/runs/x.toml.
    fn new(definitions: &str) -> Workspace {
        let workspace = Workspace { folder: tempfile::tempdir().unwrap() };
        let package = |name: &str| {
            format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\n{EDITION}")
        };
        for (path, text) in [
            (
                "Cargo.toml",
                "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n\
                 [workspace.dependencies]\nleaf = { path = \"crates/leaf\" }\n",
            ),
            ("crates/leaf/Cargo.toml", &package("leaf")),
            ("crates/leaf/src/lib.rs", "//! A.\npub fn one() -> u8 { 1 }\n"),
            ("crates/leaf/told/early.rs", "mod deep;\npub use deep::two;\n"),
            ("crates/leaf/told/deep.rs", "pub fn two() -> u8 { 2 }\n"),
            (
                "crates/top/Cargo.toml",
                &(package("top") + "[dependencies]\nleaf.workspace = true\n"),
            ),
            (
                "crates/top/src/main.rs",
                "#[path = \"../../leaf/told/early.rs\"]\nmod early;\nfn warned() {}\n\
                 fn main() {\n    \
                 eprintln!(\"loss {}.5\", leaf::one() + early::two());\n    \
                 print!(\"{}\", include_str!(\"../words.txt\"));\n}\n",
            ),
            ("crates/top/words.txt", "a word\n"),
            ("data/a.txt", "1\n"),
            ("book/runs/x.toml", definitions),
        ] {
            workspace.write(path, text);
        }
        workspace
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    fn replace(&self, path: &str, old: &str, new: &str) {
        let text = self.read(path);
        assert!(text.contains(old), "{path} has no {old}");
        self.write(path, &text.replace(old, new));
    }

    fn runs(&self) -> Runs {
        Runs::load(self.root()).unwrap()
    }

    /// `capture` with these arguments; an error as one text.
    fn capture(&self, arguments: &[&str]) -> Result<(), String> {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: CaptureArgs,
        }
        let line = [&["capture"], arguments].concat();
        let line = <Line as clap::Parser>::try_parse_from(line).unwrap();
        main_capture(self.root(), &line.arguments).map_err(|error| format!("{error:#}"))
    }

    fn problems(&self) -> Vec<String> {
        let problems = self.runs().problems().unwrap();
        let shown =
            problems.iter().map(|p| format!("{}:{}: {}", p.file, p.line, p.message));
        shown.collect()
    }

    fn stale(&self, id: &str) -> String {
        self.runs().get(id).unwrap().stale().join(", ")
    }
}

/// A definition of a shell's run that depends on data/a.txt.
fn shell(id: &str, class: &str, script: &str, rest: &str) -> String {
    format!(
        "[{id}]\nclass = \"{class}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n\
         files = [\"data/a.txt\"]\n{rest}\n"
    )
}

/// A run of cargo, which prints `loss 3.5` and what `words.txt` holds. With a target
/// folder of its own, lest workspaces of the same names share one.
const TOP: &str = r#"[top]
class = "checked"
command = ["cargo", "run", "-p", "top", "--target-dir", "target"]
shown = "cargo run -p top"
files = ["data"]
[top.metrics]
loss = { pattern = 'loss ([0-9.]+)' }
"#;

fn number(text: &str, value: f64) -> Metric {
    Metric::Number { text: text.to_string(), value }
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "expected `{part}` in:\n{text}");
    }
}
