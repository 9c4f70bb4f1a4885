//! Categories: which colour each has, and the legend that says so.

use crate::canvas::{Area, Canvas, TEXT};
use crate::frame::Frame;
use crate::text::{LEADING, SIZE};
use crate::{Colour, Error, text_width};

/// The side of a legend's square.
const SQUARE: f64 = 11.0;

/// The categories among `names`, with their colours, in the legend's order: those that
/// are `pinned`, then the others as they appear, with the colours that are left.
pub(crate) fn colours<'a>(
    frame: &Frame,
    pinned: &[(String, Colour)],
    names: impl Iterator<Item = &'a str> + Clone,
) -> Result<Vec<(String, Colour)>, Error> {
    let mut known = pinned.to_vec();
    known.retain(|(name, _)| names.clone().any(|other| other == name));
    let hues = Colour::ALL.into_iter().chain([Colour::Neutral]);
    let taken: Vec<Colour> = pinned.iter().map(|(_, colour)| *colour).collect();
    let mut free = hues.filter(|colour| !taken.contains(colour));
    for name in names {
        if known.iter().any(|(other, _)| other == name) {
            continue;
        }
        let Some(colour) = free.next() else {
            return frame.error(format!(
                "no colour is left for the category `{name}`; put small ones together"
            ));
        };
        known.push((name.to_string(), colour));
    }
    Ok(known)
}

/// Squares and names, on as many lines as they need.
pub(crate) fn draw(categories: &[(String, Colour)], width: f64, canvas: &mut Canvas) {
    if let [(name, _)] = categories
        && name.is_empty()
    {
        return;
    }
    let (mut x, mut y) = (0.0, canvas.bottom() + LEADING + 3.0);
    for (name, colour) in categories {
        let wide = SQUARE + 5.0 + text_width(name, SIZE, false);
        if x > 0.0 && x + wide > width {
            (x, y) = (0.0, y + LEADING + 3.0);
        }
        canvas.filled(Area::of(x, y - 10.0, SQUARE, SQUARE), 2.0, *colour);
        canvas.text(x + SQUARE + 5.0, y, name, TEXT);
        x += wide + 16.0;
    }
    canvas.extend(y + 4.0);
}
