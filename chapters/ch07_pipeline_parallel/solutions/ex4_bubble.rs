//! # Fill in: the bubble
//!
//! A stage works for $m\,v\,(f + b)$. It is idle for $(p - 1)(f + b)$: while the first
//! micro-batch goes through one chunk of each other stage, forward, and the last one
//! comes back through them, or, on the last stage, before and after that. With more
//! chunks, each of them is shorter, and it is only one chunk's time that a stage waits
//! for each of the others. So
//!
//! $$\frac{(p - 1)(f + b)}{m\,v\,(f + b) + (p - 1)(f + b)} = \frac{p - 1}{m\,v + p -
//! 1},$$
//!
//! whatever a forward and a backward take. Narayanan et al. 2021 divide by the time in
//! which a stage works, $\frac{p - 1}{m\,v}$: it is what the bubble adds to that, and
//! looks larger. Which one a number is has to be said with it.
//!
//! At most $q$ percent: $100\,(p - 1) \le q\,(m\,v + p - 1)$, that is $m \ge \frac{(100
//! - q)(p - 1)}{q\,v}$, rounded up. One micro-batch there must be.

/// The share of all the time, from 0 to 1, in which a stage is idle.
pub fn idle_share(stages: usize, micros: usize, chunks: usize) -> f64 {
    let idle = stages - 1;
    idle as f64 / (micros * chunks + idle) as f64
}

/// The fewest micro-batches with which a stage is idle for at most `percent` (1 to 100)
/// percent of all the time.
pub fn micro_batches(stages: usize, chunks: usize, percent: usize) -> usize {
    let least = ((100 - percent) * (stages - 1)).div_ceil(percent * chunks).max(1);
    if chunks > 1 { least.next_multiple_of(stages) } else { least }
}
