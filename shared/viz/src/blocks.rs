//! Matrices, and how they are cut.

use crate::frame::{Frame, frame_methods};
use crate::{Colour, Error};

mod draw;

/// Matrices side by side with operators between them, whole or cut into parts.
///
/// Sizes are real shapes: one scale serves the whole figure, except that a part is
/// never too small for its name.
///
/// ```
/// use viz::{Blocks, Colour, Matrix};
///
/// let figure = Blocks::new("ch04-columns", "A product cut by columns")
///     .matrix(Matrix::new("X", 64.0, 32.0).dimensions("tokens", "hidden"))
///     .operator("×")
///     .matrix(Matrix::new("W", 32.0, 96.0).dimensions("", "4 hidden").cut_columns([
///         ("rank 0", 48.0, Colour::Blue),
///         ("rank 1", 48.0, Colour::Orange),
///     ]));
/// assert!(figure.svg()?.contains("rank 1"));
/// # Ok::<(), viz::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Blocks {
    frame: Frame,
    lines: Vec<Line>,
    height: f64,
}

/// Matrices and operators beside each other, below an optional heading.
#[derive(Clone, Debug, Default)]
struct Line {
    heading: String,
    items: Vec<Item>,
}

#[derive(Clone, Debug)]
enum Item {
    Matrix(Matrix),
    Operator(String),
}

/// One matrix of [`Blocks`].
#[derive(Clone, Debug)]
pub struct Matrix {
    name: String,
    rows: f64,
    columns: f64,
    row_label: String,
    column_label: String,
    colour: Option<Colour>,
    cut: Option<Cut>,
}

/// Parts of a matrix, in units of its shape.
#[derive(Clone, Debug)]
struct Cut {
    by_rows: bool,
    parts: Vec<(String, f64, Colour)>,
}

impl Matrix {
    /// A matrix in outline, its name in it.
    pub fn new(name: &str, rows: f64, columns: f64) -> Matrix {
        Matrix {
            name: name.to_string(),
            rows,
            columns,
            row_label: String::new(),
            column_label: String::new(),
            colour: None,
            cut: None,
        }
    }

    /// Says what its rows and columns are: on its left, and above it. Empty for
    /// nothing.
    pub fn dimensions(mut self, rows: &str, columns: &str) -> Matrix {
        self.row_label = rows.to_string();
        self.column_label = columns.to_string();
        self
    }

    /// Tints it, if it is not cut.
    pub fn colour(mut self, colour: Colour) -> Matrix {
        self.colour = Some(colour);
        self
    }

    /// Cuts it between rows, from top to bottom: names, numbers of rows, colours. Its
    /// own name goes below it.
    pub fn cut_rows<'a>(
        mut self,
        parts: impl IntoIterator<Item = (&'a str, f64, Colour)>,
    ) -> Matrix {
        self.cut = Some(Cut { by_rows: true, parts: owned(parts) });
        self
    }

    /// Cuts it between columns, from left to right: names, numbers of columns, colours.
    pub fn cut_columns<'a>(
        mut self,
        parts: impl IntoIterator<Item = (&'a str, f64, Colour)>,
    ) -> Matrix {
        self.cut = Some(Cut { by_rows: false, parts: owned(parts) });
        self
    }

    fn problem(&self) -> Option<String> {
        let Matrix { name, rows, columns, .. } = self;
        let positive = |size: &f64| *size > 0.0 && *size < 1e100;
        if !positive(rows) || !positive(columns) {
            return Some(format!(
                "the matrix `{name}` has a shape of {rows} by {columns}; expected \
                 positive numbers"
            ));
        }
        let Cut { by_rows, parts } = self.cut.as_ref()?;
        let (whole, what) =
            if *by_rows { (rows, "rows") } else { (columns, "columns") };
        if let Some((part, size, _)) = parts.iter().find(|part| !positive(&part.1)) {
            return Some(format!(
                "the matrix `{name}`, part `{part}`: {size} {what}; expected a \
                 positive number"
            ));
        }
        let sum: f64 = parts.iter().map(|part| part.1).sum();
        if (sum - whole).abs() > 1e-6 * whole {
            return Some(format!(
                "the matrix `{name}` has {whole} {what}; its parts have {sum} together"
            ));
        }
        None
    }
}

fn owned<'a>(
    parts: impl IntoIterator<Item = (&'a str, f64, Colour)>,
) -> Vec<(String, f64, Colour)> {
    parts
        .into_iter()
        .map(|(name, size, colour)| (name.to_string(), size, colour))
        .collect()
}

impl Blocks {
    /// A figure without matrices. The id becomes part of element ids: letters, digits,
    /// `-` and `_`, a different one for each figure of a page.
    pub fn new(id: &str, title: &str) -> Blocks {
        Blocks { frame: Frame::new(id, title), lines: Vec::new(), height: 140.0 }
    }

    frame_methods!();

    /// Sets how high the highest matrix may be, in units of the viewBox (140 if not
    /// said). The scale follows from it, and from the width.
    pub fn height(mut self, units: f64) -> Blocks {
        self.height = units;
        self
    }

    /// Adds a matrix, to the right of what is there.
    pub fn matrix(mut self, matrix: Matrix) -> Blocks {
        self.last().items.push(Item::Matrix(matrix));
        self
    }

    /// Adds an operator, to the right of what is there: `×`, `+`, `=`, `→`.
    pub fn operator(mut self, sign: &str) -> Blocks {
        self.last().items.push(Item::Operator(sign.to_string()));
        self
    }

    /// Starts a new line, below a heading if that is not empty.
    pub fn line(mut self, heading: &str) -> Blocks {
        self.lines.push(Line { heading: heading.to_string(), items: Vec::new() });
        self
    }

    fn last(&mut self) -> &mut Line {
        if self.lines.is_empty() {
            self.lines.push(Line::default());
        }
        let last = self.lines.len() - 1;
        &mut self.lines[last]
    }

    /// The figure, as a standalone SVG document.
    ///
    /// # Errors
    ///
    /// No matrices, or a line without one; a shape that is not positive; parts that are
    /// not the whole; a line that is too wide for the figure even at the smallest
    /// scale.
    pub fn svg(&self) -> Result<String, Error> {
        let canvas = self.frame.canvas()?;
        self.check()?;
        draw::draw(self, canvas)
    }

    fn check(&self) -> Result<(), Error> {
        if !(20.0..=2000.0).contains(&self.height) {
            let height = self.height;
            return self
                .frame
                .error(format!("matrices {height} units high; expected 20 to 2000"));
        }
        let has_matrix =
            |line: &Line| line.items.iter().any(|item| matches!(item, Item::Matrix(_)));
        if self.lines.is_empty() || !self.lines.iter().all(has_matrix) {
            return self.frame.error("a line of it has no matrix; add one");
        }
        for item in self.lines.iter().flat_map(|line| &line.items) {
            if let Item::Matrix(matrix) = item
                && let Some(problem) = matrix.problem()
            {
                return self.frame.error(problem);
            }
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let mut words = String::from("Matrices.");
        for Line { heading, items } in &self.lines {
            if !heading.is_empty() {
                words.push_str(&format!(" {heading}:"));
            }
            for item in items {
                match item {
                    Item::Operator(sign) => words.push_str(&format!(" {sign}")),
                    Item::Matrix(Matrix { name, rows, columns, cut, .. }) => {
                        words.push_str(&format!(" {name}, {rows} by {columns}"));
                        if let Some(Cut { by_rows, parts }) = cut {
                            let how = if *by_rows { "rows" } else { "columns" };
                            let parts: Vec<&str> =
                                parts.iter().map(|part| part.0.as_str()).collect();
                            let parts = parts.join(", ");
                            words.push_str(&format!(" (cut by {how}: {parts})"));
                        }
                    }
                }
            }
            words.push('.');
        }
        words
    }
}
