//! Causal attention with grouped key/value heads, which never stores a score.
use crate::launch::{Launch, Number, Ptr, WARP};
use crate::source::{ATTENTION, FLASH, Source};

/// The sizes of one call.
///
/// `qkv [batch, seq, (heads + 2 kv_heads) · dim]` holds queries, keys and values side
/// by side; the result is `[batch, seq, heads · dim]`. Query head `h` uses key/value
/// head `h / (heads / kv_heads)`. Scores are scaled by `1 / sqrt(dim)`.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Sequences.
    pub batch: u32,
    /// Tokens of each.
    pub seq: u32,
    /// Heads of queries.
    pub heads: u32,
    /// Heads of keys, and of values: a divisor of `heads`.
    pub kv_heads: u32,
    /// Elements of a head, up to [`MAX_DIM`].
    pub dim: u32,
}

/// The most elements of a head: sums over one are in registers.
pub const MAX_DIM: u32 = 256;

/// What [`backward`] reads, and where it writes.
#[derive(Clone, Copy, Debug)]
pub struct Backward {
    /// What forward took,
    pub qkv: Ptr,
    /// what it made,
    pub out: Ptr,
    /// and the log-sums that it left, `[batch, heads, seq]` in fp32.
    pub log_sums: Ptr,
    /// The gradient of `out`.
    pub dy: Ptr,
    /// Scratch, `[batch, heads, seq]` in fp32.
    pub deltas: Ptr,
    /// The gradient of `qkv`.
    pub dqkv: Ptr,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Sizes {
    batch: u32,
    seq: u32,
    heads: u32,
    kv_heads: u32,
    scale: f32,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Attention {
    qkv: Ptr,
    first_keys: Ptr,
    out: Ptr,
    log_sums: Ptr,
    sizes: Sizes,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct Deltas {
    out: Ptr,
    dy: Ptr,
    deltas: Ptr,
    sizes: Sizes,
}

#[derive(Clone, Copy)]
#[repr(C)]
struct AttentionBackward {
    qkv: Ptr,
    first_keys: Ptr,
    dy: Ptr,
    log_sums: Ptr,
    deltas: Ptr,
    dqkv: Ptr,
    sizes: Sizes,
}

/// One of the kernels that go over tiles.
struct Kernel {
    source: Source,
    name: &'static str,
    /// Rows of the tile that a block has.
    rows: u32,
    threads: u32,
    /// Bytes of shared memory.
    shared: u32,
}

/// How the three kernels that go over tiles cut their work up: as their sources say.
struct Kernels {
    forward: Kernel,
    keys: Kernel,
    queries: Kernel,
}

impl Kernels {
    /// Tensor cores take what is bf16 and comes in packs of 16 bytes.
    fn of(number: Number, dim: u32, pointers: &[Ptr]) -> Kernels {
        let packs = dim.is_multiple_of(8) && pointers.iter().all(|at| at.0 % 16 == 0);
        match number {
            Number::Bf16 if packs => Kernels::on_tensor_cores(dim),
            _ => Kernels::plain(dim),
        }
    }
    fn on_tensor_cores(dim: u32) -> Kernels {
        let (source, warps, keys) = (FLASH.of_heads(dim), 4, 64);
        // Bytes of a row in shared memory.
        let row = 2 * dim.next_power_of_two().max(64);
        let tall = if dim <= 128 { 32 } else { 16 } * warps;
        let wide = if dim <= 64 { 32 } else { 16 } * warps;
        let step = if 64 < dim && dim <= 128 { 64 } else { 32 };
        let kernel = |name, rows, shared| Kernel {
            source,
            name,
            rows,
            threads: warps * WARP,
            shared,
        };
        Kernels {
            // Queries, and keys and values of two tiles.
            forward: kernel("flash", tall, (tall + 4 * keys) * row),
            // Keys and values; queries and dy of two tiles, and three numbers of each.
            keys: kernel("flash_keys", wide, (2 * wide + 4 * step) * row + 24 * step),
            // Queries and dy, and keys and values of two tiles.
            queries: kernel("flash_queries", tall, (2 * tall + 4 * 32) * row),
        }
    }
    fn plain(dim: u32) -> Kernels {
        let source = ATTENTION.of_heads(dim);
        let rows = if dim <= 128 { 64 } else { 32 };
        let kernel = |name, tiles| {
            let shared = 4 * (tiles * rows * (dim | 1) + rows * (rows + 1));
            Kernel { source, name, rows, threads: 256, shared }
        };
        Kernels {
            forward: kernel("attention", 3),
            keys: kernel("attention_keys", 4),
            queries: kernel("attention_queries", 4),
        }
    }
}

impl Kernel {
    fn launch<A>(&self, number: Number, shape: Shape, heads: u32, args: A) -> Launch
    where
        A: Copy + Send + Sync + 'static,
    {
        let tiles = shape.seq.div_ceil(self.rows);
        let blocks = u64::from(tiles) * u64::from(heads) * u64::from(shape.batch);
        Launch::new(self.source, self.name, number, blocks, self.threads, args)
            .shared(self.shared as usize)
    }
}

impl Shape {
    fn sizes(self) -> Result<Sizes, String> {
        let Shape { batch, seq, heads, kv_heads, dim } = self;
        if kv_heads == 0 || heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "attention: {kv_heads} key/value heads for {heads} heads: expected a \
                 divisor, so that each serves as many"
            ));
        }
        if dim == 0 || dim > MAX_DIM {
            return Err(format!(
                "attention: heads of {dim} elements: expected 1 to {MAX_DIM}, of which \
                 a GPU's registers hold the sums"
            ));
        }
        // Blocks are counted in 31 bits, and so are tokens.
        let tokens = u64::from(batch) * u64::from(heads) * u64::from(seq);
        if tokens == 0 || tokens > i32::MAX as u64 {
            return Err(format!(
                "attention: {batch} sequences of {seq} tokens, {heads} heads: expected \
                 1 to {} in all",
                i32::MAX
            ));
        }
        let scale = 1.0 / f64::from(dim).sqrt();
        Ok(Sizes { batch, seq, heads, kv_heads, scale: scale as f32 })
    }
}

/// Each token's mixture of the values that it sees, and in `log_sums [batch, heads,
/// seq]`, in fp32, the logarithm of its sum of exponentials, for [`backward`].
///
/// A token sees itself and those before it, but in packed sequences none before
/// `first_keys [batch, seq]`, whole numbers: where its document starts. They must not
/// be after their token, nor fall along a row.
///
/// In bf16, a `dim` of 64 or 128 is fastest; one that is no multiple of 8, and arrays
/// that do not begin at multiples of 16 bytes, go without tensor cores.
///
/// # Errors
/// Heads do not fit, or `dim` is more than [`MAX_DIM`].
pub fn forward(
    number: Number,
    shape: Shape,
    [qkv, out]: [Ptr; 2],
    first_keys: Option<Ptr>,
    log_sums: Ptr,
) -> Result<Launch, String> {
    let sizes = shape.sizes()?;
    let kernel = Kernels::of(number, shape.dim, &[qkv, out]).forward;
    let first_keys = first_keys.unwrap_or_default();
    let args = Attention { qkv, first_keys, out, log_sums, sizes };
    Ok(kernel.launch(number, shape, shape.heads, args))
}

/// The gradient of `qkv`, by three kernels, in this order: of every query what all its
/// scores' gradients have in common, then the gradients of keys and values, and those
/// of queries.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    number: Number,
    shape: Shape,
    at: Backward,
    first_keys: Option<Ptr>,
) -> Result<[Launch; 3], String> {
    let Backward { qkv, out, log_sums, dy, deltas, dqkv } = at;
    let sizes = shape.sizes()?;
    let Kernels { keys, queries, .. } =
        Kernels::of(number, shape.dim, &[qkv, dy, dqkv]);

    let threads = 128;
    // As many lanes for each as it has packs of 16 bytes, from 2 to a warp.
    let packs = shape.dim.div_ceil(16 / number.size() as u32);
    let lanes = packs.next_power_of_two().clamp(2, WARP);
    let each = u64::from(shape.batch) * u64::from(shape.seq) * u64::from(shape.heads);
    let blocks = each.div_ceil(u64::from(threads / lanes));
    let source = ATTENTION.of_heads(shape.dim);
    let args = Deltas { out, dy, deltas, sizes };
    let first = Launch::new(source, "attention_deltas", number, blocks, threads, args);

    let first_keys = first_keys.unwrap_or_default();
    let args = AttentionBackward { qkv, first_keys, dy, log_sums, deltas, dqkv, sizes };
    let keys = keys.launch(number, shape, shape.kv_heads, args);
    let queries = queries.launch(number, shape, shape.heads, args);
    Ok([first, keys, queries])
}
