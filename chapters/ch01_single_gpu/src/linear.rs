//! A matrix.
use candle_core::{Result, Tensor};
use params::{Init, Param, ParamBuilder};

/// `y = x Wᵀ + b`, for one matrix, or for several that share their input and whose
/// outputs are wanted side by side.
pub struct Linear {
    weights: Vec<Param>,
    /// One for each weight, or none.
    biases: Vec<Param>,
}

impl Linear {
    /// `outputs` names each matrix and gives its number of rows; all have `inputs`
    /// columns, drawn with standard deviation `std`.
    pub fn new(
        outputs: &[(String, usize)],
        inputs: usize,
        bias: bool,
        std: f64,
        params: &mut ParamBuilder,
    ) -> Linear {
        // Weights first, then biases: so each kind lies in one piece of memory, which
        // makes all these matrices one product.
        let mut weights = vec![];
        for (name, rows) in outputs {
            let name = format!("{name}.weight");
            weights.push(params.add(&name, &[*rows, inputs], Init::Normal(std)));
        }
        let mut biases = vec![];
        for (name, rows) in outputs.iter().filter(|_| bias) {
            biases.push(params.add(&format!("{name}.bias"), &[*rows], Init::Zeros));
        }
        Linear { weights, biases }
    }
    /// `x [.., inputs]` to `[.., sum of outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::linear(x, &self.weights, &self.biases)
    }
}
