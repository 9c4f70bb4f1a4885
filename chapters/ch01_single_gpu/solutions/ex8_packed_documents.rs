//! # Find the bug: packed documents
//!
//! A document starts at the token *after* the end token of the one before: `at + 1`.
//! Off by one, each document also saw the end token before it. That token is the same
//! in every document, so in the first layer it tells nothing about the words; but it
//! belongs to its own document and has attended to all of it when the second layer
//! reads it. One wrong index and depth make a leak out of a constant.

/// Targets and document starts of a row.
///
/// `row [seq_len + 1]` are the inputs and the target of the last; `end` is the token
/// that ends a document. Both results are `[seq_len]`: the token after each position,
/// or `corpus::IGNORE` after an end, and the index in the row of the first token of
/// each position's document.
pub fn isolate(row: &[u32], end: u32) -> (Vec<u32>, Vec<u32>) {
    let (mut targets, mut starts) = (vec![], vec![]);
    let mut start = 0;
    for (at, pair) in row.windows(2).enumerate() {
        let (token, next) = (pair[0], pair[1]);
        starts.push(start);
        if token == end {
            // What follows is another document, which is not predicted.
            targets.push(corpus::IGNORE);
            start = at as u32 + 1;
        } else {
            targets.push(next);
        }
    }
    (targets, starts)
}
