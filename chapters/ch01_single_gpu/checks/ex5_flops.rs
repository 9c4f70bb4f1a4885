//! Against the chapter's own count.
use crate::answer::ex5_flops::*;
use ch01_single_gpu::{presets, run};
use hub::{Family, ModelConfig};

/// Sizes that are all different, with fewer key/value heads.
fn model(family: Family) -> ModelConfig {
    ModelConfig {
        vocab_size: 300,
        hidden_size: 48,
        intermediate_size: 112,
        num_hidden_layers: 3,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        head_dim: 8,
        ..ModelConfig::defaults(family)
    }
}

#[test]
fn the_chapter_counts_the_same() {
    let llama = model(Family::Llama);
    let tied = ModelConfig { tie_word_embeddings: true, ..llama.clone() };
    let wide_heads = ModelConfig { head_dim: 20, ..model(Family::Qwen3) };
    let all_biases = ModelConfig { mlp_bias: true, ..model(Family::Qwen2) };
    let nano = presets::preset("nano", 4096, 0, 128).unwrap();
    let tiny = presets::preset("tiny", 1000, 0, 128).unwrap();
    for (name, model) in [
        ("a Llama with 2 key/value heads for 6 heads", llama),
        ("the same, tied: its output matrix is its embedding", tied),
        ("a Qwen 3, with norms of q and k, whose heads are wider than hidden / 6", {
            wide_heads
        }),
        ("a Qwen 2, with biases", all_biases),
        ("the preset nano", nano),
        ("the preset tiny", tiny),
    ] {
        for seq_len in [2, 128] {
            let (got, want) = (
                flops_per_token(&model, seq_len),
                run::flops_per_token(&model, seq_len),
            );
            assert!(
                got == want,
                "{name}, rows of {seq_len} tokens: you count {got} FLOPs per token, \
                 run::flops_per_token {want}: {:.4} times as many",
                got / want
            );
        }
    }
}

#[test]
fn a_tied_model_computes_as_much_as_an_untied_one() {
    let untied = model(Family::Llama);
    let tied = ModelConfig { tie_word_embeddings: true, ..untied.clone() };
    let (untied, tied) = (flops_per_token(&untied, 64), flops_per_token(&tied, 64));
    assert!(
        untied == tied,
        "untied {untied}, tied {tied} FLOPs per token: expected the same. The logits \
         cost a product with the output matrix, wherever it lies in memory; the lookup \
         of a token's row costs nothing"
    );
}

#[test]
fn a_longer_row_adds_scores_and_mixtures() {
    let model = model(Family::Llama);
    let (short, long) = (flops_per_token(&model, 64), flops_per_token(&model, 164));
    // Layers · heads · head_dim · 100 tokens more, of which a token sees half.
    let products = (3 * 6 * 8 * 100) as f64;
    assert!(
        long - short == 6.0 * products,
        "rows of 164 tokens instead of 64 add {} FLOPs per token, {:.2} for each \
         layer, channel and token more, expected 6: forward 2 for the score and 2 for \
         the mixture, twice that backward, and half of it all, since attention is \
         causal. The channels are those of all {} query heads",
        long - short,
        (long - short) / products,
        model.num_attention_heads
    );
}
