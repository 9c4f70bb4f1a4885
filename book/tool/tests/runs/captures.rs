//! What a capture keeps.
use crate::{TOP, Workspace, assert_has, number, shell};
use book_tool::runs::Metric;
use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn a_capture_keeps_output_metrics_and_origin() {
    let workspace = Workspace::new(
        r#"
[a]
class = "recorded"
command = ["sh", "all.sh", "{log}", "{json}", "{dir}", "{text.txt}"]
files = ["data"]
external = ["text.txt"]
[a.metrics]
loss = { pattern = 'loss ([0-9.]+)' }
most = { pattern = 'loss ([0-9.]+)', take = "max" }
least = { pattern = '^loss ([0-9.]+)$', take = "min" }
losses = { log = "loss" }
second = { log = "loss", at = 2 }
last = { log = "loss", at = "last" }
n = { log = "/run/n", at = "start" }
bytes = { log = "/last/bytes/1", at = "end" }
speed = { json = "/speed/median" }
speeds = { json = "/speed/all" }
"#,
    );
    workspace.write(
        "all.sh",
        r#"
echo "to stdout"; echo "to stderr" >&2; printf "half\rfull\n"
printf "loss 2.50\nloss 1.50\nloss 1.750\n"
{ echo '{"run":{"n":7}}'; echo '{"step":1,"loss":2.5}'
  echo '{"step":3,"loss":1.5}'; echo '{"step":2,"loss":1.25}'
  echo '{"last":{"bytes":[9,8]}}'; } > "$1"
echo '{"speed":{"median":1.5,"all":[1.25,1.75]}}' > "$2"
echo "records: $1"; echo kept > "$3/made"; echo "saved $3/made, read $4"
cat "$3/made" "$4"
"#,
    );
    workspace.write("elsewhere/file", "from outside\n");
    let with = format!("text.txt={}/elsewhere/file", workspace.root().display());
    workspace.capture(&["a", "--with", &with]).unwrap();

    let runs = workspace.runs();
    let run = runs.get("a").unwrap();
    let capture = run.captured().unwrap();
    assert!(run.stale().is_empty());
    assert_eq!(capture.command, "sh all.sh out/a text.txt");
    assert_eq!(
        capture.sessions[0].output,
        [
            "to stdout",
            "to stderr",
            "full",
            "loss 2.50",
            "loss 1.50",
            "loss 1.750",
            "saved out/a/made, read text.txt",
            "kept",
            "from outside"
        ]
    );
    let metric = |name| capture.metric(name).unwrap().clone();
    assert_eq!(metric("loss"), number("1.750", 1.75));
    assert_eq!(metric("most"), number("2.50", 2.5));
    assert_eq!(metric("least"), number("1.50", 1.5));
    let losses = vec![(1.0, 2.5), (3.0, 1.5), (2.0, 1.25)];
    assert_eq!(metric("losses"), Metric::Series(losses));
    assert_eq!(metric("second"), number("1.25", 1.25));
    assert_eq!(metric("last"), number("1.25", 1.25));
    assert_eq!(metric("n"), number("7", 7.0));
    assert_eq!(metric("bytes"), number("8", 8.0));
    assert_eq!(metric("speed"), number("1.5", 1.5));
    assert_eq!(metric("speeds"), Metric::Series(vec![(1.0, 1.25), (2.0, 1.75)]));
    let error = capture.metric("lost").unwrap_err().to_string();
    assert_has(&error, &["no metric `lost`", "bytes, last, least, loss"]);
    let external = &capture.external["text.txt"];
    assert_eq!(external.bytes, 13);
    // printf 'from outside\n' | sha256sum
    let sum = "0ac01c28691877015e868840ada55b01b5ce75b008caeb700b5ad94277c77765";
    assert_eq!(external.sha256, sum);
    let today = Command::new("date").args(["-u", "+%Y-%m-%d"]).output().unwrap();
    let today = String::from_utf8(today.stdout).unwrap();
    assert_eq!(capture.date[..10], *today.trim());
    assert_eq!(capture.date.len(), "2026-11-22T01:02:03Z".len());
    assert!(capture.rustc.starts_with("rustc 1."), "{}", capture.rustc);
    assert!(capture.machine.cores > 0 && !capture.machine.cpu.is_empty());
    assert_eq!((capture.commit.clone(), capture.exit), (None, 0));
    let inputs: Vec<&String> = capture.inputs.keys().collect();
    assert_eq!(inputs, ["definition", "file data/a.txt"]);
}

#[test]
fn the_shown_command_is_what_a_reader_types() {
    let workspace = Workspace::new(
        r#"
[one]
class = "recorded"
command = ["cargo", "run", "-p", "top", "--", "--data", "{t.txt}", "--log", "{log}"]
external = ["t.txt"]
[two]
class = "recorded"
commands = [["a", "--to", "{dir}/x"], ["b", "--record={json}"]]
files = ["data"]
[three]
class = "recorded"
command = ["a", "--log", "{log}"]
shown = "a, in short"
files = ["data"]
[four]
class = "recorded"
command = ["a", "--lr", "{lr}", "--out={lr}x"]
sweep = { lr = ["1e-3", "2 3"] }
files = ["data"]
"#,
    );
    assert_eq!(workspace.problems(), [""; 0]);
    let runs = workspace.runs();
    let shown = |id| runs.get(id).unwrap().shown_command();
    assert_eq!(shown("one"), "cargo run -p top -- --data t.txt");
    assert_eq!(shown("two"), "a --to out/two/x\nb");
    assert_eq!(shown("three"), "a, in short");
    let four = "for lr in 1e-3 '2 3'; do\n    a --lr ${lr} --out=${lr}x\ndone";
    assert_eq!(shown("four"), four);
}

#[test]
fn a_sweep_gives_series() {
    let rest = "sweep = { lr = [\"2e-3\", \"1e-3\"] }\n[a.metrics]\n\
                loss = { pattern = 'loss (\\S+)' }\n";
    let names = rest.replace("2e-3", "llama").replace("1e-3", "qwen");
    let workspace = Workspace::new(
        &(shell("a", "recorded", "echo loss {lr}", rest)
            + &shell(
                "b",
                "recorded",
                "echo {lr} loss 3",
                &names.replace("[a.", "[b."),
            )),
    );
    workspace.capture(&["a", "b"]).unwrap();
    let runs = workspace.runs();
    let a = runs.get("a").unwrap().captured().unwrap();
    let points = vec![(0.002, 0.002), (0.001, 0.001)];
    assert_eq!(a.metrics["loss"], Metric::Series(points));
    assert_eq!(a.sessions[1].command, "sh -c 'echo loss 1e-3'");
    assert_eq!(a.sessions[1].output, ["loss 1e-3"]);
    let b = runs.get("b").unwrap().captured().unwrap();
    assert_eq!(b.metrics["loss"], Metric::Series(vec![(1.0, 3.0), (2.0, 3.0)]));
}

#[test]
fn several_commands_share_a_folder_and_have_files_of_their_own() {
    let workspace = Workspace::new(
        r#"
[a]
class = "recorded"
commands = [
    ["sh", "-c", 'echo 1.5 > $0/x; echo "[1]" > $1; echo n 3', "{dir}", "{json}"],
    ["sh", "-c", 'echo "[2]" > $1; cat $0/x; echo n 4; exit 3', "{dir}", "{json}"],
]
exit = 3
files = ["data"]
[a.metrics]
first = { json = "/0", of = 1 }
second = { json = "/0", of = 2 }
n = { pattern = 'n (\d)' }
n_first = { pattern = 'n (\d)', of = 1 }
pairs = { pattern = '(n) (\d)' }
"#,
    );
    // The two groups of a pattern are x and y, both numbers.
    let error = workspace.capture(&["a"]).unwrap_err();
    assert_has(&error, &["run `a`", "metric `pairs`", "`n` is not a finite number"]);
    workspace.replace("book/runs/x.toml", "'(n) (\\d)'", "'^(\\d)\\.(\\d)'");
    workspace.capture(&["a"]).unwrap();
    let runs = workspace.runs();
    let capture = runs.get("a").unwrap().captured().unwrap();
    assert_eq!(capture.exit, 3);
    assert_eq!(capture.metrics["first"], number("1", 1.0));
    assert_eq!(capture.metrics["second"], number("2", 2.0));
    assert_eq!(capture.metrics["n"], number("4", 4.0));
    assert_eq!(capture.metrics["n_first"], number("3", 3.0));
    assert_eq!(capture.metrics["pairs"], Metric::Series(vec![(1.0, 5.0)]));
}

#[test]
fn a_run_of_cargo_shows_the_program_and_not_the_build() {
    let workspace = Workspace::new(TOP);
    workspace.capture(&["top"]).unwrap();
    let runs = workspace.runs();
    let capture = runs.get("top").unwrap().captured().unwrap();
    assert_eq!(capture.command, "cargo run -p top");
    assert_eq!(capture.sessions[0].output, ["loss 3.5", "a word"]);
    let inputs: Vec<&String> = capture.inputs.keys().collect();
    assert_eq!(
        inputs,
        ["definition", "file data/a.txt", "package leaf", "package top"]
    );
    // Its tests, too.
    workspace.replace("book/runs/x.toml", "\"run\"", "\"test\"");
    workspace.replace("book/runs/x.toml", "'loss ([0-9.]+)'", "'(\\d) passed'");
    workspace.capture(&["top"]).unwrap();
    let runs = workspace.runs();
    let output = &runs.get("top").unwrap().captured().unwrap().sessions[0].output;
    assert_eq!(output[..2], ["", "running 0 tests"]);
    // One that does not compile is no run.
    workspace.replace("crates/leaf/src/lib.rs", "1 }", "one }");
    let error = workspace.capture(&["top"]).unwrap_err();
    assert_has(&error, &["`cargo test -p top --target-dir target --no-run` failed"]);
}

#[test]
fn the_commit_and_changes_to_inputs_are_kept() {
    let workspace = Workspace::new(TOP);
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=a", "-c", "user.email=a@b"]).args(arguments);
        let output = git.current_dir(workspace.root()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    };
    workspace.write(".gitignore", "target\nCargo.lock\n");
    git(&["init", "-q"]);
    git(&["add", "."]);
    git(&["commit", "-qm", "a"]);
    let changed = |change: &dyn Fn()| {
        change();
        workspace.capture(&["top"]).unwrap();
        let runs = workspace.runs();
        let capture = runs.get("top").unwrap().captured().unwrap().clone();
        assert_eq!(capture.commit, Some(git(&["rev-parse", "HEAD"])));
        git(&["checkout", "-q", "."]);
        git(&["clean", "-qfd"]);
        capture.uncommitted_changes
    };
    assert!(!changed(&|| {}));
    assert!(!changed(&|| workspace.write("README.md", "x")));
    assert!(changed(&|| workspace.write("data/a.txt", "2\n")));
    assert!(changed(&|| workspace.write("data/b.txt", "2\n")));
    assert!(changed(&|| workspace.replace("crates/leaf/told/deep.rs", "{ 2", "{ 3")));
}

/// This test's own process has cargo's variables, and is given some more.
#[test]
fn surroundings_do_not_show() {
    const INSIDE: &str = "RUNS_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_none() {
        let mut again = Command::new(std::env::current_exe().unwrap());
        let name = concat!(module_path!(), "::surroundings_do_not_show");
        let name = name.split_once("::").unwrap().1;
        again.args(["--exact", name]).env(INSIDE, "1");
        again.env("FERROTRON_GEMM", "portable").env("CLICOLOR_FORCE", "1");
        again.env("CARGO_TERM_COLOR", "always").env("RUST_BACKTRACE", "full");
        again.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut again = again.spawn().unwrap();
        again.stdin.take().unwrap().write_all(b"typed").unwrap();
        let output = again.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert_has(&said, &["1 passed"]);
        return;
    }
    let script =
        "cat; env | grep -E '^(CARGO_(PKG|MAN|TERM)|FERRO|CLIC|RUST_BA)' | sort";
    let workspace = Workspace::new(&shell("a", "recorded", script, ""));
    workspace.capture(&["a"]).unwrap();
    let runs = workspace.runs();
    let capture = runs.get("a").unwrap().captured().unwrap();
    let output = &capture.sessions[0].output;
    assert_eq!(*output, ["CARGO_TERM_COLOR=never", "RUST_BACKTRACE=0"]);
}

/// People read it in a diff: a metric is a line, and so is a point, and one of output.
#[test]
fn a_capture_is_legible() {
    let metrics = "[a.metrics]\nn = { pattern = 'n (\\S+)' }\n\
                   s = { pattern = '^(\\d) (\\d)' }\n";
    let script = "echo n 1.50; echo 2 2; echo 1 3";
    let workspace = Workspace::new(&shell("a", "recorded", script, metrics));
    workspace.capture(&["a"]).unwrap();
    let text = workspace.read("book/runs/a.json");
    assert_has(
        &text,
        &[
            "\n    \"n\": \"1.50\",\n",
            "\n    \"s\": {\n      \"2\": 2.0,\n      \"1\": 3.0\n    }\n",
            "\n        \"n 1.50\",\n        \"2 2\",\n        \"1 3\"\n",
        ],
    );
    assert!(text.ends_with("}\n"));
    let runs = workspace.runs();
    let series = Metric::Series(vec![(2.0, 2.0), (1.0, 3.0)]);
    assert_eq!(runs.get("a").unwrap().captured().unwrap().metrics["s"], series);
}
