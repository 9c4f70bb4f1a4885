//! Which part of a matrix and of a sequence a rank holds, and where ranks gather and
//! add up what they computed (Shoeybi et al. 2019, *Megatron-LM*, §3; Korthikanti et
//! al. 2022, *Reducing Activation Recomputation in Large Transformer Models*, §4.2).
use crate::config::Switch;
use anyhow::{Result, ensure};
use candle_core::Tensor;
use comm::{Group, Mesh, PendingTensor, Reduce};
use hub::ModelConfig;
use params::Shard;
use std::ops::Range;

/// The ranks that hold one copy of the model together, as each of them sees it.
#[derive(Clone)]
pub struct TensorParallel {
    /// All of them, this one included.
    pub group: Group,
    /// Whether each has a part of the sequence where no matrix is cut.
    pub sequence: bool,
}

/// What a rank has of a dimension that is cut.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The size of the dimension.
    pub whole: usize,
    /// Which indices of it are this rank's.
    pub range: Range<usize>,
    /// How many ranks, all neighbours, have the same ones, this one included.
    pub copies: usize,
}

/// The neighbours that share a key/value head: an axis of the mesh.
const SHARE_KV: &str = "tp-kv";

impl TensorParallel {
    /// # Errors
    /// The mesh has such groups already.
    pub fn new(
        mesh: &mut Mesh,
        model: &ModelConfig,
        sequence: Switch,
    ) -> Result<TensorParallel> {
        let group = mesh.axis("tp")?.clone();
        let sequence = sequence == Switch::On && group.size() > 1;
        let tp = TensorParallel { group, sequence };
        mesh.divide("tp", tp.part(model.num_key_value_heads, 1).copies, SHARE_KV)?;
        Ok(tp)
    }
    /// This rank's part of `units` of `width` elements each: as many units as any other
    /// rank has; where there are more ranks than units, one, which it shares with its
    /// neighbours.
    pub fn part(&self, units: usize, width: usize) -> Part {
        let (ranks, rank) = (self.group.size(), self.group.rank());
        let copies = (ranks / units).max(1);
        let each = width * units * copies / ranks;
        let start = rank / copies * each;
        Part { whole: units * width, range: start..start + each, copies }
    }
    /// Of dimension `dim` of a parameter, `part`. Ranks that share it each compute with
    /// heads of their own, and come to a part of its gradient.
    pub fn cut(&self, shard: Shard, dim: usize, part: &Part) -> Shard {
        let shard = shard.narrow(dim, part.range.clone());
        match part.copies {
            1 => shard,
            copies => shard.replica(self.group.rank() % copies).partial(SHARE_KV),
        }
    }
    /// The weight of a norm, which every rank has all of. Where the sequence is cut,
    /// each normalizes its own tokens, and comes to their part of the gradient.
    pub fn norm(&self, name: &str, hidden: usize) -> Shard {
        let shard = Shard::whole(name, &[hidden]).replica(self.group.rank());
        if self.sequence { shard.partial("tp") } else { shard }
    }
    /// The weight of a norm of queries or of keys. Every rank has all of it too, but
    /// normalizes its own heads only, and comes to their part of the gradient.
    pub fn head_norm(&self, name: &str, dim: usize) -> Shard {
        Shard::whole(name, &[dim]).replica(self.group.rank()).partial("tp")
    }
    /// The operator f of the paper, where every rank starts to compute something else
    /// of the same `x [batch, seq, hidden]`. Nothing happens forward; backward, what
    /// the ranks come to is summed.
    ///
    /// Where the sequence is cut, `x` is this rank's part of it: the parts are
    /// gathered, and of the sum each rank keeps its part. (The second paper calls this
    /// operator g; Megatron-LM `gather_from_sequence_parallel_region`.)
    pub fn enter(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = match self.sequence {
            true => self.group.all_gather_tensor("f", x, SEQ)?,
            // The same memory, as another tensor: the two have different gradients.
            false => x.reshape(x.shape())?,
        };
        let tp = self.clone();
        ops::note("f", &y, &[x], move |dy| {
            Ok(vec![match tp.sequence {
                true => tp.group.reduce_scatter_tensor("f", &dy, SEQ, Reduce::Sum)?,
                false => tp.group.all_reduce_tensor("f", &dy, Reduce::Sum)?,
            }])
        });
        Ok(y)
    }
    /// Starts what [`TensorParallel::enter`] does backward.
    pub fn start_enter_backward(
        &self,
        dy: &Tensor,
    ) -> candle_core::Result<PendingTensor> {
        match self.sequence {
            true => self.group.start_reduce_scatter_tensor("f", dy, SEQ, Reduce::Sum),
            false => self.group.start_all_reduce_tensor("f", dy, Reduce::Sum),
        }
    }
    /// The operator g, the conjugate of f, where each rank has one term of the result:
    /// their sum. Backward, the gradient of the sum is that of each term.
    ///
    /// Where the sequence is cut, each rank keeps its part of the sum, and the parts of
    /// the gradient are gathered. (The second paper calls this ḡ; Megatron-LM
    /// `reduce_scatter_to_sequence_parallel_region`.)
    pub fn leave(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        if self.group.size() == 1 {
            return Ok(x.clone());
        }
        if !self.sequence {
            let y = self.group.all_reduce_tensor("g", x, Reduce::Sum)?;
            ops::note("g", &y, &[x], |dy| Ok(vec![dy]));
            return Ok(y);
        }
        let y = self.group.reduce_scatter_tensor("g", x, SEQ, Reduce::Sum)?;
        let group = self.group.clone();
        ops::note("g", &y, &[x], move |dy| {
            Ok(vec![group.all_gather_tensor("g", &dy, SEQ)?])
        });
        Ok(y)
    }
    /// Starts to gather once more what [`TensorParallel::enter`] gathered. The sequence
    /// must be cut.
    pub fn start_gather_again(&self, x: &Tensor) -> candle_core::Result<PendingTensor> {
        self.group.start_all_gather_tensor("f again", x, SEQ)
    }
}

/// The dimension of `[batch, seq, hidden]` that is cut.
const SEQ: usize = 1;

/// # Errors
/// The model cannot be cut over so many ranks: says what does not divide, and by what
/// it would.
pub fn check(model: &ModelConfig, ranks: usize) -> Result<()> {
    let (heads, kv_heads) = (model.num_attention_heads, model.num_key_value_heads);
    let mlp = model.intermediate_size;
    let divides = |n: usize, ranks: usize| n.is_multiple_of(ranks);
    let share = |ranks| divides(kv_heads, ranks) || divides(ranks, kv_heads);
    let fits = |ranks| divides(heads, ranks) && share(ranks) && divides(mlp, ranks);
    let would: Vec<String> =
        (1..=heads).filter(|n| fits(*n)).map(|n| n.to_string()).collect();
    let why = match () {
        _ if !divides(heads, ranks) => {
            format!("its {heads} heads do not divide by {ranks}")
        }
        _ if !share(ranks) => {
            format!(
                "{ranks} ranks can neither divide its {kv_heads} key/value heads \
                     nor share them evenly"
            )
        }
        _ => format!("the {mlp} channels of its MLP do not divide by {ranks}"),
    };
    ensure!(
        fits(ranks),
        "--tp {ranks} does not fit the model: {why}; {} would",
        would.join(", ")
    );
    Ok(())
}
