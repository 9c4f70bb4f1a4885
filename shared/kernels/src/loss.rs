//! Cross-entropy, and the gradient of logits.
//!
//! For a chunk of tokens: logits in fp32, by a product; [`row_sums`]; where other ranks
//! have other words of the vocabulary, whole rows' of all of theirs; [`add_losses`];
//! [`gradient`], of which the gradients of hidden states and matrix are products.
use crate::launch::{Launch, Number, Ptr, WARP};
use crate::source::LOSS;

/// A target that does not count.
pub const IGNORE: u32 = u32::MAX;

/// What the loss takes of a row of logits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct RowSum {
    /// The largest logit; `-inf` of none.
    pub max: f32,
    /// The sum of the exponentials of the logits less `max`.
    pub sum: f32,
    /// The target's logit; zero if it is not in this part of the row.
    pub target: f32,
}

/// Which logits there are.
#[derive(Clone, Copy, Debug)]
pub struct Logits {
    /// Tokens.
    pub rows: u64,
    /// Columns; a multiple of eight is best for the products.
    pub width: u32,
    /// Of which words of the vocabulary they are: from this one on,
    pub first: u32,
    /// as many. Columns behind them are padding, and may be anything.
    pub held: u32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct RowSums {
    logits: Ptr,
    targets: Ptr,
    sums: Ptr,
    width: u32,
    held: u32,
    first: u32,
}

/// Of `logits`, `[rows, width]` in fp32, and targets, `[rows]` in u32, what each row's
/// columns come to: `sums`, `[rows]` of [`RowSum`]. Of a row without a target, zeros.
pub fn row_sums(l: Logits, logits: Ptr, targets: Ptr, sums: Ptr) -> Launch {
    let Logits { rows, width, first, held } = l;
    let args = RowSums { logits, targets, sums, width, held, first };
    // Many: a row is long, and a chunk may have fewer rows than a GPU has room for.
    let threads = (held / 4).next_multiple_of(WARP).clamp(WARP, 1024);
    let warps = (threads / WARP) as usize;
    Launch::new(LOSS, "row_sums", Number::F32, rows, threads, args)
        .shared(warps * size_of::<f32>())
}

#[derive(Clone, Copy)]
#[repr(C)]
struct LogitGradient {
    logits: Ptr,
    targets: Ptr,
    whole: Ptr,
    gradient: Ptr,
    width: u32,
    held: u32,
    first: u32,
    blocks: u32,
    scale: f32,
}

/// `scale · (softmax - onehot(target))`: `gradient`, `[rows, width]` in `number`, zero
/// in padding and where there is no target. Of `whole`, what whole rows come to, all
/// ranks' columns included; the target's logit is not needed.
pub fn gradient(
    number: Number,
    l: Logits,
    [logits, targets, whole, gradient]: [Ptr; 4],
    scale: f32,
) -> Launch {
    let Logits { rows, width, first, held } = l;
    // Each thread takes four columns, four times.
    let threads = (width / 4).next_multiple_of(WARP).clamp(WARP, 256);
    let blocks = width.div_ceil(16 * threads).max(1);
    let args = LogitGradient {
        logits,
        targets,
        whole,
        gradient,
        width,
        held,
        first,
        blocks,
        scale,
    };
    let all = rows * u64::from(blocks);
    Launch::new(LOSS, "logit_gradient", number, all, threads, args)
}

#[derive(Clone, Copy)]
#[repr(C)]
struct AddLosses {
    targets: Ptr,
    whole: Ptr,
    loss: Ptr,
    rows: u64,
    scale: f64,
}

/// Adds `scale` times `-ln softmax[target]`, in nats, of all rows that have one to
/// `loss`, one number in fp64.
pub fn add_losses(
    rows: u64,
    targets: Ptr,
    whole: Ptr,
    loss: Ptr,
    scale: f64,
) -> Launch {
    let args = AddLosses { targets, whole, loss, rows, scale };
    let threads = 512;
    Launch::new(LOSS, "add_losses", Number::F32, 1, threads, args)
        .shared(threads as usize * size_of::<f64>())
}
