//! A packed sequence is its documents, each alone.

use crate::cases::{Heads, heads, rope_table, starts_of};
use crate::common::{close, normal};
use candle_core::{Result, Tensor};
use ops::record;

/// Fails unless what `op(x, document starts)` makes of packed rows, and its backward,
/// equal what it makes of each document alone.
fn packed_is_separate(
    h: Heads,
    documents: &[&[usize]],
    op: impl Fn(&Tensor, Option<&[u32]>) -> Result<Tensor>,
) {
    let x = normal("x", 0, &h.shape());
    let dy = normal("dy", 0, &[h.batch, h.seq, h.heads * h.dim]);
    let starts = starts_of(documents);
    let run = |x: &Tensor, dy: &Tensor, starts: Option<&[u32]>| {
        let (y, tape) = record(|| op(x, starts)).unwrap();
        let dx = tape.backward_from(&y, dy.clone()).unwrap().take(x).unwrap();
        (y, dx)
    };
    let (y, dx) = run(&x, &dy, Some(&starts));
    for (row, lengths) in documents.iter().enumerate() {
        let mut start = 0;
        for length in *lengths {
            let part = |of: &Tensor| {
                let part = of.narrow(0, row, 1).unwrap();
                part.narrow(1, start, *length).unwrap().force_contiguous().unwrap()
            };
            let (want, want_dx) = run(&part(&x), &part(&dy), None);
            let what = format!("row {row}, tokens from {start}");
            close(&what, &part(&y), &want, 1e-12);
            close(&what, &part(&dx), &want_dx, 1e-12);
            start += length;
        }
        assert_eq!(start, h.seq);
    }
}

const DOCUMENTS: [&[usize]; 3] =
    [&[1, 63, 1, 64, 41], &[65, 105], &[20, 20, 20, 20, 20, 70]];

#[test]
fn packed_documents_attend_as_if_alone() {
    for (n, kv) in [(4, 4), (4, 2), (3, 1)] {
        packed_is_separate(heads([3, 170, n, kv, 4]), &DOCUMENTS, |x, starts| {
            ops::attention(x, n, kv, starts)
        });
    }
}

#[test]
fn rotated_positions_need_not_start_again_with_each_document() {
    packed_is_separate(heads([3, 170, 4, 2, 4]), &DOCUMENTS, |x, starts| {
        let turned = ops::rope(x, 6, &rope_table(x, 4, 1.0, 0))?;
        ops::attention(&turned, 4, 2, starts)
    });
}

#[test]
fn a_token_sees_nothing_after_it_nor_of_other_documents() {
    let h = heads([1, 131, 2, 1, 4]);
    let starts = starts_of(&[&[40, 30, 61]]);
    let x = normal("x", 0, &h.shape());
    let before = ops::attention(&x, 2, 1, Some(&starts)).unwrap();
    // Other tokens everywhere but at 40..66, the first of the second document.
    let other = normal("other", 0, &h.shape());
    let mixed = [(&other, 0, 40), (&x, 40, 26), (&other, 66, 65)];
    let mixed = mixed.map(|(x, start, n)| x.narrow(1, start, n).unwrap());
    let mixed = Tensor::cat(&mixed, 1).unwrap();
    let after = ops::attention(&mixed, 2, 1, Some(&starts)).unwrap();
    let part = |x: &Tensor| x.narrow(1, 40, 26).unwrap();
    crate::common::same("tokens 40..66", &part(&after), &part(&before));
}
