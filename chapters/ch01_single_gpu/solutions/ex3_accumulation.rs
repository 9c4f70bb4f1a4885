//! # Fill in: one step from several micro-batches
//!
//! Every token counts one over the tokens of the *step*, so the tokens are counted
//! first, over all micro-batches, and the same `scale` is given to each. Then the
//! losses and the gradients need only be added. Dividing each micro-batch by its own
//! tokens, and the sum by the number of micro-batches, gives a mean of means: right as
//! long as all have the same number of targets, which is how it stayed unnoticed in
//! Hugging Face's Trainer and others until October 2024 (their blog, *Fixing Gradient
//! Accumulation*). `begin_step` stands before the loop: inside, each micro-batch would
//! throw away the gradients of those before it.
use anyhow::Result;
use ch01_single_gpu::model::Transformer;
use corpus::Batch;
use params::Params;

/// Leaves the gradient of the step in `params` and returns its mean loss, in nats per
/// token; `batches` are the micro-batches of the step. The model is in f64.
///
/// # Errors
/// Those of forward and backward.
pub fn accumulate(
    model: &Transformer,
    params: &Params,
    batches: &[Batch],
) -> Result<f64> {
    let tokens: usize = batches.iter().map(Batch::target_count).sum();
    let scale = 1.0 / tokens as f64;
    params.begin_step()?;
    let mut total = 0.0;
    for batch in batches {
        let (loss, tape) = ops::record(|| model.loss(batch, scale))?;
        tape.backward(&loss)?;
        total += loss.to_scalar::<f64>()?;
    }
    Ok(total)
}
