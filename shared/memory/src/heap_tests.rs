//! A heap of its own is used at random, and looked through as it goes.

use super::*;

/// Walks every block of every chunk: gapless, tagged right, no two free neighbours, and
/// zero from `clean` on. Returns the free blocks' bytes.
unsafe fn check(chunks: &[*mut Block], heap: &Heap) -> usize {
    let (mut free, mut kept) = (0, 0);
    for &chunk in chunks {
        let (mut block, mut before, mut was_free) = (chunk, 0, false);
        // SAFETY: the blocks of our own heap.
        unsafe {
            while (*block).size > 0 {
                assert_eq!((*block).before, before);
                assert!(!(was_free && (*block).free), "neighbours were not joined");
                before = (*block).size;
                was_free = (*block).free;
                if was_free {
                    (free, kept) = (free + before, kept + (*block).clean);
                    // A sample, the next pages: chunks are large.
                    let start = (*block).clean.max(RESERVED);
                    for at in start..before.min(start + 9000) {
                        assert_eq!(*block.cast::<u8>().add(at), 0, "not clean");
                    }
                }
                block = after(block);
            }
            assert_eq!(((*block).before, (*block).free), (before, false));
        }
    }
    assert_eq!(heap.kept, kept);
    free
}

#[test]
fn a_heap_used_at_random_stays_sound_and_ends_empty() {
    let mut heap = Heap { bins: Bins::new(), mapped: 0, kept: 0 };
    let mut chunks: Vec<*mut Block> = Vec::new();
    let mut held: Vec<(*mut Block, usize, u8)> = Vec::new();
    let mut seed = 9u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 33) as usize % below
    };
    // Most of the first chunk is held all the time, so that there will be another.
    // SAFETY: not written, and given back at the end.
    let most = unsafe { heap.take(CHUNK - 16 * ALIGN * 100).0 };
    // SAFETY: just taken.
    chunks.push(unsafe { first_of(most) });
    for round in 0..3000usize {
        // SAFETY: each block is written within its size and given back once.
        unsafe {
            if random(100) < 52 || held.is_empty() {
                let spread = 1 << (2 + random(10));
                let size = ALIGN * (16 + random(spread));
                let mapped = heap.mapped;
                let (block, clean) = heap.take(size);
                assert!(!block.is_null() && (*block).size == size && !(*block).free);
                if heap.mapped > mapped {
                    chunks.push(first_of(block));
                }
                let all = std::slice::from_raw_parts_mut(block.cast::<u8>(), size);
                let unwritten = &all[clean.max(RESERVED)..];
                assert!(unwritten.iter().all(|&b| b == 0), "said to be clean");
                all[RESERVED..].fill(round as u8 | 1);
                held.push((block, size, round as u8 | 1));
            } else {
                let (block, size, mark) = held.swap_remove(random(held.len()));
                let all = std::slice::from_raw_parts(block.cast::<u8>(), size);
                assert!(all[RESERVED..].iter().all(|&b| b == mark), "overwritten");
                heap.give(block);
            }
            if round % 50 == 0 {
                check(&chunks, &heap);
            }
        }
    }
    // SAFETY: as above.
    unsafe {
        held.into_iter().for_each(|(block, ..)| heap.give(block));
        heap.give(most);
        let marks = chunks.len() * ALIGN;
        assert_eq!(check(&chunks, &heap) + marks, heap.mapped);
    }
    assert!(chunks.len() > 1, "more than a chunk was needed");
}

/// The first block of the chunk that a block is in.
unsafe fn first_of(mut block: *mut Block) -> *mut Block {
    // SAFETY: `before` leads to the block before, up to the first.
    unsafe {
        while (*block).before > 0 {
            block = block.byte_sub((*block).before);
        }
    }
    block
}

#[test]
fn the_smallest_block_that_fits_is_taken() {
    let mut heap = Heap { bins: Bins::new(), mapped: 0, kept: 0 };
    let page = |n: usize| n * ALIGN;
    // SAFETY: blocks of our own heap, given back once.
    unsafe {
        // Three holes, held apart: 100, 40 and 60 pages.
        let holes = [100, 40, 60].map(|n| {
            let hole = heap.take(page(n)).0;
            heap.take(page(16));
            hole
        });
        holes.into_iter().for_each(|hole| heap.give(hole));
        assert_eq!(heap.take(page(59)).0, holes[2]);
        assert_eq!(heap.take(page(40)).0, holes[1]);
        assert_eq!(heap.take(page(30)).0, holes[0]);
        assert_eq!(heap.take(page(70)).0, holes[0].byte_add(page(30)));
        // The same among holes of one bin, the last freed being looked at first.
        let holes = [100, 97, 103].map(|n| {
            let hole = heap.take(page(n)).0;
            heap.take(page(16));
            hole
        });
        holes.into_iter().for_each(|hole| heap.give(hole));
        assert_eq!(heap.take(page(99)).0, holes[0]);
    }
}
