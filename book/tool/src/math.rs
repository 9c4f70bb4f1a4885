//! Formulas: `$…$` and `$$…$$` become MathML when the book is built, so that no script
//! and no network is needed to read it.
use anyhow::{Result, anyhow, bail};
use pulldown_latex::config::DisplayMode;
use pulldown_latex::{Parser, RenderConfig, Storage, push_mathml};

/// A formula as MathML.
///
/// # Errors
/// It is not LaTeX.
pub fn formula(latex: &str, display: bool) -> Result<String> {
    let storage = Storage::new();
    let mut events = vec![];
    for event in Parser::new(latex, &storage) {
        match event {
            Ok(event) => events.push(Ok(event)),
            // The first line has the reason; below it the library draws the place.
            Err(error) => {
                let text = error.to_string();
                let reason = text.lines().map(str::trim).find(|line| !line.is_empty());
                bail!("formula `{latex}`: {}", reason.unwrap_or("not LaTeX"))
            }
        }
    }
    let display_mode = if display { DisplayMode::Block } else { DisplayMode::Inline };
    let config = RenderConfig { display_mode, ..RenderConfig::default() };
    let mut mathml = String::new();
    push_mathml::<_, std::convert::Infallible>(&mut mathml, events.into_iter(), config)
        .map_err(|error| anyhow!("formula `{latex}`: {error}"))?;
    Ok(shielded(&mathml))
}

/// Text between tags, safe from what markdown makes of `*`, `_`, `|` and the like, and
/// tags as markdown and HTML want them: pulldown-latex 0.8 escapes neither `<` nor `&`
/// and forgets a space between attributes.
fn shielded(mathml: &str) -> String {
    let mut out = String::with_capacity(2 * mathml.len());
    let mut rest = mathml;
    while let Some(c) = rest.chars().next() {
        let len = tag(rest).or_else(|| entity(rest)).unwrap_or(c.len_utf8());
        let (taken, after) = rest.split_at(len);
        match c {
            // Of `\bigl`.
            '<' if len > 1 => out.push_str(&taken.replace("\"minsize=", "\" minsize=")),
            '\n' => out.push(' '),
            c if len == 1 && c.is_ascii_punctuation() => {
                out.push_str(&format!("&#{};", c as u32));
            }
            _ => out.push_str(taken),
        }
        rest = after;
    }
    out
}

/// The length of the tag that `text` begins with. The sign `<` of a formula
/// begins none.
fn tag(text: &str) -> Option<usize> {
    let name = text.strip_prefix('<')?;
    let name = name.strip_prefix('/').unwrap_or(name);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    text.find('>').map(|end| end + 1)
}

/// The length of the entity that `text` begins with: `&lt;`.
fn entity(text: &str) -> Option<usize> {
    let name = text.strip_prefix('&')?;
    let len = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '#')?;
    (len > 0 && name[len..].starts_with(';')).then_some(len + 2)
}

/// Replaces the formulas of a stretch of markdown without code blocks. Code spans are
/// left alone, `\$` is a dollar. An error comes with the byte at which it is.
///
/// # Errors
/// All formulas that cannot be read.
pub fn replace(text: &str) -> Result<String, Vec<(usize, anyhow::Error)>> {
    let mut out = String::new();
    let mut errors = vec![];
    let mut at = 0;
    while let Some(skip) = text[at..].find(['$', '`', '\\']) {
        out.push_str(&text[at..at + skip]);
        at += skip;
        let rest = &text[at..];
        let taken = match rest.as_bytes()[0] {
            b'\\' => {
                let next = rest[1..].chars().next();
                let len = 1 + next.map_or(0, char::len_utf8);
                // Markdown would leave the backslash.
                out.push_str(if next == Some('$') { "&#36;" } else { &rest[..len] });
                len
            }
            b'`' => {
                let ticks = rest.len() - rest.trim_start_matches('`').len();
                let len = code_span(&rest[..paragraph(rest)], ticks).unwrap_or(ticks);
                out.push_str(&rest[..len]);
                len
            }
            _ => {
                let mark = if rest.starts_with("$$") { "$$" } else { "$" };
                let body = &rest[mark.len()..];
                let body = &body[..paragraph(body)];
                match formula_end(body, mark) {
                    Some(end) => {
                        match formula(body[..end].trim(), mark == "$$") {
                            Ok(html) => out.push_str(&html),
                            Err(error) => errors.push((at, error)),
                        }
                        end + 2 * mark.len()
                    }
                    None => {
                        let what = "this $ opens a formula that does not end; a dollar \
                                    is written \\$";
                        errors.push((at, anyhow!(what)));
                        mark.len() + body.len()
                    }
                }
            }
        };
        at += taken;
    }
    out.push_str(&text[at..]);
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

/// Where a paragraph ends: neither formulas nor code spans go beyond.
fn paragraph(text: &str) -> usize {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if at > 0 && line.trim().is_empty() {
            return at;
        }
        at += line.len();
    }
    at
}

/// The length of the code span that begins `text` with so many backticks; it ends with
/// as many, not more.
fn code_span(text: &str, ticks: usize) -> Option<usize> {
    let mut at = ticks;
    loop {
        at += text[at..].find('`')?;
        let run = text[at..].len() - text[at..].trim_start_matches('`').len();
        at += run;
        if run == ticks {
            return Some(at);
        }
    }
}

/// Where in `body` the closing mark is. As in pandoc, a single dollar opens only before
/// something and closes only after something and not before a digit, so that `$5 and
/// $6` is no formula.
fn formula_end(body: &str, mark: &str) -> Option<usize> {
    let inline = mark == "$";
    if inline && body.starts_with(char::is_whitespace) {
        return None;
    }
    body.match_indices(mark).map(|(end, _)| end).find(|end| {
        let (before, after) = (&body[..*end], &body[end + mark.len()..]);
        let closes = !before.ends_with(char::is_whitespace)
            && !after.starts_with(|c: char| c.is_ascii_digit());
        !before.ends_with('\\') && (!inline || closes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> Vec<usize> {
        replace(text).err().unwrap_or_default().into_iter().map(|(at, _)| at).collect()
    }

    #[test]
    fn signs_of_html_are_no_html() {
        let mathml = |latex: &str| formula(latex, false).unwrap();
        assert!(mathml("a < b").contains("<mo>&#60;</mo>"), "{}", mathml("a < b"));
        assert!(mathml("a > b").contains("<mo>&#62;</mo>"), "{}", mathml("a > b"));
        assert!(mathml("\\&").contains("&#38;<"), "{}", mathml("\\&"));
        let text = mathml("\\text{a < b & c_d}");
        assert!(text.contains("a &lt; b &amp; c&#95;d"), "{text}");
        // A line of its own could begin a list.
        assert!(!mathml("\\text{a\n- b}").contains('\n'));
    }

    #[test]
    fn attributes_have_space_between_them() {
        let mathml = formula("\\bigl(x\\bigr)", false).unwrap();
        assert_eq!(mathml.matches("\" minsize=\"").count(), 2, "{mathml}");
    }

    #[test]
    fn what_is_no_latex_is_an_error() {
        let error = formula("\\frac{1}", false).unwrap_err().to_string();
        assert!(error.starts_with("formula `\\frac{1}`: parsing error: "), "{error}");
    }

    #[test]
    fn prices_are_no_formulas() {
        assert_eq!(errors("It costs $5 and $6."), [9]);
        assert_eq!(errors("It costs $ 5$."), [9]);
        assert_eq!(errors("From $5-$6."), [5]);
        assert_eq!(errors("For $$."), [4]);
        assert_eq!(replace("For \\$5 and \\$6.").unwrap(), "For &#36;5 and &#36;6.");
        assert!(replace("A $\\$a + x$ more.").unwrap().contains("</math> more."));
    }

    #[test]
    fn each_paragraph_has_its_own_errors() {
        assert_eq!(
            errors("A $b.\n\nC $\\frac{1}$ and $d.\n \t\nE $f."),
            [2, 9, 24, 33]
        );
    }

    #[test]
    fn code_is_left_alone_and_nothing_else() {
        for text in
            ["`$x$`", "`` a ` $x$ ``", "``` `` $x$ ```", "` `` $x$ `", "a\n`b\n$x$`"]
        {
            assert_eq!(replace(text).unwrap(), text);
        }
        // An odd backtick is just that.
        for text in ["A ` and $x$.", "A `\n\nand $x$ `b`", "A `` b ` $x$"] {
            assert_eq!(replace(text).unwrap().matches("<math").count(), 1, "{text}");
        }
    }
}
