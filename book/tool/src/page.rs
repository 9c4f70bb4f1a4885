//! One page: its directives, numbers and formulas replaced by what they stand for.
use crate::book::Sources;
use crate::problem::Problems;
use crate::{diff, figures, links, listing, math, runs, tables};
use anyhow::{Result, anyhow, bail};
use std::collections::BTreeMap;

/// What stands inside `{{#…}}`: `figure losses caption="two words"`.
struct Directive {
    name: String,
    arguments: Vec<String>,
    options: BTreeMap<String, String>,
}

/// Where a directive stands.
struct Place<'a> {
    file: &'a str,
    line: usize,
}

/// Replaces everything in `text`, the page that lies at `file`.
pub fn expand(
    text: &str,
    file: &str,
    sources: &Sources,
    problems: &mut Problems,
) -> String {
    let mut out = String::new();
    let mut prose = Prose { first_line: 1, text: String::new() };
    let blocks = links::code_blocks(text);
    let mut end = 0;
    for (at, line) in text.split_inclusive('\n').enumerate() {
        let start = end;
        end += line.len();
        let is_code = blocks.iter().any(|block| block.start < end && start < block.end);
        let directive = line.trim_end();
        let is_directive = directive.starts_with("{{#")
            && directive.ends_with("}}")
            && !is_value(&directive[3..directive.len() - 2]);
        if !is_code && !is_directive {
            prose.text.push_str(without_end(line));
            prose.text.push('\n');
            continue;
        }
        out.push_str(&prose.finish(file, sources, problems));
        let place = Place { file, line: at + 1 };
        if is_code {
            out.push_str(without_end(line));
            out.push('\n');
        } else {
            match block(directive, &place, sources, problems) {
                // What follows is markdown again, after a blank line.
                Ok(html) => out.push_str(&(html.trim_end().to_string() + "\n\n")),
                Err(error) => problems.add(file, place.line, format!("{error:#}")),
            }
        }
        prose.first_line = place.line + 1;
    }
    out + &prose.finish(file, sources, problems)
}

/// A line without what ends it, be it of Windows.
fn without_end(line: &str) -> &str {
    line.trim_end_matches(['\n', '\r'])
}

fn is_value(inside: &str) -> bool {
    inside.split(char::is_whitespace).next() == Some("value")
}

/// Lines without blocks of code and directives.
struct Prose {
    first_line: usize,
    text: String,
}

impl Prose {
    /// Replaces numbers and formulas, and begins anew.
    fn finish(
        &mut self,
        place: &str,
        sources: &Sources,
        problems: &mut Problems,
    ) -> String {
        let text = std::mem::take(&mut self.text);
        let text = values(
            &text,
            &mut |at, error| {
                let line = self.first_line + text[..at].matches('\n').count();
                problems.add(place, line, format!("{error:#}"));
            },
            sources,
        );
        match math::replace(&text) {
            Ok(text) => text,
            Err(errors) => {
                for (at, error) in errors {
                    let line = self.first_line + text[..at].matches('\n').count();
                    problems.add(place, line, format!("{error:#}"));
                }
                text
            }
        }
    }
}

/// Replaces `{{#value …}}`; `\{{#` stands for itself.
fn values(
    text: &str,
    error: &mut impl FnMut(usize, anyhow::Error),
    sources: &Sources,
) -> String {
    let mut out = String::new();
    let mut at = 0;
    while let Some(skip) = text[at..].find("{{#") {
        let start = at + skip;
        if text[..start].ends_with('\\') {
            out.push_str(&text[at..start - 1]);
            out.push_str("{{#");
            at = start + 3;
            continue;
        }
        out.push_str(&text[at..start]);
        let end = text[start..].find("}}").map(|end| start + end);
        let line_end = text[start..].find('\n').map_or(text.len(), |end| start + end);
        let Some(end) = end.filter(|end| *end < line_end) else {
            error(start, anyhow!("`{{{{#` without `}}}}` in its line"));
            at = start + 3;
            continue;
        };
        let inside = &text[start + 3..end];
        match inside.strip_prefix("value") {
            Some(expression) if is_value(inside) => {
                match runs::value(&sources.runs, expression.trim()) {
                    Ok(value) => out.push_str(&value),
                    Err(e) => error(start, e),
                }
            }
            _ => error(start, unknown(inside)),
        }
        at = end + 2;
    }
    out.push_str(&text[at..]);
    out
}

fn unknown(inside: &str) -> anyhow::Error {
    let name = inside.split(' ').next().unwrap_or_default();
    let known = DIRECTIVES.map(|(name, _)| name);
    if known.contains(&name) {
        return anyhow!("{{{{#{name} …}}}} stands alone in its line, not indented");
    }
    anyhow!(
        "no directive `{name}`; there are {} and value. A literal {{{{# is written \
         \\{{{{#",
        known.join(", ")
    )
}

/// The directives that stand alone in a line, and how many arguments each takes.
const DIRECTIVES: [(&str, usize); 9] = [
    ("step", 1),
    ("diff", 2),
    ("code", 1),
    ("run", 1),
    ("figure", 1),
    ("exercise", 2),
    ("house", 0),
    ("sizes", 0),
    ("guards", 0),
];

fn block(
    line: &str,
    place: &Place,
    sources: &Sources,
    problems: &mut Problems,
) -> Result<String> {
    let inside = &line[3..line.len() - 2];
    let directive = parse(inside)?;
    let Directive { name, arguments, options } = &directive;
    let Some((_, wanted)) = DIRECTIVES.iter().find(|(known, _)| known == name) else {
        return Err(unknown(inside));
    };
    if arguments.len() != *wanted {
        bail!("{{{{#{name}}}}} takes {wanted} arguments, not {}", arguments.len())
    }
    let known: &[&str] = match name.as_str() {
        "run" => &["head", "tail"],
        "figure" => &["caption"],
        _ => &[],
    };
    if let Some(option) = options.keys().find(|o| !known.contains(&o.as_str())) {
        bail!("{{{{#{name}}}}} has no option `{option}`; it has {known:?}")
    }
    let argument = |i: usize| arguments[i].as_str();
    let house = &sources.house;
    match name.as_str() {
        "step" => diff::step(house, argument(0)),
        "diff" => diff::diff(house, argument(0), argument(1)),
        "code" => listing::code(&house.root, argument(0)),
        "run" => {
            let lines = |option: &str| match options.get(option) {
                None => Ok(None),
                Some(text) => text.parse().map(Some).map_err(|_| {
                    anyhow!("{option}={text}: expected a number of lines")
                }),
            };
            listing::run(&sources.runs, argument(0), lines("head")?, lines("tail")?)
        }
        "figure" => {
            let Some(caption) = options.get("caption") else {
                bail!("a figure needs a caption=\"…\": what to see in it")
            };
            let mut caption = Prose { first_line: place.line, text: caption.clone() };
            let caption = caption.finish(place.file, sources, problems);
            figures::figure(sources, argument(0), &caption)
        }
        "exercise" => {
            let exercise =
                listing::find_exercise(&sources.exercises, argument(0), argument(1))?;
            // Its text is a page of its own, with formulas.
            let text = listing::exercise(exercise);
            let mut inside = Problems::default();
            let expanded = expand(&text, &exercise.path, sources, &mut inside);
            problems.extend(inside, |line| {
                listing::line_of_stub(&house.root, exercise, &text, line)
            });
            Ok(expanded)
        }
        "house" => tables::house(house),
        "sizes" => tables::sizes(house),
        _ => tables::guards(&house.root, problems),
    }
}

fn parse(inside: &str) -> Result<Directive> {
    let mut words = vec![];
    let (mut word, mut quoted) = (String::new(), false);
    for c in inside.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    if quoted {
        bail!("a quotation mark is not closed")
    }
    words.push(word);
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let name = words.next().unwrap_or_default();
    let (mut arguments, mut options) = (vec![], BTreeMap::new());
    for word in words {
        match word.split_once('=') {
            Some((key, value)) => {
                options.insert(key.to_string(), value.to_string());
            }
            None => arguments.push(word),
        }
    }
    Ok(Directive { name, arguments, options })
}
