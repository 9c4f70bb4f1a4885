//! The training loop once more, in plain f64 arithmetic, written from the papers and
//! PyTorch's documentation; only the gradients are the model's own.
use crate::common::{self, build, distance, numbers, tiny, train, values};
use candle_core::{DType, Tensor};
use ch01_single_gpu::Config;
use corpus::{Corpus, Tokenizer};
use hub::Family;
use params::Params;

struct Reported {
    loss: f64,
    grad_norm: f64,
    lr: f64,
}

/// One matrix or vector and its moments.
struct State {
    value: Vec<f64>,
    first: Vec<f64>,
    second: Vec<f64>,
    is_matrix: bool,
}

/// Trains `config.steps` steps; also the gradients of the last.
fn reference(config: &Config, peak: f64) -> (Vec<Reported>, Params, Vec<Vec<f64>>) {
    let (model, params) = build(&tiny(Family::Qwen2), 0, DType::F64).unwrap();
    let files = hub::Folder::open(&config.model).unwrap().weights().unwrap();
    ch01_single_gpu::weights::load(&params, &files).unwrap();
    let options = corpus::Options {
        files: config.data.clone(),
        seq_len: config.seq_len,
        seed: config.seed,
        isolate_documents: true,
        quiet: true,
        ..corpus::Options::default()
    };
    let data = Corpus::open(&options, &Tokenizer::Bytes).unwrap().train;
    let state = |tensor: &Tensor| {
        let value = numbers(tensor);
        let zeros = vec![0.0; value.len()];
        let is_matrix = tensor.dims().len() == 2;
        State { first: zeros.clone(), second: zeros, value, is_matrix }
    };
    let mut states: Vec<State> =
        params.iter().map(|p| state(&p.to_tensor().unwrap())).collect();
    let (mut reported, mut gradients) = (vec![], vec![]);
    let (total, warmup) = (config.steps as f64, config.warmup.unwrap() as f64);
    for t in 1..=config.steps {
        let rows = config.global_batch;
        let batch = data.batch((t - 1) * rows as u64, rows).unwrap();
        params.begin_step().unwrap();
        let scale = 1.0 / batch.target_count() as f64;
        let (loss, tape) = ops::record(|| model.loss(&batch, scale)).unwrap();
        tape.backward(&loss).unwrap();
        gradients = params.iter().map(|p| numbers(&p.grad_tensor().unwrap())).collect();

        let grad_norm = gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
        // Zero is no limit, as for Megatron-LM's --clip-grad.
        let clip = match config.max_grad_norm {
            0.0 => 1.0,
            max => (max / (grad_norm + 1e-6)).min(1.0),
        };
        let t = t as f64;
        let lr = if t <= warmup {
            peak * t / warmup
        } else {
            let angle = std::f64::consts::PI * (t - warmup) / (total - warmup);
            peak * (0.1 + 0.45 * (1.0 + angle.cos()))
        };
        let (beta1, beta2, eps) = (0.9_f64, 0.95_f64, 1e-8);
        for (state, gradient) in states.iter_mut().zip(&gradients) {
            for i in 0..gradient.len() {
                let g = gradient[i] * clip;
                if state.is_matrix {
                    state.value[i] -= lr * config.weight_decay * state.value[i];
                }
                state.first[i] += (1.0 - beta1) * (g - state.first[i]);
                state.second[i] += (1.0 - beta2) * (g * g - state.second[i]);
                let first = state.first[i] / (1.0 - beta1.powf(t));
                let second = state.second[i] / (1.0 - beta2.powf(t));
                state.value[i] -= lr * first / (second.sqrt() + eps);
            }
        }
        for (param, state) in params.iter().zip(&states) {
            param.values_mut::<f64>().unwrap().copy_from_slice(&state.value);
        }
        let loss = loss.to_scalar::<f64>().unwrap();
        reported.push(Reported { loss, grad_norm, lr });
    }
    (reported, params, gradients)
}

#[test]
fn a_run_is_adamw_with_warmup_cosine_decay_and_clipping() {
    let model = common::folder(&tiny(Family::Qwen2));
    let data = common::uneven_text(model.path());
    // So much decay that a mistake in where it applies is seen, and a norm that some
    // steps exceed and others do not.
    let base = Config {
        steps: 9,
        warmup: Some(3),
        weight_decay: 3.0,
        lr: Some(0.01),
        max_grad_norm: 1.2,
        micro_batch: 4,
        ..common::quick(model.path(), &data)
    };
    let (want, params, gradients) = reference(&base, 0.01);
    let clipped = want.iter().filter(|step| step.grad_norm > 1.2).count();
    let norms: Vec<f64> = want.iter().map(|step| step.grad_norm).collect();
    assert!(clipped > 1 && clipped < want.len() - 1, "{norms:?}");
    agrees(&base, &want, &params, &gradients);
}

#[test]
fn a_limit_of_zero_clips_nothing() {
    let model = common::folder(&tiny(Family::Qwen2));
    let data = common::uneven_text(model.path());
    let base = Config { max_grad_norm: 0.0, ..common::quick(model.path(), &data) };
    let (want, params, gradients) = reference(&base, 5e-3);
    agrees(&base, &want, &params, &gradients);
}

/// A run reports and leaves what the reference does.
fn agrees(base: &Config, want: &[Reported], params: &Params, gradients: &[Vec<f64>]) {
    let got = train(base);
    assert_eq!(got.steps.len(), want.len());
    for (got, want) in got.steps.iter().zip(want) {
        let same = |got: f64, want: f64| (got / want - 1.0).abs() <= 1e-11;
        assert!(same(got.lr, want.lr), "step {}: lr {}", got.step, got.lr);
        assert!(same(got.loss, want.loss), "{} {}", got.loss, want.loss);
        assert!(same(got.grad_norm, want.grad_norm), "{}", got.grad_norm);
    }
    for (param, want) in got.params.iter().zip(gradients) {
        let off = distance(&numbers(&param.grad_tensor().unwrap()), want);
        assert!(off <= 1e-11, "the gradient of {} is off by {off:e}", param.name());
    }
    for ((name, got), (_, want)) in values(&got.params).into_iter().zip(values(params))
    {
        let off = distance(&got, &want);
        assert!(off <= 1e-11, "{name} is off by {off:e}");
    }
}
