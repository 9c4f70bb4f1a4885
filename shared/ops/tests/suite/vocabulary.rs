//! A vocabulary of which only some words are held: the parts add up to the whole.
use crate::cases::{targets, tokens};
use crate::common::{close, normal};
use candle_core::{DType, Device, Result, Tensor};
use ops::{IGNORE, RowSum, record};
use params::{Init, Param, ParamBuilder, Shard};

/// The rows `from..to` of a table of `vocab` words, and some of padding.
fn table(vocab: usize, hidden: usize, rows: [usize; 2], padding: usize) -> Param {
    let mut builder = ParamBuilder::new(5, DType::F64);
    let whole = Shard::whole("table", &[vocab, hidden]);
    let shard = whole.narrow(0, rows[0]..rows[1]).pad(padding);
    let param = builder.add_shard(shard, Init::Normal(1.0));
    builder.build(1).unwrap();
    param
}

/// Thirteen words over four ranks: four, four, four and one; and a fifth with none.
const PARTS: [([usize; 2], usize); 5] =
    [([0, 4], 0), ([4, 8], 0), ([8, 12], 0), ([12, 13], 3), ([13, 13], 4)];
const VOCAB: usize = 13;
const HIDDEN: usize = 7;

fn held(grad: &Tensor, n: usize) -> Result<Tensor> {
    grad.narrow(0, 0, n)
}

#[test]
fn embeddings_of_the_parts_add_up() {
    let ids = tokens(&[3, 5], VOCAB);
    let whole = table(VOCAB, HIDDEN, [0, VOCAB], 0);
    let (want, tape) = record(|| ops::embedding(&ids, &whole)).unwrap();
    let dy = normal("dy", 1, want.dims());
    tape.backward_from(&want, dy.clone()).unwrap();
    let want_grad = whole.grad_tensor().unwrap();
    let mut sum = want.zeros_like().unwrap();
    for (rows, padding) in PARTS {
        let part = table(VOCAB, HIDDEN, rows, padding);
        let (own, tape) = record(|| ops::embedding(&ids, &part)).unwrap();
        tape.backward_from(&own, dy.clone()).unwrap();
        sum = (sum + own).unwrap();
        let n = rows[1] - rows[0];
        let grad = part.grad_tensor().unwrap();
        close(
            "gradient",
            &held(&grad, n).unwrap(),
            &want_grad.narrow(0, rows[0], n).unwrap(),
            0.0,
        );
        let rest = grad.narrow(0, n, padding).unwrap();
        assert_eq!(
            rest.abs().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap(),
            0.0
        );
    }
    close("sum", &sum, &want, 0.0);
}

/// What the chapters do with collectives.
fn combine(parts: &[RowSum]) -> RowSum {
    let max = parts.iter().fold(f64::NEG_INFINITY, |max, part| max.max(part.max));
    let sum = parts.iter().map(|part| part.sum * (part.max - max).exp()).sum();
    RowSum { max, sum, target: parts.iter().map(|part| part.target).sum() }
}

#[test]
fn losses_and_gradients_of_the_parts_are_those_of_the_whole() {
    // Large logits: of another maximum than the row's own, exponentials overflow.
    for size in [1.0, 1000.0] {
        let rows = 300;
        let x = (normal("x", 1, &[rows, HIDDEN]) * size).unwrap();
        let goals = targets(rows, VOCAB, 4);
        let whole = table(VOCAB, HIDDEN, [0, VOCAB], 0);
        let (want, tape) = record(|| ops::head_loss(&x, &whole, &goals, 0.01)).unwrap();
        let want_dx = tape.backward_from(&want, want.ones_like().unwrap());
        let want_dx = want_dx.unwrap().only().unwrap();
        let want_grad = whole.grad_tensor().unwrap();
        // First what each part comes to, then all again with what the whole does.
        let params = PARTS.map(|(rows, padding)| table(VOCAB, HIDDEN, rows, padding));
        let mut sums: Vec<Vec<RowSum>> = vec![];
        for param in &params {
            let mut own = vec![];
            ops::head_loss_of_part(&x, param, &goals, 0.01, |rows| {
                own.extend_from_slice(rows);
                Ok(())
            })
            .unwrap();
            assert_eq!(own.len(), rows);
            sums.push(own);
        }
        let all: Vec<RowSum> = (0..rows)
            .map(|i| combine(&sums.iter().map(|own| own[i]).collect::<Vec<_>>()))
            .collect();
        let mut dx = want_dx.zeros_like().unwrap();
        for (param, (rows, padding)) in params.iter().zip(PARTS) {
            let mut rest = &all[..];
            let forward = || {
                ops::head_loss_of_part(&x, param, &goals, 0.01, |rows| {
                    let (now, later) = rest.split_at(rows.len());
                    rows.copy_from_slice(now);
                    rest = later;
                    Ok(())
                })
            };
            let (loss, tape) = record(forward).unwrap();
            close("loss", &loss, &want, 1e-13);
            let own = tape.backward_from(&loss, loss.ones_like().unwrap());
            dx = (dx + own.unwrap().only().unwrap()).unwrap();
            let (grad, n) = (param.grad_tensor().unwrap(), rows[1] - rows[0]);
            let want = want_grad.narrow(0, rows[0], n).unwrap();
            close("gradient", &held(&grad, n).unwrap(), &want, 1e-12);
            let rest = grad.narrow(0, n, padding).unwrap().flatten_all().unwrap();
            assert!(rest.to_vec1::<f64>().unwrap().iter().all(|x| *x == 0.0));
        }
        close("gradient of x", &dx, &want_dx, 1e-12);
    }
}

/// Only those that count are asked about: what a row without a target comes to may be
/// anything.
#[test]
fn rows_without_a_target_count_for_nothing() {
    let param = table(VOCAB, HIDDEN, [4, 8], 2);
    let x = normal("x", 1, &[3, HIDDEN]);
    let forward = || {
        ops::head_loss_of_part(&x, &param, &[IGNORE; 3], 1.0, |rows| {
            rows.fill(RowSum { max: f64::NAN, sum: f64::NAN, target: f64::NAN });
            Ok(())
        })
    };
    let (loss, tape) = record(forward).unwrap();
    assert_eq!(loss.to_scalar::<f64>().unwrap(), 0.0);
    let dx = tape.backward_from(&loss, loss.ones_like().unwrap()).unwrap();
    let zeros = |x: Tensor| x.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert!(zeros(dx.only().unwrap()).iter().all(|x| *x == 0.0));
    assert!(zeros(param.grad_tensor().unwrap()).iter().all(|x| *x == 0.0));
}

#[test]
fn words_that_are_nowhere_and_columns_that_are_cut_are_refused() {
    let part = table(VOCAB, HIDDEN, [4, 8], 0);
    let id = Tensor::new(&[13u32], &Device::Cpu).unwrap();
    let error = ops::embedding(&id, &part).unwrap_err().to_string();
    assert!(error.contains("token 13, but the vocabulary of table has 13"), "{error}");
    let x = normal("x", 1, &[1, HIDDEN]);
    let loss = |target| ops::head_loss(&x, &part, &[target], 1.0);
    assert!(loss(13).unwrap_err().to_string().contains("target 13"));
    assert!(loss(12).is_ok(), "another rank's word");
    let mut builder = ParamBuilder::new(5, DType::F64);
    let whole = Shard::whole("columns", &[VOCAB, HIDDEN]).narrow(1, 0..3);
    let columns = builder.add_shard(whole, Init::Zeros);
    builder.build(1).unwrap();
    let error = ops::embedding(&id, &columns).unwrap_err().to_string();
    assert!(error.contains("columns: [13, 3] of [13, 7], not a table"), "{error}");
}
