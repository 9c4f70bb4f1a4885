//! The count of floating-point operations: what the definition says, whoever computes.

use crate::cases::{self, Heads, heads};
use crate::common::{Case, upstream};
use candle_core::DType;
use ops::gemm::{Mat, MatMut, On, Store, gemm};
use ops::{attention_flops, flops, threads};

/// Threads of a rank: the caller alone, with helpers, with more than there is work for.
const COUNTS: [usize; 4] = [1, 2, 3, 7];

/// What `f` adds to the two counts: all, and attention's.
fn made(f: impl FnOnce()) -> [u64; 2] {
    let before = [flops(), attention_flops()];
    f();
    [flops() - before[0], attention_flops() - before[1]]
}

/// The counts of forward and backward, the same on any number of threads.
#[track_caller]
fn counted(case: &Case) -> [u64; 2] {
    let (x, p) = (case.inputs(DType::F32), case.params(DType::F32));
    let each = COUNTS.map(|n| {
        let _pool = threads::own(n);
        made(|| drop(case.run(&x, &p, upstream)))
    });
    let (first, name) = (each[0], &case.name);
    assert!(each.iter().all(|n| *n == first), "{name}, threads {COUNTS:?}: {each:?}");
    first
}

#[test]
fn a_product_is_two_operations_for_each_pair() {
    // Small enough for one thread, large enough for several, and nothing at all.
    for [m, n, k] in [[3, 5, 7], [70, 129, 65], [1, 300, 2000], [4, 0, 3], [4, 3, 0]] {
        let (a, b, mut c) = (vec![1f32; m * k], vec![1f32; k * n], vec![0f32; m * n]);
        for (threads, on) in
            [(1, On::AllThreads), (3, On::AllThreads), (3, On::ThisThread)]
        {
            let _pool = threads::own(threads);
            for store in [Store::Set, Store::Add] {
                let counts = made(|| {
                    let (a, b) = (Mat::new(&a, m, k), Mat::new(&b, k, n));
                    gemm(MatMut::new(&mut c, m, n), store, a, b, on)
                });
                assert_eq!(counts, [(2 * m * n * k) as u64, 0], "{m} {n} {k} {on:?}");
            }
        }
    }
}

#[test]
fn a_matrix_costs_six_operations_for_each_element_and_token() {
    // Biases are no product.
    for biased in [false, true] {
        let elements = 33 * (70 + 17 + 5);
        let case = cases::linear(&[3, 50, 33], &[70, 17, 5], biased);
        assert_eq!(counted(&case), [6 * elements * 150, 0]);
    }
    // Rows of logits come in chunks; none is computed twice.
    assert_eq!(counted(&cases::head_loss(&[300, 33], 70, 4)), [6 * 33 * 70 * 300, 0]);
}

/// Multiplications and additions of forward and backward, block by block as the
/// kernel's module says it computes: 64 queries at a time, against all keys from the
/// first that any of them sees to the last.
fn brute_force(h: Heads, documents: &[&[usize]]) -> u64 {
    let mut pairs = 0;
    for row in 0..h.batch {
        let one = [h.seq];
        let lengths = documents.get(row).copied().unwrap_or(&one);
        let mut starts = vec![];
        for length in lengths {
            starts.extend(std::iter::repeat_n(starts.len(), *length));
        }
        let mut query = 0;
        while query < h.seq {
            let end = (query + 64).min(h.seq);
            for _ in query..end {
                pairs += end - starts[query];
            }
            query = end;
        }
    }
    // Forward: scores and their mixture. Backward: scores again, the gradients of
    // probabilities, values, keys and queries.
    ((2 + 5) * 2 * pairs * h.dim * h.heads) as u64
}

#[test]
fn attention_computes_whole_blocks() {
    let cases: [(Heads, &[&[usize]]); 6] = [
        (heads([1, 64, 1, 1, 8]), &[]),
        (heads([2, 131, 6, 2, 16]), &[]),
        (heads([3, 256, 4, 4, 4]), &[]),
        (heads([1, 1, 2, 1, 6]), &[]),
        (heads([2, 131, 4, 2, 8]), &[&[65, 66], &[131]]),
        (heads([1, 200, 3, 1, 2]), &[&[1, 63, 70, 66]]),
    ];
    for (h, documents) in cases {
        let all = counted(&cases::attention(h, documents));
        assert_eq!(all, [brute_force(h, documents); 2], "{h:?} {documents:?}");
    }
    // By hand: 131 tokens are blocks of 64, 64 and 3 queries on 64, 128 and 131 keys.
    let pairs = 64 * 64 + 64 * 128 + 3 * 131;
    assert_eq!(brute_force(heads([1, 131, 1, 1, 1]), &[]), 14 * pairs);
}

#[test]
fn other_operations_count_nothing() {
    let h = heads([2, 131, 6, 2, 16]);
    for case in [
        cases::rms_norm(&[700, 65]),
        cases::qk_norm(h),
        cases::rope(h, 8, 1.0, 0),
        cases::swiglu(&[300, 258]),
        cases::add(&[300, 258]),
        cases::embedding(&[2, 150], 13, 700),
    ] {
        assert_eq!(counted(&case), [0, 0], "{}", case.name);
    }
}

#[test]
fn each_thread_has_a_count_of_its_own() {
    let count = || counted(&cases::linear(&[300, 65], &[70], false));
    let mine = made(|| {
        let theirs = std::thread::scope(|scope| scope.spawn(count).join());
        assert!(theirs.expect("the other thread")[0] > 0);
    });
    assert_eq!(mine, [0, 0]);
}
