//! Memory in the role of a device's: it is booked, given back, joined, and runs out.

use super::*;
use crate::{Family, account, set_rank, tag};

/// Memory of this machine's, in the role of a device's.
struct Pretended {
    obtained: AtomicUsize,
    left: AtomicUsize,
}

impl Device for Pretended {
    fn obtain(&self, bytes: usize) -> Option<usize> {
        let left = self.left.load(Acquire).checked_sub(bytes)?;
        self.left.store(left, Release);
        self.obtained.fetch_add(bytes, Release);
        let _tag = tag(Family::Other);
        let words = vec![0xabab_u128 << 64; bytes / 16 + ALIGN / 16];
        let start = Vec::leak(words).as_ptr() as usize;
        Some(start.next_multiple_of(ALIGN))
    }
    unsafe fn copy(
        &self,
        to: *mut u8,
        from: *const u8,
        bytes: usize,
    ) -> Result<(), String> {
        // SAFETY: the caller's.
        unsafe { to.copy_from_nonoverlapping(from, bytes) };
        Ok(())
    }
    unsafe fn zero(&self, at: *mut u8, bytes: usize) -> Result<(), String> {
        // SAFETY: the caller's.
        unsafe { at.write_bytes(0, bytes) };
        Ok(())
    }
}

fn device() -> &'static Pretended {
    let (obtained, left) = (AtomicUsize::new(0), AtomicUsize::new(usize::MAX));
    let device: &'static Pretended = Box::leak(Box::new(Pretended { obtained, left }));
    set(Some(device));
    device
}

fn is_of(at: *const f32, device: &'static dyn Device) -> bool {
    of(at).is_some_and(|found| number(found) == number(device))
}

#[test]
fn a_vec_of_a_devices_memory_is_booked_and_goes_back() {
    set_rank(51);
    let device = device();
    let live = || account(51)[Family::Gradients].live;
    let _tag = tag(Family::Gradients);
    let first = within(|| Vec::<f32>::with_capacity(1000));
    assert!(is_of(first.as_ptr(), device));
    assert_eq!((live(), first.as_ptr() as usize % ALIGN), (4000, 0));
    let zeroed = within(|| vec![0f32; 300]);
    assert!(is_of(zeroed.as_ptr(), device) && zeroed[..] == [0.0; 300]);
    assert_eq!(live(), 5200);
    let (at, here) = (first.as_ptr(), vec![0f32; 1000]);
    assert!(of(here.as_ptr()).is_none(), "only what is allocated within is there");
    // Freed by a thread that has no device, and taken again.
    std::thread::spawn(move || drop(first)).join().unwrap();
    assert_eq!(live(), 4000 + 1200, "`here` and `zeroed`");
    let again = within(|| Vec::<f32>::with_capacity(900));
    assert_eq!(again.as_ptr(), at);
    set(None);
    assert!(of(within(|| vec![0f32; 10]).as_ptr()).is_none());
}

#[test]
fn neighbours_are_joined_and_chunks_are_not() {
    let device = device();
    let bytes = CHUNK / 4;
    let take = |bytes| within(|| Vec::<u8>::with_capacity(bytes));
    let mut quarters: Vec<Vec<u8>> = (0..4).map(|_| take(bytes)).collect();
    assert_eq!(device.obtained.load(Acquire), CHUNK);
    // In every order: with the one before, with the one after, with both.
    for i in [1, 1, 1, 0] {
        drop(quarters.remove(i));
    }
    let whole = take(CHUNK);
    assert_eq!(device.obtained.load(Acquire), CHUNK, "all of it was free");
    let more = take(CHUNK + 1);
    assert_eq!(device.obtained.load(Acquire), CHUNK + 2 * CHUNK);
    drop((whole, more));
    let third = take(2 * CHUNK + 1);
    assert_eq!(device.obtained.load(Acquire), 3 * CHUNK + 3 * CHUNK);
    drop(third);
    set(None);
}

#[test]
fn a_device_that_is_nearly_full_gives_what_it_has() {
    let device = device();
    let take = |bytes| within(|| Vec::<u8>::with_capacity(bytes));
    let most = take(5 * CHUNK);
    // A quarter of that would be two chunks.
    device.left.store(CHUNK + CHUNK / 2, Release);
    let small = take(CHUNK / 4);
    assert_eq!(device.obtained.load(Acquire), 6 * CHUNK);
    // And in the end less than a chunk.
    let rest = take(3 * CHUNK / 4);
    let last = take(CHUNK / 2);
    assert_eq!(device.left.load(Acquire), 0);
    assert!(is_of(last.as_ptr().cast(), device));
    let none = within(|| Vec::<u8>::new().try_reserve_exact(1));
    assert!(none.is_err());
    drop((most, small, rest, last));
    set(None);
}

#[test]
fn a_full_device_is_an_error_and_growing_moves() {
    let device = device();
    let mut data = within(|| vec![1f32, 2.0, 3.0]);
    data.reserve_exact(100_000);
    assert!(is_of(data.as_ptr(), device) && data[..] == [1.0, 2.0, 3.0]);
    device.left.store(0, Release);
    let none = within(|| Vec::<u8>::new().try_reserve_exact(2 * CHUNK));
    assert!(none.is_err());
    let mut here = vec![0f32; 3];
    // SAFETY: both have three elements.
    unsafe { copy(here.as_mut_ptr(), data.as_ptr(), 3).unwrap() };
    assert_eq!(here, [1.0, 2.0, 3.0]);
    set(None);
}
