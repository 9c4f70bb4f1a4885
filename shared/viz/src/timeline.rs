//! What went on when, track by track.

use crate::frame::{Frame, frame_methods};
use crate::{Colour, Error, Format, legend};

mod draw;

/// Tracks of spans over one axis of time: what each rank did, and what was on its way
/// meanwhile. Where spans of a track overlap, the later one lies in a lane below.
///
/// ```
/// use viz::{Colour, Timeline};
///
/// let figure = Timeline::new("ch04-step", "A training step")
///     .category("forward", Colour::Blue)
///     .heading("rank 0")
///     .track("compute", [(0.0, 0.012, "forward", ""), (0.012, 0.04, "backward", "")])
///     .track("buckets", [(0.02, 0.03, "in flight", "1")]);
/// assert!(figure.svg()?.contains("in flight"));
/// # Ok::<(), viz::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Timeline {
    frame: Frame,
    pinned: Vec<(String, Colour)>,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
enum Line {
    Heading(String),
    Track(Track),
}

#[derive(Clone, Debug)]
struct Track {
    name: String,
    spans: Vec<Span>,
}

#[derive(Clone, Debug)]
struct Span {
    from: f64,
    to: f64,
    category: String,
    label: String,
}

impl Timeline {
    /// A figure without tracks. The id becomes part of element ids: letters, digits,
    /// `-` and `_`, a different one for each figure of a page.
    pub fn new(id: &str, title: &str) -> Timeline {
        let (pinned, lines) = (Vec::new(), Vec::new());
        Timeline { frame: Frame::new(id, title), pinned, lines }
    }

    frame_methods!();

    /// Sets a category's colour, and its place: the legend starts with the categories
    /// set, in this order. The others get the colours left, as they appear.
    pub fn category(mut self, name: &str, colour: Colour) -> Timeline {
        self.pinned.push((name.to_string(), colour));
        self
    }

    /// Adds a heading above the tracks to come.
    pub fn heading(mut self, words: &str) -> Timeline {
        self.lines.push(Line::Heading(words.to_string()));
        self
    }

    /// Adds a track: its name and its spans, `(from, to, category, label)`, in seconds.
    /// A label that has no room is left out.
    pub fn track<'a>(
        mut self,
        name: &str,
        spans: impl IntoIterator<Item = (f64, f64, &'a str, &'a str)>,
    ) -> Timeline {
        let span = |(from, to, category, label): (f64, f64, &str, &str)| {
            let (category, label) = (category.to_string(), label.to_string());
            Span { from, to, category, label }
        };
        let spans = spans.into_iter().map(span).collect();
        self.lines.push(Line::Track(Track { name: name.to_string(), spans }));
        self
    }

    /// The figure, as a standalone SVG document.
    ///
    /// # Errors
    ///
    /// No spans; a span that ends before it begins, or begins before 0; more categories
    /// than colours; text that finds no room.
    pub fn svg(&self) -> Result<String, Error> {
        let canvas = self.frame.canvas()?;
        for Track { name, spans } in self.tracks() {
            for Span { from, to, .. } in spans {
                if !(*from >= 0.0 && to >= from && *to < 1e9) {
                    return self.frame.error(format!(
                        "the track `{name}`: a span from {from} to {to}; expected \
                         seconds from 0 on, the earlier first"
                    ));
                }
            }
        }
        let end = self.spans().map(|span| span.to).fold(0.0, f64::max);
        if end == 0.0 {
            return self.frame.error("it has no spans; add some, or leave it out");
        }
        let names = self.spans().map(|span| span.category.as_str());
        let categories = legend::colours(&self.frame, &self.pinned, names)?;
        draw::draw(self, &categories, end, canvas)
    }

    fn tracks(&self) -> impl Iterator<Item = &Track> + Clone {
        self.lines.iter().filter_map(|line| match line {
            Line::Heading(_) => None,
            Line::Track(track) => Some(track),
        })
    }

    fn spans(&self) -> impl Iterator<Item = &Span> + Clone {
        self.tracks().flat_map(|track| &track.spans)
    }

    fn summary(&self) -> String {
        let mut words = String::from("A timeline.");
        for line in &self.lines {
            let Track { name, spans } = match line {
                Line::Heading(heading) => {
                    words.push_str(&format!(" {heading}:"));
                    continue;
                }
                Line::Track(track) => track,
            };
            let time = |seconds| Format::Seconds.value(seconds);
            let said: Vec<String> = spans
                .iter()
                .map(|Span { from, to, category, label }| {
                    let space = if label.is_empty() { "" } else { " " };
                    let (from, to) = (time(*from), time(*to));
                    format!("{category}{space}{label} from {from} to {to}")
                })
                .collect();
            words.push_str(&format!(" {name}: {}.", said.join(", ")));
        }
        words
    }
}
