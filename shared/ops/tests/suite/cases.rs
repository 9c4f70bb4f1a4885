//! Each operation with the composition it must equal, for sizes that a test chooses.

use crate::common::{Case, whole};
use crate::plain;
use candle_core::{Device, Tensor};
use ops::{IGNORE, Rope};

/// Large enough that a missing or misplaced one shows.
pub const EPS: f64 = 0.01;

/// `outs[i]` outputs of the i-th matrix, each with a bias or none.
pub fn linear(x: &[usize], outs: &[usize], biased: bool) -> Case {
    const WEIGHTS: [&str; 3] = ["q.weight", "k.weight", "v.weight"];
    const BIASES: [&str; 3] = ["q.bias", "k.bias", "v.bias"];
    let (n, width) = (outs.len(), x[x.len() - 1]);
    let weights =
        outs.iter().zip(WEIGHTS).map(|(out, name)| (name.into(), vec![*out, width]));
    let biases = outs.iter().zip(BIASES).map(|(out, name)| (name.into(), vec![*out]));
    let biases = biases.take(if biased { n } else { 0 });
    Case {
        name: format!("linear {x:?} to {outs:?}, biased: {biased}"),
        inputs: vec![x.to_vec()],
        params: weights.chain(biases).collect(),
        op: Box::new(move |x, p| ops::linear(&x[0], &p[..n], &p[n..])),
        plain: Box::new(move |x, p| plain::linear(&x[0], &p[..n], &p[n..])),
        std: 1.0,
        roundings: [1.0, 1.0, 0.0],
    }
}

pub fn rms_norm(x: &[usize]) -> Case {
    Case {
        name: format!("rms_norm {x:?}"),
        inputs: vec![x.to_vec()],
        params: vec![("norm.weight".into(), vec![x[x.len() - 1]])],
        op: Box::new(|x, p| ops::rms_norm(&x[0], &p[0], EPS)),
        plain: Box::new(|x, p| plain::rms_norm(&x[0], &p[0], EPS)),
        std: 1.0,
        roundings: [1.0, 1.0, 0.0],
    }
}

/// Sizes of what holds queries, keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    pub batch: usize,
    pub seq: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub dim: usize,
}

/// `[batch, seq, heads, kv_heads, dim]`.
pub fn heads([batch, seq, heads, kv_heads, dim]: [usize; 5]) -> Heads {
    Heads { batch, seq, heads, kv_heads, dim }
}

impl Heads {
    pub fn shape(&self) -> Vec<usize> {
        vec![self.batch, self.seq, (self.heads + 2 * self.kv_heads) * self.dim]
    }
}

pub fn qk_norm(h: Heads) -> Case {
    Case {
        name: format!("qk_norm {h:?}"),
        inputs: vec![h.shape()],
        params: vec![
            ("q_norm.weight".into(), vec![h.dim]),
            ("k_norm.weight".into(), vec![h.dim]),
        ],
        op: Box::new(move |x, p| {
            ops::qk_norm(&x[0], h.heads, h.kv_heads, &p[0], &p[1], EPS)
        }),
        plain: Box::new(move |x, p| {
            plain::qk_norm(&x[0], h.heads, h.kv_heads, [&p[0], &p[1]], EPS)
        }),
        std: 1.0,
        roundings: [1.0, 1.0, 0.0],
    }
}

pub fn frequencies(dim: usize) -> Vec<f64> {
    (0..dim / 2).map(|i| 100f64.powf(-2.0 * i as f64 / dim as f64)).collect()
}

/// Tables for the positions of `x`, which start at `start`, and for some more.
pub fn rope_table(x: &Tensor, dim: usize, factor: f64, start: usize) -> Rope {
    let positions = start..start + x.dim(1).unwrap() + 3;
    Rope::new(&frequencies(dim), factor, positions, x.dtype()).unwrap()
}

/// `turned` heads are rotated, the rest of the width passes.
pub fn rope(h: Heads, turned: usize, factor: f64, start: usize) -> Case {
    let positions: Vec<usize> = (start..start + h.seq).collect();
    Case {
        name: format!("rope {h:?}, {turned} heads, factor {factor}, from {start}"),
        inputs: vec![h.shape()],
        params: vec![],
        op: Box::new(move |x, _| {
            ops::rope(&x[0], turned, &rope_table(&x[0], h.dim, factor, start))
        }),
        plain: Box::new(move |x, _| {
            plain::rope(&x[0], turned, &frequencies(h.dim), factor, &positions)
        }),
        std: 1.0,
        roundings: [1.0, 1.0, 0.0],
    }
}

/// Documents of these lengths, one list for each batch row; none: one document a row.
pub fn attention(h: Heads, documents: &[&[usize]]) -> Case {
    let starts = (!documents.is_empty()).then(|| starts_of(documents));
    let plain_starts = starts.clone();
    Case {
        name: format!("attention {h:?}, documents {documents:?}"),
        inputs: vec![h.shape()],
        params: vec![],
        op: Box::new(move |x, _| {
            ops::attention(&x[0], h.heads, h.kv_heads, starts.as_deref())
        }),
        plain: Box::new(move |x, _| {
            plain::attention(&x[0], h.heads, h.kv_heads, plain_starts.as_deref())
        }),
        // The gradient is rounded, and contains `Σ out · dy` of the rounded output.
        std: 1.0,
        roundings: [1.0, 2.0, 0.0],
    }
}

/// For each token the index where its document starts.
pub fn starts_of(documents: &[&[usize]]) -> Vec<u32> {
    let mut starts = vec![];
    for row in documents {
        let mut at = 0;
        for length in *row {
            starts.extend(std::iter::repeat_n(at as u32, *length));
            at += length;
        }
    }
    starts
}

pub fn swiglu(x: &[usize]) -> Case {
    Case {
        name: format!("swiglu {x:?}"),
        inputs: vec![x.to_vec()],
        params: vec![],
        op: Box::new(|x, _| ops::swiglu(&x[0])),
        plain: Box::new(|x, _| plain::swiglu(&x[0])),
        std: 1.0,
        roundings: [1.0, 1.0, 0.0],
    }
}

pub fn add(x: &[usize]) -> Case {
    Case {
        name: format!("add {x:?}"),
        inputs: vec![x.to_vec(), x.to_vec()],
        params: vec![],
        op: Box::new(|x, _| ops::add(&x[0], &x[1])),
        plain: Box::new(|x, _| &x[0] + &x[1]),
        std: 1.0,
        roundings: [1.0, 0.0, 0.0],
    }
}

pub fn tokens(shape: &[usize], vocab: usize) -> Tensor {
    let ids = whole("tokens", shape.iter().product(), vocab);
    Tensor::from_vec(ids, shape, &Device::Cpu).unwrap()
}

pub fn embedding(of: &[usize], vocab: usize, hidden: usize) -> Case {
    let ids = tokens(of, vocab);
    let plain_ids = ids.clone();
    Case {
        name: format!("embedding {of:?}, {vocab} × {hidden}"),
        inputs: vec![],
        params: vec![("embed.weight".into(), vec![vocab, hidden])],
        op: Box::new(move |_, p| ops::embedding(&ids, &p[0])),
        plain: Box::new(move |_, p| plain::embedding(&plain_ids, &p[0])),
        std: 1.0,
        roundings: [0.0, 0.0, 0.0],
    }
}

/// Every `ignored`-th target does not count; none if zero.
pub fn head_loss(x: &[usize], vocab: usize, ignored: usize) -> Case {
    let hidden = x[x.len() - 1];
    let targets = targets(x[..x.len() - 1].iter().product(), vocab, ignored);
    let plain_targets = targets.clone();
    let scale = 1.0 / targets.len() as f64;
    Case {
        name: format!("head_loss {x:?}, vocabulary {vocab}, ignored {ignored}"),
        inputs: vec![x.to_vec()],
        params: vec![("lm_head.weight".into(), vec![vocab, hidden])],
        op: Box::new(move |x, p| ops::head_loss(&x[0], &p[0], &targets, scale)),
        plain: Box::new(move |x, p| {
            plain::head_loss(&x[0], &p[0], &plain_targets, scale)
        }),
        std: 1.0,
        roundings: [0.0, 1.0, 0.0],
    }
}

pub fn targets(n: usize, vocab: usize, ignored: usize) -> Vec<u32> {
    let mut targets = whole("targets", n, vocab);
    for i in (0..n).filter(|i| ignored > 0 && (i + 1).is_multiple_of(ignored)) {
        targets[i] = IGNORE;
    }
    targets
}

/// One case of each operation, small and of odd sizes.
pub fn one_of_each() -> Vec<Case> {
    let h = heads([2, 5, 6, 2, 4]);
    vec![
        linear(&[2, 5, 7], &[5, 3], true),
        rms_norm(&[2, 5, 7]),
        qk_norm(h),
        rope(h, 8, 1.0, 3),
        attention(h, &[&[2, 3], &[1, 3, 1]]),
        swiglu(&[2, 5, 14]),
        add(&[2, 5, 7]),
        head_loss(&[2, 5, 7], 13, 3),
    ]
}
