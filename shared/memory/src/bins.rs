//! Free blocks by size: a doubly linked list per eighth of a doubling.

use super::{ALIGN, Block, SMALLEST};
use std::ptr::null_mut;

/// Blocks below `SMALLEST` are in bin 0, where nobody looks: they wait for a neighbour.
const BINS: usize = 1 + 8 * 32;

/// A bin's blocks looked at for the best fit.
const LOOKS: usize = 64;

pub struct Bins {
    first: [*mut Block; BINS],
    /// Which bins hold a block, a bit each.
    filled: [u64; BINS.div_ceil(64)],
}

/// The bin for a block of this size: bin `b + 1` holds sizes from `(8 + b % 8) ·
/// 2^(b/8)` eighths of `SMALLEST`, up to the next bin's.
fn bin(size: usize) -> usize {
    if size < SMALLEST {
        return 0;
    }
    let units = size / (SMALLEST / 8);
    let doublings = units.ilog2() as usize - 3;
    (1 + 8 * doublings + (units >> doublings) - 8).min(BINS - 1)
}

// SAFETY, for all below: the heap is locked, and blocks in bins are its own free ones,
// so their links are valid or null.
impl Bins {
    pub const fn new() -> Bins {
        Bins { first: [null_mut(); BINS], filled: [0; BINS.div_ceil(64)] }
    }

    /// The first block of each bin, or null.
    pub fn each(&self) -> [*mut Block; BINS] {
        self.first
    }

    pub unsafe fn link(&mut self, block: *mut Block) {
        // SAFETY: see above.
        unsafe {
            let bin = bin((*block).size);
            let next = self.first[bin];
            (*block).next = next;
            (*block).previous = null_mut();
            if !next.is_null() {
                (*next).previous = block;
            }
            self.first[bin] = block;
            self.filled[bin / 64] |= 1 << (bin % 64);
        }
    }

    pub unsafe fn unlink(&mut self, block: *mut Block) {
        // SAFETY: see above.
        unsafe {
            let bin = bin((*block).size);
            let Block { next, previous, .. } = *block;
            if !next.is_null() {
                (*next).previous = previous;
            }
            if !previous.is_null() {
                (*previous).next = next;
            } else {
                self.first[bin] = next;
                if next.is_null() {
                    self.filled[bin / 64] &= !(1 << (bin % 64));
                }
            }
        }
    }

    /// The smallest block of at least `size` bytes in the first bin that has one
    /// (among the first `LOOKS`); null if none has. It stays in its bin.
    pub unsafe fn find(&self, size: usize) -> *mut Block {
        let mut bin = bin(size.max(SMALLEST));
        loop {
            let Some(filled) = self.filled_from(bin) else { return null_mut() };
            // SAFETY: see above.
            let best = unsafe { self.best(filled, size) };
            if !best.is_null() {
                return best;
            }
            bin = filled + 1;
        }
    }

    fn filled_from(&self, bin: usize) -> Option<usize> {
        let mut word = bin / 64;
        let mut bits = self.filled.get(word)? & (u64::MAX << (bin % 64));
        while bits == 0 {
            word += 1;
            bits = *self.filled.get(word)?;
        }
        Some(64 * word + bits.trailing_zeros() as usize)
    }

    unsafe fn best(&self, bin: usize, size: usize) -> *mut Block {
        let (mut best, mut best_size) = (null_mut(), usize::MAX);
        let mut block = self.first[bin];
        for _ in 0..LOOKS {
            if block.is_null() || best_size < size + ALIGN {
                break;
            }
            // SAFETY: see above.
            let (its, next) = unsafe { ((*block).size, (*block).next) };
            if (size..best_size).contains(&its) {
                (best, best_size) = (block, its);
            }
            block = next;
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_rise_with_size_and_span_an_eighth() {
        let mut last = (0, 0);
        for power in 12..46 {
            for eighth in 0..8 {
                let size = (8 + eighth) << (power - 3);
                let it = bin(size);
                assert!(it >= last.0, "{size}");
                if size > SMALLEST {
                    assert_eq!(it, last.0 + 1, "{size}");
                    assert_eq!(bin(size - 1), last.0, "{size}");
                }
                last = (it, size);
            }
        }
        assert_eq!(bin(SMALLEST - 1), 0);
        assert_eq!(bin(SMALLEST), 1);
        assert_eq!(bin(usize::MAX), BINS - 1);
    }
}
