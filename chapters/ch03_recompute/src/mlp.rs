//! The feed-forward layer: what a token makes of what it knows.
use crate::linear::{Linear, residual_std};
use crate::recompute::Recompute;
use crate::segment::{Keep, segment};
use candle_core::{Result, Tensor};
use hub::ModelConfig;
use params::ParamBuilder;

/// A gated feed-forward layer (Shazeer 2020): `down(silu(gate(x)) · up(x))`.
pub struct Mlp {
    /// Gate and up, side by side.
    gate_up_proj: Linear,
    down_proj: Linear,
    /// What is kept of the gate for backward.
    keep: Keep,
}

impl Mlp {
    /// `name` is `model.layers.N.mlp`.
    pub fn new(
        model: &ModelConfig,
        name: &str,
        recompute: &Recompute,
        params: &mut ParamBuilder,
    ) -> Mlp {
        let (hidden, wide) = (model.hidden_size, model.intermediate_size);
        let (std, bias) = (model.initializer_range, model.mlp_bias);
        let outputs = [("gate_proj", wide), ("up_proj", wide)];
        let gate_up_proj = Linear::new(name, &outputs, hidden, bias, std, params);
        let (outputs, std) = ([("down_proj", hidden)], residual_std(model));
        let down_proj = Linear::new(name, &outputs, wide, bias, std, params);
        Mlp { gate_up_proj, down_proj, keep: recompute.swiglu }
    }
    /// `x [batch, seq, hidden]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let gate_up = self.gate_up_proj.forward(x)?;
        self.down_proj.forward(&segment(&gate_up, self.keep, ops::swiglu)?)
    }
}
