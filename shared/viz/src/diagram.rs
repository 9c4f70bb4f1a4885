//! Boxes and arrows.

use crate::Error;
use crate::frame::{Frame, frame_methods};

mod draw;
mod parts;
mod route;

pub use parts::{Arrow, Brace, Group, Node, Note, Port, Side, Spot};

/// The width of the grid in units, unless it is set.
const COLUMNS: f64 = 24.0;

/// Boxes and arrows on a grid, for the structure of things.
///
/// The grid is 24 units wide, so that a unit is 20 of the viewBox's and a box of 6 by 2
/// holds a name and a line below it; y grows downwards. The figure is as high as what
/// is on it.
///
/// ```
/// use viz::{Colour, Diagram, Group, Node};
///
/// let mut figure = Diagram::new("ch01-step", "A training step");
/// figure.group(Group::new(0.0, 0.0, 24.0, 4.5, "each step"));
/// let forward = Node::new(1.0, 1.5, 6.0, 2.0, "forward").line("[batch, seq]");
/// let forward = figure.node(forward.colour(Colour::Blue));
/// let backward = figure.node(Node::new(13.0, 1.5, 6.0, 2.0, "backward"));
/// figure.arrow(forward.right().to(backward.left()).label("loss"));
/// assert!(figure.svg()?.contains("backward"));
/// # Ok::<(), viz::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Diagram {
    frame: Frame,
    columns: f64,
    nodes: Vec<Node>,
    arrows: Vec<Arrow>,
    notes: Vec<Note>,
    braces: Vec<Brace>,
    groups: Vec<Group>,
}

impl Diagram {
    /// An empty diagram. The id becomes part of element ids: letters, digits, `-` and
    /// `_`, a different one for each figure of a page.
    pub fn new(id: &str, title: &str) -> Diagram {
        Diagram {
            frame: Frame::new(id, title),
            columns: COLUMNS,
            nodes: Vec::new(),
            arrows: Vec::new(),
            notes: Vec::new(),
            braces: Vec::new(),
            groups: Vec::new(),
        }
    }

    frame_methods!();

    /// Sets how many units the width has. 24 if not said; 36 go with a width of 720.
    pub fn columns(mut self, units: f64) -> Diagram {
        self.columns = units;
        self
    }

    /// Adds a box. Answers where it is, for arrows.
    pub fn node(&mut self, node: Node) -> Spot {
        let spot = node.spot;
        self.nodes.push(node);
        spot
    }

    /// Adds an arrow. Arrows lie below boxes.
    pub fn arrow(&mut self, arrow: Arrow) {
        self.arrows.push(arrow);
    }

    /// Adds words on their own.
    pub fn note(&mut self, note: Note) {
        self.notes.push(note);
    }

    /// Adds a brace or bracket.
    pub fn brace(&mut self, brace: Brace) {
        self.braces.push(brace);
    }

    /// Adds a frame, below all else. Answers where it is, for arrows.
    pub fn group(&mut self, group: Group) -> Spot {
        let spot = group.spot;
        self.groups.push(group);
        spot
    }

    /// The figure, as a standalone SVG document.
    ///
    /// # Errors
    ///
    /// Nothing on it; coordinates that are not finite, or outside the figure; a box
    /// that is too small for its text; text over other text or over a box; an arrow
    /// that runs through a box or through text.
    pub fn svg(&self) -> Result<String, Error> {
        let canvas = self.frame.canvas()?;
        self.check()?;
        draw::draw(self, canvas)
    }

    fn check(&self) -> Result<(), Error> {
        let fail = |problem: String| self.frame.error(problem);
        let columns = self.columns;
        if !(1.0..=1000.0).contains(&columns) {
            return fail(format!("a grid of {columns} columns; expected 1 to 1000"));
        }
        if self.nodes.is_empty() && self.notes.is_empty() {
            return fail("it has neither boxes nor notes; leave it out".into());
        }
        let nodes =
            self.nodes.iter().map(|n| (n.spot, format!("the box `{}`", n.lines[0])));
        let groups =
            self.groups.iter().map(|g| (g.spot, format!("the group `{}`", g.title)));
        for (spot, name) in nodes.chain(groups) {
            let Spot { x, y, width, height } = spot;
            let inside = x >= 0.0 && y >= 0.0 && x + width <= columns + 1e-9;
            let solid = width > 0.0 && height > 0.0 && y + height < 10_000.0;
            if !(inside && solid) {
                return fail(format!(
                    "{name} at ({x}, {y}), {width} wide and {height} high; expected it \
                     inside the grid, 0 to {columns} in x and from 0 on in y"
                ));
            }
        }
        for Node { lines, .. } in &self.nodes {
            if lines.len() > 3 {
                let (name, count) = (&lines[0], lines.len());
                return fail(format!(
                    "the box `{name}` has {count} lines of text; expected one to three"
                ));
            }
        }
        for arrow in &self.arrows {
            let way = route::route(arrow);
            if arrow.from.place() == arrow.to.place() {
                return fail(format!("{} has no length", describe(arrow)));
            }
            let inside = |p: &(f64, f64)| {
                (0.0..=columns).contains(&p.0) && (0.0..10_000.0).contains(&p.1)
            };
            if let Some(point) = way.iter().find(|p| !inside(p)) {
                return fail(format!(
                    "{} passes ({}, {}), outside the grid, 0 to {columns} in x and \
                     from 0 on in y",
                    describe(arrow),
                    point.0,
                    point.1
                ));
            }
        }
        let notes = self.notes.iter().map(|n| ([n.x, n.y, n.y], &n.text));
        let braces = self.braces.iter().map(|b| ([b.at, b.from, b.to], &b.label));
        for (numbers, words) in notes.chain(braces) {
            if let Some(bad) = numbers.iter().find(|n| !(0.0..10_000.0).contains(*n)) {
                return fail(format!("`{words}` is at {bad}; expected it on the grid"));
            }
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let name = |spot: &Spot| self.nodes.iter().find(|node| node.spot == *spot);
        let mut words = String::from("Diagram.");
        for Group { title, .. } in self.groups.iter().filter(|g| !g.title.is_empty()) {
            words.push_str(&format!(" A frame: {title}."));
        }
        for Node { lines, .. } in &self.nodes {
            words.push_str(&format!(" {}.", lines.join(", ")));
        }
        for Arrow { from, to, label, .. } in &self.arrows {
            if let (Some(from), Some(to)) = (name(&from.spot), name(&to.spot)) {
                words.push_str(&format!(" {} to {}", from.lines[0], to.lines[0]));
                let said = if label.is_empty() { "" } else { ": " };
                words.push_str(&format!("{said}{label}."));
            }
        }
        words
    }
}

/// An arrow by name, for messages.
fn describe(arrow: &Arrow) -> String {
    let (from, to) = (arrow.from.place(), arrow.to.place());
    let Arrow { label, .. } = arrow;
    format!("the arrow `{label}` from ({}, {}) to ({}, {})", from.0, from.1, to.0, to.1)
}
