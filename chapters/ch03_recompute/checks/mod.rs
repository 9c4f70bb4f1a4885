//! What an answer must hold to, the same for the reader's and for ours.
pub mod ex1_segment;
pub mod ex2_forgotten_output;
pub mod ex3_bytes_of_a_layer;
pub mod ex4_dropout;
pub mod ex5_layers_of_a_segment;

use candle_core::{DType, Device, Result, Tensor};
use memory::Family;
use params::{Init, Param, ParamBuilder, Params, Shard};
use std::cell::RefCell;
use std::rc::Rc;

/// Width of the residual stream of the small stacks of exercises 1 and 2.
pub const HIDDEN: usize = 64;

/// Bytes of one of its tensors, `[1, 64, HIDDEN]` in fp32; the few hundred bytes that
/// notes and closures take are little beside it.
pub const UNIT: u64 = 64 * HIDDEN as u64 * 4;

/// What it gives, or a panic that says when it failed.
pub fn ok<T>(result: Result<T>, when: &str) -> T {
    result.unwrap_or_else(|error| panic!("{when}: {error}"))
}

/// `[1, 64, HIDDEN]`, normally distributed, another for each name.
pub fn draw(name: &str) -> Tensor {
    let shard = Shard::whole(name, &[64 * HIDDEN]);
    let draw = Init::Normal(1.0).draw(1, &shard, 0..64 * HIDDEN);
    let elements: Vec<f32> = draw.map(|x| x as f32).collect();
    Tensor::from_vec(elements, (1, 64, HIDDEN), &Device::Cpu).unwrap()
}

/// Tensors of the stack's size that this rank holds as activations.
pub fn held(rank: usize) -> u64 {
    (memory::account(rank)[Family::Activations].live + UNIT / 2) / UNIT
}

/// A layer's parameters, and when it ran.
#[derive(Clone)]
pub struct Layer {
    pub norm: Param,
    /// `[2 · HIDDEN, HIDDEN]`
    pub matrix: Param,
    /// For each of its runs, whether a recording was on.
    pub runs: Rc<RefCell<Vec<bool>>>,
}

impl Layer {
    /// The norm. It saves its input.
    pub fn norm(&self, x: &Tensor) -> Result<Tensor> {
        self.runs.borrow_mut().push(ops::recording());
        ops::rms_norm(x, &self.norm, 1e-6)
    }
    /// What is behind it: a matrix and a gate. They save `x` and 2 tensors of its size.
    pub fn gated(&self, x: &Tensor) -> Result<Tensor> {
        ops::swiglu(&ops::linear(x, std::slice::from_ref(&self.matrix), &[])?)
    }
    /// All of it.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.gated(&self.norm(x)?)
    }
}

/// Some layers and their parameters.
pub fn layers(count: usize) -> (Vec<Layer>, Params) {
    let mut builder = ParamBuilder::new(1, DType::F32);
    let layer = |n: usize| Layer {
        norm: builder.add(&format!("norm {n}"), &[HIDDEN], Init::Ones),
        matrix: {
            let shape = [2 * HIDDEN, HIDDEN];
            builder.add(&format!("matrix {n}"), &shape, Init::Normal(0.1))
        },
        runs: Rc::default(),
    };
    let layers = (0..count).map(layer).collect();
    (layers, builder.build(1).unwrap())
}

/// Output and all gradients, by name.
pub type Bits = Vec<(String, Vec<f32>)>;

fn elements(x: &Tensor) -> Vec<f32> {
    x.flatten_all().unwrap().to_vec1().unwrap()
}

/// Runs `count` layers one after the other, as `layer` says, forward and backward for
/// two micro-batches; returns outputs and gradients.
pub fn train(
    count: usize,
    layer: impl Fn(&Tensor, &Layer) -> Result<Tensor>,
) -> (Bits, Vec<Layer>) {
    let (layers, params) = layers(count);
    params.begin_step().unwrap();
    let mut bits = vec![];
    for micro in ["first", "second"] {
        let (x, dy) = (draw(micro), draw(&format!("gradient of the {micro}")));
        let forward = || layers.iter().try_fold(x.clone(), |x, l| layer(&x, l));
        let (y, tape) = ok(ops::record(forward), "forward");
        let mut grads = ok(tape.backward_from(&y, dy), "backward");
        bits.push((format!("the {micro} output"), elements(&y)));
        let dx = ok(grads.take(&x), "backward");
        ok(grads.finish(), "backward");
        bits.push((format!("the gradient of the {micro} input"), elements(&dx)));
    }
    for param in params.iter() {
        // None where none arrived.
        let grad = param.grad::<f32>().map_or(vec![], |grad| grad.to_vec());
        bits.push((format!("the gradient of {}", param.name()), grad));
    }
    (bits, layers)
}

/// The same to the last bit, whatever `got` is of.
pub fn same_bits(got: &Bits, want: &Bits, of: &str) {
    for ((name, got), (_, want)) in got.iter().zip(want) {
        assert!(
            got.len() == want.len(),
            "{of}: {name} has {} elements, expected {}: where is it accumulated?",
            got.len(),
            want.len()
        );
        let pairs = got.iter().zip(want);
        let differ = pairs.filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        assert!(
            differ == 0,
            "{of}: {differ} of {} elements of {name} are not what they are without a \
             segment. The first is {:e}, expected {:e}",
            want.len(),
            got[0],
            want[0]
        );
    }
}
