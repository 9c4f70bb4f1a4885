//! What the model learnt: its loss on text it never saw, and a text of its own.
use crate::model::Transformer;
use crate::train::interrupted;
use anyhow::Result;
use candle_core::DType;
use comm::{Mesh, Reduce};
use corpus::{Batch, Split, Tokenizer};
use runlog::Interrupt;

/// The mean loss over the first `sequences` of `data`, in nats per token; `None` if
/// there is no target, or the user interrupts. Micro-batches are dealt out to the ranks
/// that see other data; the result is the same on all of them.
///
/// # Errors
/// The data cannot be read, or another rank failed.
pub fn validation_loss(
    model: &Transformer,
    data: &Split,
    sequences: usize,
    micro_batch: usize,
    mesh: &Mesh,
    interrupt: &Interrupt,
) -> Result<Option<f64>> {
    let sequences = sequences.min(data.sequences() as usize);
    let (mut loss, mut tokens) = (0.0, 0);
    let peers = mesh.data();
    // One for each rank, as long as there are any.
    for round in (0..sequences).step_by(micro_batch * peers.size()) {
        if interrupted(mesh.world(), interrupt)? {
            return Ok(None);
        }
        let first = round + peers.rank() * micro_batch;
        if first >= sequences {
            continue;
        }
        let batch = data.batch(first as u64, micro_batch.min(sequences - first))?;
        let sum = model.loss(&batch, 1.0)?;
        loss += ops::scalar(&sum)?;
        tokens += batch.target_count();
    }
    let mut sums = [loss, tokens as f64];
    peers.all_reduce("validation", &mut sums, Reduce::Sum)?;
    let [loss, tokens] = sums;
    Ok((tokens > 0.0).then(|| loss / tokens))
}

/// Below 1, likely tokens are drawn more often than the model says.
const TEMPERATURE: f64 = 0.8;

/// `prompt`, or the start of a document if it is empty, continued by `count` tokens
/// drawn from the model's distribution, or until the document ends. As text.
///
/// Each token costs a pass over those before it, of which the model sees the last
/// `seq_len`, the length it was built for: nothing is cached between passes.
///
/// # Errors
/// The model cannot compute, or its tokens are no text.
pub fn sample(
    model: &Transformer,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    count: usize,
    seq_len: usize,
    seed: u64,
) -> Result<String> {
    let end = tokenizer.end_of_document();
    // What ended the document before is what this one starts with.
    let mut tokens = [&[end], prompt].concat();
    let mut random = seed;
    for _ in 0..count {
        let seen = &tokens[tokens.len().saturating_sub(seq_len)..];
        let batch = Batch {
            rows: 1,
            seq_len: seen.len(),
            tokens: seen.to_vec(),
            targets: vec![],
            document_starts: None,
        };
        let logits = model.logits(&batch)?.squeeze(0)?.get(seen.len() - 1)?;
        let logits = ops::here(&logits)?.to_dtype(DType::F64)?;
        let max = logits.max_all()?.to_scalar::<f64>()?;
        let weights = ((logits - max)? / TEMPERATURE)?.exp()?.to_vec1()?;
        let next = draw(&weights, uniform(&mut random));
        if next == end {
            break;
        }
        tokens.push(next);
    }
    tokenizer.decode(&tokens[1..])
}

/// The index at which the running sum of `weights` passes the share `at` of the whole.
fn draw(weights: &[f64], at: f64) -> u32 {
    let mut left = at * weights.iter().sum::<f64>();
    for (index, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return index as u32;
        }
    }
    weights.len() as u32 - 1
}

/// A number in [0, 1), by SplitMix64 (Steele, Lea and Flood 2014).
fn uniform(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_follow_the_weights() {
        let (weights, mut state) = ([1.0, 0.0, 3.0], 5);
        let mut counts = [0.0; 3];
        for _ in 0..10_000 {
            counts[draw(&weights, uniform(&mut state)) as usize] += 1.0;
        }
        assert!(counts[1] == 0.0 && (counts[0] / 2500.0 - 1.0_f64).abs() < 0.1);
    }
}
