//! How text and lines look.

use crate::Colour;
use crate::colour::FG;

/// Which part of a line of text stands at its x.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// The look of a line of text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub bold: bool,
    pub anchor: Anchor,
    pub faint: bool,
    /// The coloured surface it stands on.
    pub on: Option<Colour>,
}

/// Text as the page writes it.
pub(crate) const TEXT: Style =
    Style { bold: false, anchor: Anchor::Start, faint: false, on: None };

/// The look of a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stroke {
    /// A CSS colour.
    pub colour: &'static str,
    pub width: f64,
    pub opacity: f64,
    pub dashes: Option<&'static str>,
}

impl Stroke {
    pub fn of(colour: &'static str, width: f64) -> Stroke {
        Stroke { colour, width, opacity: 1.0, dashes: None }
    }

    /// A line of the page's text colour, thinned out.
    pub fn faint(opacity: f64) -> Stroke {
        Stroke { opacity, ..Stroke::of(FG, 1.0) }
    }
}
