//! The `gemm` crate, to compare with.

use super::blocks::{Size, Target};
use super::pack::Source;
use crate::threads;
use params::Real;

/// As [`super::blocks::product`], where all three matrices hold `S`. Columns are shared
/// out to the rank's threads; the crate's own parallelism would use a pool that all
/// ranks share.
///
/// # Safety
/// As for [`super::blocks::product`], and A, B and C hold `S`.
pub unsafe fn product<S: Real>(
    size: Size,
    c: Target,
    a: Source,
    b: Source,
    parallel: bool,
) {
    let Size { m, n, k } = size;
    let one = S::of(1.0);
    let parts = if parallel { threads::count() } else { 1 };
    let part = |i: usize| {
        let (from, to) = (n * i / parts, n * (i + 1) / parts);
        let (b, c) = (b.from(0, from), c.from(0, from));
        let (Some(a_at), Some(b_at)) = (a.start::<S>(), b.start::<S>()) else {
            unreachable!("types were compared");
        };
        // SAFETY: columns of what the caller promised, these for this task alone.
        unsafe {
            ::gemm::gemm(
                m,
                to - from,
                k,
                c.at.cast::<S>(),
                1,
                c.row as isize,
                c.add,
                a_at,
                a.col as isize,
                a.row as isize,
                b_at,
                b.col as isize,
                b.row as isize,
                one,
                one,
                false,
                false,
                false,
                ::gemm::Parallelism::None,
            );
        }
    };
    match parts {
        1 => part(0),
        _ => threads::run(parts, part),
    }
}
