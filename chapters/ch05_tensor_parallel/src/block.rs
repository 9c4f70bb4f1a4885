//! One layer of the decoder.
use crate::attention::{Attention, Positions};
use crate::mlp::Mlp;
use crate::recompute::Recompute;
use crate::segment::{Keep, segment};
use crate::tensor_parallel::TensorParallel;
use candle_core::{Result, Tensor};
use hub::ModelConfig;
use params::{Init, Param, ParamBuilder};

/// Attention and feed-forward, each behind a norm and added to the residual stream.
pub struct Block {
    input_layernorm: Param,
    self_attn: Attention,
    post_attention_layernorm: Param,
    mlp: Mlp,
    eps: f64,
    /// What is kept of the norms for backward.
    keep: Keep,
}

impl Block {
    /// `name` is `model.layers.N`.
    pub fn new(
        tp: &TensorParallel,
        model: &ModelConfig,
        name: &str,
        recompute: &Recompute,
        params: &mut ParamBuilder,
    ) -> Block {
        let norm = |which: &str, params: &mut ParamBuilder| {
            let name = format!("{name}.{which}.weight");
            params.add_shard(tp.norm(&name, model.hidden_size), Init::Ones)
        };
        Block {
            input_layernorm: norm("input_layernorm", params),
            self_attn: Attention::new(
                tp,
                model,
                &format!("{name}.self_attn"),
                recompute,
                params,
            ),
            post_attention_layernorm: norm("post_attention_layernorm", params),
            mlp: Mlp::new(tp, model, &format!("{name}.mlp"), recompute, params),
            eps: model.rms_norm_eps,
            keep: recompute.norm,
        }
    }
    /// `x [batch, seq, hidden]` to the same shape.
    pub fn forward(&self, x: &Tensor, positions: &Positions) -> Result<Tensor> {
        let y = self.norm(x, &self.input_layernorm)?;
        let x = ops::add(x, &self.self_attn.forward(&y, positions)?)?;
        let y = self.norm(&x, &self.post_attention_layernorm)?;
        ops::add(&x, &self.mlp.forward(&y)?)
    }
    fn norm(&self, x: &Tensor, weight: &Param) -> Result<Tensor> {
        let (weight, eps) = (weight.clone(), self.eps);
        segment(x, self.keep, move |x| ops::rms_norm(x, &weight, eps))
    }
}
