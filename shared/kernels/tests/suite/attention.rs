use super::Checks;
use super::host::{Host, run};
use super::twin::{close, forward_and_backward, numbers, rounded, roundoff, tensor};
use kernels::Number::{self, Bf16, F32};
use kernels::attention::{Backward, MAX_DIM, Shape, backward, forward};

pub const CHECKS: Checks = checks![
    attention_of_floats,
    attention_on_tensor_cores,
    attention_on_tensor_cores_with_large_heads,
    attention_on_tensor_cores_with_other_heads,
    attention_in_long_documents,
    attention_of_what_tensor_cores_do_not_take,
    what_does_not_fit_is_said,
];

/// Lengths of documents.
const LENGTHS: &[u32] = &[5, 70, 1, 40, 130, 33, 64];
/// Some start with the last key of a tile, or its second.
const EDGES: &[u32] = &[63, 64, 2, 100];

/// One call.
#[derive(Clone, Copy, Debug)]
struct Case {
    batch: u32,
    seq: u32,
    heads: u32,
    kv_heads: u32,
    dim: u32,
    /// Their lengths, over and over, from one that differs from row to row; or none.
    documents: &'static [u32],
    /// By what queries are multiplied.
    peaks: f64,
    /// Elements after which arrays begin.
    after: usize,
}

const CASE: Case = Case {
    batch: 1,
    seq: 64,
    heads: 1,
    kv_heads: 1,
    dim: 64,
    documents: &[],
    peaks: 1.0,
    after: 0,
};

impl Case {
    fn width(&self) -> usize {
        ((self.heads + 2 * self.kv_heads) * self.dim) as usize
    }
    fn tokens(&self) -> usize {
        (self.batch * self.seq) as usize
    }
    /// `qkv`, and the gradient of the result.
    fn inputs(&self, number: Number) -> [Vec<f64>; 2] {
        let mut qkv = numbers(number, self.tokens() * self.width(), 1);
        for row in qkv.chunks_mut(self.width()) {
            for q in &mut row[..(self.heads * self.dim) as usize] {
                *q = rounded(number, *q * self.peaks);
            }
        }
        let n = self.tokens() * (self.heads * self.dim) as usize;
        [qkv, numbers(number, n, 2)]
    }
    /// Where each token's document starts.
    fn starts(&self) -> Option<Vec<u32>> {
        (!self.documents.is_empty()).then(|| {
            let row = |b: u32| {
                let mut lengths = self.documents.iter().cycle().skip(b as usize);
                let (mut start, mut end) = (0, *lengths.next().unwrap());
                let starts = (0..self.seq).map(move |token| {
                    if token == end {
                        start = end;
                        end += lengths.next().unwrap();
                    }
                    start
                });
                starts.collect::<Vec<u32>>()
            };
            (0..self.batch).flat_map(row).collect()
        })
    }
    /// The result, and the gradient of `qkv`.
    fn by_kernels(&self, host: &Host, number: Number) -> [Vec<f64>; 2] {
        let Case { batch, seq, heads, kv_heads, dim, after, .. } = *self;
        let [qkv, dy] = self.inputs(number);
        let [xs, dys] = [&qkv, &dy].map(|values| host.array(number, values, after));
        let starts = self.starts().map(|starts| host.indices(&starts));
        let starts = starts.as_ref().map(|starts| starts.at());
        let mut out = host.poisoned(number, dy.len(), after);
        let mut dqkv = host.poisoned(number, qkv.len(), after);
        let sums = self.tokens() * heads as usize;
        let [mut log_sums, mut deltas] =
            [0, 1].map(|after| host.poisoned(F32, sums, after));
        let shape = Shape { batch, seq, heads, kv_heads, dim };
        let at = [xs.at(), out.at()];
        host.launch(&forward(number, shape, at, starts, log_sums.at()).unwrap());
        let at = Backward {
            qkv: xs.at(),
            out: out.at(),
            log_sums: log_sums.at(),
            dy: dys.at(),
            deltas: deltas.at(),
            dqkv: dqkv.at(),
        };
        for launch in backward(number, shape, at, starts).unwrap() {
            host.launch(&launch);
        }
        // Nothing around them was written.
        for array in [&mut log_sums, &mut deltas] {
            assert!(array.values().iter().all(|x| x.is_finite()), "{self:?}");
        }
        [out.values(), dqkv.values()]
    }
    fn by_twin(&self, number: Number) -> [Vec<f64>; 2] {
        let (batch, seq) = (self.batch as usize, self.seq as usize);
        let [qkv, dy] = self.inputs(number);
        forward_and_backward(&tensor(&qkv, &[batch, seq, self.width()]), &dy, |x| {
            let (heads, kv_heads) = (self.heads as usize, self.kv_heads as usize);
            ops::attention(x, heads, kv_heads, self.starts().as_deref())
        })
    }
}

#[track_caller]
fn check(number: Number, cases: &[Case]) {
    let got = run(|host| {
        let each = |case: &Case| case.by_kernels(host, number);
        cases.iter().map(each).collect::<Vec<_>>()
    });
    for (case, got) in cases.iter().zip(&got) {
        let want = case.by_twin(number);
        // Probabilities are rounded, scores' gradients, and results. Where a query sees
        // little but one key, its scores' gradients are differences of near equals.
        let unit = roundoff(number) + if number == F32 { 1e-6 } else { 0.0 };
        let bounds = [unit, if case.peaks > 1.0 { 3.0 * unit } else { unit }];
        close(&format!("result of {case:?}"), &got[0], &want[0], bounds[0]);
        if case.seq == 1 {
            // That of the scores is zero.
            close(&format!("gradient of {case:?}"), &got[1], &want[1], bounds[1]);
            continue;
        }
        // Queries', keys' and values' apart: which of them is right is seen.
        let width = case.width();
        let (queries, keys) = (case.heads * case.dim, case.kv_heads * case.dim);
        let mut from = 0;
        for (what, part) in [("queries", queries), ("keys", keys), ("values", keys)] {
            let to = from + part as usize;
            let [got, want] = [&got[1], &want[1]].map(|all| {
                let rows = all.chunks(width).flat_map(|row| &row[from..to]);
                rows.copied().collect::<Vec<f64>>()
            });
            close(&format!("gradient of {what} of {case:?}"), &got, &want, bounds[1]);
            from = to;
        }
    }
}

#[cfg_attr(test, test)]
pub fn attention_of_floats() {
    let cases = [
        Case { seq: 1, ..CASE },
        Case { seq: 17, heads: 2, batch: 2, ..CASE },
        Case { seq: 65, heads: 4, ..CASE },
        Case { seq: 130, heads: 4, kv_heads: 2, batch: 2, documents: LENGTHS, ..CASE },
        Case { seq: 200, documents: LENGTHS, after: 1, ..CASE },
        Case { seq: 200, documents: EDGES, ..CASE },
        Case { seq: 64, peaks: 12.0, ..CASE },
    ];
    check(F32, &cases);
    for dim in [1, 33, 128, 256] {
        let cases = [
            Case { seq: 70, heads: 2, dim, ..CASE },
            Case { seq: 100, heads: 2, kv_heads: 2, documents: LENGTHS, dim, ..CASE },
        ];
        check(F32, &cases);
    }
}

#[cfg_attr(test, test)]
pub fn attention_on_tensor_cores() {
    let cases = [
        Case { seq: 1, ..CASE },
        Case { seq: 17, heads: 2, batch: 2, ..CASE },
        Case { seq: 64, heads: 4, kv_heads: 2, ..CASE },
        Case { seq: 65, heads: 4, ..CASE },
        Case { seq: 130, heads: 4, kv_heads: 2, batch: 2, documents: LENGTHS, ..CASE },
        Case { seq: 200, heads: 2, ..CASE },
        Case { seq: 300, documents: LENGTHS, ..CASE },
        Case { seq: 200, documents: EDGES, ..CASE },
        Case { seq: 150, peaks: 12.0, ..CASE },
    ];
    check(Bf16, &cases);
}

#[cfg_attr(test, test)]
pub fn attention_on_tensor_cores_with_large_heads() {
    let case = Case { dim: 128, ..CASE };
    let cases = [
        Case { seq: 17, heads: 2, batch: 2, ..case },
        Case { seq: 130, heads: 2, kv_heads: 2, ..case },
        Case { seq: 65, heads: 4, documents: LENGTHS, ..case },
        Case { seq: 200, documents: EDGES, ..case },
        Case { seq: 200, documents: LENGTHS, ..case },
    ];
    check(Bf16, &cases);
}

/// Padded with zeros up to what a product takes, and to where rows begin.
#[cfg_attr(test, test)]
pub fn attention_on_tensor_cores_with_other_heads() {
    for (dim, documents) in [(8, LENGTHS), (40, &[]), (80, LENGTHS)] {
        check(Bf16, &[Case { seq: 70, heads: 2, dim, documents, ..CASE }]);
    }
    for (dim, seq) in [(168, 33), (256, 66)] {
        check(Bf16, &[Case { seq, dim, ..CASE }]);
    }
}

/// More tiles of queries see a key than a warp has lanes.
#[cfg_attr(test, test)]
pub fn attention_in_long_documents() {
    check(Bf16, &[Case { seq: 1200, dim: 8, documents: &[1100, 30], ..CASE }]);
}

/// Neither in packs of 16 bytes.
#[cfg_attr(test, test)]
pub fn attention_of_what_tensor_cores_do_not_take() {
    check(Bf16, &[Case { seq: 70, heads: 2, dim: 20, ..CASE }]);
    check(Bf16, &[Case { seq: 70, heads: 2, documents: LENGTHS, after: 1, ..CASE }]);
}

#[cfg_attr(test, test)]
pub fn what_does_not_fit_is_said() {
    let good = Shape { batch: 1, seq: 8, heads: 4, kv_heads: 2, dim: 64 };
    let error = |shape| {
        let p = kernels::Ptr(16);
        forward(Bf16, shape, [p, p], None, p).err().unwrap()
    };
    for (shape, part) in [
        (Shape { kv_heads: 3, ..good }, "3 key/value heads for 4 heads"),
        (Shape { kv_heads: 0, ..good }, "0 key/value heads"),
        (Shape { dim: MAX_DIM + 1, ..good }, "heads of 257 elements: expected 1"),
        (Shape { seq: 0, ..good }, "1 sequences of 0 tokens"),
    ] {
        assert!(error(shape).contains(part), "{}", error(shape));
    }
}
