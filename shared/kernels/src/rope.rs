//! Rotary position embedding.
use crate::launch::{Launch, Number, Ptr};
use crate::source::ROPE;
use crate::spans::{pack, rounds};

/// What is rotated.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Rows: one for each token.
    pub rows: u32,
    /// Tokens of a sequence: row `r` is at position `r % seq`.
    pub seq: u32,
    /// Elements of a row: queries, keys and values side by side.
    pub width: u32,
    /// The first heads of a row, queries and keys, which are rotated.
    pub heads: u32,
    /// Elements of a head; of these, `i` is paired with `i + dim / 2`.
    pub dim: u32,
}

/// The addresses of `[positions, dim / 2]` in fp32 each, with `positions >= seq`.
#[derive(Clone, Copy, Debug)]
pub struct Angles {
    /// Their cosines.
    pub cos: Ptr,
    /// Their sines.
    pub sin: Ptr,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Rope {
    x: Ptr,
    y: Ptr,
    cos: Ptr,
    sin: Ptr,
    seq: u32,
    width: u32,
    heads: u32,
    half: u32,
    sign: f32,
}

/// `y [rows, width]`: of `x`, the heads rotated, and what follows them. `y` may be `x`.
pub fn forward(number: Number, h: Heads, angles: Angles, x: Ptr, y: Ptr) -> Launch {
    rotate(number, h, angles, x, y, 1.0)
}

/// The gradient `dx [rows, width]` of `x`: that of `y`, rotated the other way. `dx` may
/// be `dy`.
pub fn backward(number: Number, h: Heads, angles: Angles, dy: Ptr, dx: Ptr) -> Launch {
    rotate(number, h, angles, dy, dx, -1.0)
}

fn rotate(
    number: Number,
    h: Heads,
    Angles { cos, sin }: Angles,
    x: Ptr,
    y: Ptr,
    sign: f32,
) -> Launch {
    let Heads { rows, seq, width, heads, dim } = h;
    let half = dim / 2;
    let rest = if x == y { 0 } else { width - 2 * heads * half };
    let (_, threads) = rounds((heads * half + rest).div_ceil(pack(number)), 256);
    let args = Rope { x, y, cos, sin, seq, width, heads, half, sign };
    Launch::new(ROPE, "rope", number, rows.into(), threads, args)
}
