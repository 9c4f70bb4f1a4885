//! A model's logits, loss, gradients and first steps, computed elsewhere, beside ours.
use crate::{Model, batch};
use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use ch01_single_gpu::optimizer::{AdamW, Hyper};
use corpus::Batch;
use std::collections::HashMap;
use std::path::Path;

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
    /// Runs the model of `folder` in `dtype` on the reference's tokens.
    ///
    /// # Errors
    /// The folder holds no model that we can run, or the reference lacks a tensor, or
    /// has a gradient of a parameter that our model does not have.
    pub fn compare(&self, folder: &str, dtype: DType) -> Result<Vec<Comparison>> {
        let batch = batch(self.get("tokens")?)?;
        let model = Model::open(folder, batch.seq_len, dtype)?;
        let logits = model.transformer.logits(&batch)?;
        let mut all = vec![compare("logits", "", &logits, self.get("logits")?)?];

        let loss = backward(&model, &batch)?;
        all.push(compare("loss", "", &loss, self.get("loss")?)?);
        for name in self.0.keys().filter_map(|key| key.strip_prefix("grad.")) {
            ensure!(model.params.get(name).is_some(), "our model has no `{name}`");
        }
        for param in model.params.iter() {
            let theirs = self.get(&format!("grad.{}", param.name()))?;
            all.push(compare(
                "gradients",
                param.name(),
                &param.grad_tensor()?,
                theirs,
            )?);
        }
        let mut optimizer = AdamW::new(&model.params)?;
        let norm = optimizer.grad_norm(&model.params)?;
        let norm = Tensor::new(norm, &Device::Cpu)?;
        all.push(compare("gradient norm", "", &norm, self.get("gradnorm")?)?);

        let hyper = Hyper { lr: 1e-3, weight_decay: 0.1, max_grad_norm: 1.0 };
        let theirs = self.get("losses3")?;
        for step in 0..theirs.dims1()? {
            let loss = backward(&model, &batch)?;
            let name = format!("loss after {step}");
            all.push(compare("three steps", &name, &loss, &theirs.get(step)?)?);
            let norm = optimizer.grad_norm(&model.params)?;
            optimizer.step(&model.params, norm, &hyper)?;
        }
        Ok(all)
    }
}

/// The mean loss of the batch; leaves its gradients in the parameters.
fn backward(model: &Model, batch: &Batch) -> Result<Tensor> {
    model.params.begin_step()?;
    let scale = 1.0 / batch.target_count() as f64;
    let (loss, tape) = ops::record(|| model.transformer.loss(batch, scale))?;
    tape.backward(&loss)?;
    Ok(loss)
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
    let [ours, theirs] = [ours, theirs].map(|t| t.to_dtype(DType::F64));
    let (ours, theirs) = (ours?, theirs?);
    let norm = |t: &Tensor| -> Result<f64> {
        Ok(t.sqr()?.sum_all()?.to_scalar::<f64>()?.sqrt())
    };
    let difference = norm(&(ours - &theirs)?)?;
    // A gradient may be zero on both sides.
    let error = if difference == 0.0 { 0.0 } else { difference / norm(&theirs)? };
    Ok(Comparison { kind, name: name.to_string(), error })
}
