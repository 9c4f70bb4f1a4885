//! The training loop.
use crate::config::Config;
use crate::loss_scale::LossScale;
use crate::model::Transformer;
use crate::optimizer::{AdamW, Hyper};
use anyhow::{Context, Result, bail, ensure};
use corpus::Split;
use params::Params;
use runlog::{Interrupt, RunLog, Step};
use std::collections::BTreeMap;
use std::time::Instant;

/// What to know about a step that cannot be made.
const DIVERGED: &str = "no parameter was changed by this step. A lower --lr or a \
                        longer --warmup usually helps";

/// Trains for `config.steps` steps, or until the user interrupts; adds what each
/// reported to `steps`.
///
/// With a loss scale, a step whose gradients overflow is skipped: it changes nothing
/// but the scale, and the run goes on.
///
/// # Errors
/// A loss that is not finite, or without a loss scale a gradient: nothing was changed
/// by that step.
pub fn train(
    config: &Config,
    max_lr: f64,
    data: &Split,
    model: &Transformer,
    params: &Params,
    optimizer: &mut AdamW,
    mut loss_scale: Option<LossScale>,
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
        let loss_scaled_by = loss_scale.as_ref().map_or(1.0, LossScale::scale);
        let (mut loss, mut grad_norm, mut overflow) = (0.0, 0.0, None);
        for (i, batch) in batches.iter().enumerate() {
            let scale = loss_scaled_by / tokens.max(1) as f64;
            // Forward, recorded on a tape; then backward along it, which adds each
            // weight's gradient to what the earlier micro-batches left in `params`.
            // The first of a step overwrites what was there: `begin_step` said so.
            let (micro_loss, tape) = ops::record(|| model.loss(batch, scale))?;
            tape.backward(&micro_loss)?;
            let scaled = ops::scalar(&micro_loss)?;
            loss += scaled / loss_scaled_by;
            ensure!(
                loss.is_finite(),
                "step {step}, micro-batch {i}: the loss is {loss}; {DIVERGED}"
            );
            grad_norm = optimizer.grad_norm(params)? / loss_scaled_by;
            // Where an overflow came in can only be seen now: sums keep it.
            if !grad_norm.is_finite() {
                overflow.get_or_insert(format!("step {step}, micro-batch {i}"));
            }
        }
        let lr = config.lr_at(step, max_lr);
        let mut extra = BTreeMap::new();
        if loss_scale.is_some() {
            extra.insert("loss_scale".into(), loss_scaled_by.into());
        }
        if let Some(place) = overflow {
            let Some(loss_scale) = &mut loss_scale else {
                bail!("{place}: the gradient's norm is {grad_norm}; {DIVERGED}")
            };
            loss_scale.overflowed().with_context(|| place.clone())?;
            log.say(&format!(
                "{place}: a gradient overflows fp16; step skipped, loss scale now {}",
                loss_scale.scale()
            ));
            extra.insert("skipped".into(), true.into());
        } else {
            let hyper = Hyper {
                lr,
                weight_decay: config.weight_decay,
                max_grad_norm: config.max_grad_norm,
                loss_scale: loss_scaled_by,
            };
            optimizer.step(params, grad_norm, &hyper)?;
            if let Some(loss_scale) = &mut loss_scale {
                loss_scale.made();
            }
        }

        let report = Step {
            step,
            loss,
            grad_norm,
            lr,
            tokens: tokens as u64,
            seconds: start.elapsed().as_secs_f64(),
            // Of rank 0, the only one.
            bytes_peak: memory::account(0).total.peak,
            extra,
        };
        // Made, whether or not it can be written down.
        steps.push(report.clone());
        log.step(&report)?;
    }
    Ok(())
}
