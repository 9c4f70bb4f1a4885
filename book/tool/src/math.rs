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
            // The library draws the place over several lines; the last has the reason.
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

/// Text between tags, safe from what markdown makes of `*`, `_`, `|` and the like; and
/// two faults of pulldown-latex 0.8 mended: a `<` of the formula is not escaped, and
/// attributes may follow each other without a space.
fn shielded(mathml: &str) -> String {
    let mut out = String::with_capacity(2 * mathml.len());
    let (mut in_tag, mut in_entity) = (false, false);
    let mut chars = mathml.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied().unwrap_or(' ');
        match c {
            '<' if !in_tag && (next == '/' || next.is_ascii_alphabetic()) => {
                in_tag = true;
            }
            '&' if !in_tag => in_entity = true,
            _ => {}
        }
        match c {
            '\n' => out.push(' '),
            c if c.is_ascii_punctuation() && !in_tag && !in_entity => {
                out.push_str(&format!("&#{};", c as u32));
            }
            '"' if in_tag && next.is_ascii_alphabetic() && !opens(&out) => {
                out.push_str("\" ");
            }
            c => out.push(c),
        }
        match c {
            '>' => in_tag = false,
            ';' => in_entity = false,
            _ => {}
        }
    }
    out
}

/// Whether a quotation mark behind `text` opens a value.
fn opens(text: &str) -> bool {
    text.ends_with('=')
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
                let end = rest[ticks..].find(&rest[..ticks]);
                let len = end.map_or(ticks, |end| end + 2 * ticks);
                out.push_str(&rest[..len]);
                len
            }
            _ => {
                let mark = if rest.starts_with("$$") { "$$" } else { "$" };
                let body = &rest[mark.len()..];
                // A formula ends within its paragraph.
                let paragraph = body.find("\n\n").unwrap_or(body.len());
                match body[..paragraph].find(mark) {
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
                        rest.len()
                    }
                }
            }
        };
        at += taken;
    }
    out.push_str(&text[at..]);
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_library_leaves_open_is_mended() {
        let less = formula("a < b", false).unwrap();
        assert!(less.contains("<mo>&#60;</mo>"), "{less}");
        let large = formula("\\bigl( a_1", false).unwrap();
        assert!(large.contains("stretchy=\"true\" minsize=\"1.2em\""), "{large}");
    }

    #[test]
    fn what_is_no_latex_is_an_error() {
        let error = formula("\\frac{1}", false).unwrap_err().to_string();
        assert!(error.starts_with("formula `\\frac{1}`: parsing error: "), "{error}");
    }
}
