//! Pieces of code, captured runs and exercises, as a page shows them.
use crate::exercises::Exercise;
use crate::html::escape;
use crate::runs::{Class, Runs};
use crate::source;
use anyhow::{Result, anyhow};
use std::fmt::Write;
use std::fs;
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
        Some("patch") => "diff",
        Some("py") => "python",
        Some("json" | "jsonl") => "json",
        _ => "text",
    };
    let text = match language {
        "rust" => kept(&source.text),
        _ => source.text,
    };
    // Code may hold fences of its own, in its comments.
    let fence = "`".repeat(longest_run(&text, '`').max(2) + 1);
    let first = source.first_line;
    let last = first + text.lines().count().saturating_sub(1);
    let lines = match spec.contains(':') {
        true => format!(", lines {first} to {last}"),
        false => String::new(),
    };
    Ok(format!(
        "<figure class=\"listing\"><figcaption><code>{}</code>{lines}</figcaption>\n\n\
         {fence}{language}\n{text}{fence}\n\n</figure>\n\n",
        source.path
    ))
}

/// Of Rust, mdBook hides lines that begin with `# ` and takes the first of two hashes
/// away. One more keeps them as they are.
fn kept(text: &str) -> String {
    let line = |line: &str| {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        match code == "#" || code.starts_with("# ") || code.starts_with("##") {
            true => format!("{indent}#{code}\n"),
            false => format!("{line}\n"),
        }
    };
    text.lines().map(line).collect()
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
    let mut out = String::from("<figure class=\"run\">\n");
    if !run.stale().is_empty() {
        let changed = escape(&run.stale().join(", "));
        writeln!(
            out,
            "<div class=\"stale\">Changed since this was captured: {changed}. What \
             stands here, and the numbers in the text that come from this run, are of \
             the date given below.</div>"
        )?;
    }
    for session in &capture.sessions {
        let lines: Vec<_> = session.output.iter().map(String::as_str).collect();
        out.push_str(&output(&session.command, &lines, head, tail));
    }
    let class = match run.class() {
        Class::Checked => "checked: must give the same whenever it is made again",
        Class::Recorded => "recorded",
    };
    let day = capture.date.split('T').next().unwrap_or_default();
    let commit = match &capture.commit {
        Some(commit) => {
            let changes = match capture.uncommitted_changes {
                true => " with uncommitted changes",
                false => "",
            };
            format!("commit <code>{}</code>{changes}; ", short(commit))
        }
        None => String::new(),
    };
    write!(
        out,
        "<figcaption>{day}, {}; {:.0} s; {commit}{class}. <details><summary>what it \
         depends on</summary><ul>",
        escape(&capture.machine.to_string()),
        capture.seconds,
    )?;
    for (name, file) in &capture.external {
        let (name, hash) = (escape(name), short(&file.sha256));
        write!(out, "<li>{name}, {} bytes <code>{hash}</code></li>", file.bytes)?;
    }
    for (name, hash) in &capture.inputs {
        write!(out, "<li>{} <code>{}</code></li>", escape(name), short(hash))?;
    }
    write!(out, "<li>{}</li>", escape(&capture.rustc))?;
    out.push_str("</ul></details></figcaption>\n</figure>\n\n");
    Ok(out)
}

/// The start of a hash.
fn short(hash: &str) -> String {
    escape(hash.get(..10).unwrap_or(hash))
}

/// A command and what it said, the middle folded if it is long.
fn output(
    command: &str,
    lines: &[&str],
    head: Option<usize>,
    tail: Option<usize>,
) -> String {
    let prompt = |(at, line): (usize, &str)| {
        let sign = if at == 0 { "$" } else { ">" };
        format!("<span class=\"command\">{sign} {}</span>", escape(line))
    };
    let command: Vec<_> = command.lines().enumerate().map(prompt).collect();
    let command = command.join("\n");
    let (head, tail) = match (head, tail) {
        (None, None) => (lines.len(), 0),
        (head, tail) => (head.unwrap_or(0), tail.unwrap_or(0)),
    };
    if head.saturating_add(tail) >= lines.len() {
        return pre(&command, lines);
    }
    let (first, rest) = lines.split_at(head);
    let (middle, last) = rest.split_at(rest.len() - tail);
    let mut out = pre(&command, first);
    let count = middle.len();
    let _ = writeln!(out, "<details><summary>⋯ {count} more lines</summary>");
    out.push_str(&pre("", middle));
    out.push_str("</details>\n");
    if !last.is_empty() {
        out.push_str(&pre("", last));
    }
    out
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

/// The exercise that `{{#exercise chapter name}}` asks for.
///
/// # Errors
/// There is no such exercise.
pub fn find_exercise<'a>(
    all: &'a [Exercise],
    chapter: &str,
    name: &str,
) -> Result<&'a Exercise> {
    all.iter().find(|e| e.chapter == chapter && e.name == name).ok_or_else(|| {
        let mine = all.iter().filter(|e| e.chapter == chapter);
        let names: Vec<_> = mine.map(|e| e.name.as_str()).collect();
        anyhow!("{chapter} has no exercise `{name}`; it has {}", names.join(", "))
    })
}

/// What to do, where, and how to check it, in markdown.
pub fn exercise(exercise: &Exercise) -> String {
    let kind = exercise.kind;
    let number = exercise.name.trim_start_matches("ex").split('_').next();
    let number = number.unwrap_or_default();
    format!(
        "<div class=\"exercise\">\n\n\
         ### Exercise {number}. {kind}: {title} {{#{name}}}\n\n\
         {task}\n\n\
         In `{path}`; check it with\n\n\
         ```sh\n{command}\n```\n\n\
         <details><summary>Hint</summary>\n\n{hint}\n\n</details>\n\n\
         </div>\n\n",
        title = exercise.title,
        name = exercise.name,
        task = exercise.task.trim(),
        path = exercise.path,
        command = exercise.command(),
        hint = exercise.hint.trim(),
    )
}

/// Where in its stub a line of an exercise's text stands; the first if it is not from
/// there.
pub fn line_of_stub(
    root: &Path,
    exercise: &Exercise,
    text: &str,
    line: usize,
) -> usize {
    let stub = fs::read_to_string(root.join(&exercise.path)).unwrap_or_default();
    let wanted = text.lines().nth(line - 1).unwrap_or_default().trim();
    let is = |line: &str| line.trim().trim_start_matches("//!").trim() == wanted;
    1 + stub.lines().position(is).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&str; 3] = ["a", "", "c <"];

    #[test]
    fn the_middle_of_long_output_is_folded() {
        let all = "<pre class=\"output\"><span class=\"command\">$ run</span>\n\
                   a\n<i></i>\nc &lt;</pre>\n";
        for (head, tail) in [(None, None), (Some(3), None), (Some(2), Some(1))] {
            assert_eq!(output("run", &LINES, head, tail), all);
        }
        let folded = output("run", &LINES, Some(1), None);
        assert!(folded.contains("$ run</span>\na</pre>"), "{folded}");
        assert!(folded.contains("⋯ 2 more lines"), "{folded}");
        assert!(folded.ends_with("c &lt;</pre>\n</details>\n"), "{folded}");
        let folded = output("run", &LINES, None, Some(1));
        assert!(folded.ends_with("</details>\n<pre class=\"output\">c &lt;</pre>\n"));
        assert_eq!(output("run", &LINES, Some(usize::MAX), Some(1)), all);
    }

    #[test]
    fn a_command_of_several_lines_has_its_prompts() {
        let shown = output("for a in b\ndo", &[], None, None);
        let expected = "<span class=\"command\">$ for a in b</span>\n\
                        <span class=\"command\">> do</span>";
        assert_eq!(shown, format!("<pre class=\"output\">{expected}</pre>\n"));
    }
}
