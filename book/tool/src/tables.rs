//! Pages made from the crates: who tells which file, how long each is, what is tested.
use crate::diff;
use crate::guards::{self, Guard};
use crate::house::House;
use crate::html::{doc_line, escape};
use crate::problem::Problems;
use crate::source;
use anyhow::Result;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::Path;
use syn::spanned::Spanned;

/// `{{#house}}`: a row for each file, a column for each chapter.
///
/// # Errors
/// A file cannot be read.
pub fn house(house: &House) -> Result<String> {
    let mut files: Vec<&str> = vec![];
    for telling in house.chapters.iter().flat_map(|chapter| &chapter.files) {
        if !files.contains(&telling.file.as_str()) {
            files.push(&telling.file);
        }
    }
    let mut out = String::from(
        "<div class=\"table-wrapper\"><table class=\"house\"><thead><tr><th>file</th>",
    );
    for chapter in &house.chapters {
        let (short, _) = chapter.name.split_once('_').unwrap_or((&chapter.name, ""));
        write!(out, "<th title=\"{}\">{short}</th>", chapter.name)?;
    }
    out.push_str("<th>last told in</th></tr></thead>\n<tbody>\n");
    let steps = house.chapters.iter().map(|chapter| house.step(&chapter.name));
    let steps = steps.collect::<Result<Vec<_>>>()?;
    for file in files {
        write!(out, "<tr><td><code>{file}</code></td>")?;
        let mut last = "";
        for (chapter, step) in house.chapters.iter().zip(&steps) {
            let change = step.iter().find(|change| change.file == file);
            let cell = match (change, chapter.telling(file)) {
                (Some(change), _) if change.from.is_none() => "<b>new</b>",
                (Some(_), _) => "<b>retold</b>",
                (None, Some(_)) => "·",
                (None, None) => "",
            };
            if change.is_some() {
                last = &chapter.name;
            }
            write!(out, "<td>{cell}</td>")?;
        }
        writeln!(out, "<td><code>{last}</code></td></tr>")?;
    }
    out.push_str("</tbody></table></div>\n\n");
    Ok(out)
}

/// `{{#sizes}}`: what each chapter adds and changes, in lines.
///
/// # Errors
/// A file cannot be read.
pub fn sizes(house: &House) -> Result<String> {
    let mut out = String::from(
        "<div class=\"table-wrapper\"><table><thead><tr><th>chapter</th>\
         <th>new files</th><th>lines in them</th><th>retold files</th>\
         <th>lines added, removed</th><th>of these, code</th></tr></thead>\n<tbody>\n",
    );
    for chapter in &house.chapters {
        let (mut new, mut retold) = (0, 0);
        let (mut lines, mut code) = (0, 0);
        let mut counts = diff::Counts::default();
        for change in house.step(&chapter.name)? {
            let text = house.text(&chapter.name, &change.file)?;
            let before = match &change.from {
                Some(from) => house.text(from, &change.file)?,
                None => String::new(),
            };
            code += diff::count(&code_of(&before), &code_of(&text)).added;
            if change.from.is_none() {
                new += 1;
                lines += text.lines().count();
            } else {
                retold += 1;
                let count = diff::count(&before, &text);
                counts.added += count.added;
                counts.removed += count.removed;
            }
        }
        writeln!(
            out,
            "<tr><td><code>{}</code></td><td>{new}</td><td>{lines}</td>\
             <td>{retold}</td><td>+{} −{}</td><td>{code}</td></tr>",
            chapter.name, counts.added, counts.removed
        )?;
    }
    out.push_str("</tbody></table></div>\n\n");
    Ok(out)
}

/// Without comments, blank lines and unit tests.
fn code_of(text: &str) -> String {
    let tests = unit_tests(text);
    let is_code = |(number, line): &(usize, &str)| {
        let line = line.trim();
        !line.is_empty()
            && !line.starts_with("//")
            && !tests.iter().any(|test| test.contains(number))
    };
    let code = (1..).zip(text.lines()).filter(is_code);
    code.map(|(_, line)| format!("{line}\n")).collect()
}

/// The lines of what is marked `#[cfg(test)]`.
fn unit_tests(text: &str) -> Vec<RangeInclusive<usize>> {
    let Ok(file) = source::parse(text) else { return vec![] };
    let is_test = |attr: &syn::Attribute| {
        attr.path().is_ident("cfg")
            && attr.parse_args::<syn::Ident>().is_ok_and(|what| what == "test")
    };
    let marked = |item: &&syn::Item| match item {
        syn::Item::Fn(item) => item.attrs.iter().any(is_test),
        syn::Item::Impl(item) => item.attrs.iter().any(is_test),
        syn::Item::Mod(item) => item.attrs.iter().any(is_test),
        syn::Item::Use(item) => item.attrs.iter().any(is_test),
        _ => false,
    };
    let lines = |item: &syn::Item| {
        let span = item.span();
        span.start().line..=span.end().line
    };
    file.items.iter().filter(marked).map(lines).collect()
}

/// `{{#guards}}`: what each test of the workspace guards.
///
/// # Errors
/// A file cannot be read.
pub fn guards(root: &Path, problems: &mut Problems) -> Result<String> {
    let mut out = String::new();
    for package in guards::read(root, problems)? {
        let tests: usize = package.files.iter().map(|file| file.tests.len()).sum();
        write!(
            out,
            "<h3 id=\"{name}\"><code>{name}</code></h3>\n\
             <p>{about} {tests} test{s}.</p>\n",
            name = package.name,
            s = if tests == 1 { "" } else { "s" },
            about = doc_line(&package.about)
        )?;
        for Guard { file, guards, tests } in &package.files {
            write!(
                out,
                "<details class=\"guard\"><summary><code>{file}</code> {} \
                 <span class=\"count\">{}</span></summary><ul>",
                doc_line(guards),
                tests.len()
            )?;
            for test in tests {
                write!(out, "<li>{}</li>", escape(&test.replace('_', " ")))?;
            }
            out.push_str("</ul></details>\n");
        }
    }
    out.push('\n');
    Ok(out)
}
