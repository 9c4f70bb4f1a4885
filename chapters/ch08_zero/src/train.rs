//! The training loop.
use crate::config::{Config, Switch};
use crate::gradients::Gradients;
use crate::loss_scale::LossScale;
use crate::optimizer::{AdamW, Hyper};
use crate::pipeline::Pipeline;
use crate::zero::Zero;
use anyhow::{Error, Result, anyhow};
use comm::{Group, Mesh, Reduce};
use corpus::Split;
use params::Params;
use runlog::{Interrupt, RunLog, Step};
use std::collections::BTreeMap;
use std::time::Instant;

/// What to know about a step that cannot be made.
const DIVERGED: &str = "no parameter was changed by this step. A lower --lr or a \
                        longer --warmup usually helps";

/// Trains for `config.steps` steps, or until the user interrupts; adds what each
/// reported to `steps`. Every rank of the mesh does so, on its share of the data, and
/// comes to the same losses, the same norm, and its part of the same parameters.
///
/// With a loss scale, a step whose gradients overflow is skipped: it changes nothing
/// but the scale, and the run goes on.
///
/// Returns what ended it early on all ranks alike, after the same step, so that they
/// can still save the model together: a loss that is not finite, or without a loss
/// scale a gradient, where nothing was changed by that step; or a record that could not
/// be written.
///
/// # Errors
/// This rank failed, or another one.
pub fn train(
    config: &Config,
    max_lr: f64,
    data: &Split,
    pipeline: &Pipeline,
    params: &Params,
    zero: &Zero,
    mesh: &Mesh,
    optimizer: &mut AdamW,
    mut loss_scale: Option<LossScale>,
    mut log: Option<&mut RunLog>,
    interrupt: &Interrupt,
    steps: &mut Vec<Step>,
) -> Result<Option<Error>> {
    // Those that work on the run; and among them those that hold the same parameters
    // and see other data.
    let (world, peers) = (mesh.world(), mesh.data());
    let mut not_written = None;
    for step in 1..=config.steps {
        let start = Instant::now();
        if any(world, interrupt.requested() || not_written.is_some())? {
            break;
        }
        let first = (step - 1) * config.global_batch as u64;
        let mut batches = vec![];
        // Micro-batches are dealt out to the ranks.
        let rows = (0..config.global_batch).step_by(config.micro_batch);
        for row in rows.skip(peers.rank()).step_by(peers.size()) {
            batches.push(data.batch(first + row as u64, config.micro_batch)?);
        }
        // Each token counts the same, in whatever micro-batch and on whatever rank it
        // is: the loss is a mean over the tokens of the step, not a mean of means.
        let targets = batches.iter().map(|batch| batch.target_count() as i64);
        let mut tokens = [targets.sum::<i64>()];
        // Of all ranks, though those that hold the model together count the same: a
        // call of `peers` would come behind the values that they are still gathering.
        world.all_reduce("tokens", &mut tokens, Reduce::Sum)?;
        let tokens = tokens[0] / mesh.model().size() as i64;
        params.begin_step()?;
        let mut gradients = Gradients::new(params, mesh, zero);
        let loss_scaled_by = loss_scale.as_ref().map_or(1.0, LossScale::scale);
        // Forward and backward of all micro-batches, as the schedule has it. They add
        // each weight's gradient to what the earlier ones left in `params`; the first
        // of a step overwrites what was there: `begin_step` said so.
        let scale = loss_scaled_by / tokens.max(1) as f64;
        let overlap = config.overlap == Switch::On;
        let losses = pipeline.step(&batches, scale, &mut gradients, overlap)?;
        let (mut loss, mut nan) = ([0.0], None);
        for (i, micro_loss) in losses.iter().enumerate() {
            loss[0] += micro_loss / loss_scaled_by;
            if !loss[0].is_finite() {
                nan.get_or_insert(peers.rank() + i * peers.size());
            }
        }
        gradients.finish()?;
        let grad_norm = optimizer.grad_norm(params)? / loss_scaled_by;
        peers.all_reduce("loss", &mut loss, Reduce::Sum)?;
        // The same sum everywhere: all ranks end here.
        if !loss[0].is_finite() {
            let number = first_of(world, nan.unwrap_or(usize::MAX))?;
            return Ok(Some(anyhow!(
                "step {step}, micro-batch {number}: the loss is {}; {DIVERGED}",
                loss[0]
            )));
        }
        let lr = config.lr_at(step, max_lr);
        let mut extra = BTreeMap::new();
        if loss_scale.is_some() {
            extra.insert("loss_scale".into(), loss_scaled_by.into());
        }
        // The norm is that of the same sums everywhere: all ranks decide alike.
        if !grad_norm.is_finite() {
            // In which micro-batch is not known: several are under way at any time.
            let place = format!("step {step}");
            let Some(loss_scale) = &mut loss_scale else {
                return Ok(Some(anyhow!(
                    "{place}: the gradient's norm is {grad_norm}; {DIVERGED}"
                )));
            };
            if let Err(error) = loss_scale.overflowed() {
                return Ok(Some(error.context(place)));
            }
            if let Some(log) = &mut log {
                log.say(&format!(
                    "{place}: a gradient overflows fp16; step skipped, loss scale now \
                     {}",
                    loss_scale.scale()
                ));
            }
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

        let mut report = Step {
            step,
            loss: loss[0],
            grad_norm,
            lr,
            tokens: tokens as u64,
            seconds: start.elapsed().as_secs_f64(),
            // Of this rank alone.
            bytes_peak: memory::account(world.rank()).total.peak,
            extra,
        };
        // Made, whether or not it can be written down.
        steps.push(report.clone());
        if let Some(log) = &mut log {
            // For the record alone: all steps are kept, and this is long.
            let comm = world.ledger().take();
            if !comm.is_empty() {
                report.extra.insert("comm".into(), serde_json::to_value(comm)?);
            }
            not_written = log.step(&report).err();
        }
    }
    // Only the rank that writes the records knows what is wrong.
    let elsewhere = any(world, not_written.is_some())?
        .then(|| anyhow!("another rank cannot write its records"));
    Ok(not_written.or(elsewhere))
}

/// Whether the user wants the run to end, whichever rank was told: all end it after the
/// same step.
///
/// # Errors
/// Another rank failed.
pub fn interrupted(world: &Group, interrupt: &Interrupt) -> comm::Result<bool> {
    any(world, interrupt.requested())
}

/// Whether it is so on any rank.
fn any(world: &Group, here: bool) -> comm::Result<bool> {
    let mut told = [u8::from(here)];
    world.all_reduce("interrupt", &mut told, Reduce::Max)?;
    Ok(told == [1])
}

/// The smallest of all ranks' numbers.
fn first_of(world: &Group, own: usize) -> comm::Result<usize> {
    let mut first = [-(own.min(i64::MAX as usize) as i64)];
    world.all_reduce("first", &mut first, Reduce::Max)?;
    Ok(-first[0] as usize)
}
