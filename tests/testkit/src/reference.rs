//! A model's logits, loss, gradients and first steps, computed elsewhere, beside ours.
use crate::{Model, batch};
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use ch01_single_gpu::optimizer::{AdamW, Hyper};
use corpus::Batch;
use params::Params;
use std::collections::HashMap;
use std::path::Path;

/// A model that can be compared with a reference: one rank's part of it, or all.
pub trait Subject {
    /// Of every token, for the whole vocabulary.
    ///
    /// # Errors
    /// They cannot be computed.
    fn logits(&self, batch: &Batch) -> Result<Tensor>;
    /// The mean loss of the batch; leaves its gradients in the parameters.
    ///
    /// # Errors
    /// It cannot be computed.
    fn backward(&self, batch: &Batch) -> Result<Tensor>;
    /// What is held here.
    fn params(&self) -> &Params;
    /// Of all gradients, wherever they are.
    ///
    /// # Errors
    /// There are none.
    fn grad_norm(&self) -> Result<f64>;
    /// A step of AdamW with learning rate 1e-3, weight decay 0.1, clipped at 1.
    ///
    /// # Errors
    /// There are no gradients.
    fn step(&mut self, grad_norm: f64) -> Result<()>;
    /// The sums of what all ranks have.
    ///
    /// # Errors
    /// Another rank failed.
    fn sum(&self, numbers: [f64; 2]) -> Result<[f64; 2]>;
}

/// The model of chapter 1, and its optimizer.
struct Alone(Model, AdamW);

impl Subject for Alone {
    fn logits(&self, batch: &Batch) -> Result<Tensor> {
        Ok(self.0.transformer.logits(batch)?)
    }
    fn backward(&self, batch: &Batch) -> Result<Tensor> {
        self.0.params.begin_step()?;
        let scale = 1.0 / batch.target_count() as f64;
        let (loss, tape) = ops::record(|| self.0.transformer.loss(batch, scale))?;
        tape.backward(&loss)?;
        Ok(loss)
    }
    fn params(&self) -> &Params {
        &self.0.params
    }
    fn grad_norm(&self) -> Result<f64> {
        Ok(self.1.grad_norm(&self.0.params)?)
    }
    fn step(&mut self, grad_norm: f64) -> Result<()> {
        let hyper = Hyper { lr: 1e-3, weight_decay: 0.1, max_grad_norm: 1.0 };
        Ok(self.1.step(&self.0.params, grad_norm, &hyper)?)
    }
    fn sum(&self, numbers: [f64; 2]) -> Result<[f64; 2]> {
        Ok(numbers)
    }
}

/// `reference.safetensors`; `tests/fixtures/README.md` says what is in it.
pub struct Reference(HashMap<String, Tensor>);

/// How far one of our tensors is from the reference's.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// `logits`, `loss`, `gradients`, `gradient norm` or `three steps`.
    pub kind: &'static str,
    /// Which tensor or step.
    pub name: String,
    /// `‖ours - theirs‖ / ‖theirs‖`.
    pub error: f64,
}

/// The largest error of each kind, in the order in which the kinds first appear.
pub fn worst(all: &[Comparison]) -> Vec<Comparison> {
    // An error that is no number is the worst there is.
    let rank = |one: &Comparison| match one.error.is_nan() {
        true => f64::INFINITY,
        false => one.error,
    };
    let mut worst: Vec<Comparison> = vec![];
    for one in all {
        match worst.iter_mut().find(|w| w.kind == one.kind) {
            Some(w) if rank(one) > rank(w) => *w = one.clone(),
            Some(_) => {}
            None => worst.push(one.clone()),
        }
    }
    worst
}

impl Reference {
    /// Reads `reference.safetensors` in `folder`.
    ///
    /// # Errors
    /// There is none, or it is damaged.
    pub fn open(folder: &Path) -> Result<Reference> {
        let path = folder.join("reference.safetensors");
        let tensors = candle_core::safetensors::load(&path, &Device::Cpu);
        Ok(Reference(tensors.with_context(|| format!("{}", path.display()))?))
    }
    fn get(&self, name: &str) -> Result<&Tensor> {
        self.0.get(name).with_context(|| format!("the reference has no `{name}`"))
    }
    /// What the model is run on.
    ///
    /// # Errors
    /// The reference has no tokens.
    pub fn batch(&self) -> Result<Batch> {
        batch(self.get("tokens")?)
    }
    /// Runs chapter 1 in `dtype` with the model of `folder` on the reference's tokens.
    ///
    /// # Errors
    /// The folder holds no model that we can run; or as for
    /// [`Reference::compare_with`].
    pub fn compare(&self, folder: &str, dtype: DType) -> Result<Vec<Comparison>> {
        let model = Model::open(folder, self.batch()?.seq_len, dtype)?;
        let optimizer = AdamW::new(&model.params)?;
        self.compare_with(&mut Alone(model, optimizer))
    }
    /// Runs `subject` on the reference's tokens. Where parameters are in parts, every
    /// rank does so with its own, and comes to what all parts together are.
    ///
    /// # Errors
    /// It cannot be run, or the reference lacks a tensor, or has a gradient of a
    /// parameter that the model does not have.
    pub fn compare_with(&self, subject: &mut impl Subject) -> Result<Vec<Comparison>> {
        let batch = self.batch()?;
        let logits = subject.logits(&batch)?;
        let mut all = vec![compare("logits", "", &logits, self.get("logits")?)?];

        let loss = subject.backward(&batch)?;
        all.push(compare("loss", "", &loss, self.get("loss")?)?);
        let mut names: Vec<&str> =
            self.0.keys().filter_map(|key| key.strip_prefix("grad.")).collect();
        names.sort_unstable();
        for name in names {
            let theirs = self.get(&format!("grad.{name}"))?;
            let param = subject.params().get(name);
            let mut here = [0.0; 2];
            if let Some(param) = param.filter(|param| param.shard().counts()) {
                let shard = param.shard();
                ensure!(
                    theirs.dims() == shard.global_shape,
                    "gradient {name}: ours is {:?}, the reference's {:?}",
                    shard.global_shape,
                    theirs.dims()
                );
                let (mut ours, mut theirs) = (param.grad_tensor()?, theirs.clone());
                for (dim, n) in shard.held().into_iter().enumerate() {
                    ours = ours.narrow(dim, 0, n)?;
                    theirs = theirs.narrow(dim, shard.offset[dim], n)?;
                }
                here = squares(&ours, &theirs)?;
            }
            let [difference, norm] = subject.sum(here)?;
            // Nobody has it.
            ensure!(norm > 0.0 || difference == 0.0, "our model has no `{name}`");
            let error = relative(difference, norm);
            all.push(Comparison { kind: "gradients", name: name.into(), error });
        }
        for param in subject.params().iter() {
            self.get(&format!("grad.{}", param.name()))?;
        }
        let norm = Tensor::new(subject.grad_norm()?, &Device::Cpu)?;
        all.push(compare("gradient norm", "", &norm, self.get("gradnorm")?)?);

        let theirs = self.get("losses3")?;
        for step in 0..theirs.dims1()? {
            let loss = subject.backward(&batch)?;
            let name = format!("loss after {step}");
            all.push(compare("three steps", &name, &loss, &theirs.get(step)?)?);
            let norm = subject.grad_norm()?;
            subject.step(norm)?;
        }
        Ok(all)
    }
}

/// The squares of what is between them, and of `theirs`, added up.
fn squares(ours: &Tensor, theirs: &Tensor) -> Result<[f64; 2]> {
    let [ours, theirs] = [ours, theirs].map(|t| t.to_dtype(DType::F64));
    let (ours, theirs) = (ours?, theirs?);
    let sum =
        |t: &Tensor| -> Result<f64> { Ok(t.sqr()?.sum_all()?.to_scalar::<f64>()?) };
    Ok([sum(&(ours - &theirs)?)?, sum(&theirs)?])
}

/// A gradient may be zero on both sides.
fn relative(difference: f64, norm: f64) -> f64 {
    if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() }
}

fn compare(
    kind: &'static str,
    name: &str,
    ours: &Tensor,
    theirs: &Tensor,
) -> Result<Comparison> {
    ensure!(
        ours.dims() == theirs.dims(),
        "{kind} {name}: ours is {:?}, the reference's {:?}",
        ours.dims(),
        theirs.dims()
    );
    let [difference, norm] = squares(ours, theirs)?;
    let error = relative(difference, norm);
    Ok(Comparison { kind, name: name.to_string(), error })
}
