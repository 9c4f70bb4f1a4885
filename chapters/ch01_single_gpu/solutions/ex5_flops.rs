//! # Fill in: the FLOPs of a token
//!
//! A layer has seven matrices: q and o of `channels × hidden`, k and v of
//! `kv_channels × hidden`, gate, up and down of `intermediate × hidden`. The output
//! matrix is used as a product once, tied or not; the embedding is looked up, which
//! computes nothing. Each element costs 2 FLOPs forward and 4 backward: 6 in all.
//!
//! In attention, scores and mixture each take 2 FLOPs per key and channel forward, over
//! `seq_len / 2` keys on average; with twice that backward it makes
//! $3 \cdot 2 \cdot 2 \cdot s / 2 = 6 s$ per channel and layer. The channels are those
//! of the query heads: sharing keys and values saves memory, not scores.
use hub::ModelConfig;

/// FLOPs per token of training, forward and backward, in rows of `seq_len` tokens.
pub fn flops_per_token(model: &ModelConfig, seq_len: usize) -> f64 {
    let hidden = model.hidden_size;
    let channels = model.num_attention_heads * model.head_dim;
    let kv_channels = model.num_key_value_heads * model.head_dim;
    let attention = 2 * channels * hidden + 2 * kv_channels * hidden;
    let mlp = 3 * model.intermediate_size * hidden;
    let matrices =
        model.num_hidden_layers * (attention + mlp) + model.vocab_size * hidden;
    let scores = model.num_hidden_layers * channels * seq_len;
    (6 * matrices + 6 * scores) as f64
}
