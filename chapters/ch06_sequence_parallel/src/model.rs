//! The decoder: tokens in, loss out.
use crate::attention::Positions;
use crate::block::Block;
use crate::recompute::Recompute;
use crate::segment::{Keep, segment};
use crate::tensor_parallel::TensorParallel;
use candle_core::{DType, Device, Result, Tensor};
use corpus::Batch;
use hub::ModelConfig;
use ops::Rope;
use params::{Init, Param, ParamBuilder};
use std::sync::Arc;

// Batches mark a target that does not count as the loss expects it.
const _: () = assert!(corpus::IGNORE == ops::IGNORE);

/// A decoder-only transformer of the Llama and Qwen families.
pub struct Transformer {
    /// `[vocab, hidden]`, of which this rank has some rows.
    embed_tokens: Param,
    /// The layers, segment by segment, and what is kept of each for backward.
    segments: Vec<(Arc<[Block]>, Keep)>,
    norm: Param,
    /// As large; of a tied model, the embedding itself.
    lm_head: Param,
    rope: Rope,
    eps: f64,
    tp: TensorParallel,
}

impl Transformer {
    /// For rows of up to `seq_len` tokens and activations of type `dtype`.
    pub fn new(
        tp: &TensorParallel,
        model: &ModelConfig,
        seq_len: usize,
        dtype: DType,
        recompute: &Recompute,
        params: &mut ParamBuilder,
    ) -> Result<Transformer> {
        let table = [model.vocab_size, model.hidden_size];
        let init = Init::Normal(model.initializer_range);
        let embed_tokens = tp.table("model.embed_tokens.weight", table);
        let embed_tokens = params.add_shard(embed_tokens, init);
        let mut segments = vec![];
        let mut names = (0..).map(|layer| format!("model.layers.{layer}"));
        for (n, keep) in &recompute.segments {
            let layers = names.by_ref().take(*n).map(|name| {
                // A layer's parameters lie apart from the others', so that its
                // gradients take memory only when backward reaches it.
                params.next_flat();
                Block::new(tp, model, &name, recompute, params)
            });
            segments.push((layers.collect(), *keep));
        }
        params.next_flat();
        let norm = tp.norm("model.norm.weight", model.hidden_size);
        let norm = params.add_shard(norm, Init::Ones);
        let lm_head = if model.tie_word_embeddings {
            embed_tokens.clone()
        } else {
            params.add_shard(tp.table("lm_head.weight", table), init)
        };
        let (frequencies, factor) =
            model.rope.frequencies(model.head_dim, model.max_position_embeddings);
        let rope = Rope::new(&frequencies, factor, 0..seq_len, dtype)?;
        let (eps, tp) = (model.rms_norm_eps, tp.clone());
        Ok(Transformer { embed_tokens, segments, norm, lm_head, rope, eps, tp })
    }
    /// The final hidden states: `[batch, seq, hidden]`, or this rank's part of the
    /// sequence.
    fn hidden(&self, batch: &Batch) -> Result<Tensor> {
        let shape = (batch.rows, batch.seq_len);
        let tokens = Tensor::from_slice(&batch.tokens, shape, &Device::Cpu)?;
        let positions = Positions {
            rope: self.rope.clone(),
            document_starts: batch.document_starts.as_deref().map(Into::into),
        };
        let mut x = self.tp.embedding(&tokens, &self.embed_tokens)?;
        // The flat buffer of what comes next. Backward passes a mark when it has been
        // through all that comes after: the gradients of that flat buffer and of those
        // behind it are complete then.
        let mut flat = 1;
        for (layers, keep) in &self.segments {
            ops::mark(flat);
            flat += layers.len();
            let (layers, positions) = (layers.clone(), positions.clone());
            x = segment(&x, *keep, move |x| {
                let forward = |x: Tensor, layer: &Block| layer.forward(&x, &positions);
                layers.iter().try_fold(x.clone(), forward)
            })?;
        }
        ops::mark(flat);
        ops::rms_norm(&x, &self.norm, self.eps)
    }
    /// The score of each token of the vocabulary as the next: `[batch, seq, vocab]`.
    pub fn logits(&self, batch: &Batch) -> Result<Tensor> {
        let n = if self.tp.sequence { self.tp.group.size() } else { 1 };
        // Text of any length, filled up to one that divides: no token sees the rest.
        let filled = fill_up(batch, batch.seq_len.next_multiple_of(n));
        let logits = self.tp.logits(&self.hidden(&filled)?, &self.lm_head)?;
        logits.narrow(1, 0, batch.seq_len)
    }
    /// `scale` times the sum over the targets of the negative log-likelihood in nats.
    pub fn loss(&self, batch: &Batch, scale: f64) -> Result<Tensor> {
        self.tp.loss(&self.hidden(batch)?, &self.lm_head, &batch.targets, scale)
    }
}

/// The same rows, each with tokens of no account behind it.
fn fill_up(batch: &Batch, seq_len: usize) -> Batch {
    let more = |row: &[u32], what: u32| -> Vec<u32> {
        row.iter().copied().chain(std::iter::repeat(what)).take(seq_len).collect()
    };
    let fill = |data: &[u32], what| -> Vec<u32> {
        data.chunks(batch.seq_len).flat_map(|row| more(row, what)).collect()
    };
    let starts = batch.document_starts.as_deref();
    Batch {
        rows: batch.rows,
        seq_len,
        tokens: fill(&batch.tokens, 0),
        targets: fill(&batch.targets, corpus::IGNORE),
        // A document of their own.
        document_starts: starts.map(|starts| fill(starts, batch.seq_len as u32)),
    }
}
