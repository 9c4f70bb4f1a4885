//! What a training step is fed.

/// A target that does not count: the loss skips this position.
pub const IGNORE: u32 = u32::MAX;

/// Rows of training input. Row-major vectors, no tensors here: each backend copies them
/// where it wants them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Number of rows (sequences).
    pub rows: usize,

    /// Tokens per row.
    pub seq_len: usize,

    /// `[rows, seq_len]`: the input tokens.
    pub tokens: Vec<u32>,

    /// `[rows, seq_len]`: for each position the token that follows it, or [`IGNORE`]
    /// where that token belongs to another document that the model must not see.
    pub targets: Vec<u32>,

    /// `[rows, seq_len]`: for each position, the index in its row of the first position
    /// it may attend to, which is the start of its document. `None` is plain causal
    /// attention: all of the row so far.
    pub document_starts: Option<Vec<u32>>,
}

impl Batch {
    /// Number of targets that count (are not [`IGNORE`]): what a mean loss divides by.
    pub fn target_count(&self) -> usize {
        self.targets.iter().filter(|&&target| target != IGNORE).count()
    }
}
