//! Layouts of chapter 4, data parallelism.
use crate::small::{SEQ_LEN, Small, models};
use crate::{Reference, covering};
use anyhow::Result;
use ch04_data_parallel::Config;
use ch04_data_parallel::config::{Granularity, Switch};

/// Steps of each training.
pub const STEPS: u64 = 20;
/// Sequences of a step: 1, 2, 3 and 4 ranks divide them.
pub const GLOBAL_BATCH: usize = 24;

/// One choice of each factor.
pub struct Case {
    /// In words.
    pub name: String,
    /// To be trained with.
    pub config: Config,
    /// The files it names.
    _files: Small,
}

/// The covering set.
///
/// # Errors
/// The files cannot be written.
pub fn cases() -> Result<Vec<Case>> {
    let dp = [1, 2, 3, 4];
    let accumulation = [1, 2];
    let texts = ["even", "uneven"];
    let recompute = [Granularity::None, Granularity::Selective, Granularity::Full];
    let overlap = [Switch::On, Switch::Off];
    let rows = covering(&[4, 2, 2, 3, 3, 2]);
    let case = |row: &Vec<usize>| -> Result<Case> {
        let (kind, model) = models()[row[3]].clone();
        let small = Small::new(&model)?;
        let (dp, n) = (dp[row[0]], accumulation[row[1]]);
        let text = texts[row[2]];
        let data = if text == "even" { small.even() } else { small.uneven() };
        let config = Config {
            model: small.model().to_string_lossy().into_owned(),
            data: vec![data],
            tokenizer: Some("bytes".into()),
            workers: 1,
            threads: 1,
            isolate_documents: true,
            steps: STEPS,
            warmup: Some(2),
            seq_len: SEQ_LEN,
            micro_batch: GLOBAL_BATCH / dp / n,
            global_batch: GLOBAL_BATCH,
            lr: Some(2e-3),
            validation_sequences: 7,
            quiet: true,
            dp,
            overlap: overlap[row[5]],
            recompute: recompute[row[4]],
            ..Config::default()
        };
        let name = format!(
            "dp {dp}, {n} micro-batches, {text} text, {kind}, recompute {:?}, overlap \
             {:?}",
            config.recompute, config.overlap
        );
        Ok(Case { name, config, _files: small })
    };
    rows.iter().map(case).collect()
}

impl Case {
    /// Chapter 1 in fp64 on the same data.
    ///
    /// # Errors
    /// Those of the training.
    pub fn reference(&self) -> Result<Reference> {
        let config = &self.config;
        let Config { model, data, tokenizer, .. } = config.clone();
        let run = ch01_single_gpu::run(&ch01_single_gpu::Config {
            model,
            data,
            tokenizer,
            workers: 1,
            threads: 1,
            isolate_documents: config.isolate_documents,
            steps: config.steps,
            warmup: config.warmup,
            seq_len: config.seq_len,
            micro_batch: config.global_batch,
            global_batch: config.global_batch,
            lr: config.lr,
            validation_sequences: config.validation_sequences,
            quiet: true,
            precision: ch01_single_gpu::config::Precision::Fp64,
            ..ch01_single_gpu::Config::default()
        })?;
        Reference::new(&run.steps, run.val_loss, &run.params)
    }
}
