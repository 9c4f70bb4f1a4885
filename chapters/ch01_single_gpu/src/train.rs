//! The training loop.
use crate::config::Config;
use crate::model::Transformer;
use crate::optimizer::{AdamW, Hyper};
use anyhow::{Result, ensure};
use corpus::Split;
use params::Params;
use runlog::{Interrupt, RunLog, Step};
use std::time::Instant;

/// What to know about a step that cannot be made.
const DIVERGED: &str = "no parameter was changed by this step. A lower --lr or a \
                        longer --warmup usually helps";

/// Trains for `config.steps` steps, or until the user interrupts; adds what each
/// reported to `steps`.
///
/// # Errors
/// A loss or a gradient that is not finite: nothing was changed by that step.
pub fn train(
    config: &Config,
    max_lr: f64,
    data: &Split,
    model: &Transformer,
    params: &Params,
    optimizer: &mut AdamW,
    log: &mut RunLog,
    interrupt: &Interrupt,
    steps: &mut Vec<Step>,
) -> Result<()> {
    for step in 1..=config.steps {
        if interrupt.requested() {
            break;
        }
        let start = Instant::now();
        let first = (step - 1) * config.global_batch as u64;
        let mut batches = vec![];
        for row in (0..config.global_batch).step_by(config.micro_batch) {
            batches.push(data.batch(first + row as u64, config.micro_batch)?);
        }
        // Each token counts the same, in whatever micro-batch it is: the loss is a mean
        // over the tokens of the step, not a mean of means.
        let tokens: usize = batches.iter().map(|batch| batch.target_count()).sum();
        params.begin_step()?;
        let mut loss = 0.0;
        for (i, batch) in batches.iter().enumerate() {
            let scale = 1.0 / tokens.max(1) as f64;
            // Forward, recorded on a tape; then backward along it, which adds each
            // weight's gradient to what the earlier micro-batches left in `params`.
            // The first of a step overwrites what was there: `begin_step` said so.
            let (micro_loss, tape) = ops::record(|| model.loss(batch, scale))?;
            tape.backward(&micro_loss)?;
            loss += ops::scalar(&micro_loss)?;
            ensure!(
                loss.is_finite(),
                "step {step}, micro-batch {i}: the loss is {loss}; {DIVERGED}"
            );
        }
        let grad_norm = optimizer.grad_norm(params)?;
        ensure!(
            grad_norm.is_finite(),
            "step {step}: the gradient's norm is {grad_norm}; {DIVERGED}"
        );
        let lr = config.lr_at(step, max_lr);
        let hyper = Hyper {
            lr,
            weight_decay: config.weight_decay,
            max_grad_norm: config.max_grad_norm,
        };
        optimizer.step(params, grad_norm, &hyper)?;

        let report = Step {
            step,
            loss,
            grad_norm,
            lr,
            tokens: tokens as u64,
            seconds: start.elapsed().as_secs_f64(),
            // Of rank 0, the only one.
            bytes_peak: memory::account(0).total.peak,
            ..Step::default()
        };
        // Made, whether or not it can be written down.
        steps.push(report.clone());
        log.step(&report)?;
    }
    Ok(())
}
