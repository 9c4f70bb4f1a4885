//! The feed-forward layer: what a token makes of what it knows.
use crate::linear::{ColumnParallel, RowParallel, residual_std};
use crate::recompute::Recompute;
use crate::segment::{Keep, segment};
use crate::tensor_parallel::TensorParallel;
use candle_core::{Result, Tensor};
use hub::ModelConfig;
use params::ParamBuilder;

/// A gated feed-forward layer (Shazeer 2020): `down(silu(gate(x)) · up(x))`; this
/// rank's channels of gate and up.
pub struct Mlp {
    /// Gate and up, side by side.
    gate_up_proj: ColumnParallel,
    down_proj: RowParallel,
    /// What is kept of the gate for backward.
    keep: Keep,
}

impl Mlp {
    /// `name` is `model.layers.N.mlp`.
    pub fn new(
        tp: &TensorParallel,
        model: &ModelConfig,
        name: &str,
        recompute: &Recompute,
        params: &mut ParamBuilder,
    ) -> Mlp {
        let (hidden, wide) = (model.hidden_size, tp.part(model.intermediate_size, 1));
        let (std, bias) = (model.initializer_range, model.mlp_bias);
        let outputs = [("gate_proj", wide.clone()), ("up_proj", wide.clone())];
        let gate_up_proj =
            ColumnParallel::new(tp, name, &outputs, hidden, bias, std, params);
        let (output, std) = (format!("{name}.down_proj"), residual_std(model));
        let down_proj = RowParallel::new(tp, &output, hidden, &wide, bias, std, params);
        Mlp { gate_up_proj, down_proj, keep: recompute.swiglu }
    }
    /// `x [batch, seq, hidden]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let gate_up = self.gate_up_proj.forward(x)?;
        self.down_proj.forward(&segment(&gate_up, self.keep, ops::swiglu)?)
    }
}
