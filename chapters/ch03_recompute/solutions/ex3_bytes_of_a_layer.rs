//! # Fill in: the bytes that layers keep for backward
//!
//! With $h$ the hidden size, $q$ and $k$ the widths of all heads and of all key/value
//! heads, $f$ the intermediate size and $n$ heads, a layer keeps
//!
//! $$\underbrace{4h}_\text{norms} + \underbrace{2q + 2k}_\text{attention} +
//! \underbrace{3f}_\text{gate}$$
//!
//! elements and $n$ log-sum-exps. Each norm saves its input, the residual stream, and
//! the projection behind it saves its output. What was projected is not saved, since a
//! rotation needs only its angles to be turned back; what was rotated is. With QK-norm
//! what was projected is saved too, by the norm. Attention's output counts once, though
//! both attention and the output projection save it.
//!
//! A module that is computed again keeps its input. Two norms give up their outputs,
//! $2h$; the gate its product, $f$; attention all but one set of queries, keys and
//! values: those it keeps are no longer the rotated ones but the projected ones. And a
//! segment of whole layers keeps $h$, however many layers it has.
use ch03_recompute::recompute::Recompute;
use ch03_recompute::segment::Keep;
use hub::ModelConfig;

/// Bytes per token that all layers together keep from forward to backward; an element
/// takes `element` bytes and a log-sum-exp `accumulator`.
pub fn saved_per_token(
    model: &ModelConfig,
    recompute: &Recompute,
    element: usize,
    accumulator: usize,
) -> usize {
    let (hidden, wide) = (model.hidden_size, model.intermediate_size);
    let heads = model.num_attention_heads;
    let mixed = heads * model.head_dim;
    let qkv = mixed + 2 * model.num_key_value_heads * model.head_dim;
    let kept = |keep: Keep, elements: usize| match keep {
        Keep::All => elements,
        _ => 0,
    };
    // What segments keep in any case, and what only a tape does.
    let norms = 2 * hidden + kept(recompute.norm, 2 * hidden);
    let before_norm = if model.qk_norm { qkv } else { 0 };
    let attention = qkv + kept(recompute.attention, before_norm + mixed);
    let log_sums = kept(recompute.attention, heads);
    let gate = 2 * wide + kept(recompute.swiglu, wide);
    let layer = (norms + attention + gate) * element + log_sums * accumulator;

    let segments = recompute.segments.iter();
    let bytes = segments.map(|(layers, keep)| match keep {
        Keep::All => layers * layer,
        _ => hidden * element,
    });
    bytes.sum()
}
