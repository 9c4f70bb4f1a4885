//! Bytes and operations of a training step: what closed forms say, and what chapter 1
//! really needs and makes.
use anyhow::{Context, Result};
use candle_core::DType;
use ch01_single_gpu::{Config, model, optimizer, presets, run, train};
use corpus::{Corpus, Tokenizer};
use hub::ModelConfig;
use memory::Family;
use params::ParamBuilder;
use runlog::{Interrupt, RunLog};
use std::path::Path;

/// Queries whose scores `ops::attention` computes at a time.
const BLOCK: usize = 64;

/// A model, and what one step of its training is made on: one micro-batch.
#[derive(Clone)]
pub struct Subject {
    /// What to call it.
    pub name: String,
    /// The architecture.
    pub model: ModelConfig,
    /// Sequences.
    pub rows: usize,
    /// Tokens of each.
    pub seq_len: usize,
}

/// Totals of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// Numbers that are trained.
    pub elements: u64,
    /// Bytes of parameters after the step.
    pub parameters: u64,
    /// Bytes of gradients after the step.
    pub gradients: u64,
    /// Bytes of the optimizer's moments after the step.
    pub optimizer: u64,
    /// Bytes of everything that is held after the step, these three included, but not
    /// the scratch memory that each thread keeps to multiply in.
    pub held: u64,
    /// Most bytes at any moment that forward saved for backward.
    pub saved: u64,
    /// Floating-point operations of products with parameters.
    pub matrices: u64,
    /// Floating-point operations of attention's own products.
    pub attention: u64,
}

/// Floating-point operations per token, forward and backward, as different people
/// count them.
pub struct Conventions {
    /// Chapter 1's MFU: products with parameters once, attention by half.
    pub ours: f64,
    /// Chowdhery et al. 2022, *PaLM*, appendix B, and nanoGPT's `estimate_mfu`: six for
    /// each parameter, also those that are only looked up; attention in full.
    pub palm: f64,
    /// Narayanan et al. 2021, *Efficient Large-Scale Language Model Training on GPU
    /// Clusters*, without recomputation: products with parameters, attention in full.
    pub sc21: f64,
    /// The same with every layer's forward pass made twice, which is what that paper's
    /// percentages count.
    pub sc21_recompute: f64,
}

/// A grouped, normalized, biased, untied shape whose sizes divide nothing, and whose
/// heads are not as wide together as its residual stream.
fn grouped(vocab_size: usize) -> ModelConfig {
    ModelConfig {
        vocab_size,
        num_hidden_layers: 3,
        hidden_size: 90,
        num_attention_heads: 6,
        num_key_value_heads: 2,
        head_dim: 18,
        intermediate_size: 250,
        qkv_bias: true,
        o_bias: true,
        mlp_bias: true,
        ..ModelConfig::defaults(hub::Family::Qwen3)
    }
}

impl Subject {
    /// A preset of chapter 1, `grouped` (every variant that changes a count), or
    /// `llama-2-7b` (to compute with, not to run). The vocabulary is that of the
    /// tokenizer that ships with the book, but Llama's own.
    ///
    /// # Errors
    /// There is no model of that name.
    pub fn named(name: &str, rows: usize, seq_len: usize) -> Result<Subject> {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/tokenizer.json");
        let tokenizer = Tokenizer::open(&file.to_string_lossy())?;
        let vocab = tokenizer.vocab_size();
        let model = match name {
            "grouped" => grouped(vocab),
            "llama-2-7b" => ModelConfig::defaults(hub::Family::Llama),
            _ => presets::preset(name, vocab, tokenizer.end_of_document(), seq_len)
                .context("besides these there are grouped and llama-2-7b")?,
        };
        Ok(Subject { name: name.into(), model, rows, seq_len })
    }

    /// Tokens of the step.
    pub fn tokens(&self) -> u64 {
        (self.rows * self.seq_len) as u64
    }

    /// Elements of the matrices that a token is multiplied with: all but those of an
    /// embedding that is only looked up.
    pub fn multiplied(&self) -> u64 {
        let ModelConfig { vocab_size: vocab, hidden_size: hidden, .. } = self.model;
        let (q, kv) = self.widths();
        let mlp = 3 * hidden * self.model.intermediate_size;
        let layer = (q + 2 * kv) * hidden + hidden * q + mlp;
        (self.model.num_hidden_layers * layer + vocab * hidden) as u64
    }

    /// Elements of a token's queries, and of its keys.
    pub(crate) fn widths(&self) -> (usize, usize) {
        let dim = self.model.head_dim;
        (self.model.num_attention_heads * dim, self.model.num_key_value_heads * dim)
    }

    /// Elements of a layer's parameters, written out.
    pub(crate) fn layer_elements(&self) -> u64 {
        let model = &self.model;
        let (hidden, mlp) = (model.hidden_size, model.intermediate_size);
        let (q, kv) = self.widths();
        let mut elements = (q + 2 * kv) * hidden + hidden * q + 3 * hidden * mlp;
        elements += 2 * hidden;
        for (present, more) in [
            (model.qk_norm, 2 * model.head_dim),
            (model.qkv_bias, q + 2 * kv),
            (model.o_bias, hidden),
            (model.mlp_bias, 2 * mlp + hidden),
        ] {
            elements += if present { more } else { 0 };
        }
        elements as u64
    }

    /// Elements of all parameters.
    fn elements(&self) -> u64 {
        let ModelConfig { vocab_size: vocab, hidden_size: hidden, .. } = self.model;
        let tables = if self.model.tie_word_embeddings { 1 } else { 2 };
        let layers = self.model.num_hidden_layers as u64;
        layers * self.layer_elements() + (tables * vocab * hidden + hidden) as u64
    }

    /// Pairs of a query and a key whose score is computed for a sequence: whole blocks
    /// of queries, each against all keys up to its last.
    fn pairs(&self) -> u64 {
        let (blocks, rest) = (self.seq_len / BLOCK, self.seq_len % BLOCK);
        (BLOCK * BLOCK * blocks * (blocks + 1) / 2 + rest * self.seq_len) as u64
    }

    /// Numbers that forward saves for backward, per token and layer: the inputs of the
    /// two norms and their outputs; queries, keys and values (before they are
    /// normalized, if they are); attention's output and one number per head; gate and
    /// up, and their product.
    pub(crate) fn saved_by_layer(&self) -> usize {
        let model = &self.model;
        let (q, kv) = self.widths();
        let normalized = if model.qk_norm { q + 2 * kv } else { 0 };
        let attention = normalized + q + 2 * kv + q + model.num_attention_heads;
        4 * model.hidden_size + attention + 3 * model.intermediate_size
    }

    /// What the closed forms say of a step in fp32.
    pub fn predict(&self) -> Counts {
        let (n, tokens) = (self.elements(), self.tokens());
        let model = &self.model;
        let layers = model.num_hidden_layers as u64;
        // Outside the layers: the last norm's input and output, and the gradient that
        // the loss leaves for backward.
        let outside = 3 * model.hidden_size as u64;
        let saved = layers * self.saved_by_layer() as u64 + outside;
        // Two products forward, five backward, of two operations for each pair and
        // channel.
        let attention = 2 * (2 + 5) * self.pairs() * self.widths().0 as u64;
        Counts {
            elements: n,
            parameters: 4 * n,
            gradients: 4 * n,
            optimizer: 8 * n,
            held: 16 * n,
            saved: 4 * saved * tokens,
            // Two forward, four backward: the input's gradient and the weight's.
            matrices: 6 * self.multiplied() * tokens,
            attention: self.rows as u64 * layers * attention,
        }
    }

    /// How others would count a token of this model.
    pub fn conventions(&self) -> Conventions {
        let [multiplied, all] = [self.multiplied(), self.elements()].map(|n| n as f64);
        let logits = (self.model.vocab_size * self.model.hidden_size) as f64;
        let layers = self.model.num_hidden_layers as f64;
        let full = 12.0 * layers * (self.seq_len * self.widths().0) as f64;
        let layer = 6.0 * (multiplied - logits) + full;
        Conventions {
            ours: run::flops_per_token(&self.model, self.seq_len),
            palm: 6.0 * all + full,
            sc21: layer + 6.0 * logits,
            sc21_recompute: layer * 4.0 / 3.0 + 6.0 * logits,
        }
    }

    /// Trains for one step, with chapter 1's own loop on random tokens, and counts.
    /// Memory is booked to `rank`, which nobody else may use meanwhile.
    ///
    /// # Errors
    /// The step cannot be made.
    pub fn measure(&self, rank: usize) -> Result<Counts> {
        memory::set_rank(rank);
        let interrupt = Interrupt::default();
        let settings = Config {
            steps: 1,
            seq_len: self.seq_len,
            micro_batch: self.rows,
            global_batch: self.rows,
            quiet: true,
            ..Config::default()
        };
        let options = corpus::Options { seq_len: self.seq_len, ..Default::default() };
        let data = Corpus::random(self.model.vocab_size, &options)?;
        let options = runlog::Options { steps: 1, quiet: true, ..Default::default() };
        let mut log = RunLog::start(options)?;

        memory::reset_peak(rank);
        let before = memory::account(rank);
        let mut builder = ParamBuilder::new(1, DType::F32);
        let model = model::Transformer::new(
            &self.model,
            self.seq_len,
            DType::F32,
            &mut builder,
        )?;
        let params = builder.build(ops::threads::count())?;
        let mut optimizer = optimizer::AdamW::new(&params)?;
        let flops = [ops::flops(), ops::attention_flops()];
        train::train(
            &settings,
            1e-3,
            &data.train,
            &model,
            &params,
            &mut optimizer,
            &mut log,
            &interrupt,
            &mut vec![],
        )?;
        let all = ops::flops() - flops[0];
        let attention = ops::attention_flops() - flops[1];
        let after = memory::account(rank);
        let live = |family: Family| after[family].live - before[family].live;
        let held = |a: memory::Account| a.total.live - a[Family::Scratch].live;
        Ok(Counts {
            elements: params.elements() as u64,
            parameters: live(Family::Parameters),
            gradients: live(Family::Gradients),
            optimizer: live(Family::Optimizer),
            held: held(after) - held(before),
            saved: after[Family::Activations].peak - before[Family::Activations].live,
            matrices: all - attention,
            attention,
        })
    }
}
