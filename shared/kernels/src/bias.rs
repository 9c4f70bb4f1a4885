//! A bias, and its gradient.
use crate::launch::{Launch, Number, Ptr, WARP};
use crate::source::BIAS;
use crate::spans::{pack, spans};

#[derive(Clone, Copy)]
#[repr(C)]
struct Bias {
    x: Ptr,
    bias: Ptr,
    y: Ptr,
    rows: u32,
    width: u32,
    each: u32,
}

/// `y = x + bias`, `[rows, width]` and `[width]`; `y` may be `x`.
pub fn forward(
    number: Number,
    rows: u32,
    width: u32,
    x: Ptr,
    bias: Ptr,
    y: Ptr,
) -> Launch {
    let each = 4;
    let (spans, threads) = spans(number, width, 256);
    let blocks = u64::from(rows.div_ceil(each)) * u64::from(spans);
    let args = Bias { x, bias, y, rows, width, each };
    Launch::new(BIAS, "bias", number, blocks, threads, args)
}

#[derive(Clone, Copy)]
#[repr(C)]
struct BiasBackward {
    dy: Ptr,
    parts: Ptr,
    rows: u32,
    width: u32,
    each: u32,
}

/// Rows that make one part: so many that there are few parts to add, but enough blocks.
fn rows_of_part(rows: u32) -> u32 {
    rows.div_ceil(64).max(64)
}

/// Parts that [`backward`] leaves: their number depends on that of the rows alone.
pub fn parts(rows: u32) -> u64 {
    rows.div_ceil(rows_of_part(rows)).into()
}

/// In `sums`, `[parts, width]` in fp32, what adds up to the gradient of the bias
/// ([`crate::sums::rows`]), the sum over the rows of `dy [rows, width]`.
pub fn backward(number: Number, rows: u32, width: u32, dy: Ptr, sums: Ptr) -> Launch {
    let (each, columns) = (rows_of_part(rows), WARP * pack(number));
    let warps = 8;
    let blocks = parts(rows) * u64::from(width.div_ceil(columns));
    let args = BiasBackward { dy, parts: sums, rows, width, each };
    Launch::new(BIAS, "bias_backward", number, blocks, warps * WARP, args)
        .shared((warps * columns) as usize * size_of::<f32>())
}
