//! Memory that products work in, kept by each thread from call to call.

use std::cell::RefCell;

/// A cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "only its address is used")] [u8; 64]);

/// What a buffer is for. Each thread keeps one for each.
#[derive(Clone, Copy)]
pub enum Use {
    /// Packed panels of B.
    Panels,
    /// Packed strips of A.
    Strips,
    /// Sums of a block of a 16-bit C.
    Sums,
    /// Sums of a strip of a 16-bit C.
    Round,
}

/// The memory that waits for each use.
type Kept = [Vec<Line>; 4];

thread_local! {
    static KEPT: RefCell<Kept> = const { RefCell::new([const { vec![] }; 4]) };
}

/// A buffer with arbitrary contents, aligned to cache lines. Its memory goes back to
/// the thread when this is dropped.
pub struct Scratch {
    lines: Vec<Line>,
    what: Use,
}

impl Scratch {
    /// Room for `len` numbers and one vector more.
    pub fn new<T>(what: Use, len: usize) -> Scratch {
        let mut lines =
            KEPT.with_borrow_mut(|kept| std::mem::take(&mut kept[what as usize]));
        let needed = (len * size_of::<T>()).div_ceil(64) + 1;
        if lines.len() < needed {
            drop(lines); // Before its successor is there.
            let _tag = memory::tag(memory::Family::Scratch);
            lines = vec![Line([0; 64]); needed];
        }
        Scratch { lines, what }
    }

    /// Where it begins. Good for writing until the buffer is dropped.
    pub fn start<T: Copy>(&mut self) -> *mut T {
        self.lines.as_mut_ptr().cast()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        // Not where the thread is ending: then it is simply freed.
        let _ = KEPT.try_with(|kept| kept.borrow_mut()[self.what as usize] = lines);
    }
}
