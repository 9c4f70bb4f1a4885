//! How wide text is, without a font at hand.
//!
//! The widths are Helvetica's, which Arial and Liberation Sans share, with a small
//! allowance for the sans fonts that stand in for them.

/// The fonts figures ask for: those that [`text_width`] knows.
pub(crate) const FONTS: &str =
    "Helvetica Neue, Helvetica, Arial, Liberation Sans, sans-serif";
/// Size of all text but titles, in units of the viewBox. At 480 units on a screen 360
/// pixels wide it is 9 pixels.
pub(crate) const SIZE: f64 = 12.0;
/// Size of titles.
pub(crate) const TITLE: f64 = 14.0;
/// From one baseline to the next.
pub(crate) const LEADING: f64 = 15.0;
/// How far letters reach above the baseline, and below it, in parts of the size.
pub(crate) const ASCENT: f64 = 0.74;
pub(crate) const DESCENT: f64 = 0.21;

/// Fonts differ by about this much.
const ALLOWANCE: f64 = 1.03;

/// Advance widths of U+0020 to U+007E in thousandths of the size.
#[rustfmt::skip]
const REGULAR: [u16; 95] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,
    333, 556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,
    556, 556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584,
];
#[rustfmt::skip]
const BOLD: [u16; 95] = [
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278,
    556, 556, 556, 556, 556, 556, 556, 556, 556, 556, 333, 333, 584, 584, 584, 611,
    975, 722, 722, 722, 722, 667, 611, 778, 722, 278, 556, 722, 611, 833, 722, 778,
    667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 333, 278, 333, 584, 556,
    333, 556, 611, 556, 611, 556, 333, 611, 611, 278, 278, 556, 278, 889, 611, 611,
    611, 611, 389, 556, 333, 611, 556, 778, 556, 556, 500, 389, 280, 389, 584,
];

/// The estimated width of one line of text, in the units of `size`.
///
/// ```
/// assert!(viz::text_width("wide", 12.0, false) > viz::text_width("ill", 12.0, false));
/// ```
pub fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    let table = if bold { &BOLD } else { &REGULAR };
    let thousandths: f64 = text
        .chars()
        .map(|c| match c {
            ' '..='~' => f64::from(table[c as usize - 32]),
            '·' | '\u{a0}' => 278.0,
            '×' | '±' | '−' | '≈' | '≤' | '≥' | '√' | '–' | 'µ' => 584.0,
            '²' | '³' | '¹' | '°' => 400.0,
            '\u{300}'..='\u{36f}' => 0.0, // combining marks
            '⁰'..='₟' | 'ᵀ' | 'ᵢ' | 'ⱼ' => 450.0, // raised and lowered
            '↑' | '↓' => 620.0,
            'À'..='ÿ' if bold => 650.0,
            'À'..='ÿ' => 620.0,
            'α'..='ω' => 640.0,
            'Α'..='Ω' => 780.0,
            _ => 1000.0,
        })
        .sum();
    thousandths / 1000.0 * size * ALLOWANCE
}

/// Breaks `text` between words into lines no wider than `width`; a single word that is
/// wider is broken inside. No lines if there is no text.
pub(crate) fn wrap(text: &str, size: f64, bold: bool, width: f64) -> Vec<String> {
    let fits = |line: &str| text_width(line, size, bold) <= width;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if fits(&format!("{line} {word}")) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => {
                lines.push(String::new());
                for letter in word.chars() {
                    let line = lines.last().map_or("", String::as_str);
                    if !line.is_empty() && !fits(&format!("{line}{letter}")) {
                        lines.push(String::new());
                    }
                    if let Some(line) = lines.last_mut() {
                        line.push(letter);
                    }
                }
            }
        }
    }
    lines
}

/// The width of the widest of `lines`.
pub(crate) fn widest<S: AsRef<str>>(lines: &[S], size: f64, bold: bool) -> f64 {
    lines.iter().map(|line| text_width(line.as_ref(), size, bold)).fold(0.0, f64::max)
}

/// Escapes text for XML. What XML cannot hold becomes a space.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => out.push(' '),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
