//! The feed-forward layer: what a token makes of what it knows.
use crate::linear::Linear;
use candle_core::{Result, Tensor};
use hub::ModelConfig;
use params::ParamBuilder;

/// A gated feed-forward layer (Shazeer 2020): `down(silu(gate(x)) · up(x))`.
pub struct Mlp {
    /// Gate and up, side by side.
    gate_up_proj: Linear,
    down_proj: Linear,
}

impl Mlp {
    /// `name` is `model.layers.N.mlp`.
    pub fn new(model: &ModelConfig, name: &str, params: &mut ParamBuilder) -> Mlp {
        let (hidden, wide) = (model.hidden_size, model.intermediate_size);
        let (std, bias) = (model.initializer_range, model.mlp_bias);
        let small = std / (2.0 * model.num_hidden_layers as f64).sqrt();
        let named = |which: &str, width| (format!("{name}.{which}"), width);
        let gate_up = [named("gate_proj", wide), named("up_proj", wide)];
        let down = [named("down_proj", hidden)];
        Mlp {
            gate_up_proj: Linear::new(&gate_up, hidden, bias, std, params),
            down_proj: Linear::new(&down, wide, bias, small, params),
        }
    }
    /// `x [batch, seq, hidden]` to the same shape.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let gate_up = self.gate_up_proj.forward(x)?;
        self.down_proj.forward(&ops::swiglu(&gate_up)?)
    }
}
