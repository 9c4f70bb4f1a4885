//! # Fill in: the FLOPs of a token
//!
//! How busy a machine is, its MFU, is the FLOPs that the *model* needs for each token,
//! times tokens per second, over what the machine could do. The first of these numbers
//! is counted, not measured, and only means something with its convention. Ours:
//!
//! - forward and backward, and only what a multiplication of matrices costs;
//! - an element of a matrix takes part, for each token, in one multiplication and one
//!   addition forward, and in twice as many backward (one product for the gradient of
//!   the input, one for that of the weight);
//! - a token's query meets, on average, half of the `seq_len` keys of its row. Each
//!   meeting costs a dot product (the score) and a weighted value (the mixture), and
//!   again twice as much backward;
//! - norms, biases, activations, the softmax and the optimizer count for nothing.
//!
//! Count them from the architecture alone, for any of our models: key/value heads may
//! be fewer than heads, `head_dim` need not be `hidden_size / num_attention_heads`, and
//! the output matrix may be the embedding (`tie_word_embeddings`). The check asks
//! the chapter's `run::flops_per_token`.
//!
//! ## Hint
//!
//! Which of the two vocabulary-sized uses is a matrix product: the lookup of a row, or
//! the scores of all tokens as the next? Does it matter for that whether they share
//! their memory? And which number of heads do scores have: `num_attention_heads` or
//! `num_key_value_heads`?
#![allow(unused_variables)]
use hub::ModelConfig;

/// FLOPs per token of training, forward and backward, in rows of `seq_len` tokens.
pub fn flops_per_token(model: &ModelConfig, seq_len: usize) -> f64 {
    todo!("the matrices of all layers, the output matrix, and attention")
}
