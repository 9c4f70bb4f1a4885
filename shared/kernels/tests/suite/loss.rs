use super::Checks;
use super::host::{Array, Host, run};
use super::twin::{close, numbers, roundoff};
use candle_core::{DType, Device, Tensor};
use kernels::Number;
use kernels::loss::{self, IGNORE, Logits, add_losses, row_sums};
use ops::RowSum;
use params::{Init, ParamBuilder, Shard};
use std::ops::Range;

pub const CHECKS: Checks =
    checks![whole_rows, rows_in_parts, infinities_and_what_is_no_number,];

/// Logits of a vocabulary, over ranks of which each has some words and some padding.
struct Case {
    rows: usize,
    vocab: usize,
    parts: Vec<(Range<usize>, usize)>,
    /// `[rows, vocab]`.
    logits: Vec<f64>,
    targets: Vec<u32>,
}

const SCALE: f64 = 0.125;

impl Case {
    /// Logits up to `size`; some rows without a target.
    fn new(
        rows: usize,
        vocab: usize,
        size: f64,
        parts: &[(Range<usize>, usize)],
    ) -> Case {
        let of = |n, seed| numbers(Number::F32, n, seed).into_iter();
        let logits = of(rows * vocab, 1).map(|x| f64::from((x * size / 2.0) as f32));
        let targets = of(rows, 2).enumerate().map(|(i, x)| match i % 5 {
            3 => IGNORE,
            _ => ((x + 2.0) / 4.0 * vocab as f64) as u32,
        });
        let (logits, targets) = (logits.collect(), targets.collect());
        Case { rows, vocab, parts: parts.to_vec(), logits, targets }
    }
    /// A part's columns; padding holds what is no number.
    fn part(&self, (held, padding): &(Range<usize>, usize)) -> Vec<f64> {
        let rows = self.logits.chunks_exact(self.vocab);
        rows.flat_map(|row| {
            row[held.clone()].iter().copied().chain(vec![f64::NAN; *padding])
        })
        .collect()
    }
    /// Of a part, its sums, the loss, and the gradient of its logits, by `ops`; these
    /// are of the `whole` rows.
    fn by_ops(
        &self,
        part: &(Range<usize>, usize),
        whole: Option<&[RowSum]>,
    ) -> (Vec<RowSum>, f64, Vec<f64>) {
        let (held, padding) = part;
        let width = held.len() + padding;
        // Hidden states are the identity: so logits are the matrix, transposed, and
        // their gradient is that of the matrix.
        let shard = Shard::whole("head", &[self.vocab, self.rows]);
        let mut builder = ParamBuilder::new(1, DType::F64);
        let shard = shard.narrow(0, held.clone()).pad(*padding);
        let weight = builder.add_shard(shard, Init::Zeros);
        builder.build(1).unwrap();
        weight.begin_step();
        let mut values = weight.values_mut::<f64>().unwrap();
        for (j, column) in held.clone().zip(values.chunks_exact_mut(self.rows)) {
            for (i, value) in column.iter_mut().enumerate() {
                *value = self.logits[i * self.vocab + j];
            }
        }
        drop(values);
        let mut own = vec![];
        let combine = |rows: &mut [RowSum]| {
            let at = own.len()..own.len() + rows.len();
            own.extend_from_slice(rows);
            if let Some(whole) = whole {
                rows.copy_from_slice(&whole[at]);
            }
            Ok(())
        };
        let x = Tensor::eye(self.rows, DType::F64, &Device::Cpu).unwrap();
        let targets = &self.targets;
        let forward = || ops::head_loss_of_part(&x, &weight, targets, SCALE, combine);
        let (loss, tape) = ops::record(forward).unwrap();
        let _ = tape.backward_from(&loss, loss.ones_like().unwrap()).unwrap();
        let transposed = super::twin::flat(&weight.grad_tensor().unwrap());
        let mut gradient = vec![0.0; self.rows * width];
        for (at, value) in transposed.into_iter().enumerate() {
            gradient[at % self.rows * width + at / self.rows] = value;
        }
        (own, loss.to_scalar().unwrap(), gradient)
    }
}

/// From all ranks' sums of each row, those of the whole row.
fn combine(parts: &[Vec<RowSum>]) -> Vec<RowSum> {
    let row = |i: usize| {
        let of = || parts.iter().map(move |part| part[i]);
        let max = of().fold(f64::NEG_INFINITY, |max, part| max.max(part.max));
        let sum = of().map(|part| part.sum * (part.max - max).exp()).sum();
        RowSum { max, sum, target: of().map(|part| part.target).sum() }
    };
    (0..parts[0].len()).map(row).collect()
}

fn rows_of(sums: &mut Array) -> Vec<RowSum> {
    let row = |row: &[f64]| RowSum { max: row[0], sum: row[1], target: row[2] };
    sums.values().chunks_exact(3).map(row).collect()
}

/// Each part's sums, the loss, and the gradient of each part's logits, by the kernels.
fn by_kernels(
    host: &Host,
    number: Number,
    case: &Case,
    [before, after]: [usize; 2],
) -> (Vec<Vec<RowSum>>, f64, Vec<Vec<f64>>) {
    let targets = host.indices(&case.targets);
    let rows = case.rows as u64;
    let shape = |(held, padding): &(Range<usize>, usize)| Logits {
        rows,
        width: (held.len() + padding) as u32,
        first: held.start as u32,
        held: held.len() as u32,
    };
    let logits: Vec<Array> = (case.parts.iter())
        .map(|part| host.array(Number::F32, &case.part(part), before))
        .collect();
    let own = case.parts.iter().zip(&logits).map(|(part, logits)| {
        let mut sums = host.poisoned(Number::F32, 3 * case.rows, after);
        let shape = shape(part);
        host.launch(&row_sums(shape, logits.at(), targets.at(), sums.at()));
        rows_of(&mut sums)
    });
    let own: Vec<Vec<RowSum>> = own.collect();
    let mut whole: Vec<f64> =
        combine(&own).iter().flat_map(|row| [row.max, row.sum, row.target]).collect();
    // What rows without a target come to may be anything.
    for (row, target) in whole.chunks_exact_mut(3).zip(&case.targets) {
        if *target == IGNORE {
            row.fill(f64::NAN);
        }
    }
    let whole = host.array(Number::F32, &whole, after);
    let mut total = host.doubles(&[0.5]);
    host.launch(&add_losses(rows, targets.at(), whole.at(), total.at(), SCALE));
    let gradients = case.parts.iter().zip(&logits).map(|(part, logits)| {
        let shape = shape(part);
        let len = case.rows * shape.width as usize;
        let mut gradient = host.poisoned(number, len, after);
        let all = [logits.at(), targets.at(), whole.at(), gradient.at()];
        host.launch(&loss::gradient(number, shape, all, SCALE as f32));
        gradient.values()
    });
    let gradients = gradients.collect();
    (own, total.doubles()[0] - 0.5, gradients)
}

#[track_caller]
fn check(cases: &[(String, Case)]) {
    for number in Number::ALL {
        let got = run(|host| {
            let of = |(what, case): &(String, Case)| {
                // Where logits and gradients begin.
                let got = by_kernels(host, number, case, [0, 0]);
                for begin in [[3, 0], [0, 1]] {
                    // The order of sums is the same.
                    let other = by_kernels(host, number, case, begin);
                    assert!(got == other, "{what}: other where it begins at {begin:?}");
                }
                got
            };
            cases.iter().map(of).collect::<Vec<_>>()
        });
        for ((what, case), got) in cases.iter().zip(got) {
            compare(&format!("{number:?} {what}"), number, case, got);
        }
    }
}

#[track_caller]
fn compare(
    what: &str,
    number: Number,
    case: &Case,
    (got, loss, gradients): (Vec<Vec<RowSum>>, f64, Vec<Vec<f64>>),
) {
    let own: Vec<_> = case.parts.iter().map(|part| case.by_ops(part, None).0).collect();
    for (got, want) in got.iter().flatten().zip(own.iter().flatten()) {
        assert_eq!((got.max, got.target), (want.max, want.target), "{what}");
        close(&format!("sum of {what}"), &[got.sum], &[want.sum], 1e-6);
    }
    let whole = combine(&own);
    for (i, part) in case.parts.iter().enumerate() {
        let (_, want_loss, want) = case.by_ops(part, Some(&whole));
        let what = format!("{what}, part {i}");
        close(&format!("loss of {what}"), &[loss], &[want_loss], 1e-6);
        let bound = roundoff(number) + 2e-6;
        close(&format!("gradient of {what}"), &gradients[i], &want, bound);
        let (held, padding) = part;
        let rows = gradients[i].chunks_exact((held.len() + padding).max(1));
        for (row, target) in rows.zip(&case.targets) {
            let from = if *target == IGNORE { 0 } else { held.len() };
            assert!(row[from..].iter().all(|x| *x == 0.0), "{what}: not zero");
        }
    }
}

#[cfg_attr(test, test)]
pub fn whole_rows() {
    let cases = [
        (1, 1, 0, 1.0),
        (4, 3, 0, 1.0),
        (7, 8, 8, 1.0),
        (9, 13, 3, 20.0),
        // More than a block takes at once, and of other lengths than threads take.
        (6, 1031, 0, 3.0),
        (5, 1024, 6, 3.0),
        (5, 9001, 0, 10.0),
        // Exponentials of these overflow, of some less the largest are zero.
        (40, 260, 0, 1000.0),
        // More rows than the sum of losses has threads.
        (1301, 5, 0, 2.0),
        // The largest that there are; rows begin anywhere.
        (3, 200_003, 0, 5.0),
    ];
    let case = |(rows, vocab, padding, size)| {
        let what = format!("{rows} × {vocab} + {padding} up to {size}");
        (what, Case::new(rows, vocab, size, &[(0..vocab, padding)]))
    };
    check(&cases.map(case));
}

/// One rank has fewer words than others, another has none.
#[cfg_attr(test, test)]
pub fn rows_in_parts() {
    let parts = [(0..150, 0), (150..300, 0), (300..401, 49), (401..401, 150)];
    let case = |size| (format!("parts up to {size}"), Case::new(11, 401, size, &parts));
    check(&[1.0, 1000.0].map(case));
}

/// Words that cannot be, with logits of -inf, do not count; and what is no number is
/// not hidden.
#[cfg_attr(test, test)]
pub fn infinities_and_what_is_no_number() {
    let width = 300;
    let mut logits = numbers(Number::F32, 3 * width, 8);
    // All that some threads see, or see first.
    logits[..200].fill(f64::NEG_INFINITY);
    logits[width + 17] = f64::NAN;
    let want: f64 = {
        let row = &logits[200..width];
        let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        row.iter().map(|x| (x - max).exp()).sum()
    };
    let got = run(|host| {
        let targets = host.indices(&[250, 0, 0]);
        let array = host.array(Number::F32, &logits, 0);
        let mut sums = host.poisoned(Number::F32, 9, 0);
        let shape =
            Logits { rows: 3, width: width as u32, first: 0, held: width as u32 };
        host.launch(&row_sums(shape, array.at(), targets.at(), sums.at()));
        let sums = sums.values();
        // What is no number equals nothing: as bits.
        sums.into_iter().map(f64::to_bits).collect::<Vec<_>>()
    });
    let sums: Vec<f64> = got.into_iter().map(f64::from_bits).collect();
    close("the sum of what is finite", &[sums[1]], &[want], 1e-6);
    assert!(sums[4].is_nan(), "{sums:?}");
    assert!(sums[7].is_finite(), "{sums:?}");
}
