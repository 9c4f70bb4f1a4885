//! Linear layers, each cut over the ranks: by its outputs, or by its inputs.
use crate::tensor_parallel::{Part, TensorParallel};
use candle_core::{Result, Tensor};
use hub::ModelConfig;
use params::{Init, Param, ParamBuilder, Shard};

/// The standard deviation of matrices whose output is added to the residual stream: the
/// smaller, the more layers add to it (Radford et al. 2019, §2.3).
pub fn residual_std(model: &ModelConfig) -> f64 {
    model.initializer_range / (2.0 * model.num_hidden_layers as f64).sqrt()
}

/// This rank's outputs of `y = x Wᵀ + b`, for one matrix, or for several that share
/// their input and whose outputs are wanted side by side. (The paper writes `y = x A`,
/// and cuts `A` by columns.)
pub struct ColumnParallel {
    weights: Vec<Param>,
    /// One for each weight, or none.
    biases: Vec<Param>,
    tp: TensorParallel,
}

impl ColumnParallel {
    /// `outputs` names each matrix of the layer `name` and gives this rank's part of
    /// its rows; all have `inputs` columns, drawn with standard deviation `std`.
    pub fn new(
        tp: &TensorParallel,
        name: &str,
        outputs: &[(&str, Part)],
        inputs: usize,
        bias: bool,
        std: f64,
        params: &mut ParamBuilder,
    ) -> ColumnParallel {
        // Weights first, then biases: so each kind lies in one piece of memory, which
        // makes all these matrices one product.
        let mut weights = vec![];
        for (which, part) in outputs {
            let name = format!("{name}.{which}.weight");
            let shard = Shard::whole(&name, &[part.whole, inputs]);
            weights.push(params.add_shard(tp.cut(shard, 0, part), Init::Normal(std)));
        }
        let mut biases = vec![];
        for (which, part) in outputs.iter().filter(|_| bias) {
            let shard = Shard::whole(&format!("{name}.{which}.bias"), &[part.whole]);
            biases.push(params.add_shard(tp.cut(shard, 0, part), Init::Zeros));
        }
        ColumnParallel { weights, biases, tp: tp.clone() }
    }
    /// `x [.., inputs]`, the same on all ranks, to `[.., sum of this rank's outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = ops::unrecorded(|| ops::linear(x, &self.weights, &self.biases))?;
        let (weights, biases) = (self.weights.clone(), self.biases.clone());
        let (saved, tp) = (ops::save(x), self.tp.clone());
        ops::note("column_parallel", &y, &[x], move |dy| {
            // The ranks' terms of `dx` are summed while the weights' gradients are
            // computed, which nobody else waits for.
            let dx = tp.start_enter_backward(&ops::input_gradient(&dy, &weights)?)?;
            ops::weight_gradient(&saved.get()?, &dy, &weights, &biases)?;
            Ok(vec![dx.wait()?])
        });
        Ok(y)
    }
}

/// `y = x Wᵀ + b`, where each rank has some of the inputs. (The paper cuts `A` by
/// rows.)
pub struct RowParallel {
    weight: Param,
    /// It belongs into the sum of the ranks' terms once: only the first rank has it.
    /// (Megatron-LM has it on all ranks, and adds it to the sum.)
    bias: Option<Param>,
    tp: TensorParallel,
}

impl RowParallel {
    /// `name` is the layer's; of its matrix `[outputs, inputs]` this rank has the
    /// columns `inputs`.
    pub fn new(
        tp: &TensorParallel,
        name: &str,
        outputs: usize,
        inputs: &Part,
        bias: bool,
        std: f64,
        params: &mut ParamBuilder,
    ) -> RowParallel {
        let whole = Shard::whole(&format!("{name}.weight"), &[outputs, inputs.whole]);
        let weight = params.add_shard(tp.cut(whole, 1, inputs), Init::Normal(std));
        let bias = (bias && tp.group.rank() == 0)
            .then(|| params.add(&format!("{name}.bias"), &[outputs], Init::Zeros));
        RowParallel { weight, bias, tp: tp.clone() }
    }
    /// `x [.., this rank's inputs]` to `[.., outputs]`, the same on all ranks.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let weight = std::slice::from_ref(&self.weight);
        self.tp.leave(&ops::linear(x, weight, self.bias.as_slice())?)
    }
}
