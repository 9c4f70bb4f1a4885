//! # Find the bug: rows dealt out to ranks
//!
//! A data set is gone through in epochs, each time in another order: an endless stream
//! of rows, of which each epoch has every row once. In a round every rank takes one
//! micro-batch off the stream, and all ranks together what one rank would take, were
//! its micro-batch as large as all of theirs: rank 0 the first rows, rank 1 those
//! behind them, and so on. The stream does not care where a round ends: a round, and
//! even a micro-batch, may begin in one epoch and end in the next.
//!
//! Each rank has a sampler of its own, which says the rows that are its. No message is
//! needed for it: the order of an epoch depends on the seed and the epoch alone, and
//! all ranks have the same seed.
//!
//! With one rank all is as it should be. With several ranks, some rows come twice in an
//! epoch and others not at all; but no rank ever sees anything strange by itself, and
//! the loss falls as before.
//!
//! It is wrong in one place.
//!
//! ## Hint
//!
//! Take 5 rows, two ranks and micro-batches of 1, and let both go through the first
//! three epochs: write down for each place of the stream which rank takes it, and out
//! of which epoch's order. What does a rank have to see in order to begin a new epoch?
//! Which rank sees it? Then try 3 rows and four ranks.

/// Says which rows a rank takes.
pub struct Sampler {
    /// Rows of the data set.
    rows: usize,
    /// Decides the order of each epoch.
    seed: u64,
    /// Rows of a micro-batch.
    micro_batch: usize,
    /// Ranks that share the stream.
    ranks: usize,
    /// The place in the stream of this rank's next micro-batch.
    next: usize,
    /// The order of the epoch that this rank is in.
    order: Vec<usize>,
}

impl Sampler {
    /// Of rank `rank` of `ranks`, all of which have the same `rows`, `seed` and
    /// `micro_batch`, at the start of the stream.
    pub fn new(
        rows: usize,
        seed: u64,
        micro_batch: usize,
        rank: usize,
        ranks: usize,
    ) -> Sampler {
        let next = rank * micro_batch;
        let order = shuffled(rows, seed, 0);
        Sampler { rows, seed, micro_batch, ranks, next, order }
    }
    /// The rows of the next micro-batch, from 0 to `rows`, `rows` left out.
    pub fn next_micro_batch(&mut self) -> Vec<usize> {
        let places = self.next..self.next + self.micro_batch;
        // The other ranks' lie in between.
        self.next += self.ranks * self.micro_batch;
        places.map(|place| self.row(place)).collect()
    }
    /// The row at this place of the stream.
    fn row(&mut self, place: usize) -> usize {
        let (epoch, at) = (place / self.rows, place % self.rows);
        // An epoch begins. Shuffling takes time, and is done once for each.
        if at == 0 {
            self.order = shuffled(self.rows, self.seed, epoch);
        }
        self.order[at]
    }
}

/// The order of an epoch: all rows, shuffled (Fisher and Yates).
fn shuffled(rows: usize, seed: u64, epoch: usize) -> Vec<usize> {
    // SplitMix64 (Steele et al. 2014).
    let mix = |x: u64| {
        let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ x >> 31
    };
    let mut order: Vec<usize> = (0..rows).collect();
    for last in (1..rows).rev() {
        let draw = mix(mix(mix(seed) ^ epoch as u64) ^ last as u64);
        order.swap(last, (draw % (last as u64 + 1)) as usize);
    }
    order
}
