//! Causal self-attention: what a token learns from those before it.
use crate::linear::{ColumnParallel, RowParallel, residual_std};
use crate::recompute::Recompute;
use crate::segment::{Keep, segment};
use crate::tensor_parallel::TensorParallel;
use candle_core::{Result, Tensor};
use hub::ModelConfig;
use ops::Rope;
use params::{Init, Param, ParamBuilder};
use std::sync::Arc;

/// Where the tokens of a batch stand.
#[derive(Clone)]
pub struct Positions {
    /// The angles by which queries and keys are turned, for each place in a row.
    pub rope: Rope,
    /// `[batch, seq]`: for each token, where in its row its document starts; it attends
    /// to nothing before. `None`: each row is one document.
    pub document_starts: Option<Arc<[u32]>>,
}

/// Attention with grouped key/value heads (Ainslie et al. 2023): this rank's heads.
pub struct Attention {
    /// Queries, keys and values, side by side.
    qkv_proj: ColumnParallel,
    o_proj: RowParallel,
    /// Weights that normalize queries and keys, head by head, if the model does.
    qk_norm: Option<(Param, Param)>,
    heads: usize,
    kv_heads: usize,
    eps: f64,
    /// What is kept for backward of what happens between the two projections.
    keep: Keep,
}

impl Attention {
    /// `name` is `model.layers.N.self_attn`.
    pub fn new(
        tp: &TensorParallel,
        model: &ModelConfig,
        name: &str,
        recompute: &Recompute,
        params: &mut ParamBuilder,
    ) -> Attention {
        let (hidden, dim) = (model.hidden_size, model.head_dim);
        // Whole heads, each with the key/value head that it attends to.
        let q = tp.part(model.num_attention_heads, dim);
        let kv = tp.part(model.num_key_value_heads, dim);
        let (heads, kv_heads) = (q.range.len() / dim, kv.range.len() / dim);
        let outputs = [("q_proj", q.clone()), ("k_proj", kv.clone()), ("v_proj", kv)];
        let (bias, std) = (model.qkv_bias, model.initializer_range);
        let qkv_proj =
            ColumnParallel::new(tp, name, &outputs, hidden, bias, std, params);
        let (output, std) = (format!("{name}.o_proj"), residual_std(model));
        let o_proj =
            RowParallel::new(tp, &output, hidden, &q, model.o_bias, std, params);
        let mut norm = |which: &str| {
            let shard = tp.head_norm(&format!("{name}.{which}.weight"), dim);
            params.add_shard(shard, Init::Ones)
        };
        let qk_norm = model.qk_norm.then(|| (norm("q_norm"), norm("k_norm")));
        let eps = model.rms_norm_eps;
        let keep = recompute.attention;
        Attention { qkv_proj, o_proj, qk_norm, heads, kv_heads, eps, keep }
    }
    /// `x [batch, seq, hidden]` to the same shape.
    pub fn forward(&self, x: &Tensor, positions: &Positions) -> Result<Tensor> {
        let (heads, kv_heads, eps) = (self.heads, self.kv_heads, self.eps);
        let (qk_norm, positions) = (self.qk_norm.clone(), positions.clone());
        // [batch, seq, (heads + 2 · kv_heads) · head_dim], the heads being this rank's
        let qkv = self.qkv_proj.forward(x)?;
        // [batch, seq, heads · head_dim]
        let mixed = segment(&qkv, self.keep, move |qkv| {
            let mut qkv = qkv.clone();
            if let Some((q_norm, k_norm)) = &qk_norm {
                qkv = ops::qk_norm(&qkv, heads, kv_heads, q_norm, k_norm, eps)?;
            }
            // Queries and keys are turned; the values behind them are not.
            let qkv = ops::rope(&qkv, heads + kv_heads, &positions.rope)?;
            let starts = positions.document_starts.as_deref();
            ops::attention(&qkv, heads, kv_heads, starts)
        })?;
        self.o_proj.forward(&mixed)
    }
}
