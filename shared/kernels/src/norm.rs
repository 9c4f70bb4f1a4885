//! Root-mean-square normalization.
use crate::launch::{Launch, Number, Ptr, WARP};
use crate::source::NORM;
use crate::spans::pack;

/// Which stretches of rows are normalized.
#[derive(Clone, Copy, Debug)]
pub struct Stretches {
    /// Rows.
    pub rows: u64,
    /// Elements of a row.
    pub width: u32,
    /// Where in a row the first stretch begins.
    pub start: u32,
    /// Stretches of a row.
    pub count: u32,
    /// Elements of a stretch.
    pub dim: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Norm {
    x: Ptr,
    weight: Ptr,
    y: Ptr,
    rows: u64,
    width: u32,
    start: u32,
    count: u32,
    dim: u32,
    eps: f32,
}

/// `y = x / sqrt(mean(x²) + eps) · weight` for each stretch; without a weight, a copy.
/// Of `y`, other elements are left as they are.
pub fn forward(
    number: Number,
    s: Stretches,
    x: Ptr,
    weight: Option<Ptr>,
    y: Ptr,
    eps: f32,
) -> Launch {
    let Stretches { rows, width, start, count, dim } = s;
    let weight = weight.unwrap_or_default();
    let warps = 4;
    let blocks = (rows * u64::from(count)).div_ceil(warps);
    let args = Norm { x, weight, y, rows, width, start, count, dim, eps };
    Launch::new(NORM, "norm_forward", number, blocks, warps as u32 * WARP, args)
}

#[derive(Clone, Copy)]
#[repr(C)]
struct NormBackward {
    x: Ptr,
    dy: Ptr,
    weight: Ptr,
    dx: Ptr,
    parts: Ptr,
    rows: u64,
    width: u32,
    start: u32,
    count: u32,
    dim: u32,
    team: u32,
    eps: f32,
}

/// Threads of a block of [`backward`].
const THREADS: u32 = 256;

/// Threads that share a stretch there: a warp, or the block if it is long.
fn team(dim: u32) -> u32 {
    if dim <= 1024 { WARP } else { THREADS }
}

/// Blocks of [`backward`], each of which leaves a part of the weight's gradient. They
/// depend on the sizes alone, and so does the order in which these parts are made.
pub fn parts(s: Stretches) -> u64 {
    let teams = u64::from(THREADS / team(s.dim));
    (s.rows * u64::from(s.count)).div_ceil(teams).clamp(1, 512)
}

/// The gradient of `x`, and in `parts`, `[parts, dim]` in fp32, what adds up to that of
/// the weight ([`crate::sums::rows`]).
pub fn backward(
    number: Number,
    s: Stretches,
    [x, dy, dx]: [Ptr; 3],
    weight: Option<(Ptr, Ptr)>,
    eps: f32,
) -> Launch {
    let Stretches { rows, width, start, count, dim } = s;
    let (weight, to) = weight.unwrap_or_default();
    let args = NormBackward {
        x,
        dy,
        weight,
        dx,
        parts: to,
        rows,
        width,
        start,
        count,
        dim,
        team: team(dim),
        eps,
    };
    // For each team whole packs; and two floats for each warp.
    let sums = THREADS / team(dim) * dim.next_multiple_of(pack(number));
    let floats = (sums + 2 * THREADS / WARP) as usize;
    Launch::new(NORM, "norm_backward", number, parts(s), THREADS, args)
        .shared(floats * size_of::<f32>())
}
