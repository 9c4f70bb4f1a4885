//! Which part of a parameter a rank holds, and what it starts from.
use std::ops::Range;

/// The slice of one global tensor that this rank holds, as Megatron-LM's
/// `ShardedTensor` (`megatron/core/dist_checkpointing/mapping.py`) describes it.
///
/// This description alone drives initialization, the gradient norm, checkpoints and
/// Hugging Face export.
#[derive(Clone, Debug, PartialEq)]
pub struct Shard {
    /// The Hugging Face name: `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// The shape of the whole tensor.
    pub global_shape: Vec<usize>,
    /// The index in the whole tensor of the first element held here.
    pub offset: Vec<usize>,
    /// The shape of what is held here, padding included.
    pub shape: Vec<usize>,
    /// So many indices of the first dimension, the last ones held here, are of no
    /// element of the tensor. They are zero, and whoever uses them leaves them out of
    /// the result.
    pub padding: usize,
    /// Which copy this is where several ranks hold the same slice. Copy 0 is the one
    /// that counts in norms and is written to checkpoints.
    pub replica: usize,
    /// The axis of the mesh along which ranks have a copy of the slice, but each comes
    /// to a part of its gradient only: the gradient is their sum. `None`: backward
    /// comes to the whole on every rank that has a copy.
    pub partial: Option<&'static str>,
}

impl Shard {
    /// All of the tensor `name`.
    pub fn whole(name: &str, shape: &[usize]) -> Shard {
        Shard {
            name: name.into(),
            global_shape: shape.to_vec(),
            offset: vec![0; shape.len()],
            shape: shape.to_vec(),
            padding: 0,
            replica: 0,
            partial: None,
        }
    }
    /// Keeps the indices `part` of dimension `dim`, counted from what was kept before.
    ///
    /// # Panics
    /// `part` reaches beyond the dimension, or this was padded before: a bug of the
    /// caller's layout.
    pub fn narrow(mut self, dim: usize, part: Range<usize>) -> Shard {
        assert!(
            part.start <= part.end && part.end <= self.shape[dim] && self.padding == 0,
            "{}: {part:?} of dimension {dim} of {:?}",
            self.name,
            self.shape
        );
        self.offset[dim] += part.start;
        self.shape[dim] = part.len();
        self
    }
    /// Adds `n` indices of padding to the first dimension.
    pub fn pad(mut self, n: usize) -> Shard {
        self.shape[0] += n;
        self.padding += n;
        self
    }
    /// Says which copy of the slice this is.
    pub fn replica(mut self, replica: usize) -> Shard {
        self.replica = replica;
        self
    }
    /// Says that its gradient is the sum of what the ranks along `axis` come to.
    pub fn partial(mut self, axis: &'static str) -> Shard {
        self.partial = Some(axis);
        self
    }
    /// The number of elements held here, padding included.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
    /// The shape of what is held here of the tensor itself, without padding.
    pub fn held(&self) -> Vec<usize> {
        let mut held = self.shape.clone();
        if let Some(first) = held.first_mut() {
            *first -= self.padding;
        }
        held
    }
    /// The number of elements of the tensor held here: they come first, padding after.
    pub fn held_elements(&self) -> usize {
        self.held().iter().product()
    }
    /// Whether the elements count in norms: once over all ranks.
    pub fn counts(&self) -> bool {
        self.replica == 0
    }
    /// Whether it is a matrix, and not a bias or the weight of a norm. Weight decay is
    /// for matrices.
    pub fn is_matrix(&self) -> bool {
        self.global_shape.len() > 1
    }
    /// Where element `local` of the slice, not of its padding, is in the whole tensor,
    /// both row-major.
    pub fn global_index(&self, mut local: usize) -> usize {
        let (mut global, mut stride) = (0, 1);
        for dim in (0..self.shape.len()).rev() {
            global += (local % self.shape[dim] + self.offset[dim]) * stride;
            local /= self.shape[dim];
            stride *= self.global_shape[dim];
        }
        global
    }
}

/// What the elements of a parameter start from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Normally distributed around zero with this standard deviation.
    Normal(f64),
}

impl Init {
    /// The elements `range` of `shard`, in order.
    ///
    /// Each is a pure function of the seed, the parameter's name and the element's
    /// index in the whole tensor, so every layout of ranks starts from the same weights
    /// and no rank ever builds a tensor of which it holds a part. Padding is zero.
    pub fn draw(
        self,
        seed: u64,
        shard: &Shard,
        range: Range<usize>,
    ) -> impl Iterator<Item = f64> + '_ {
        let key = shard.name.bytes().fold(mix(seed), |key, b| mix(key ^ b as u64));
        let held = shard.held_elements();
        range.map(move |local| match self {
            _ if local >= held => 0.0,
            Init::Zeros => 0.0,
            Init::Ones => 1.0,
            Init::Normal(std) => std * normal(key, shard.global_index(local) as u64),
        })
    }
}

/// A standard normal number for each counter, by Box and Muller's transformation of two
/// uniform ones; neighbours share a pair, one takes the cosine and one the sine.
fn normal(key: u64, counter: u64) -> f64 {
    let bits = mix(key ^ mix(counter >> 1));
    // Two uniforms of 32 bits each, inside (0, 1).
    let unit = |bits: u64| ((bits & 0xffff_ffff) as f64 + 0.5) / 4_294_967_296.0;
    let radius = (-2.0 * unit(bits).ln()).sqrt();
    let angle = std::f64::consts::TAU * unit(bits >> 32);
    radius * if counter & 1 == 0 { angle.cos() } else { angle.sin() }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood 2014): every input bit changes
/// every output bit.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(shard: &Shard, seed: u64) -> Vec<f64> {
        Init::Normal(1.0).draw(seed, shard, 0..shard.elements()).collect()
    }

    #[test]
    fn a_slice_draws_what_the_whole_draws_there() {
        let whole = Shard::whole("w", &[5, 7]);
        let all = draw(&whole, 3);
        for (rows, cols) in [(1..4, 0..7), (0..5, 2..3), (4..5, 3..7)] {
            let part = whole.clone().narrow(0, rows.clone()).narrow(1, cols.clone());
            let want: Vec<f64> = rows
                .flat_map(|r| cols.clone().map(move |c| r * 7 + c))
                .map(|i| all[i])
                .collect();
            assert_eq!(draw(&part, 3), want);
        }
        let twice = whole.clone().narrow(0, 1..4).narrow(0, 1..2);
        assert_eq!(draw(&twice, 3), all[14..21]);
        let padded = whole.narrow(0, 4..5).pad(2);
        assert_eq!((padded.held(), padded.held_elements()), (vec![1, 7], 7));
        assert_eq!(draw(&padded, 3), [&all[28..], &[0.0; 14]].concat());
    }

    #[test]
    fn draws_differ_by_seed_name_and_index_and_are_normal() {
        let shard = Shard::whole("w", &[100, 1000]);
        let x = draw(&shard, 1);
        assert_ne!(x, draw(&shard, 2));
        assert_ne!(x, draw(&Shard::whole("v", &[100, 1000]), 1));
        let n = x.len() as f64;
        let moment = |p: i32| x.iter().map(|x| x.powi(p)).sum::<f64>() / n;
        // Within five standard errors of the moments of a standard normal.
        for (p, want, variance) in
            [(1, 0., 1.), (2, 1., 2.), (3, 0., 15.), (4, 3., 96.)]
        {
            let error = (moment(p) - want).abs();
            assert!(error < 5.0 * (variance / n).sqrt(), "moment {p}: {error}");
        }
        let pairs = x.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / n;
        assert!(pairs.abs() < 5.0 / n.sqrt(), "neighbours correlate: {pairs}");
    }
}
