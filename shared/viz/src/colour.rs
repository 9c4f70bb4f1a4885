//! The palette, and the colours that follow the page.

/// A colour of the palette. Each stands for one CSS custom property with a fallback, so
/// that a page's theme can set its own ([`THEME_CSS`]).
///
/// The six are told apart by readers with any of the three colour blindnesses (a test
/// simulates them); the fallbacks serve on light and on dark pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Colour {
    /// `--viz-1`
    Blue,
    /// `--viz-2`
    Orange,
    /// `--viz-3`
    Teal,
    /// `--viz-4`
    Purple,
    /// `--viz-5`
    Sky,
    /// `--viz-6`
    Red,
    /// `--viz-0`, a grey: what is there but is not the subject.
    Neutral,
}

impl Colour {
    /// The six hues, in the order in which figures hand them out.
    pub const ALL: [Colour; 6] = [
        Colour::Blue,
        Colour::Orange,
        Colour::Teal,
        Colour::Purple,
        Colour::Sky,
        Colour::Red,
    ];

    /// The CSS value of the colour itself, for lines and filled surfaces.
    pub fn css(self) -> &'static str {
        match self {
            Colour::Blue => "var(--viz-1,#4275c2)",
            Colour::Orange => "var(--viz-2,#e8892b)",
            Colour::Teal => "var(--viz-3,#1fa187)",
            Colour::Purple => "var(--viz-4,#a25094)",
            Colour::Sky => "var(--viz-5,#60b2e3)",
            Colour::Red => "var(--viz-6,#b23a48)",
            Colour::Neutral => "var(--viz-0,#8b9099)",
        }
    }

    /// The CSS value for text on a surface of this colour: contrast of 4.5 or more.
    pub fn css_on(self) -> &'static str {
        match self {
            Colour::Blue => "var(--viz-on-1,#fff)",
            Colour::Orange => "var(--viz-on-2,#111)",
            Colour::Teal => "var(--viz-on-3,#111)",
            Colour::Purple => "var(--viz-on-4,#fff)",
            Colour::Sky => "var(--viz-on-5,#111)",
            Colour::Red => "var(--viz-on-6,#fff)",
            Colour::Neutral => "var(--viz-on-0,#111)",
        }
    }
}

/// CSS for the book's theme: lighter colours, and text on them, for dark pages. Figures
/// are legible without it. The selectors are the class names of mdBook's dark themes.
pub const THEME_CSS: &str = "\
.coal, .navy, .ayu {
  --viz-0: #9aa0ab; --viz-on-0: #111;
  --viz-1: #859ffa; --viz-on-1: #111;
  --viz-2: #f2a65a; --viz-on-2: #111;
  --viz-3: #3cceae; --viz-on-3: #111;
  --viz-4: #c387c4; --viz-on-4: #111;
  --viz-5: #a8d8f0; --viz-on-5: #111;
  --viz-6: #e17079; --viz-on-6: #111;
}
";

/// The page's text colour.
pub(crate) const FG: &str = "var(--fg,#222)";
/// The page's background.
pub(crate) const BG: &str = "var(--bg,#fff)";
/// A surface set off from the page.
pub(crate) const SURFACE: &str = "var(--quote-bg,#f1f4f8)";
/// How much of its colour a tinted surface shows: text on it is the page's own colour.
pub(crate) const TINT: f64 = 0.15;
/// How much of the text's colour shows in what is said aside.
pub(crate) const FAINT: f64 = 0.86;

#[cfg(test)]
mod tests;
