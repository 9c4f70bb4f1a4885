//! What the model learnt: its loss on text it never saw, and a text of its own.
use crate::model::Transformer;
use anyhow::Result;
use candle_core::{D, DType};
use corpus::{Batch, Split, Tokenizer};

/// The mean loss over the first `sequences` rows of `data`, in nats per token.
pub fn validation_loss(
    model: &Transformer,
    data: &Split,
    sequences: usize,
    micro_batch: usize,
) -> Result<f64> {
    let sequences = sequences.min(data.sequences() as usize);
    let (mut loss, mut tokens) = (0.0, 0);
    for first in (0..sequences).step_by(micro_batch) {
        let rows = micro_batch.min(sequences - first);
        let batch = data.batch(first as u64, rows)?;
        let sum = model.loss(&batch, 1.0)?;
        loss += sum.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        tokens += batch.target_count();
    }
    Ok(loss / tokens.max(1) as f64)
}

/// Continues `prompt` by `count` tokens, each drawn from the model's own distribution
/// sharpened by `temperature`, or until the end of the document.
///
/// Each token costs a pass over all before it, of which the model sees the last
/// `seq_len`: nothing is cached between them.
pub fn sample(
    model: &Transformer,
    tokenizer: &Tokenizer,
    prompt: &[u32],
    count: usize,
    seq_len: usize,
    temperature: f64,
    seed: u64,
) -> Result<String> {
    let mut tokens = prompt.to_vec();
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
        let logits = logits.to_dtype(DType::F64)?;
        let next = match temperature > 0.0 {
            true => {
                let weights = ((&logits - logits.max_all()?.to_scalar::<f64>()?)?
                    / temperature)?
                    .exp()?;
                draw(&weights.to_vec1()?, uniform(&mut random))
            }
            false => logits.argmax(D::Minus1)?.to_scalar::<u32>()?,
        };
        if next == tokenizer.end_of_document() {
            break;
        }
        tokens.push(next);
    }
    tokenizer.decode(&tokens[prompt.len()..])
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
