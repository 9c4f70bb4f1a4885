//! What is wrong with a definition is found before anything runs.
use crate::{Workspace, assert_has, shell};

/// Each wrong definition is reported with its line, and the right ones still work.
#[test]
fn wrong_definitions_are_listed() {
    let head = "[bad]\nclass = \"checked\"\nfiles = [\"data\"]\n";
    let run = format!("{head}command = [\"a\"]\n");
    let logs = format!("{head}command = [\"a\", \"{{log}}\"]\n");
    let twice =
        format!("{head}commands = [[\"a\", \"{{log}}\"], [\"b\", \"{{log}}\"]]\n");
    let swept = format!("{head}command = [\"a\", \"{{x}}\"]\nsweep.x = [\"1\"]\n");
    let metric =
        |run: &str, metric: &str| format!("{run}[bad.metrics]\nm = {{ {metric} }}");
    let cases: Vec<(String, usize, &str)> = vec![
        (run.replace("class", "clas"), 2, "unknown field `clas`"),
        (run.replace("checked", "tested"), 2, "unknown variant `tested`"),
        (run.replace("class = \"checked\"\n", ""), 1, "missing field `class`"),
        (format!("{run}[bad"), 5, "unclosed table"),
        (head.into(), 1, "either a `command` or a list"),
        (format!("{run}commands = [[\"b\"]]"), 1, "either a `command` or a list"),
        (run.replace("[\"a\"]", "[]"), 1, "a command is empty"),
        (format!("{run}shown = [\"a\", \"b\"]"), 1, "`shown` has 2 commands, but 1"),
        (run.replace("\"a\"", "\"{logs}\""), 1, "{logs}, which is none of its"),
        (format!("{run}external = [\"t\"]"), 1, "`t` is not used"),
        (format!("{run}sweep.x = [\"1\"]"), 1, "`x` is not used"),
        (swept.replace("[\"1\"]", "[]"), 1, "no values"),
        (
            run.replace("files = [\"data\"]", ""),
            1,
            "nothing says what the run depends on",
        ),
        (run.replace("\"data\"", "\"data/b*\""), 1, "no file `data/b*`"),
        (format!("{run}packages = [\"leav\"]"), 1, "`leav`; did you mean `leaf`?"),
        (run.replace("bad", "\"a-b\""), 1, "letters, digits, _"),
        (metric(&run, "pattern = '('"), 1, "metric `m`: regex parse error"),
        (metric(&run, "pattern = 'x'"), 1, "0 groups"),
        (metric(&run, "log = 'loss'"), 1, "no command has {log}"),
        (metric(&run, "json = '/a'"), 1, "no command has {json}"),
        (metric(&run, "pattern = '(x)', of = 2"), 1, "`of = 2`: expected one of"),
        (metric(&run, "pattern = '(x)', of = 0"), 1, "`of = 0`: expected one of"),
        (metric(&twice, "log = 'a'"), 1, "several commands write one"),
        (metric(&run, "pattern = '(x)', log = 'y'"), 1, "one of `pattern`, `log`"),
        (metric(&run, "pattern = '(x)', at = 1"), 1, "only a `log` has an `at`"),
        (metric(&run, "pattern = '(x)', tolerance = -1.0"), 1, "at least 0, not -1"),
        (metric(&run, "patern = '(x)'"), 6, "unknown field `patern`"),
        (metric(&run, "pattern = '(x)'").replace("m =", "m-m ="), 1, "a metric's name"),
        (metric(&logs, "log = 'loss', at = 'first'"), 1, "expected a step"),
        (metric(&logs, "log = 'loss', take = 'max'"), 1, "only of a `pattern`"),
        (metric(&swept, "pattern = '(x)(y)'"), 1, "2 groups"),
    ];
    let good = shell("good", "recorded", "echo", "");
    for (text, line, message) in cases {
        let workspace = Workspace::new(&text);
        workspace.write("book/runs/y.toml", &good);
        let problems = workspace.problems();
        assert_eq!(problems.len(), 1, "{text}\n{problems:#?}");
        assert_has(&problems[0], &[&format!("book/runs/x.toml:{line}: "), message]);
        workspace.runs().get("good").unwrap();
        // A CI that leaves out what is wrong would be green.
        let error = workspace.capture(&["--check"]).unwrap_err();
        assert_has(&error, &[&problems[0]]);
    }
    let twice = Workspace::new(&good);
    twice.write("book/runs/y.toml", &format!("\n{good}"));
    let problems = twice.problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_has(
        &problems[0],
        &["y.toml:2: run `good` is defined in book/runs/x.toml:1"],
    );
}
