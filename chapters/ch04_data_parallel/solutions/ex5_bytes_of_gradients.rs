//! # Fill in: the bytes of the gradients
//!
//! $$\text{steps} \cdot \text{bytes of an element} \cdot \sum_\text{buckets}
//! 2 (n - 1) \left\lceil \frac{\text{elements}}{n} \right\rceil$$
//!
//! The number of micro-batches does not occur: they accumulate, and what leaves is
//! their sum. That is one more use of accumulation: twice as many micro-batches in a
//! step halve the bytes per token. Nor does the type of 16-bit parameters: their
//! gradients are summed in fp32, and are so on their way, too. (To send them in 16 bits
//! halves the bytes and costs digits: Megatron-LM does so under
//! `--grad-reduce-in-bf16`.) Each bucket is padded by itself, by less than one element
//! a rank, which is why many small buckets cost more than one.
//!
//! With one rank it is zero, and with many it comes near to twice the gradients,
//! however many there are: 4 GB a step for each of two ranks with a billion parameters
//! in fp32, and 8 GB for each of a thousand.
use candle_core::DType;

/// Bytes that one of `ranks` ranks sends in `steps` steps to sum the gradients.
pub fn gradient_bytes(
    buckets: &[usize],
    dtype: DType,
    ranks: usize,
    _micro_batches: usize,
    steps: usize,
) -> u64 {
    let element = if dtype == DType::F64 { 8 } else { 4 };
    let chunks = buckets.iter().map(|elements| elements.div_ceil(ranks));
    let elements = 2 * (ranks - 1) * chunks.sum::<usize>();
    (steps * elements * element) as u64
}
