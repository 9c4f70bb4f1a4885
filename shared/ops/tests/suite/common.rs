//! The check that every operation goes through, and what it is made of.

use candle_core::{DType, Device, Result, Tensor, Var};
use ops::record;
use params::{Init, Param, ParamBuilder, Shard};

/// Random standard normal numbers in f64; each name and seed gives others.
pub fn normal(name: &str, seed: u64, shape: &[usize]) -> Tensor {
    let shard = Shard::whole(name, shape);
    let data = Init::Normal(1.0).draw(seed, &shard, 0..shard.elements());
    Tensor::from_vec(data.collect::<Vec<f64>>(), shape, &Device::Cpu).unwrap()
}

/// Random whole numbers below `bound`.
pub fn whole(name: &str, n: usize, bound: usize) -> Vec<u32> {
    let of = |x: f64| (x.abs() * 1e6) as usize % bound;
    flat(&normal(name, 1, &[n])).into_iter().map(|x| of(x) as u32).collect()
}

/// All elements, row-major, in f64.
pub fn flat(x: &Tensor) -> Vec<f64> {
    let x = x.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
    x.to_vec1().unwrap()
}

/// `‖a - b‖ / ‖b‖`; where `b` is zero, `a` must be.
pub fn error_of(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let diff = norm(&mut a.iter().zip(b).map(|(a, b)| a - b));
    if diff == 0.0 { 0.0 } else { diff / norm(&mut b.iter().copied()) }
}

/// Fails unless `‖a - b‖ <= bound · ‖b‖`, of the same shape. A NaN fails.
#[track_caller]
pub fn close(what: &str, a: &Tensor, b: &Tensor, bound: f64) {
    assert_eq!(a.dims(), b.dims(), "{what}");
    let error = error_of(&flat(a), &flat(b));
    if std::env::var_os("ERRORS").is_some() {
        println!("{what}: {error:.1e} of {bound:.1e}");
    }
    assert!(error <= bound, "{what}: error {error:.2e}, at most {bound:.2e} allowed");
}

/// Fails unless the elements are the same bit for bit.
#[track_caller]
pub fn same(what: &str, a: &Tensor, b: &Tensor) {
    assert_eq!((a.dims(), a.dtype()), (b.dims(), b.dtype()), "{what}");
    let bits = |x| flat(x).into_iter().map(f64::to_bits).collect::<Vec<u64>>();
    assert!(bits(a) == bits(b), "{what}: not the same bits");
}

/// The text of an error.
#[track_caller]
pub fn refusal<T>(result: Result<T>) -> String {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.to_string(),
    }
}

/// Parameters of these names and shapes, side by side in this order.
pub fn parameters(of: &[(&str, &[usize])], init: Init, dtype: DType) -> Vec<Param> {
    let mut builder = ParamBuilder::new(5, dtype);
    let each = of.iter().map(|(name, shape)| builder.add(name, shape, init)).collect();
    builder.build(1).unwrap();
    each
}

/// A type's unit roundoff: half the distance from 1 to the next number.
pub fn roundoff(dtype: DType) -> f64 {
    match dtype {
        DType::F64 => 2f64.powi(-53),
        DType::F32 => 2f64.powi(-24),
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        other => panic!("{other:?}"),
    }
}

/// Of inputs and parameters, what it makes.
pub type Op = Box<dyn Fn(&[Tensor], &[Param]) -> Result<Tensor>>;
/// The same from plain candle operations, in f64.
pub type Plain = Box<dyn Fn(&[Tensor], &[Tensor]) -> Result<Tensor>>;

/// An operation, what to call it with, and what it should make of it.
pub struct Case {
    pub name: String,
    pub inputs: Vec<Vec<usize>>,
    pub params: Vec<(String, Vec<usize>)>,
    /// The parameters' standard deviation.
    pub std: f64,
    pub op: Op,
    pub plain: Plain,
    /// Roundings to the storage type between the inputs and the output, the inputs'
    /// gradients and the parameters': how many units of roundoff the norm-wise error of
    /// each may have in bf16 and f16. Everything between two roundings is in f32.
    pub roundings: [f64; 3],
}

/// What an operation made, and the gradients of its inputs and parameters.
pub struct Outcome {
    pub output: Tensor,
    pub inputs: Vec<Tensor>,
    pub params: Vec<Tensor>,
}

impl Case {
    /// Inputs that are numbers of `dtype`.
    pub fn inputs(&self, dtype: DType) -> Vec<Tensor> {
        let input = |(i, shape): (usize, &Vec<usize>)| {
            normal("input", i as u64, shape).to_dtype(dtype).unwrap()
        };
        self.inputs.iter().enumerate().map(input).collect()
    }
    /// Parameters, side by side.
    pub fn params(&self, dtype: DType) -> Vec<Param> {
        let of = self.params.iter().map(|(name, shape)| (&name[..], &shape[..]));
        parameters(&of.collect::<Vec<_>>(), Init::Normal(self.std), dtype)
    }
    /// Forward, and backward from `upstream` of the output.
    pub fn run(
        &self,
        x: &[Tensor],
        p: &[Param],
        upstream: impl Fn(&Tensor) -> Tensor,
    ) -> Outcome {
        p.iter().for_each(Param::begin_step);
        let (output, tape) = record(|| (self.op)(x, p)).unwrap();
        let mut grads = tape.backward_from(&output, upstream(&output)).unwrap();
        let inputs = x.iter().map(|x| grads.take(x).unwrap()).collect();
        let params = p.iter().map(|p| p.grad_tensor().unwrap()).collect();
        Outcome { output, inputs, params }
    }
    /// The same of the plain composition on the same numbers, in f64 and by candle.
    pub fn reference(&self, x: &[Tensor], p: &[Param], upstream: &Tensor) -> Outcome {
        let wide = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
        let vars = |of: Vec<Tensor>| -> Vec<Var> {
            of.iter().map(|x| Var::from_tensor(&wide(x)).unwrap()).collect()
        };
        let x = vars(x.to_vec());
        let p = vars(p.iter().map(|p| p.to_tensor().unwrap()).collect());
        let tensors = |vars: &[Var]| -> Vec<Tensor> {
            vars.iter().map(|var| var.as_tensor().clone()).collect()
        };
        let output = (self.plain)(&tensors(&x), &tensors(&p)).unwrap();
        let functional = (&output * wide(upstream)).unwrap().sum_all().unwrap();
        let grads = functional.backward().unwrap();
        let of = |vars: &[Var]| -> Vec<Tensor> {
            vars.iter().map(|var| grads.get(var).unwrap().clone()).collect()
        };
        Outcome { inputs: of(&x), params: of(&p), output }
    }

    /// Compares with the plain composition in every type, and with finite differences.
    pub fn check(&self) {
        for dtype in [DType::F64, DType::F32, DType::BF16, DType::F16] {
            self.check_in(dtype);
        }
        self.finite_differences();
    }
    /// Compares outputs and gradients with the plain composition's.
    pub fn check_in(&self, dtype: DType) {
        let (x, p) = (self.inputs(dtype), self.params(dtype));
        let got = self.run(&x, &p, upstream);
        let want = self.reference(&x, &p, &upstream(&got.output));
        // A sum of n terms in f32 is off by at most about n units of 6e-8, by √n of
        // them as a rule; the longest here have some 300 terms.
        let sums = if dtype == DType::F64 { 1e-12 } else { 1e-5 };
        let stored = if dtype.size_in_bytes() > 2 { 0.0 } else { roundoff(dtype) };
        let [output, inputs, params] = self.roundings.map(|n| sums + n * stored);
        let what = |of: &str| format!("{} in {dtype:?}: {of}", self.name);
        close(&what("output"), &got.output, &want.output, output);
        for (i, (got, want)) in got.inputs.iter().zip(&want.inputs).enumerate() {
            close(&what(&format!("gradient of input {i}")), got, want, inputs);
        }
        let pairs = got.params.iter().zip(&want.params);
        for ((got, want), (name, _)) in pairs.zip(&self.params) {
            close(&what(&format!("gradient of {name}")), got, want, params);
        }
    }
    /// Compares the gradients in f64 with central differences of `Σ upstream · output`,
    /// at every element of an input or parameter, or at some of a large one.
    pub fn finite_differences(&self) {
        const STEP: f64 = 1e-5;
        const SAMPLES: usize = 60;
        let (x, p) = (self.inputs(DType::F64), self.params(DType::F64));
        let got = self.run(&x, &p, upstream);
        let weights = flat(&upstream(&got.output));
        let functional = |x: &[Tensor], p: &[Param]| -> f64 {
            let output = flat(&(self.op)(x, p).unwrap());
            output.iter().zip(&weights).map(|(y, w)| y * w).sum()
        };
        let compare = |what: &str,
                       grad: &Tensor,
                       moved: &mut dyn FnMut(usize, f64) -> f64| {
            let grad = flat(grad);
            let every = grad.len().div_ceil(SAMPLES);
            let at = || (0..grad.len()).step_by(every);
            let slope = |i| (moved(i, STEP) - moved(i, -STEP)) / (2.0 * STEP);
            let found: Vec<f64> = at().map(slope).collect();
            let error = error_of(&found, &at().map(|i| grad[i]).collect::<Vec<_>>());
            // The third derivative leaves STEP² of it, rounding 1e-16 / STEP.
            assert!(error <= 1e-7, "{}: slope by {what}: error {error:.2e}", self.name);
        };
        for (k, grad) in got.inputs.iter().enumerate() {
            compare(&format!("input {k}"), grad, &mut |i, step| {
                let mut data = flat(&x[k]);
                data[i] += step;
                let mut x = x.clone();
                x[k] = Tensor::from_vec(data, x[k].dims(), &Device::Cpu).unwrap();
                functional(&x, &p)
            });
        }
        for (param, grad) in p.iter().zip(&got.params) {
            compare(param.name(), grad, &mut |i, step| {
                let before = param.values::<f64>().unwrap()[i];
                param.values_mut::<f64>().unwrap()[i] = before + step;
                let moved = functional(&x, &p);
                param.values_mut::<f64>().unwrap()[i] = before;
                moved
            });
        }
    }
}

/// An upstream gradient for `output`: a random one, but one for a loss.
pub fn upstream(output: &Tensor) -> Tensor {
    if output.rank() == 0 {
        return output.ones_like().unwrap();
    }
    normal("upstream", 0, output.dims()).to_dtype(output.dtype()).unwrap()
}
