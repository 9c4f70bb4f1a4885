//! # Find the bug: packed documents
//!
//! Documents are of all lengths, rows are not. So documents are joined, an end token
//! after each, and the rows are cut from that stream. With `--isolate-documents` a
//! token attends to nothing before its own document, and for that a batch carries two
//! things: for each position, where in the row its document starts, and the target,
//! which does not count (`corpus::IGNORE`) at an end token, since what follows it
//! belongs to another document. The end token itself still belongs to the document that
//! it ends.
//!
//! This function makes both for a row. In a model with one layer, what a document
//! computes does not depend on which words the document before it is made of. With two
//! layers or more, it does.
//!
//! It is wrong in one place.
//!
//! ## Hint
//!
//! Write down the starts for the row `a b E c d`, where `E` is the end token, and check
//! each entry against the sentence "attends to nothing before its own document". Which
//! token of the first document can a token of the second see? And what does that token
//! know after the first layer?

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
            // What follows is another document: it is not predicted, and starts here.
            targets.push(corpus::IGNORE);
            start = at as u32;
        } else {
            targets.push(next);
        }
    }
    (targets, starts)
}
