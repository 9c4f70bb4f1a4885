//! Memory: never all logits, never the score matrix. Measured by the allocator, each
//! test as a rank of its own.

use crate::cases::{heads, targets};
use crate::common::{normal, parameters, upstream};
use candle_core::{DType, Tensor};
use memory::{account, reset_peak, set_rank};
use ops::{note, record};
use params::Init;
use std::cell::RefCell;
use std::rc::Rc;

/// Bytes that `f` needs at most, beyond what is there when it starts.
fn peak_of(rank: usize, f: impl FnOnce()) -> u64 {
    reset_peak(rank);
    let before = account(rank).total.live;
    f();
    account(rank).total.peak - before
}

#[test]
fn head_loss_never_holds_all_logits() {
    const RANK: usize = 41;
    const ROWS: usize = 2048;
    const VOCAB: usize = 8192;
    set_rank(RANK);
    for dtype in [DType::F32, DType::BF16] {
        let head = parameters(&[("head", &[VOCAB, 4])], Init::Normal(1.0), dtype);
        let x = normal("x", 0, &[ROWS, 4]).to_dtype(dtype).unwrap();
        let goals = targets(ROWS, VOCAB, 0);
        let peak = peak_of(RANK, || {
            let (loss, tape) =
                record(|| ops::head_loss(&x, &head[0], &goals, 1.0)).unwrap();
            tape.backward_from(&loss, loss.ones_like().unwrap()).unwrap();
        });
        // 256 rows of logits are 8 MiB; then x's gradient and what products pack.
        let all = (ROWS * VOCAB * 4) as u64;
        assert!(peak >= 256 * VOCAB as u64 * 4, "{peak} bytes: is it measured?");
        assert!(peak < 16 << 20 && peak < all / 4, "{dtype:?}: {peak} bytes of {all}");
    }
}

#[test]
fn a_large_vocabulary_takes_fewer_rows_at_a_time() {
    const RANK: usize = 42;
    const VOCAB: usize = 70_001;
    set_rank(RANK);
    let head = parameters(&[("head", &[VOCAB, 2])], Init::Normal(1.0), DType::F32);
    let x = normal("x", 0, &[200, 2]).to_dtype(DType::F32).unwrap();
    let goals = targets(200, VOCAB, 0);
    let peak = peak_of(RANK, || {
        let (loss, tape) =
            record(|| ops::head_loss(&x, &head[0], &goals, 1.0)).unwrap();
        tape.backward_from(&loss, loss.ones_like().unwrap()).unwrap();
    });
    // 64 rows of logits are 18 MB, all of them 56 MB.
    assert!(peak < 24 << 20, "{peak} bytes");
}

#[test]
fn attention_needs_memory_linear_in_the_length() {
    const RANK: usize = 43;
    const HEADS: usize = 4;
    set_rank(RANK);
    let peak = |seq: usize, dtype: DType| {
        let x = normal("x", 0, &heads([1, seq, HEADS, 2, 4]).shape());
        let x = x.to_dtype(dtype).unwrap();
        peak_of(RANK, || {
            let (y, tape) = record(|| ops::attention(&x, HEADS, 2, None)).unwrap();
            tape.backward_from(&y, upstream(&y)).unwrap();
        })
    };
    for dtype in [DType::F32, DType::BF16] {
        let [short, long] = [512, 1024].map(|seq| peak(seq, dtype));
        let matrix = (HEADS * 1024 * 1024 * 4) as u64;
        assert!(long < matrix / 6, "{dtype:?}: {long} bytes, all scores are {matrix}");
        assert!(long < short * 9 / 4, "{dtype:?}: {short} bytes, then {long}");
    }
}

#[test]
fn backward_frees_what_it_has_used() {
    const RANK: usize = 44;
    const LAYERS: usize = 8;
    set_rank(RANK);
    let x = normal("x", 0, &[64, 1024]);
    let one = (64 * 1024 * 8) as u64;
    let norm = parameters(&[("w", &[1024])], Init::Ones, DType::F64);
    let seen = Rc::new(RefCell::new(vec![]));
    let layer = |x: Tensor| {
        let y = ops::rms_norm(&x, &norm[0], 0.1)?;
        // An operation that looks at the account when backward comes by.
        let (z, seen) = (y.copy()?, seen.clone());
        note("look", &z, &[&y], move |dy| {
            seen.borrow_mut().push(account(RANK).total.live);
            Ok(vec![dy])
        });
        Ok(z)
    };
    let (y, tape) = record(|| (0..LAYERS).try_fold(x, |x, _| layer(x))).unwrap();
    let dy = upstream(&y);
    tape.backward_from(&y, dy).unwrap();
    let seen = seen.take();
    assert_eq!(seen.len(), LAYERS);
    // The first layers' gradients are in the place of what was freed for them.
    for live in seen.windows(2).skip(1) {
        assert!(live[1] + one <= live[0] + 4096, "{seen:?}, a tensor is {one}");
    }
}

#[test]
fn what_is_saved_is_counted_as_activations() {
    use memory::Family;
    const RANK: usize = 45;
    set_rank(RANK);
    let x = normal("x", 0, &[1, 256, 8 * 16]);
    let before = account(RANK)[Family::Activations].live;
    let (_y, _tape) = record(|| ops::attention(&x, 4, 2, None)).unwrap();
    let saved = account(RANK)[Family::Activations].live - before;
    // The output, the logarithm of each query's sum, and small change; not the input.
    let bytes = (256 * 4 * 16 * 8 + 256 * 4 * 8) as u64;
    assert!((bytes..bytes + 4096).contains(&saved), "{saved}, expected {bytes}");
}

#[test]
fn what_is_remembered_of_products_is_no_ranks() {
    use memory::Family;
    const RANK: usize = 46;
    set_rank(RANK);
    let weight = parameters(&[("w", &[128, 128])], Init::Ones, DType::F32);
    // Of sizes that no other test has, so that each is new to the process.
    let inputs: Vec<_> = (0..64)
        .map(|i| normal("x", 0, &[1031 + i, 128]).to_dtype(DType::F32).unwrap())
        .collect();
    let before = account(RANK)[Family::Other].live;
    for x in &inputs {
        ops::linear(x, &weight, &[]).unwrap();
    }
    assert_eq!(account(RANK)[Family::Other].live, before);
}
