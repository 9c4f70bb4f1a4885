//! The books: live and peak bytes per rank and family, kept with relaxed atomics.

use std::ops::Index;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Accounts there are. Ranks from `RANKS - 1` on share the last one.
pub const RANKS: usize = 64;

/// Numbers that make up an [`Account`].
pub const NUMBERS: usize = 2 * (Family::ALL.len() + 1);

/// What an allocation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Family {
    /// Whatever no tag was set for.
    Other,
    /// The weights the model computes with, and their masters.
    Parameters,
    /// The gradients that the optimizer will read.
    Gradients,
    /// The optimizer's moments.
    Optimizer,
    /// What the forward pass saves for the backward pass.
    Activations,
    /// What lives inside one operation.
    Scratch,
}

impl Family {
    /// All families, in the order of tables.
    pub const ALL: [Family; 6] = [
        Family::Parameters,
        Family::Gradients,
        Family::Optimizer,
        Family::Activations,
        Family::Scratch,
        Family::Other,
    ];

    /// The name in tables and logs.
    pub fn name(self) -> &'static str {
        match self {
            Family::Other => "other",
            Family::Parameters => "parameters",
            Family::Gradients => "gradients",
            Family::Optimizer => "optimizer",
            Family::Activations => "saved for backward",
            Family::Scratch => "scratch",
        }
    }
}

/// Bytes in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// Bytes allocated and not yet freed.
    pub live: u64,
    /// The most that `live` was since the start or the last [`reset_peak`].
    pub peak: u64,
}

/// One rank's memory at one moment. Index it by [`Family`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    families: [Use; Family::ALL.len()],
    /// All families together. Its peak is at most the sum of theirs: they need not
    /// have peaked at the same time.
    pub total: Use,
}

impl Index<Family> for Account {
    type Output = Use;

    fn index(&self, family: Family) -> &Use {
        &self.families[family as usize]
    }
}

impl Account {
    /// All numbers of the account, to be sent elsewhere.
    pub fn to_numbers(&self) -> [u64; NUMBERS] {
        let mut uses = self.families.iter().chain([&self.total]);
        let mut numbers = [0; NUMBERS];
        for pair in numbers.chunks_mut(2) {
            let used = uses.next().copied().unwrap_or_default();
            pair.copy_from_slice(&[used.live, used.peak]);
        }
        numbers
    }
    /// The account that [`Account::to_numbers`] was asked of.
    pub fn from_numbers(numbers: &[u64; NUMBERS]) -> Account {
        let used = |i: usize| Use { live: numbers[2 * i], peak: numbers[2 * i + 1] };
        let families = std::array::from_fn(used);
        Account { families, total: used(Family::ALL.len()) }
    }
    /// Several ranks' accounts added up. The peaks are added too, which is an upper
    /// bound: ranks need not peak at the same time.
    pub fn sum(accounts: impl IntoIterator<Item = Account>) -> Account {
        let add = |a: &mut Use, b: Use| {
            a.live += b.live;
            a.peak += b.peak;
        };
        let mut sum = Account::default();
        for account in accounts {
            for (a, b) in sum.families.iter_mut().zip(account.families) {
                add(a, b);
            }
            add(&mut sum.total, account.total);
        }
        sum
    }
}

/// Reads a rank's account. Other threads may be allocating meanwhile; each number is
/// exact for some moment during the call.
pub fn account(rank: usize) -> Account {
    let book = &BOOKS[rank.min(RANKS - 1)];
    Account {
        families: std::array::from_fn(|f| book.families[f].read()),
        total: book.total.read(),
    }
}

/// Forgets a rank's peaks: they start again from what is live now. Call it while that
/// rank's threads are at rest, or a peak reached during the call may be missed.
pub fn reset_peak(rank: usize) {
    let book = &BOOKS[rank.min(RANKS - 1)];
    book.families.iter().chain([&book.total]).for_each(Counter::reset);
}

/// Which account an allocation is booked to: rank and family in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub rank: u8,
    pub family: Family,
}

impl Place {
    pub const START: Place = Place { rank: 0, family: Family::Other };

    pub fn new(rank: usize, family: Family) -> Place {
        Place { rank: rank.min(RANKS - 1) as u8, family }
    }

    pub fn add(self, bytes: usize) {
        let book = &BOOKS[self.rank as usize];
        book.families[self.family as usize].add(bytes as u64);
        book.total.add(bytes as u64);
    }

    pub fn subtract(self, bytes: usize) {
        let book = &BOOKS[self.rank as usize];
        book.families[self.family as usize].subtract(bytes as u64);
        book.total.subtract(bytes as u64);
    }
}

/// A cache line (a pair, as the prefetcher sees it) of its own: ranks never contend.
#[repr(align(128))]
struct Counter {
    live: AtomicU64,
    peak: AtomicU64,
}

struct Book {
    families: [Counter; Family::ALL.len()],
    total: Counter,
}

static BOOKS: [Book; RANKS] = [const { Book::new() }; RANKS];

impl Book {
    const fn new() -> Book {
        Book {
            families: [const { Counter::new() }; Family::ALL.len()],
            total: Counter::new(),
        }
    }
}

// Relaxed suffices: each counter is a number by itself, and a block's subtraction
// comes after its addition because whoever frees a block was handed it by whoever
// allocated it, so `live` never drops below zero.
impl Counter {
    const fn new() -> Counter {
        Counter { live: AtomicU64::new(0), peak: AtomicU64::new(0) }
    }

    fn add(&self, bytes: u64) {
        let live = self.live.fetch_add(bytes, Relaxed) + bytes;
        // Peaks are rare, and reading is cheaper than a locked maximum.
        if live > self.peak.load(Relaxed) {
            self.peak.fetch_max(live, Relaxed);
        }
    }

    fn subtract(&self, bytes: u64) {
        self.live.fetch_sub(bytes, Relaxed);
    }

    fn read(&self) -> Use {
        // A thread between its two additions may show more live than peak.
        let live = self.live.load(Relaxed);
        Use { live, peak: self.peak.load(Relaxed).max(live) }
    }

    fn reset(&self) {
        self.peak.store(self.live.load(Relaxed), Relaxed);
        self.peak.fetch_max(self.live.load(Relaxed), Relaxed);
    }
}
