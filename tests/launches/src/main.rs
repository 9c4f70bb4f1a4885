//! What a training step starts on a GPU, counted on a CPU in a GPU's role, beside what
//! closed forms say.
//!
//! Models are counted narrow: how many launches there are does not depend on how wide a
//! model is, and that is counted, too. Exit status: 1 if a count is not as predicted.
mod counted;

use anyhow::{Result, ensure};
use candle_core::DType;
use ch02_mixed_precision::config::Precision;
use ch02_mixed_precision::{Config, model::Transformer, optimizer::AdamW, presets};
use ch02_mixed_precision::{run::flops_per_token, train::train};
use corpus::{Corpus, Tokenizer};
use counted::{ByKernel, Counted, Counts};
use hub::ModelConfig;
use kernels::engine;
use params::ParamBuilder;
use runlog::{Interrupt, RunLog};
use std::path::Path;

/// Which models, in which precision, on sequences of how many tokens where operations
/// are computed and not counted.
const CASES: [(&str, Precision, usize); 3] = [
    ("nano", Precision::Fp32, 128),
    ("tiny", Precision::Fp32, 128),
    ("125m", Precision::Bf16, 2048),
];

/// Tokens of a counted sequence.
const SEQ_LEN: usize = 16;

fn main() -> Result<()> {
    for (name, precision, seq_len) in CASES {
        let model = named(name, seq_len)?;
        let small = narrow(&model);
        let mut table = ByKernel::new();
        for micro_batches in [1, 2] {
            let predicted = predict(&small, precision, micro_batches);
            let (counted, by_kernel) = count(&small, precision, micro_batches)?;
            ensure!(
                predicted == counted,
                "{name}, {micro_batches} micro-batches: predicted {predicted}; \
                 counted {counted}"
            );
            println!("{name:<5} micro-batches: {micro_batches}; {counted}");
            if micro_batches == 1 {
                table = by_kernel;
            }
        }
        for ((pass, kernel), count) in table {
            let pass = ["forward", "backward", "update"][pass];
            println!("{name:<5} {pass:<9} {kernel:<20} {count:>4}");
        }
        let flops = flops_per_token(&model, seq_len);
        let elements: usize = model.tensors().iter().map(|of| of.elements()).sum();
        println!("{name:<5} parameters {elements}");
        println!("{name:<5} flops per token at {seq_len} tokens {flops}\n");
    }
    let wide = named("nano", SEQ_LEN)?;
    let (full, _) = count(&wide, Precision::Fp32, 1)?;
    let (thin, _) = count(&narrow(&wide), Precision::Fp32, 1)?;
    ensure!(full == thin, "nano: {full}; narrow: {thin}");
    println!("nano  as wide as it is: the same counts");
    Ok(())
}

/// A preset with the book's vocabulary.
fn named(name: &str, seq_len: usize) -> Result<ModelConfig> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/tokenizer.json");
    let tokenizer = Tokenizer::open(&file.to_string_lossy())?;
    let (vocab, end) = (tokenizer.vocab_size(), tokenizer.end_of_document());
    presets::preset(name, vocab, end, seq_len)
}

/// As many layers, of few numbers.
fn narrow(model: &ModelConfig) -> ModelConfig {
    ModelConfig {
        vocab_size: 256,
        hidden_size: 32,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        intermediate_size: 48,
        ..model.clone()
    }
}

/// The closed forms, of models without biases and QK-norm, whose logits fit into one
/// chunk.
fn predict(model: &ModelConfig, precision: Precision, micro_batches: usize) -> Counts {
    let (layers, tied) = (model.num_hidden_layers, model.tie_word_embeddings);
    // Of a layer two norms and seven matrices; those of both ends.
    let params = 9 * layers + if tied { 2 } else { 3 };
    // In bf16, what became of the masters is rounded by another launch.
    let of_step = if precision == Precision::Bf16 { 2 } else { 1 };
    Counts {
        // Embedding and last norm; six of the loss.
        forward: micro_batches * (11 * layers + 2 + 6),
        backward: micro_batches * (19 * layers + 3),
        // This chapter takes the norm behind each micro-batch.
        update: 2 * params * micro_batches + of_step * params,
        // Tokens, targets and a loss of zero; where each word occurs, in three lists.
        copies_in: micro_batches * (3 + 3),
        // The loss; all sums of squares.
        copies_out: micro_batches * (1 + 1),
        // A tied matrix gets its first gradient from the loss, which overwrites.
        fills: usize::from(!tied),
    }
}

/// What one step starts.
fn count(
    model: &ModelConfig,
    precision: Precision,
    micro_batches: usize,
) -> Result<(Counts, ByKernel)> {
    let engine: &'static Counted = Box::leak(Box::default());
    engine::set(Some(engine));
    let counted = step(engine, model, precision, micro_batches);
    engine::set(None);
    counted
}

fn step(
    engine: &'static Counted,
    model: &ModelConfig,
    precision: Precision,
    micro_batches: usize,
) -> Result<(Counts, ByKernel)> {
    let config = Config {
        steps: 1,
        seq_len: SEQ_LEN,
        micro_batch: 1,
        global_batch: micro_batches,
        precision,
        ..Config::default()
    };
    let options = corpus::Options { seq_len: SEQ_LEN, ..Default::default() };
    let data = Corpus::random(model.vocab_size, &options)?.train;
    let options = runlog::Options { steps: 1, quiet: true, ..Default::default() };
    let (mut log, interrupt) = (RunLog::start(options)?, Interrupt::default());
    let dtype: DType = precision.dtype();
    let mut builder = ParamBuilder::new(1, dtype);
    let model = Transformer::new(model, SEQ_LEN, dtype, &mut builder)?;
    let params = builder.build(1)?;
    let mut optimizer = AdamW::new(&params)?;
    engine.counts(|| {
        train(
            &config,
            1e-3,
            &data,
            &model,
            &params,
            &mut optimizer,
            None,
            &mut log,
            &interrupt,
            &mut vec![],
        )
    })
}
