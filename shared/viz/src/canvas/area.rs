//! Rectangles, and what meets them.

/// A rectangle by its edges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    pub fn of(x: f64, y: f64, width: f64, height: f64) -> Area {
        Area { left: x, top: y, right: x + width, bottom: y + height }
    }

    /// Whether the two share more than an edge.
    pub fn overlaps(&self, other: &Area) -> bool {
        self.left + 0.01 < other.right
            && other.left + 0.01 < self.right
            && self.top + 0.01 < other.bottom
            && other.top + 0.01 < self.bottom
    }

    /// Whether the line from `a` to `b` passes through the inside (Liang and Barsky:
    /// the part of the line that each edge leaves).
    pub fn is_crossed(&self, a: (f64, f64), b: (f64, f64)) -> bool {
        let (mut enters, mut leaves) = (0.0f64, 1.0f64);
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        for (slope, room) in [
            (-dx, a.0 - self.left),
            (dx, self.right - a.0),
            (-dy, a.1 - self.top),
            (dy, self.bottom - a.1),
        ] {
            if slope == 0.0 {
                if room <= 0.0 {
                    return false;
                }
            } else if slope < 0.0 {
                enters = enters.max(room / slope);
            } else {
                leaves = leaves.min(room / slope);
            }
        }
        enters < leaves
    }

    /// Whether this area's outline passes through the inside of `other`.
    pub fn is_outline_on(&self, other: &Area) -> bool {
        let Area { left, top, right, bottom } = *self;
        let corners =
            [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)];
        corners.windows(2).any(|pair| other.is_crossed(pair[0], pair[1]))
    }

    /// The same area without a margin all around.
    pub fn shrunk(&self, by: f64) -> Area {
        let Area { left, top, right, bottom } = *self;
        Area { left: left + by, top: top + by, right: right - by, bottom: bottom - by }
    }
}
