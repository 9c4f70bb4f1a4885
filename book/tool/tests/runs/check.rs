//! `capture --check`.
use crate::{Workspace, assert_has, shell};

#[test]
fn every_metric_is_compared_within_its_tolerance() {
    // The numbers come from a file that is no input, as if a machine decided them.
    let metrics = "tolerance = 0.1\n[a.metrics]\nloss = { pattern = 'loss (\\S+)' }\n\
                   exact = { pattern = 'exact (\\S+)', tolerance = 0.0 }\n\
                   speed = { pattern = 'speed (\\S+)', compare = false }\n\
                   steps = { pattern = 'step (\\S+) (\\S+)', tolerance = 0.01 }\n";
    let workspace = Workspace::new(&shell("a", "checked", ". ./numbers", metrics));
    let numbers = "echo loss 2.0; echo exact 3; echo speed 5; \
                   echo step 1 -4.0; echo step 2 1.0; echo step 3 0.0";
    workspace.write("numbers", numbers);
    assert_has(
        &workspace.capture(&["--check"]).unwrap_err(),
        &["`a` has no capture yet"],
    );
    workspace.capture(&["a"]).unwrap();
    let old = workspace.read("book/runs/a.json");
    workspace.capture(&["--check"]).unwrap();
    workspace.capture(&["--check", "a"]).unwrap();
    for (before, after, message) in [
        ("loss 2.0", "loss 2.19", ""),
        ("loss 2.0", "loss 1.81", ""),
        (
            "loss 2.0",
            "loss 2.21",
            "`loss` was 2, is 2.21: beyond its relative tolerance of 0.1",
        ),
        ("loss 2.0", "loss 1.79", "`loss` was 2, is 1.79"),
        ("exact 3", "exact 3.0", ""),
        ("exact 3", "exact 3.0000001", "`exact` was 3, is 3.0000001"),
        ("speed 5", "speed 500", ""),
        ("1 -4.0", "1 -4.03", ""),
        ("1 -4.0", "1 -4.05", "`steps` at 1 was -4, is -4.05"),
        ("2 1.0", "2 1.02", "`steps` at 2 was 1, is 1.02"),
        ("3 0.0", "3 0.00001", "`steps` at 3 was 0, is 0.00001"),
        (
            "1 -4.0; echo step 2 1.0",
            "1 4; echo step 2 3",
            "tolerance of 0.01, and 1 more of",
        ),
        ("step 3", "step 4", "`steps` had 3 points, has 3, or at other places"),
        ("; echo step 3 0.0", "", "`steps` had 3 points, has 2"),
        ("echo loss 2.0;", "", "metric `loss`: nothing in the output matches"),
        ("echo loss", "exit 1; echo", "ended with exit status: 1, expected 0"),
    ] {
        assert!(numbers.contains(before), "{before}");
        workspace.write("numbers", &numbers.replace(before, after));
        let done = workspace.capture(&["--check"]);
        match message {
            "" => done.unwrap(),
            message => {
                let again = "`cargo run -p book-tool -- capture a`";
                assert_has(&done.unwrap_err(), &["run `a`: ", message, again]);
            }
        }
        assert_eq!(workspace.read("book/runs/a.json"), old, "--check keeps nothing");
    }
    // A metric that the capture does not have, and one of another kind.
    workspace.write("numbers", numbers);
    let definition = "book/runs/x.toml";
    workspace.replace(definition, "exact = ", "exactly = ");
    let error = workspace.capture(&["--check"]).unwrap_err();
    assert_has(&error, &["metric `exactly` is not in the capture"]);
    workspace.replace(definition, "exactly = ", "exact = ");
    workspace.replace(definition, "'exact (\\S+)'", "'(\\d) (-?\\d)'");
    let error = workspace.capture(&["--check"]).unwrap_err();
    assert_has(&error, &["metric `exact` is of another kind"]);
}

#[test]
fn only_checked_runs_are_made_again() {
    let workspace = Workspace::new(
        &(shell("a", "checked", "echo >> a", "")
            + &shell("b", "recorded", "echo >> b", "")
            + &shell("c", "checked", "echo >> c", "")),
    );
    workspace.capture(&["a", "b", "c"]).unwrap();
    workspace.capture(&["--check"]).unwrap();
    workspace.capture(&["--check", "c"]).unwrap();
    let times = |file| workspace.read(file).len();
    assert_eq!((times("a"), times("b"), times("c")), (2, 1, 3));
}
