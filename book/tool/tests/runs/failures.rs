//! What goes wrong with a capture names the thing.
use crate::{Workspace, assert_has, shell};
use std::fs;

#[test]
fn what_fails_leaves_the_old_capture() {
    let metric = "[a.metrics]\nloss = { pattern = 'loss (\\S+)' }\n";
    let workspace = Workspace::new(&shell("a", "recorded", "echo loss 1.5", metric));
    workspace.capture(&["a"]).unwrap();
    let old = workspace.read("book/runs/a.json");
    for (script, message) in [
        (
            "echo why; exit 3",
            "ended with exit status: 3, expected 0; it said last:\n    why",
        ),
        ("kill -9 $$", "ended with signal: 9"),
        ("echo lost 1.5", "metric `loss`: nothing in the output matches `loss (\\S+)`"),
        ("echo loss nan", "metric `loss`: `nan` is not a finite number"),
        ("echo loss 1; echo >> data/a.txt", "changed while it ran (file data/a.txt)"),
    ] {
        workspace.write("book/runs/x.toml", &shell("a", "recorded", script, metric));
        let error = workspace.capture(&["a"]).unwrap_err();
        assert_has(&error, &["run `a`: ", message]);
        assert_eq!(workspace.read("book/runs/a.json"), old);
    }
    let run = |command: &str, metric: &str| {
        format!(
            "[a]\nclass = \"recorded\"\nfiles = [\"data\"]\ncommand = [{command}]\n\
             [a.metrics]\nm = {{ {metric} }}\n"
        )
    };
    let writes = |text: &str, kind: &str| {
        format!("\"sh\", \"-c\", '''echo '{text}' > $0''', \"{{{kind}}}\"")
    };
    for (definition, message) in [
        (run("\"no-such-program\"", "pattern = '(x)'"), "start `no-such-program`"),
        (run("\".venv/bin/python\"", "pattern = '(x)'"), "setup_python.sh makes it"),
        (run("\"true\", \"{json}\"", "json = '/a'"), "has not written its {json}"),
        (run("\"true\", \"{log}\"", "log = 'a'"), "has not written its {log}"),
        (run(&writes("[", "json"), "json = '/a'"), "{json} is not JSON"),
        (run(&writes("{}", "json"), "json = '/a'"), "{json} has nothing at `/a`"),
        (run(&writes("[\"x\"]", "json"), "json = '/0'"), "\"x\" is not a number"),
        (run(&writes("{}", "log"), "log = 'a'"), "the log has no steps"),
        (run(&writes("x", "log"), "log = 'a'"), "a line of {log} is no JSON"),
        (
            run(&writes("{\"step\":1,\"a\":null}", "log"), "log = 'a'"),
            "step 1: the log's record has no number `a`",
        ),
        (
            run(&writes("{\"step\":1,\"a\":1}", "log"), "log = 'a', at = 2"),
            "the log has no such record",
        ),
    ] {
        workspace.write("book/runs/x.toml", &definition);
        let error = workspace.capture(&["a"]).unwrap_err();
        assert_has(&error, &["run `a`: ", message]);
        assert_eq!(workspace.read("book/runs/a.json"), old);
    }
    let left = fs::read_dir(workspace.root().join("book/runs")).unwrap().count();
    assert_eq!(left, 2, "nothing half-written stays behind");
}

/// All that can be run is run, and all that failed is told.
#[test]
fn one_failure_does_not_stop_the_others() {
    let all = ["a", "b", "c"].map(|id| {
        shell(id, "recorded", if id == "b" { "echo" } else { "echo no; exit 1" }, "")
    });
    let workspace = Workspace::new(&all.concat());
    let error = workspace.capture(&["a", "b", "c"]).unwrap_err();
    assert_has(&error, &["run `a`: ", "run `c`: "]);
    workspace.runs().get("b").unwrap().captured().unwrap();
}

#[test]
fn wrong_arguments_are_refused_before_anything_runs() {
    let rest = "external = [\"t.txt\"]";
    let workspace = Workspace::new(
        &(shell("takes", "checked", "touch ran; cat {t.txt}", rest)
            + &shell("other", "recorded", "touch ran", "")),
    );
    let root = workspace.root().display().to_string();
    let there = format!("t.txt={root}/data/a.txt");
    let other = format!("u.txt={root}/data/a.txt");
    for (arguments, message) in [
        (vec![], "name the runs to make, or say --stale"),
        (
            vec!["other", "othr"],
            "no run `othr` is defined in book/runs/*.toml; did you",
        ),
        (
            vec!["other", "takes"],
            "`takes` needs a file from outside: say where by --with",
        ),
        (vec!["takes", "--with", "t.txt"], "--with t.txt: expected NAME=PATH"),
        (vec!["takes", "--with", "t.txt=no/where"], "no/where: there is no such file"),
        (vec!["takes", "--with", &other], "takes a file named `u.txt`"),
        (vec!["other", "--with", &there], "takes a file named `t.txt`"),
        (vec!["--check", "other"], "`other` is a recorded run"),
    ] {
        assert_has(&workspace.capture(&arguments).unwrap_err(), &[message]);
        assert!(!workspace.root().join("ran").exists(), "{arguments:?}");
    }
    workspace.capture(&["--list"]).unwrap();
    assert!(!workspace.root().join("ran").exists());
    workspace.capture(&["takes", "--with", &there]).unwrap();
    assert!(workspace.root().join("ran").exists());
    // Into another folder.
    let trial = format!("{root}/trial");
    fs::create_dir(&trial).unwrap();
    workspace.capture(&["other", "--to", &trial]).unwrap();
    assert!(workspace.root().join("trial/other.json").exists());
    assert!(!workspace.root().join("book/runs/other.json").exists());
}
