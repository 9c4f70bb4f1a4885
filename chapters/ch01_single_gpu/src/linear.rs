//! Linear layers: matrices that share an input, as one product.
use candle_core::{Result, Tensor};
use hub::ModelConfig;
use params::{Init, Param, ParamBuilder};

/// `y = x Wᵀ + b`, for one matrix, or for several that share their input and whose
/// outputs are wanted side by side.
pub struct Linear {
    weights: Vec<Param>,
    /// One for each weight, or none.
    biases: Vec<Param>,
}

/// The standard deviation of matrices whose output is added to the residual stream: the
/// smaller, the more layers add to it (Radford et al. 2019, §2.3).
pub fn residual_std(model: &ModelConfig) -> f64 {
    model.initializer_range / (2.0 * model.num_hidden_layers as f64).sqrt()
}

impl Linear {
    /// `outputs` names each matrix of the layer `name` and gives its number of rows;
    /// all have `inputs` columns, drawn with standard deviation `std`.
    pub fn new(
        name: &str,
        outputs: &[(&str, usize)],
        inputs: usize,
        bias: bool,
        std: f64,
        params: &mut ParamBuilder,
    ) -> Linear {
        // Weights first, then biases: so each kind lies in one piece of memory, which
        // makes all these matrices one product.
        let mut weights = vec![];
        for (which, rows) in outputs {
            let name = format!("{name}.{which}.weight");
            weights.push(params.add(&name, &[*rows, inputs], Init::Normal(std)));
        }
        let mut biases = vec![];
        for (which, rows) in outputs.iter().filter(|_| bias) {
            let name = format!("{name}.{which}.bias");
            biases.push(params.add(&name, &[*rows], Init::Zeros));
        }
        Linear { weights, biases }
    }
    /// `x [.., inputs]` to `[.., sum of outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weights, &self.biases)
    }
}
