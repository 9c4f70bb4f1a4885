//! Figures as SVG: line charts, bars, timelines, diagrams, matrices.
//!
//! A figure is a value built from data; its `svg` method lays it out and draws it. All
//! of this is arithmetic and text: no dependencies, no fonts, no browser, and the same
//! bytes on every machine, so that a figure can be generated with the page that shows
//! it.
//!
//! ```
//! use viz::{Axis, Colour, LineChart, Series};
//!
//! let measured = vec![(1.0, 21_000.0), (2.0, 40_100.0), (4.0, 75_800.0)];
//! let figure = LineChart::new(
//!     "ch03-throughput",
//!     "Throughput grows with the ranks",
//!     Axis::log("ranks").ticks([1.0, 2.0, 4.0]),
//!     Axis::linear("tokens per second").from_zero(),
//! )
//! .series(Series::new("data parallel", measured).colour(Colour::Blue).markers())
//! .reference(84_000.0, "four times one rank");
//! let svg = figure.svg()?;
//! assert!(svg.contains("<title id=\"viz-ch03-throughput-title\">"));
//! # Ok::<(), viz::Error>(())
//! ```
//!
//! | figure | shows |
//! | --- | --- |
//! | [`LineChart`] | series over two [`Axis`], each named where its line ends |
//! | [`Bars`] | what a quantity is made of, row by row: memory, bytes sent |
//! | [`Timeline`] | what went on when, track by track |
//! | [`Diagram`] | boxes and arrows on a grid: structure |
//! | [`Blocks`] | matrices to scale, cut by rows or columns, with operators between |
//!
//! **On the page.** A figure is 480 units wide and all its text 12 units high or more,
//! so that on a phone 360 pixels wide it is 9 pixels; on a large screen the figure
//! grows to 1.25 pixels a unit, then stays. It is meant to be inlined: text is the
//! page's `--fg`, the background its `--bg`, a neutral surface its `--quote-bg`, and
//! the palette is
//! `--viz-1` to `--viz-6`, each with a fallback, so that a figure follows the theme and
//! also stands alone as a file. [`THEME_CSS`] has lighter colours for dark pages. A
//! figure has no style rules, and its element ids start with `viz-` and its own id, so
//! that many can be on one page if their ids differ.
//!
//! **For those who do not see it**, a figure is an image with its title and a
//! description, which is made of the data unless [`describe`](LineChart::describe)
//! gives a better one. Its six colours are told apart with any colour blindness, and no
//! line is named by its colour alone. The contrast of text is 4.5 or more in each of
//! mdBook's themes.
//!
//! **Layout.** Widths of text are estimated ([`text_width`]) and room is made for them;
//! labels that would meet are pushed apart. What nevertheless lies over other text, or
//! leaves the figure, is an [`Error`] that names the texts, and never a broken picture:
//! so are empty figures, values that are not finite and shapes that do not add up.
//! Where coordinates are the author's, as in a [`Diagram`], the checks also find text
//! that does not fit its box and arrows that run through others' boxes.
//!
//! `cargo run -p viz --example gallery -- DIR` draws one of each kind, on light and
//! dark.

mod axis;
mod bars;
mod blocks;
mod canvas;
mod colour;
mod diagram;
mod error;
mod format;
mod frame;
mod labels;
mod legend;
mod line_chart;
mod text;
mod ticks;
mod timeline;

pub use axis::Axis;
pub use bars::Bars;
pub use blocks::{Blocks, Matrix};
pub use colour::{Colour, THEME_CSS};
pub use diagram::{Arrow, Brace, Diagram, Group, Node, Note, Port, Side, Spot};
pub use error::Error;
pub use format::Format;
pub use line_chart::{LineChart, Series};
pub use text::text_width;
pub use timeline::Timeline;
