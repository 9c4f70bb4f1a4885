//! What a diagram is made of.

use crate::Colour;

/// A side of a box, or of a brace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards smaller x.
    Left,
    /// Towards larger x.
    Right,
    /// Towards smaller y.
    Top,
    /// Towards larger y.
    Bottom,
}

impl Side {
    /// The direction out of this side.
    pub(crate) fn out(self) -> (f64, f64) {
        match self {
            Side::Left => (-1.0, 0.0),
            Side::Right => (1.0, 0.0),
            Side::Top => (0.0, -1.0),
            Side::Bottom => (0.0, 1.0),
        }
    }
}

/// A rectangle on the diagram's grid, and the places on its sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spot {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Spot {
    /// The middle of the left side.
    pub fn left(self) -> Port {
        Port { spot: self, side: Side::Left, along: 0.5 }
    }

    /// The middle of the right side.
    pub fn right(self) -> Port {
        Port { spot: self, side: Side::Right, along: 0.5 }
    }

    /// The middle of the upper side.
    pub fn top(self) -> Port {
        Port { spot: self, side: Side::Top, along: 0.5 }
    }

    /// The middle of the lower side.
    pub fn bottom(self) -> Port {
        Port { spot: self, side: Side::Bottom, along: 0.5 }
    }
}

/// A place where an arrow starts or ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Port {
    pub(crate) spot: Spot,
    pub(crate) side: Side,
    pub(crate) along: f64,
}

impl Port {
    /// A place that belongs to no box; an elbow leaves it towards `side`.
    pub fn point(x: f64, y: f64, side: Side) -> Port {
        Port { spot: Spot { x, y, width: 0.0, height: 0.0 }, side, along: 0.5 }
    }

    /// Moves it along its side: 0 is the upper or left end, 1 the other.
    pub fn at(self, along: f64) -> Port {
        Port { along, ..self }
    }

    /// An arrow from here to `end`.
    pub fn to(self, end: Port) -> Arrow {
        Arrow::new(self, end)
    }

    pub(crate) fn place(self) -> (f64, f64) {
        let Spot { x, y, width, height } = self.spot;
        match self.side {
            Side::Left => (x, y + self.along * height),
            Side::Right => (x + width, y + self.along * height),
            Side::Top => (x + self.along * width, y),
            Side::Bottom => (x + self.along * width, y + height),
        }
    }
}

/// A box with one to three lines of text, the first bold.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) spot: Spot,
    pub(crate) lines: Vec<String>,
    pub(crate) colour: Option<Colour>,
    pub(crate) round: bool,
}

impl Node {
    /// A box in outline, its upper left corner at `(x, y)`.
    pub fn new(x: f64, y: f64, width: f64, height: f64, name: &str) -> Node {
        let spot = Spot { x, y, width, height };
        Node { spot, lines: vec![name.to_string()], colour: None, round: false }
    }

    /// Adds a line below the name.
    pub fn line(mut self, text: &str) -> Node {
        self.lines.push(text.to_string());
        self
    }

    /// Rounds it off: a circle if it is as wide as high, as for a sum.
    pub fn round(mut self) -> Node {
        self.round = true;
        self
    }

    /// Tints it, to say what kind of thing it is.
    pub fn colour(mut self, colour: Colour) -> Node {
        self.colour = Some(colour);
        self
    }
}

/// An arrow between two places.
#[derive(Clone, Debug)]
pub struct Arrow {
    pub(crate) from: Port,
    pub(crate) to: Port,
    pub(crate) elbow: Option<f64>,
    pub(crate) label: String,
    pub(crate) other_side: bool,
    pub(crate) colour: Option<Colour>,
    pub(crate) dashed: bool,
    pub(crate) heads: (bool, bool),
}

impl Arrow {
    /// A straight arrow.
    pub fn new(from: Port, to: Port) -> Arrow {
        Arrow {
            from,
            to,
            elbow: None,
            label: String::new(),
            other_side: false,
            colour: None,
            dashed: false,
            heads: (false, true),
        }
    }

    /// Goes along the grid: leaves its side and meets the other's at right angles.
    pub fn elbow(mut self) -> Arrow {
        self.elbow = self.elbow.or(Some(1.0));
        self
    }

    /// An elbow that keeps this distance where it goes around: from a side to the same
    /// side of another box. Such is the way around a layer. 1 unit if not said.
    pub fn around(mut self, units: f64) -> Arrow {
        self.elbow = Some(units);
        self
    }

    /// Sets words beside its longest part: above it, or to its right.
    pub fn label(mut self, words: &str) -> Arrow {
        self.label = words.to_string();
        self
    }

    /// Puts the label below, or to the left.
    pub fn other_side(mut self) -> Arrow {
        self.other_side = true;
        self
    }

    /// Sets its colour; without it, it is the text's.
    pub fn colour(mut self, colour: Colour) -> Arrow {
        self.colour = Some(colour);
        self
    }

    /// Dashes it.
    pub fn dashed(mut self) -> Arrow {
        self.dashed = true;
        self
    }

    /// Gives it a head at both ends.
    pub fn both(mut self) -> Arrow {
        self.heads = (true, true);
        self
    }

    /// Takes its head away: a line.
    pub fn plain(mut self) -> Arrow {
        self.heads = (false, false);
        self
    }
}

/// Words on their own.
#[derive(Clone, Debug)]
pub struct Note {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) text: String,
    pub(crate) side: Option<Side>,
    pub(crate) bold: bool,
}

impl Note {
    /// Words centred on `(x, y)`; `\n` starts a new line.
    pub fn new(x: f64, y: f64, text: &str) -> Note {
        Note { x, y, text: text.to_string(), side: None, bold: false }
    }

    /// Has them start at x.
    pub fn start(mut self) -> Note {
        self.side = Some(Side::Left);
        self
    }

    /// Has them end at x.
    pub fn end(mut self) -> Note {
        self.side = Some(Side::Right);
        self
    }

    /// Sets them in bold.
    pub fn bold(mut self) -> Note {
        self.bold = true;
        self
    }
}

/// A brace with a label on its outside.
#[derive(Clone, Debug)]
pub struct Brace {
    pub(crate) side: Side,
    pub(crate) at: f64,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) label: String,
    pub(crate) square: bool,
}

impl Brace {
    /// A brace on the given side of something that reaches `from` … `to`: along y for
    /// the sides left and right, which are `at` an x; along x for top and bottom.
    /// `\n` starts a new line of the label.
    pub fn new(side: Side, at: f64, from: f64, to: f64, label: &str) -> Brace {
        Brace { side, at, from, to, label: label.to_string(), square: false }
    }

    /// Draws a square bracket instead.
    pub fn square(mut self) -> Brace {
        self.square = true;
        self
    }
}

/// A frame around boxes that belong together.
#[derive(Clone, Debug)]
pub struct Group {
    pub(crate) spot: Spot,
    pub(crate) title: String,
    pub(crate) colour: Option<Colour>,
}

impl Group {
    /// A dashed frame, its title inside at the upper left: leave it one unit of height.
    pub fn new(x: f64, y: f64, width: f64, height: f64, title: &str) -> Group {
        let spot = Spot { x, y, width, height };
        Group { spot, title: title.to_string(), colour: None }
    }

    /// Makes it a tinted surface instead of a dashed frame.
    pub fn colour(mut self, colour: Colour) -> Group {
        self.colour = Some(colour);
        self
    }
}
