//! # Find the bug: rows dealt out to ranks
//!
//! A sampler took a new order when it came to the first row of an epoch. Only one rank
//! comes to that: the one in whose micro-batch the row is. The others went on with the
//! order they had, so that in the second epoch one rank read off one order and the
//! others off another. Neither is wrong for itself. Together they are: a row can stand
//! at rank 0's places in the one and at rank 1's in the other, and is taken twice; or
//! at neither, and is left out.
//!
//! Now a rank compares the epoch of each place with that of the order it has. That
//! also holds where an epoch is shorter than a round, so that a rank leaves out a whole
//! epoch. To look out for a place in the epoch that is smaller than the one before
//! would not: with 3 rows and four ranks, those of rank 0 go 0, 1, 2, and each is in a
//! later epoch.
//!
//! What a rank does must follow from numbers that all ranks know, such as a place in
//! the stream, and not from what it happens to meet. `DistributedSampler` of PyTorch
//! cannot know the epoch at all: forget to call `set_epoch` on it, and every epoch has
//! the order of the first. In this book `Split::batch` computes each row from its
//! number alone, with nothing kept from one call to the next.

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
    /// The epoch that this rank is in, and its order.
    epoch: usize,
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
        Sampler { rows, seed, micro_batch, ranks, next, epoch: 0, order }
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
        // Another epoch than before. Shuffling takes time, and is done once for each.
        if epoch != self.epoch {
            self.epoch = epoch;
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
