//! What several arrays come to, element by element.
use crate::launch::{Launch, Number, Ptr};
use crate::source::REDUCE;
use crate::spans::pack;

/// Arrays that [`reduce`] takes.
pub const MOST: usize = 16;

/// How numbers become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum How {
    /// Their sum.
    Sum,
    /// The largest; NaN if one is.
    Max,
    /// Their sum over their number.
    Average,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Reduce {
    from: [Ptr; MOST],
    to: Ptr,
    n: u64,
    count: u32,
    how: How,
}

/// `to[i]` of all `from[i]`, up to [`MOST`], of `n` elements each; in their order, in
/// fp32, and rounded once. `to` may be one of them.
///
/// # Errors
/// They are none, or more than that.
pub fn reduce(
    number: Number,
    how: How,
    n: u64,
    from: &[Ptr],
    to: Ptr,
) -> Result<Launch, String> {
    if from.is_empty() || from.len() > MOST {
        return Err(format!("{} arrays: expected 1 to {MOST}", from.len()));
    }
    let mut all = [Ptr::default(); MOST];
    all[..from.len()].copy_from_slice(from);
    let args = Reduce { from: all, to, n, count: from.len() as u32, how };
    let threads = 256;
    let blocks = n.div_ceil((threads * pack(number)).into());
    Ok(Launch::new(REDUCE, "reduce", number, blocks, threads, args))
}
