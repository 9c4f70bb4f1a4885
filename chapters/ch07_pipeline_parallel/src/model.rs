//! The decoder, or a part of it: tokens or hidden states in, hidden states or loss out.
use crate::attention::Positions;
use crate::block::Block;
use crate::recompute::Recompute;
use crate::segment::{Keep, segment};
use crate::tensor_parallel::TensorParallel;
use candle_core::{DType, Device, Result, Tensor, bail};
use corpus::Batch;
use hub::ModelConfig;
use ops::Rope;
use params::{Init, Param, ParamBuilder};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

// Batches mark a target that does not count as the loss expects it.
const _: () = assert!(corpus::IGNORE == ops::IGNORE);

/// The stages that each have a copy of a tied model's embedding: an axis of the mesh.
pub const EMBEDDINGS: &str = "embeddings";

/// A decoder-only transformer of the Llama and Qwen families, or the chunks of it that
/// are on this stage of a pipeline.
pub struct Transformer {
    /// By number, counted along the model.
    chunks: BTreeMap<usize, Chunk>,
    /// Of the whole model.
    last_chunk: usize,
    hidden: usize,
    rope: Rope,
    eps: f64,
    tp: TensorParallel,
}

/// Some layers, one after the other; before the first the embedding, behind the last
/// the head.
struct Chunk {
    /// `[vocab, hidden]`, of which this rank has some rows.
    embed_tokens: Option<Param>,
    /// The layers, segment by segment, and what is kept of each for backward.
    segments: Vec<(Arc<[Block]>, Keep)>,
    /// The final norm, and a matrix as large as the embedding; of a tied model the
    /// embedding itself, or a copy, if that is on another stage.
    head: Option<[Param; 2]>,
    /// The flat buffers with its parameters.
    flats: Range<usize>,
}

impl Transformer {
    /// The chunks `own`, where chunk `i` has the layers `cut[i]`. For rows of up to
    /// `seq_len` tokens and activations of type `dtype`.
    pub fn new(
        tp: &TensorParallel,
        model: &ModelConfig,
        cut: &[Range<usize>],
        own: &[usize],
        seq_len: usize,
        dtype: DType,
        recompute: &Recompute,
        params: &mut ParamBuilder,
    ) -> Result<Transformer> {
        let table = [model.vocab_size, model.hidden_size];
        let init = Init::Normal(model.initializer_range);
        let (last_chunk, tied) = (cut.len() - 1, model.tie_word_embeddings);
        let both_ends = own.contains(&0) && own.contains(&last_chunk);
        // Of a tied model, one of two copies that each come to a part of the gradient,
        // unless both ends are here.
        let embedding = |copy: usize, params: &mut ParamBuilder| {
            let shard = tp.table("model.embed_tokens.weight", table);
            let shard = match tied && !both_ends {
                true => shard.replica(copy).partial(EMBEDDINGS),
                false => shard,
            };
            params.add_shard(shard, init)
        };
        let mut chunks = BTreeMap::new();
        let mut first_embedding = None;
        for number in own {
            params.next_flat();
            let start = params.flats();
            let embed_tokens = (*number == 0).then(|| embedding(0, params));
            first_embedding = first_embedding.or(embed_tokens.clone());
            let mut segments = vec![];
            for (layers, keep) in segments_of(recompute, &cut[*number]) {
                let layers = layers.map(|layer| {
                    // A layer's parameters lie apart from the others', so that its
                    // gradients take memory only when backward reaches it.
                    params.next_flat();
                    let name = format!("model.layers.{layer}");
                    Block::new(tp, model, &name, recompute, params)
                });
                segments.push((layers.collect(), keep));
            }
            params.next_flat();
            let head = (*number == last_chunk).then(|| {
                let norm = tp.norm("model.norm.weight", model.hidden_size);
                let norm = params.add_shard(norm, Init::Ones);
                let lm_head = match &first_embedding {
                    Some(embedding) if tied => embedding.clone(),
                    None if tied => embedding(1, params),
                    _ => params.add_shard(tp.table("lm_head.weight", table), init),
                };
                [norm, lm_head]
            });
            let flats = start..params.flats();
            chunks.insert(*number, Chunk { embed_tokens, segments, head, flats });
        }
        let (frequencies, factor) =
            model.rope.frequencies(model.head_dim, model.max_position_embeddings);
        let rope = Rope::new(&frequencies, factor, 0..seq_len, dtype)?;
        let (hidden, eps, tp) = (model.hidden_size, model.rms_norm_eps, tp.clone());
        Ok(Transformer { chunks, last_chunk, hidden, rope, eps, tp })
    }
    /// Whether the loss comes out of that chunk.
    pub fn is_last(&self, chunk: usize) -> bool {
        chunk == self.last_chunk
    }
    /// The flat buffers with the parameters of a chunk of this stage.
    pub fn flats(&self, chunk: usize) -> Range<usize> {
        self.chunks[&chunk].flats.clone()
    }
    /// How many there are on this stage.
    pub fn flat_buffers(&self) -> usize {
        self.chunks.values().map(|chunk| chunk.flats.end).max().unwrap_or(0)
    }
    /// Of hidden states between chunks: `[batch, seq, hidden]`, or this rank's part of
    /// the sequence.
    pub fn hidden_shape(&self, batch: &Batch) -> (usize, usize, usize) {
        let ranks = if self.tp.sequence { self.tp.group.size() } else { 1 };
        (batch.rows, batch.seq_len / ranks, self.hidden)
    }
    /// From the hidden states that the chunk before left, or from the tokens, to the
    /// next ones; behind the last layer normalized.
    fn hidden(
        &self,
        chunk: usize,
        x: Option<&Tensor>,
        batch: &Batch,
    ) -> Result<Tensor> {
        let Some(chunk) = self.chunks.get(&chunk) else {
            bail!("chunk {chunk} is on another stage")
        };
        let positions = Positions {
            rope: self.rope.clone(),
            document_starts: batch.document_starts.as_deref().map(Into::into),
        };
        let mut x = match (x, &chunk.embed_tokens) {
            (Some(x), None) => x.clone(),
            (None, Some(embed_tokens)) => {
                let shape = (batch.rows, batch.seq_len);
                let tokens = Tensor::from_slice(&batch.tokens, shape, &Device::Cpu)?;
                self.tp.embedding(&tokens, embed_tokens)?
            }
            _ => bail!("the first chunk starts from tokens, the others do not"),
        };
        // The flat buffer of what comes next. Backward passes a mark when it has been
        // through all that comes after: the gradients of that flat buffer and of those
        // behind it are complete then.
        let mut flat = chunk.flats.start + usize::from(chunk.embed_tokens.is_some());
        for (layers, keep) in &chunk.segments {
            ops::mark(flat);
            flat += layers.len();
            let (layers, positions) = (layers.clone(), positions.clone());
            x = segment(&x, *keep, move |x| {
                let forward = |x: Tensor, layer: &Block| layer.forward(&x, &positions);
                layers.iter().try_fold(x.clone(), forward)
            })?;
        }
        let Some([norm, _]) = &chunk.head else { return Ok(x) };
        ops::mark(flat);
        ops::rms_norm(&x, norm, self.eps)
    }
    /// Through one chunk, from the hidden states that the one before left, or from the
    /// tokens. To the next hidden states; behind the last chunk to the loss: `scale`
    /// times the sum over the targets of the negative log-likelihood in nats.
    pub fn forward(
        &self,
        chunk: usize,
        x: Option<&Tensor>,
        batch: &Batch,
        scale: f64,
    ) -> Result<Tensor> {
        let x = self.hidden(chunk, x, batch)?;
        match &self.chunks[&chunk].head {
            Some([_, lm_head]) => self.tp.loss(&x, lm_head, &batch.targets, scale),
            None => Ok(x),
        }
    }
    /// As [`Transformer::forward`], but behind the last chunk to the score of each
    /// token of the vocabulary as the next: `[batch, seq, vocab]`.
    pub fn logits(
        &self,
        chunk: usize,
        x: Option<&Tensor>,
        batch: &Batch,
    ) -> Result<Tensor> {
        let x = self.hidden(chunk, x, batch)?;
        match &self.chunks[&chunk].head {
            Some([_, lm_head]) => self.tp.logits(&x, lm_head),
            None => Ok(x),
        }
    }
    /// The same text, filled up to a length that divides: no token sees the rest.
    pub fn filled(&self, batch: &Batch) -> Batch {
        let n = if self.tp.sequence { self.tp.group.size() } else { 1 };
        fill_up(batch, batch.seq_len.next_multiple_of(n))
    }
}

/// The segments of some layers, and what is kept of each. One of the whole model that
/// reaches beyond them is cut there.
fn segments_of(
    recompute: &Recompute,
    layers: &Range<usize>,
) -> Vec<(Range<usize>, Keep)> {
    let (mut found, mut start) = (vec![], 0);
    for (n, keep) in &recompute.segments {
        let part = start.max(layers.start)..(start + n).min(layers.end);
        if !part.is_empty() {
            found.push((part, *keep));
        }
        start += n;
    }
    found
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
