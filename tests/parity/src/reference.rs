//! The models of chapters 5 and 6 beside references computed elsewhere.
use anyhow::{Context, Result};
use candle_core::{DType, Tensor};
use comm::{Layout, Mesh, Reduce, launch};
use corpus::Batch;
use hub::Folder;
use params::{ParamBuilder, Params};
use testkit::{Comparison, Reference, Subject};

macro_rules! chapter {
    ($doc:literal, $compare:ident, $chapter:ident $(, $sequence:expr)?) => {
        #[doc = $doc]
        ///
        /// # Errors
        /// As for [`Reference::compare`]; or so many ranks do not divide the model.
        pub fn $compare(
            reference: &Reference,
            folder: &str,
            dtype: DType,
            ranks: usize,
        ) -> Result<Vec<Comparison>> {
            use $chapter::gradients::Gradients;
            use $chapter::model::Transformer;
            use $chapter::optimizer::{AdamW, Hyper};
            use $chapter::tensor_parallel::{TensorParallel, check};
            use $chapter::{Config, recompute::Recompute, weights};

            struct Rank {
                transformer: Transformer,
                params: Params,
                optimizer: AdamW,
                mesh: Mesh,
            }

            impl Subject for Rank {
                fn logits(&self, batch: &Batch) -> Result<Tensor> {
                    Ok(self.transformer.logits(batch)?)
                }
                fn backward(&self, batch: &Batch) -> Result<Tensor> {
                    self.params.begin_step()?;
                    let scale = 1.0 / batch.target_count() as f64;
                    let forward = || self.transformer.loss(batch, scale);
                    let (loss, tape) = ops::record(forward)?;
                    tape.backward(&loss)?;
                    Gradients::new(&self.params, &self.mesh).finish()?;
                    Ok(loss)
                }
                fn params(&self) -> &Params {
                    &self.params
                }
                fn grad_norm(&self) -> Result<f64> {
                    Ok(self.optimizer.grad_norm(&self.params)?)
                }
                fn step(&mut self, grad_norm: f64) -> Result<()> {
                    let hyper = Hyper {
                        lr: 1e-3,
                        weight_decay: 0.1,
                        max_grad_norm: 1.0,
                        loss_scale: 1.0,
                    };
                    Ok(self.optimizer.step(&self.params, grad_norm, &hyper)?)
                }
                fn sum(&self, mut numbers: [f64; 2]) -> Result<[f64; 2]> {
                    let group = self.mesh.model();
                    group.all_reduce("reference", &mut numbers, Reduce::Sum)?;
                    Ok(numbers)
                }
            }

            let folder = Folder::open(folder)?;
            let (model, files) = (folder.config()?, folder.weights()?);
            check(&model, ranks)?;
            let seq_len = reference.batch()?.seq_len;
            let all = launch(ranks, |world| {
                let layout = Layout { tp: ranks, ..Layout::default() };
                let mut mesh = Mesh::new(world, &layout)?;
                let tp = TensorParallel::new(&mut mesh, &model $(, $sequence)?)?;
                let layers = model.num_hidden_layers;
                let keep = Recompute::new(&Config::default(), layers)?;
                let mut builder = ParamBuilder::new(0, dtype);
                let transformer =
                    Transformer::new(&tp, &model, seq_len, dtype, &keep, &mut builder)?;
                let params = builder.build_zeros()?;
                weights::load(&params, &files)?;
                let optimizer = AdamW::new(&params, &mesh)?;
                let mut rank = Rank { transformer, params, optimizer, mesh };
                reference.compare_with(&mut rank)
            })?;
            all.into_iter().next().context("no ranks")
        }
    };
}

chapter!("Chapter 5 on so many tensor-parallel ranks.", five, ch05_tensor_parallel);
chapter!(
    "Chapter 6 on so many tensor-parallel ranks, which divide the sequence.",
    six,
    ch06_sequence_parallel,
    ch06_sequence_parallel::config::Switch::On
);
