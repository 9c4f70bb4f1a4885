//! One page: its directives, numbers and formulas replaced by what they stand for.
use crate::book::Sources;
use crate::problem::Problems;
use crate::{diff, figures, listing, math, runs, tables};
use anyhow::{Result, anyhow, bail};
use std::collections::BTreeMap;

/// What stands inside `{{#…}}`: `figure losses caption="two words"`.
struct Directive {
    name: String,
    arguments: Vec<String>,
    options: BTreeMap<String, String>,
}

/// Replaces everything in `text`, the page that lies at `place`.
pub fn expand(
    text: &str,
    place: &str,
    sources: &Sources,
    problems: &mut Problems,
) -> String {
    let mut out = String::new();
    let mut prose = Prose { first_line: 1, text: String::new() };
    let mut fence: Option<String> = None;
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        let mark = fence_mark(line);
        let directive = line.trim_end();
        if let Some(open) = &fence {
            out.push_str(line);
            out.push('\n');
            if mark.is_some_and(|m| m.starts_with(open.as_str()) && m == line.trim()) {
                fence = None;
            }
            prose.first_line = number + 1;
        } else if let Some(mark) = mark {
            out.push_str(&prose.finish(place, sources, problems));
            fence = Some(mark.to_string());
            out.push_str(line);
            out.push('\n');
            prose.first_line = number + 1;
        } else if directive.starts_with("{{#")
            && directive.ends_with("}}")
            && !directive.starts_with("{{#value ")
        {
            out.push_str(&prose.finish(place, sources, problems));
            match block(directive, place, sources, problems) {
                Ok(html) => out.push_str(&html),
                Err(error) => problems.add(place, number, format!("{error:#}")),
            }
            prose.first_line = number + 1;
        } else {
            prose.text.push_str(line);
            prose.text.push('\n');
        }
    }
    out + &prose.finish(place, sources, problems)
}

/// The backticks or tildes that open or close a block of code.
fn fence_mark(line: &str) -> Option<&str> {
    let line = line.trim_start();
    ['`', '~'].into_iter().find_map(|c| {
        let len = line.len() - line.trim_start_matches(c).len();
        (len >= 3).then(|| &line[..len])
    })
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
        match inside.strip_prefix("value ") {
            Some(expression) => match runs::value(&sources.runs, expression.trim()) {
                Ok(value) => out.push_str(&value),
                Err(e) => error(start, e),
            },
            None => error(start, unknown(inside)),
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
    place: &str,
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
            figures::figure(sources, argument(0), caption)
        }
        "exercise" => {
            let text = listing::exercise(&sources.exercises, argument(0), argument(1))?;
            // Its text is a page of its own, with formulas.
            Ok(expand(&text, place, sources, problems))
        }
        "house" => tables::house(house),
        "sizes" => tables::sizes(house),
        _ => tables::guards(&house.root, problems),
    }
}

fn parse(inside: &str) -> Result<Directive> {
    let mut words = vec![];
    let (mut word, mut quoted, mut any) = (String::new(), false, false);
    for c in inside.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                any = true;
            }
            ' ' if !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if quoted {
        bail!("a quotation mark is not closed")
    }
    if any {
        words.push(word);
    }
    let mut words = words.into_iter();
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
