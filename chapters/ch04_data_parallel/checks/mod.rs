//! What an answer must hold to, the same for the reader's and for ours.
pub mod ex1_ring_all_reduce;
pub mod ex2_average_by_tokens;
pub mod ex3_step_with_buckets;
pub mod ex4_dealing_rows;
pub mod ex5_bytes_of_gradients;

use candle_core::{DType, Device, Result, Tensor};
use comm::Group;
use corpus::{Batch, IGNORE};
use params::{Init, Param, ParamBuilder, Params};
use std::fmt::Display;

/// `1 rank`, `2 ranks`.
pub fn many(n: usize, what: &str) -> String {
    let plural = if what.ends_with("ch") { "es" } else { "s" };
    format!("{n} {what}{}", if n == 1 { "" } else { plural })
}

/// Runs `f` on so many ranks; what each returns, or a panic that says when it failed.
#[track_caller]
pub fn ranks<T: Send, E: Display + Send>(
    n: usize,
    when: &str,
    f: impl Fn(Group) -> std::result::Result<T, E> + Sync,
) -> Vec<T> {
    let each = |group| {
        let _threads = ops::threads::own(1);
        f(group)
    };
    match comm::launch(n, each) {
        Ok(all) => all,
        Err(error) => panic!("{}, {when}: {error}", many(n, "rank")),
    }
}

const VOCAB: usize = 11;
const HIDDEN: usize = 6;

/// A model of exercises 2 and 3, in fp64: an embedding, one layer with a gate, a norm
/// and an output matrix, in three flat buffers.
pub struct Model {
    embedding: Param,
    /// `[2 HIDDEN, HIDDEN]`
    gate_up: Param,
    norm: Param,
    /// If it is tied, the embedding.
    head: Param,
}

impl Model {
    pub fn new(tied: bool) -> (Model, Params) {
        let mut builder = ParamBuilder::new(1, DType::F64);
        let (table, init) = ([VOCAB, HIDDEN], Init::Normal(0.5));
        let embedding = builder.add("embedding", &table, init);
        builder.next_flat();
        let gate_up = builder.add("gate_up", &[2 * HIDDEN, HIDDEN], init);
        builder.next_flat();
        let norm = builder.add("norm", &[HIDDEN], Init::Ones);
        let head = match tied {
            true => embedding.clone(),
            false => builder.add("head", &table, init),
        };
        let params = builder.build(1).unwrap();
        (Model { embedding, gate_up, norm, head }, params)
    }
    /// `scale` times the sum of the losses of the targets that count, with a mark
    /// before each flat buffer but the first.
    pub fn loss(&self, batch: &Batch, scale: f64) -> Result<Tensor> {
        let shape = (batch.rows, batch.seq_len);
        let tokens = Tensor::from_slice(&batch.tokens, shape, &Device::Cpu)?;
        let x = ops::embedding(&tokens, &self.embedding)?;
        ops::mark(1);
        let gate_up = ops::linear(&x, std::slice::from_ref(&self.gate_up), &[])?;
        let x = ops::add(&x, &ops::swiglu(&gate_up)?)?;
        ops::mark(2);
        let x = ops::rms_norm(&x, &self.norm, 1e-6)?;
        ops::head_loss(&x, &self.head, &batch.targets, scale)
    }
}

/// A row of so many tokens, of which the first `count` are targets that count and the
/// rest padding; another row for each number.
pub fn row(number: usize, seq_len: usize, count: usize) -> Batch {
    let draw = |at: usize| ((number * 37 + at * at * 5 + at * 3) % VOCAB) as u32;
    let target = |at: usize| if at < count { draw(at + 1) } else { IGNORE };
    Batch {
        rows: 1,
        seq_len,
        tokens: (0..seq_len).map(draw).collect(),
        targets: (0..seq_len).map(target).collect(),
        document_starts: None,
    }
}

/// The gradients of all parameters, by name.
pub type Grads = Vec<(String, Vec<f64>)>;

/// What is in the main gradients now.
pub fn grads(params: &Params) -> Result<Grads> {
    let grad = |p: &Param| Ok((p.name().to_owned(), p.grad::<f64>()?.to_vec()));
    params.iter().map(grad).collect()
}

/// The mean loss over all targets of `batches`, and its gradients: one rank, all data.
pub fn alone(tied: bool, batches: &[Batch]) -> (f64, Grads) {
    let (model, params) = Model::new(tied);
    let targets: usize = batches.iter().map(Batch::target_count).sum();
    params.begin_step().unwrap();
    let mut sum = 0.0;
    for batch in batches {
        let scale = 1.0 / targets.max(1) as f64;
        let (loss, tape) = ops::record(|| model.loss(batch, scale)).unwrap();
        tape.backward(&loss).unwrap();
        sum += loss.to_scalar::<f64>().unwrap();
    }
    (sum, grads(&params).unwrap())
}

/// The largest difference of two gradients, as a part of the second's largest element;
/// of zeros, the difference itself.
pub fn distance(got: &[f64], want: &[f64]) -> f64 {
    let largest = |all: &mut dyn Iterator<Item = f64>| all.fold(0.0, f64::max);
    let apart = largest(&mut got.iter().zip(want).map(|(a, b)| (a - b).abs()));
    let length = largest(&mut want.iter().map(|x| x.abs()));
    // A NaN is far from everything; `max` would lose it.
    match got.iter().all(|x| x.is_finite()) {
        true if length > 0.0 => apart / length,
        true => apart,
        false => f64::INFINITY,
    }
}
