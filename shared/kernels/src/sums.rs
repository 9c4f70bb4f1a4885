//! Sums of rows.
use crate::launch::{Launch, Number, Ptr, WARP};
use crate::source::SUMS;

#[derive(Clone, Copy)]
#[repr(C)]
struct SumRows {
    parts: Ptr,
    sum: Ptr,
    rows: u64,
    width: u32,
    add: i32,
}

/// `sum[j] = Σ parts[i, j]`, in fp32, or with `add`, added to what is there. In the
/// order of the rows.
pub fn rows(parts: Ptr, sum: Ptr, rows: u64, width: u32, add: bool) -> Launch {
    let args = SumRows { parts, sum, rows, width, add: add.into() };
    // Few, so that there are blocks for many of a GPU's processors.
    let threads = u64::from(WARP);
    let blocks = u64::from(width).div_ceil(threads);
    Launch::new(SUMS, "sum_rows", Number::F32, blocks, threads as u32, args)
}
