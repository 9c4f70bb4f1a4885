//! Sums, and the gated activation.
use crate::launch::{Launch, Number, Ptr};
use crate::source::ELEMENTWISE;
use crate::spans::{pack, spans};

const THREADS: u32 = 256;

#[derive(Clone, Copy)]
#[repr(C)]
struct Add {
    x: Ptr,
    y: Ptr,
    sum: Ptr,
    n: u64,
}

/// `sum = x + y`, of `n` elements each; `sum` may be one of them. The gradient of a sum
/// is that of each of the two: nothing to compute.
pub fn add(number: Number, n: u64, x: Ptr, y: Ptr, sum: Ptr) -> Launch {
    let blocks = n.div_ceil((THREADS * pack(number)).into());
    let args = Add { x, y, sum, n };
    Launch::new(ELEMENTWISE, "add", number, blocks, THREADS, args)
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Swiglu {
    x: Ptr,
    y: Ptr,
    width: u32,
}

/// `y [rows, width] = silu(gate) · up`, where a row of `x [rows, 2 · width]` holds both
/// side by side.
pub fn swiglu(number: Number, rows: u32, width: u32, x: Ptr, y: Ptr) -> Launch {
    let (spans, threads) = spans(number, width, THREADS);
    let blocks = u64::from(rows) * u64::from(spans);
    let args = Swiglu { x, y, width };
    Launch::new(ELEMENTWISE, "swiglu", number, blocks, threads, args)
}

#[derive(Clone, Copy)]
#[repr(C)]
struct SwigluBackward {
    x: Ptr,
    dy: Ptr,
    dx: Ptr,
    width: u32,
}

/// The gradient `dx [rows, 2 · width]` of `x`, from that of `y [rows, width]`. `dx` may
/// be `x`.
pub fn swiglu_backward(
    number: Number,
    rows: u32,
    width: u32,
    [x, dy, dx]: [Ptr; 3],
) -> Launch {
    let (spans, threads) = spans(number, width, THREADS);
    let blocks = u64::from(rows) * u64::from(spans);
    let args = SwigluBackward { x, dy, dx, width };
    Launch::new(ELEMENTWISE, "swiglu_backward", number, blocks, threads, args)
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Cast {
    x: Ptr,
    y: Ptr,
    n: u64,
}

/// `y [n]` in `number`: the nearest to `x [n]` in fp32.
pub fn narrow(number: Number, n: u64, x: Ptr, y: Ptr) -> Launch {
    let blocks = n.div_ceil((4 * THREADS).into());
    let args = Cast { x, y, n };
    Launch::new(ELEMENTWISE, "narrow_all", number, blocks, THREADS, args)
}

/// `y [n]` in fp32: `x [n]` in `number`, exactly.
pub fn widen(number: Number, n: u64, x: Ptr, y: Ptr) -> Launch {
    let blocks = n.div_ceil((4 * THREADS).into());
    let args = Cast { x, y, n };
    Launch::new(ELEMENTWISE, "widen_all", number, blocks, THREADS, args)
}
