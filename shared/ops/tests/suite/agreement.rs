//! Every operation against candle's backward through plain operations, in all types,
//! and against finite differences; on odd and degenerate sizes.

use crate::cases::*;
use crate::common::{close, roundoff, upstream};
use candle_core::{DType, Tensor};

#[test]
fn linear_agrees() {
    for biased in [false, true] {
        linear(&[2, 5, 7], &[3], biased).check();
        linear(&[2, 3, 9], &[5, 1, 2], biased).check();
        linear(&[1, 1, 1], &[1], biased).check();
        linear(&[1, 1, 8], &[13, 4], biased).check();
        linear(&[67, 7], &[33], biased).check();
        linear(&[2, 131, 33], &[65, 17, 17], biased).check();
    }
    linear(&[7], &[3], true).check();
}

#[test]
fn rms_norm_agrees() {
    for x in [&[1, 1, 1][..], &[1, 1, 7], &[2, 5, 7], &[3, 2], &[131, 65], &[2, 67, 33]]
    {
        rms_norm(x).check();
    }
}

#[test]
fn qk_norm_agrees() {
    for of in [[1, 1, 1, 1, 2], [2, 3, 4, 1, 2], [1, 67, 4, 2, 6], [2, 70, 3, 3, 8]] {
        qk_norm(heads(of)).check();
    }
}

#[test]
fn rope_agrees() {
    rope(heads([1, 1, 1, 1, 2]), 2, 1.0, 0).check();
    rope(heads([1, 1, 1, 1, 2]), 1, 1.0, 5).check();
    rope(heads([2, 7, 3, 1, 4]), 4, 1.0, 0).check();
    // YaRN scales the tables; a width that is rotated to its end.
    rope(heads([2, 67, 4, 2, 6]), 8, 1.3, 11).check();
    rope(heads([3, 5, 2, 1, 34]), 3, 1.0, 100).check();
}

#[test]
fn attention_agrees_with_any_grouping_of_heads() {
    for (n, kv) in [(4, 4), (4, 2), (6, 2), (3, 1), (1, 1)] {
        attention(heads([2, 5, n, kv, 4]), &[]).check();
        attention(heads([1, 67, n, kv, 2]), &[]).check();
    }
}

#[test]
fn attention_agrees_at_any_length() {
    for seq in [1, 2, 63, 64, 65, 128, 131] {
        attention(heads([1, seq, 2, 1, 6]), &[]).check();
    }
    attention(heads([3, 1, 1, 1, 2]), &[]).check();
    attention(heads([1, 33, 1, 1, 33]), &[]).check();
}

#[test]
fn attention_agrees_within_documents() {
    let all = |of, documents: &[&[usize]]| attention(heads(of), documents).check();
    all([1, 1, 1, 1, 2], &[&[1]]);
    all([1, 5, 2, 1, 2], &[&[1, 1, 1, 1, 1]]);
    all([2, 5, 4, 2, 4], &[&[2, 3], &[4, 1]]);
    // A document that ends at the end of a block of queries, one before, one after.
    all([3, 131, 2, 1, 4], &[&[64, 67], &[65, 66], &[63, 1, 67]]);
    // Documents that begin and end inside a block, and one over several blocks.
    all([2, 131, 4, 2, 2], &[&[1, 9, 1, 100, 20], &[131]]);
    all([1, 200, 2, 2, 2], &[&[128, 64, 8]]);
}

#[test]
fn a_window_may_start_anywhere_at_or_before_its_token() {
    // Not only documents: any starts that never move back.
    let starts = vec![0, 0, 1, 1, 3, 3, 6];
    let mut case = attention(heads([1, 7, 2, 1, 4]), &[]);
    let of = starts.clone();
    case.op = Box::new(move |x, _| ops::attention(&x[0], 2, 1, Some(&of)));
    let of = starts;
    case.plain = Box::new(move |x, _| crate::plain::attention(&x[0], 2, 1, Some(&of)));
    case.check();
}

#[test]
fn swiglu_agrees() {
    for x in [&[2][..], &[1, 1, 2], &[2, 5, 14], &[67, 66]] {
        swiglu(x).check();
    }
}

#[test]
fn add_agrees() {
    for x in [&[1][..], &[1, 1, 1], &[2, 5, 7], &[67, 33]] {
        add(x).check();
    }
}

#[test]
fn embedding_agrees() {
    // Fewer tokens than the vocabulary, so some rows stay zero, and many of each.
    embedding(&[1, 1], 13, 7).check();
    embedding(&[2, 3], 13, 7).check();
    embedding(&[3, 67], 5, 33).check();
    embedding(&[1, 2], 1, 1).check();
}

#[test]
fn head_loss_agrees() {
    head_loss(&[1, 1, 1], 2, 0).check();
    head_loss(&[1, 1, 7], 13, 0).check();
    head_loss(&[2, 5, 7], 13, 0).check();
    head_loss(&[2, 5, 7], 13, 3).check();
    head_loss(&[1, 3, 4], 1000, 2).check();
    // More rows than a chunk of 256 has, so that the last one is ragged.
    head_loss(&[3, 100, 7], 13, 3).check();
    head_loss(&[513, 5], 300, 7).check();
}

#[test]
fn a_loss_of_ignored_targets_alone_is_zero() {
    head_loss(&[1, 5, 7], 13, 1).check();
}

#[test]
fn very_large_scores_gates_and_logits_stay_finite() {
    for dtype in [DType::F64, DType::F32] {
        for case in one_of_each() {
            let p = case.params(dtype);
            let large = |x: &Tensor| (x * 200.0).unwrap();
            let x: Vec<Tensor> = case.inputs(dtype).iter().map(large).collect();
            let got = case.run(&x, &p, upstream);
            let want = case.reference(&x, &p, &upstream(&got.output));
            // Scores around 1e5 are off by 1e5 roundoffs; exponentials likewise.
            let bound = 1e6 * roundoff(dtype);
            close(&case.name, &got.output, &want.output, bound);
            for (got, want) in got.inputs.iter().zip(&want.inputs) {
                close(&case.name, got, want, bound);
            }
        }
    }
}
