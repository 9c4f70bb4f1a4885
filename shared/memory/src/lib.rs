//! The memory account: how many bytes each rank holds, by what they are for.
//!
//! Linking this crate (`use memory as _;` is enough) makes its allocator the program's.
//! Every allocation then carries a small header naming the rank and the [`Family`] it
//! was made for, so that freeing it, later and on whatever thread, is booked to the
//! same account. Nothing is sampled or estimated.
//!
//! ```
//! use memory::{Family, account, set_rank, tag};
//!
//! set_rank(3); // this thread works for rank 3
//! let before = account(3)[Family::Gradients].live;
//! let gradients = {
//!     let _tag = tag(Family::Gradients); // until the end of this block
//!     vec![0f32; 1000]
//! };
//! assert_eq!(account(3)[Family::Gradients].live - before, 4000);
//! drop(gradients);
//! assert_eq!(account(3)[Family::Gradients].live, before);
//! ```
//!
//! Rank and family belong to the thread. A new thread starts as rank 0 and
//! [`Family::Other`]: whoever starts workers for a rank calls [`set_rank`] in them.
//!
//! **What is counted** is the bytes asked for. Headers (16 bytes; 64 from 64 KiB on)
//! and rounding (to pages, from 64 KiB on) are not; [`process_peak`], the kernel's
//! view, contains everything.
//!
//! **Freed memory of 64 KiB and more is kept for reuse** ([`blocks`] says why, with
//! what was measured). It is in nobody's account, since nobody holds it, and does not
//! hide there: [`cached`] tells how much it is, [`release`] returns it to the kernel.
//! At no time is more kept than was once in use.
//!
//! **A GPU's memory** is in the same accounts: see [`device`].
//!
//! **What it costs**: a header of 16 bytes and two relaxed additions for each
//! allocation, and for each free. Threads of different ranks share no
//! counter. Threads of one rank do, so a rank's many workers should not allocate in
//! their innermost loops.

mod account;
mod allocator;
pub mod blocks;
pub mod device;
mod process;
mod thread;

pub use account::{Account, Family, NUMBERS, RANKS, Use, account, reset_peak};
pub use allocator::Tagging;
pub use blocks::{cached, release};
pub use process::{page_faults, process_peak};
pub use thread::{Nobody, Tag, nobody, rank, set_rank, tag};

/// The allocator of every program that links this crate.
#[global_allocator]
static ALLOCATOR: Tagging = Tagging;
