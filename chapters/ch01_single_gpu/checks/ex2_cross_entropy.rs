//! Against `ops::head_loss`, whose logits are its input if its matrix is the identity.
use crate::answer::ex2_cross_entropy::*;
use candle_core::{DType, Device, Tensor};
use ops::IGNORE;
use params::{Init, ParamBuilder, Shard};

const VOCAB: usize = 7;

/// Logits of so many tokens.
fn draw(tokens: usize) -> Vec<f64> {
    let shard = Shard::whole("logits", &[tokens, VOCAB]);
    Init::Normal(2.0).draw(1, &shard, 0..tokens * VOCAB).collect()
}

/// Loss and gradient, by `ops::head_loss`.
fn reference(logits: &[f64], targets: &[u32], scale: f64) -> (f64, Vec<f64>) {
    let mut builder = ParamBuilder::new(0, DType::F64);
    let matrix = builder.add("lm_head.weight", &[VOCAB, VOCAB], Init::Zeros);
    let params = builder.build(1).unwrap();
    for i in 0..VOCAB {
        matrix.values_mut::<f64>().unwrap()[i * VOCAB + i] = 1.0;
    }
    params.begin_step().unwrap();
    let x = Tensor::from_slice(logits, (1, targets.len(), VOCAB), &Device::Cpu);
    let x = x.unwrap();
    let loss = ops::record(|| ops::head_loss(&x, &matrix, targets, scale));
    let (loss, tape) = loss.unwrap();
    let found = tape.backward_from(&loss, loss.ones_like().unwrap());
    let dx = found.unwrap().take(&x).unwrap().flatten_all().unwrap();
    (loss.to_scalar().unwrap(), dx.to_vec1().unwrap())
}

/// The answer's loss, and the gradient it leaves.
fn answer(logits: &[f64], targets: &[u32], scale: f64) -> (f64, Vec<f64>) {
    let mut grad = logits.to_vec();
    let loss = cross_entropy(&mut grad, targets, scale);
    (loss, grad)
}

#[test]
fn head_loss_agrees() {
    // Neither one over the tokens nor one: who divides again is seen.
    let (targets, scale) = ([3, 0, 6, 3], 1.0 / 11.0);
    let logits = draw(targets.len());
    let (want, want_grad) = reference(&logits, &targets, scale);
    let (loss, grad) = answer(&logits, &targets, scale);
    assert!(
        (loss - want).abs() <= 1e-12,
        "the loss is {loss:.9}, ops::head_loss says {want:.9}: {:.3} times as much. It \
         is a sum over the tokens times `scale`, and nothing else, in nats",
        loss / want
    );
    for (i, (got, want)) in grad.iter().zip(&want_grad).enumerate() {
        let (token, id) = (i / VOCAB, i % VOCAB);
        let what = match targets[token] as usize == id {
            true => "its target: softmax less one, times `scale`",
            false => "not its target: softmax times `scale`",
        };
        assert!(
            (got - want).abs() <= 1e-12,
            "token {token}, logit {id}, which is {what}: the gradient is {got:.9}, \
             ops::head_loss says {want:.9}"
        );
    }
}

#[test]
fn an_ignored_target_leaves_no_trace() {
    let (targets, scale) = ([IGNORE, 2, IGNORE, 5], 0.25);
    let logits = draw(targets.len());
    let (loss, grad) = answer(&logits, &targets, scale);
    let kept = [&logits[VOCAB..2 * VOCAB], &logits[3 * VOCAB..]].concat();
    let (want, want_grad) = reference(&kept, &[2, 5], scale);
    assert!(
        (loss - want).abs() <= 1e-12,
        "two of four targets are ignored: the loss is {loss:.9}, that of the other two \
         alone {want:.9}"
    );
    for token in [0, 2] {
        let row = &grad[token * VOCAB..][..VOCAB];
        assert!(
            row.iter().all(|g| *g == 0.0),
            "token {token} has no target, so the gradient of its logits is zero, not \
             {row:.3?}: what you leave in `logits` is read as a gradient"
        );
    }
    for (at, token) in [1, 3].into_iter().enumerate() {
        let (got, want) = (&grad[token * VOCAB..], &want_grad[at * VOCAB..]);
        let off = (0..VOCAB).map(|i| (got[i] - want[i]).abs()).fold(0.0, f64::max);
        assert!(
            off <= 1e-12,
            "token {token}, whose neighbours have no target: its gradient is off by \
             {off:.2e} of what ops::head_loss has without them"
        );
    }
    let (loss, grad) = answer(&logits, &[IGNORE; 4], scale);
    assert!(
        loss == 0.0 && grad.iter().all(|g| *g == 0.0),
        "if no target counts, loss and gradient are 0, not {loss} and {grad:.3?}"
    );
}

#[test]
fn large_logits_do_not_overflow() {
    let mut logits = [0.0; 2 * VOCAB];
    logits[..3].copy_from_slice(&[1000.0, 0.0, -1000.0]);
    // The same softmax as the first token's, and all logits far below zero.
    let lower = logits[..VOCAB].iter().map(|z| z - 5000.0).collect::<Vec<f64>>();
    logits[VOCAB..].copy_from_slice(&lower);
    for (target, want) in [(0, 0.0), (2, 2000.0)] {
        let (loss, grad) = answer(&logits, &[target; 2], 0.5);
        assert!(
            (loss - want).abs() <= 1e-9,
            "logits of 1000 and -1000, target {target}: the loss is {loss}, expected \
             {want}. Subtract the largest logit before exp, and take the logarithm of \
             the sum, not of a probability that may be 0"
        );
        assert!(
            grad.iter().all(|g| g.is_finite() && g.abs() <= 0.5),
            "logits of 1000 and -1000: the gradient is {grad:.3?}, expected numbers \
             between -scale and scale"
        );
    }
}
