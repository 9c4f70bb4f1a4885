//! `{{#value …}}`.
use crate::{Workspace, assert_has, shell};
use book_tool::runs::value;

#[test]
fn values_are_computed_and_written() {
    let metrics = "[a.metrics]\nloss = { pattern = 'loss (\\S+)' }\n\
                   bytes = { pattern = 'bytes (\\S+)' }\n\
                   steps = { pattern = 'step (\\S+) (\\S+)' }\n";
    let script = "echo loss 2.50; echo bytes 59409312; echo step 0.5 4; echo step 40 5";
    let workspace = Workspace::new(
        &(shell("a", "recorded", script, metrics)
            + &shell("none", "recorded", "echo", "")),
    );
    workspace.capture(&["a"]).unwrap();
    let runs = workspace.runs();
    for (expression, expected) in [
        ("a.loss", "2.50"),
        (" a.loss ", "2.50"),
        ("a.loss .1", "2.5"),
        ("a.loss .3", "2.500"),
        ("a.loss / 10 .1%", "25.0%"),
        ("a.loss + 2 * 3 .1", "8.5"),
        ("(a.loss + 2) * 3 .1", "13.5"),
        ("(a.loss+2)*3 .1", "13.5"),
        ("10 - 2 - 3 .0", "5"),
        ("100 / 10 / 2 .1", "5.0"),
        ("-a.loss + 1_000 .1", "997.5"),
        ("2 - -1.5e1 .1", "17.0"),
        ("a.bytes / a.loss / 1e6 .2", "23.76"),
        ("a.bytes MB", "59.4\u{a0}MB"),
        ("a.bytes MB.3", "59.409\u{a0}MB"),
        ("a.bytes GB", "0.06\u{a0}GB"),
        ("a.bytes kB", "59409\u{a0}kB"),
        ("a.bytes / 10 MB", "5.94\u{a0}MB"),
        ("9_996_000 MB", "10.0\u{a0}MB"),
        ("a.bytes M", "59.4M"),
        ("21_000 k", "21.0k"),
        ("21_000 k.0", "21k"),
        ("a.bytes ,", "59,409,312"),
        ("100 - 1099 ,", "-999"),
        ("a.steps[40]", "5"),
        ("a.steps[0.5] / a.steps[40] .2", "0.80"),
    ] {
        let got = value(&runs, expression).map_err(|error| format!("{error:#}"));
        assert_eq!(got, Ok(expected.into()), "{expression}");
    }
    for (expression, message) in [
        ("b.loss", "no run `b` is defined"),
        ("none.loss", "run `none` has no capture yet"),
        ("a.los", "run `a`: there is no metric `los`, only: bytes, loss, steps"),
        ("a.loss * 2", "give the result a format"),
        ("(a.loss)", "give the result a format"),
        ("2", "give the result a format"),
        ("a.steps", "`a.steps` is a series"),
        ("a.steps[3] .1", "`a.steps` has no 3"),
        ("a.loss[3] .1", "is one number"),
        ("a.steps[40 .1", "a [ is not closed"),
        ("a.loss / 0 .1", "divides by zero"),
        ("(a.loss .1", "a parenthesis is not closed"),
        ("a.loss) .1", "an operator or, after a space, a format before `) .1`"),
        ("a.loss.1", "after a space, a format before `.1`"),
        ("a.loss *", "a number at the end"),
        ("* a.loss .1", "a number at `* a.loss .1`"),
        ("a.loss TB", "`TB` is no format"),
        ("a.loss .x", "`.x` is no format"),
        ("a.loss %", "`%` is no format"),
        ("a.loss MB.1%", "`MB.1%` is no format"),
        ("a.loss .99", "99 decimals"),
        ("a .1", "`a` is not a metric: expected RUN.METRIC"),
        ("1.2.3 .1", "`1.2.3` is not a number"),
        ("", "a number at the end"),
    ] {
        let error = format!("{:#}", value(&runs, expression).unwrap_err());
        assert_has(&error, &[message]);
    }
}
