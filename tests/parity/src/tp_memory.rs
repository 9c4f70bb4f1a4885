//! What tensor and sequence parallelism keep for backward: a closed form, and what the
//! ranks of chapter 6 really keep.
use anyhow::{Error, Result};
use candle_core::DType;
use ch06_sequence_parallel::config::{Config, Granularity, Module, Switch};
use ch06_sequence_parallel::model::Transformer;
use ch06_sequence_parallel::recompute::Recompute;
use ch06_sequence_parallel::tensor_parallel::{TensorParallel, check};
use comm::{Group, Layout, Mesh};
use corpus::{Batch, Corpus};
use hub::ModelConfig;
use memory::Family;
use params::ParamBuilder;

/// One micro-batch of a model, on so many ranks.
#[derive(Clone)]
pub struct Setting {
    /// The architecture.
    pub model: ModelConfig,
    /// Sequences.
    pub rows: usize,
    /// Tokens of each.
    pub seq_len: usize,
    /// Tensor-parallel ranks.
    pub tp: usize,
    /// Whether they divide the sequence.
    pub sequence: bool,
    /// What is computed again.
    pub recompute: Granularity,
}

/// Numbers that one rank keeps between forward and backward for each token of the whole
/// sequence: means, where some ranks keep a token and others do not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// Where no matrix is cut: inputs and outputs of the norms in front of attention
    /// and MLP, or of a layer that is computed again its input.
    pub streams: f64,
    /// Inside of the pairs of matrices: this rank's heads and channels.
    pub pairs: f64,
    /// After the layers: the last norm's input, and the gradient that the loss leaves,
    /// of all tokens on every rank.
    pub end: f64,
}

impl Kept {
    /// All of them.
    pub fn total(&self) -> f64 {
        self.streams + self.pairs + self.end
    }
}

impl Setting {
    /// Whether the model can be cut so.
    pub fn fits(&self) -> bool {
        let divides = !self.sequence || self.seq_len.is_multiple_of(self.tp);
        check(&self.model, self.tp).is_ok() && divides
    }
    /// The closed form. (Korthikanti et al. 2022, §4, count a layer of GPT's in bytes:
    /// with biases, dropout, and matrices of scores.)
    pub fn predict(&self) -> Kept {
        let ModelConfig { hidden_size: hidden, num_hidden_layers: layers, .. } =
            self.model;
        let parts = if self.sequence { self.tp } else { 1 };
        let stream = hidden as f64 / parts as f64;
        let end = stream + hidden as f64;
        let layers = layers as f64;
        let heads = self.model.num_attention_heads / self.tp;
        // Key/value heads that ranks share are not divided further.
        let kv_heads = self.model.num_key_value_heads.div_ceil(self.tp);
        let dim = self.model.head_dim;
        let qkv = (heads + 2 * kv_heads) * dim;
        let channels = self.model.intermediate_size / self.tp;
        // As they are normalized, and before.
        let normalized = if self.model.qk_norm { qkv } else { 0 };
        // Attention's output, and one number for each head.
        let attention = normalized + qkv + heads * dim + heads;
        let (streams, pairs) = match self.recompute {
            Granularity::None => (4.0 * stream, attention + 3 * channels),
            // Neither the norms' outputs nor the product of gate and up.
            Granularity::Selective => (2.0 * stream, attention + 2 * channels),
            Granularity::Full => (stream, 0),
        };
        Kept { streams: layers * streams, pairs: layers * pairs as f64, end }
    }
    /// Bytes in fp32 that `kept` is.
    pub fn bytes(&self, kept: f64) -> f64 {
        4.0 * (self.rows * self.seq_len) as f64 * kept
    }
    /// Bytes that each rank keeps between forward and backward, in fp32. Memory is
    /// booked to the ranks' accounts, which nobody else may use meanwhile.
    ///
    /// # Errors
    /// The forward pass cannot be made.
    pub fn measure(&self) -> Result<Vec<u64>> {
        let options = corpus::Options { seq_len: self.seq_len, ..Default::default() };
        let data = Corpus::random(self.model.vocab_size, &options)?;
        let batch = data.train.batch(0, self.rows)?;
        Ok(comm::launch_threads(self.tp, |world| self.rank(world, &batch))?)
    }
    fn rank(&self, world: Group, batch: &Batch) -> Result<u64> {
        let _threads = ops::threads::own(1);
        let rank = world.rank();
        let mut mesh = Mesh::new(world, &Layout { tp: self.tp, ..Layout::default() })?;
        let sequence = if self.sequence { Switch::On } else { Switch::Off };
        let tp = TensorParallel::new(&mut mesh, &self.model, sequence)?;
        let config = Config {
            recompute: self.recompute,
            recompute_modules: match self.recompute {
                Granularity::Selective => vec![Module::Norm, Module::Swiglu],
                _ => vec![],
            },
            ..Config::default()
        };
        let recompute = Recompute::new(&config, self.model.num_hidden_layers)?;
        let mut builder = ParamBuilder::new(1, DType::F32);
        let (model, seq_len) = (&self.model, self.seq_len);
        let model = Transformer::new(
            &tp,
            model,
            seq_len,
            DType::F32,
            &recompute,
            &mut builder,
        )?;
        let params = builder.build(1)?;
        let live = || memory::account(rank)[Family::Activations].live;
        let mut kept = 0;
        // Whatever is there from the first step on is there before the second.
        for _ in 0..2 {
            params.begin_step()?;
            let before = live();
            let scale = 1.0 / batch.target_count() as f64;
            let (loss, tape) = ops::record(|| model.loss(batch, scale))?;
            kept = live() - before;
            tape.backward(&loss)?;
        }
        Result::<u64, Error>::Ok(kept)
    }
}

/// The ways to recompute, with their names.
pub const RECOMPUTE: [(&str, Granularity); 3] = [
    ("none", Granularity::None),
    ("selective", Granularity::Selective),
    ("full", Granularity::Full),
];
