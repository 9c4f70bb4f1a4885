//! An independent oracle: chapter 1's model and its training once more, on libtorch.
//!
//! The two sides share the starting weights, the batches and the numbers that say what
//! to train (sizes, learning rate). Everything else is here twice: the decoder
//! ([`decoder`]; derivatives are torch's autograd), the optimizer and its schedule
//! ([`adamw`]). [`ours`] is the other side, chapter 2's code, which in fp32 is chapter
//! 1's; [`cases`] are the models that both train, and [`compare`] sets the results
//! beside each other.
pub mod adamw;
pub mod cases;
pub mod compare;
pub mod decoder;
pub mod ours;

use anyhow::{Result, bail};
use ch02_mixed_precision::config::Precision;
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// Tensors by Hugging Face name.
pub type Tensors = BTreeMap<String, Tensor>;

/// Torch's name of the type of parameters and activations.
///
/// # Errors
/// fp16: it needs a loss scale, which the oracle does not have.
pub fn kind(precision: Precision) -> Result<Kind> {
    Ok(match precision {
        Precision::Fp64 => Kind::Double,
        Precision::Fp32 => Kind::Float,
        Precision::Bf16 => Kind::BFloat16,
        Precision::Fp16 => bail!("the oracle does not train in fp16"),
    })
}

/// The type that sums, gradients and master weights are in.
pub fn wide(kind: Kind) -> Kind {
    if kind == Kind::Double { Kind::Double } else { Kind::Float }
}

/// Copies in another type.
pub fn to_kind(tensors: &Tensors, kind: Kind) -> Tensors {
    let copy = |(name, tensor): (&String, &Tensor)| {
        (name.clone(), tensor.detach().to_dtype(kind, false, true))
    };
    tensors.iter().map(copy).collect()
}
