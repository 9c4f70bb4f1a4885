//! How kernels that go element by element share out rows (`cuda/spans.h`).
use crate::launch::{Number, WARP};

/// Elements of a pack: as many as one load takes, 16 bytes.
pub(crate) fn pack(number: Number) -> u32 {
    16 / number.size() as u32
}

/// For a row of `units` of work, of which a thread does one at a time: how many times a
/// block of at most `most` threads goes over them, and of how many threads it is, so
/// that few are idle in the end.
pub(crate) fn rounds(units: u32, most: u32) -> (u32, u32) {
    let rounds = units.div_ceil(most).max(1);
    (rounds, units.div_ceil(rounds).next_multiple_of(WARP).max(WARP))
}

/// The spans of a row of `width` elements, and the threads of the block that has one.
pub(crate) fn spans(number: Number, width: u32, most: u32) -> (u32, u32) {
    let (_, threads) = rounds(width.div_ceil(pack(number)), most);
    (width.div_ceil(threads * pack(number)), threads)
}
