//! Layouts of chapter 8, ZeRO.
use crate::small::{SEQ_LEN, Small, wide_models};
use crate::tp::Rank;
use crate::{Reference, covering};
use anyhow::Result;
use ch08_zero::run::{Parts, build, plan};
use ch08_zero::zero::Zero;
use ch08_zero::{Config, evaluate, inputs, loss_scale::LossScale, train};
use clap::Parser;
use comm::{Group, Mesh};
use params::{Element, Params, accumulate, with_float};
use runlog::Interrupt;
use std::path::Path;
use std::slice;

/// Steps of each training.
pub const STEPS: u64 = 6;
/// Layers of each model.
const LAYERS: usize = 5;

/// One choice of each factor.
pub struct Case {
    /// In words.
    pub name: String,
    /// In all.
    pub ranks: usize,
    rows: usize,
    global_batch: usize,
    layout: Vec<String>,
    files: Small,
}

/// The covering set.
///
/// # Errors
/// The files cannot be written.
pub fn cases() -> Result<Vec<Case>> {
    let pipelines = [
        "--pp 1",
        "--pp 2 --schedule 1f1b",
        "--pp 2 --schedule zb-h1",
        "--pp 2 --schedule zbv",
        "--pp 2 --schedule interleaved",
        "--pp 2 --schedule gpipe --pp-layers 2,3",
        "--pp 4 --schedule 1f1b --pp-layers 0,2,1,2",
        "--pp 4 --schedule zb-h1 --pp-layers 1,1,3,0",
    ];
    let tensors = ["--tp 1", "--tp 2 --sp off", "--tp 2 --sp on"];
    let recompute = ["none", "selective", "full", "full --recompute-layers 2"];
    let case = |row: &Vec<usize>| -> Result<Case> {
        let (stage, dp) = (row[0], [1, 2, 3, 4][row[1]]);
        let (pipeline, tp) = (pipelines[row[2]], tensors[row[3]]);
        let (kind, mut model) = wide_models()[row[4]].clone();
        model.num_hidden_layers = LAYERS;
        let recompute = recompute[row[5]];
        let micros = match row[6] {
            // More than stages; those that are dealt out divide.
            2 if pipeline.contains("interleaved") => 4,
            2 => 5,
            few => 1 + few,
        };
        let overlap = ["on", "off"][row[7]];
        let files = Small::new(&model)?;
        let states = files.model().join("states");
        let offload = match row[8] {
            0 => "none".into(),
            _ => states.to_string_lossy().into_owned(),
        };
        let flags = format!(
            "--zero {stage} --dp {dp} {pipeline} {tp} --recompute {recompute} \
             --overlap {overlap}"
        );
        let file = if row[8] == 0 { "" } else { ", states in a file" };
        let name = format!("{flags}, micro-batches {micros}{file}, {kind}");
        let mut layout: Vec<String> = flags.split(' ').map(String::from).collect();
        layout.extend(["--offload".into(), offload]);
        let global_batch = micros * dp;
        let pp = [1, 2, 2, 2, 2, 2, 4, 4][row[2]];
        let tp = if row[3] == 0 { 1 } else { 2 };
        Ok(Case { name, ranks: dp * pp * tp, rows: 1, global_batch, layout, files })
    };
    covering(&[4, 4, 8, 3, 4, 4, 3, 2, 2]).iter().map(case).collect()
}

impl Case {
    fn flags(&self, precision: &str, steps: u64, rows: usize) -> Vec<String> {
        let flags = format!(
            "ferrotron --tokenizer bytes --workers 1 --threads 1 --isolate-documents \
             --warmup 2 --lr 2e-3 --validation-sequences 7 --quiet \
             --seq-len {SEQ_LEN} --global-batch {} --micro-batch {rows} \
             --steps {steps} --precision {precision}",
            self.global_batch
        );
        let mut flags: Vec<String> = flags.split(' ').map(String::from).collect();
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let (model, data) = (path(self.files.model()), path(&self.files.uneven()));
        flags.extend(["--model".into(), model, "--data".into(), data]);
        flags
    }
    /// The layout: what each rank of this process comes to, gathered from those that
    /// keep it.
    ///
    /// # Errors
    /// Those of the training.
    pub fn train(&self, precision: &str, steps: u64) -> Result<Vec<Rank>> {
        let mut flags = self.flags(precision, steps, self.rows);
        flags.extend(self.layout.clone());
        let config = Config::try_parse_from(flags)?;
        config.check()?;
        let inputs = inputs::open(&config)?;
        let plan = plan(&config)?;
        let interrupt = Interrupt::install()?;
        Ok(comm::launch(config.ranks(), |world: Group| {
            let _threads = ops::threads::own(1);
            let Parts { mesh, params, zero, pipeline, mut optimizer } =
                build(&config, &inputs, &plan, world, 1)?;
            let mut steps = vec![];
            let ended = train::train(
                &config,
                inputs.max_lr,
                &inputs.data.train,
                &pipeline,
                &params,
                &zero,
                &mesh,
                &mut optimizer,
                LossScale::new(&config),
                None,
                &interrupt,
                &mut steps,
            )?;
            anyhow::ensure!(ended.is_none(), "{ended:?}");
            let val_loss = evaluate::validation_loss(
                &pipeline,
                &inputs.data.validation,
                config.validation_sequences,
                config.micro_batch,
                &mesh,
                &interrupt,
            )?;
            let communication = mesh.world().ledger().lines();
            gather(&params, &zero, &mesh)?;
            anyhow::Ok(Rank { steps, val_loss, params, communication })
        })?)
    }
    /// Chapter 1 in fp64 on the same data.
    ///
    /// # Errors
    /// Those of the training.
    pub fn reference(&self, steps: u64) -> Result<Reference> {
        use ch01_single_gpu::{Config, run};
        let flags = self.flags("fp64", steps, self.global_batch);
        let run = run(&Config::try_parse_from(flags)?)?;
        Reference::new(&run.steps, run.val_loss, &run.params)
    }
    /// The same on one rank of chapter 5, in one micro-batch.
    ///
    /// # Errors
    /// Those of the training.
    pub fn train_alone(&self, precision: &str, steps: u64) -> Result<Rank> {
        use ch05_tensor_parallel::{Config, run};
        let mut flags = self.flags(precision, steps, self.global_batch);
        flags.extend(["--tp".into(), "1".into()]);
        let rank = run(&Config::try_parse_from(flags)?)?.remove(0);
        let (steps, val_loss) = (rank.steps, rank.val_loss);
        let (params, communication) = (rank.params, rank.communication);
        Ok(Rank { steps, val_loss, params, communication })
    }
}

/// Has all values and all summed gradients on every rank, where a comparison looks for
/// them.
fn gather(params: &Params, zero: &Zero, mesh: &Mesh) -> Result<()> {
    zero.need_all()?;
    if zero.stage == 0 {
        return Ok(());
    }
    for (i, flat) in params.flats.iter().enumerate() {
        let (own, range) = zero.grads(i, zero.updated_here(i));
        with_float!(flat.values.dtype(), T => {
            type A = <T as Element>::Acc;
            let mut whole: Vec<A> = vec![Default::default(); flat.grads.len()];
            let own = own.read::<A>(range)?.to_vec();
            mesh.data().all_gather("test", &own, &mut whole)?;
            for param in &flat.params {
                let sum = &whole[param.range()?];
                let one = slice::from_ref(param);
                accumulate::<A>(one, |grad, _| grad.copy_from_slice(sum))?;
            }
            anyhow::Ok(())
        })?;
    }
    Ok(())
}
