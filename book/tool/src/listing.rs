//! Pieces of code, captured runs and exercises, as a page shows them.
use crate::exercises::{Exercise, Kind};
use crate::html::escape;
use crate::runs::{Class, Runs};
use crate::source;
use anyhow::{Result, anyhow};
use std::fmt::Write;
use std::path::Path;

/// `{{#code file:item}}`.
///
/// # Errors
/// There is no such file or item.
pub fn code(root: &Path, spec: &str) -> Result<String> {
    let source = source::find(root, spec)?;
    let language = match source.path.rsplit_once('.').map(|(_, extension)| extension) {
        Some("rs") => "rust",
        Some("toml") => "toml",
        Some("sh") => "sh",
        Some("py") => "python",
        Some("json" | "jsonl") => "json",
        _ => "text",
    };
    // Code may hold fences of its own, in its comments.
    let fence = "`".repeat(longest_run(&source.text, '`').max(2) + 1);
    let last = source.first_line + source.text.lines().count() - 1;
    Ok(format!(
        "<figure class=\"listing\"><figcaption><code>{}</code>, lines {} to \
         {last}</figcaption>\n\n{fence}{language}\n{}{fence}\n\n</figure>\n\n",
        source.path, source.first_line, source.text
    ))
}

fn longest_run(text: &str, c: char) -> usize {
    let (mut longest, mut run) = (0, 0);
    for other in text.chars() {
        run = if other == c { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

/// `{{#run id}}`: at most `head` lines of its output and `tail` of its end, what is
/// between them folded.
///
/// # Errors
/// There is no such run, or it was never captured.
pub fn run(
    runs: &Runs,
    id: &str,
    head: Option<usize>,
    tail: Option<usize>,
) -> Result<String> {
    let run = runs.get(id)?;
    let capture = run.captured()?;
    let lines: Vec<_> = capture.output.trim_end().lines().collect();
    let mut out = String::from("<figure class=\"run\">\n");
    if !run.stale().is_empty() {
        let changed = run.stale().join(", ");
        write!(
            out,
            "<div class=\"stale\">Captured with other code: since then {} changed. \
             The numbers below, and those in the text that come from this run, are of \
             the date given.</div>\n",
            escape(&changed)
        )?;
    }
    let command = format!("<span class=\"command\">$ {}</span>", escape(&run.shown()));
    let (head, tail) = match (head, tail) {
        (None, None) => (lines.len(), 0),
        (head, tail) => (head.unwrap_or(0), tail.unwrap_or(0)),
    };
    if head + tail >= lines.len() {
        out.push_str(&pre(&command, &lines));
    } else {
        let (first, rest) = lines.split_at(head);
        let (middle, last) = rest.split_at(rest.len() - tail);
        out.push_str(&pre(&command, first));
        let count = middle.len();
        writeln!(out, "<details><summary>⋯ {count} more lines</summary>")?;
        out.push_str(&pre("", middle));
        out.push_str("</details>\n");
        if !last.is_empty() {
            out.push_str(&pre("", last));
        }
    }
    let class = match run.class {
        Class::Checked => "checked: CI runs it again and compares",
        Class::Recorded => "recorded",
    };
    write!(
        out,
        "<figcaption>{}, {}; {:.0} s; commit <code>{}</code>; {class}. \
         <details><summary>inputs</summary><ul>",
        &capture.date[..capture.date.len().min(10)],
        escape(&capture.machine.to_string()),
        capture.seconds,
        escape(capture.commit.get(..9).unwrap_or(&capture.commit)),
    )?;
    for (name, hash) in &capture.inputs {
        let hash = hash.to_string();
        let (name, hash) = (escape(name), escape(hash.get(..12).unwrap_or(&hash)));
        write!(out, "<li><code>{name}</code> {hash}</li>")?;
    }
    out.push_str("</ul></details></figcaption>\n</figure>\n\n");
    Ok(out)
}

/// Lines of output. A blank line would end the block of HTML for markdown.
fn pre(first: &str, lines: &[&str]) -> String {
    let lines = lines.iter().map(|line| match line.trim() {
        "" => "<i></i>".into(),
        _ => escape(line),
    });
    let first = (!first.is_empty()).then(|| first.to_string());
    let lines: Vec<_> = first.into_iter().chain(lines).collect();
    format!("<pre class=\"output\">{}</pre>\n", lines.join("\n"))
}

/// `{{#exercise chapter name}}`: what to do, where, and how to check it.
///
/// # Errors
/// There is no such exercise.
pub fn exercise(all: &[Exercise], chapter: &str, name: &str) -> Result<String> {
    let is = |e: &&Exercise| e.chapter == chapter && e.name == name;
    let exercise = all.iter().find(is).ok_or_else(|| {
        let mine = all.iter().filter(|e| e.chapter == chapter);
        let names: Vec<_> = mine.map(|e| e.name.as_str()).collect();
        anyhow!("{chapter} has no exercise `{name}`; it has {}", names.join(", "))
    })?;
    let kind = match exercise.kind {
        Kind::FillIn => "Fill in",
        Kind::FindTheBug => "Find the bug",
    };
    let number = name.split('_').next().unwrap_or(name);
    Ok(format!(
        "<div class=\"exercise\">\n\n\
         ### {kind}: {title} {{#{name}}}\n\n\
         {task}\n\n\
         In `{path}`; check it with\n\n\
         ```sh\ncargo test -p {chapter} --test exercises {number}\n```\n\n\
         <details><summary>Hint</summary>\n\n{hint}\n\n</details>\n\n\
         </div>\n\n",
        title = exercise.title,
        task = exercise.task.trim(),
        path = exercise.path.display(),
        hint = exercise.hint.trim(),
    ))
}
