//! # Fill in: the parts of a flat buffer
//!
//! The parameters of a layer lie in one flat buffer, one behind the other. The ranks
//! cut it into as many parts as there are ranks, in the order of the ranks, and each
//! updates its own. A reduce-scatter cuts equal parts, so where the number of elements
//! does not divide, the buffer is filled up at the end with padding, and with no more
//! of it than that takes.
//!
//! A part takes no notice of where a parameter begins. But the optimizer does: a matrix
//! decays and the weight of a norm does not. So it goes parameter by parameter, and for
//! each needs two ranges:
//!
//! - `of_parameter`: which of the parameter's elements this rank updates, counted from
//!   where the parameter begins;
//! - `of_part`: where they are in this rank's part, and so in its moments, which are
//!   no longer than that, counted from where the part begins.
//!
//! A parameter may begin in one part and end in the next, or in the one after that. Of
//! some a rank updates nothing: both ranges are empty then, and still lie within what
//! they are ranges of, so that slices may be taken by them.
//!
//! The checks look at every element, compare your parts with the chapter's, and make a
//! step by your ranges.
//!
//! ## Hint
//!
//! Take parameters of 5, 3 and 2 elements on 4 ranks, and write down the buffer with
//! its padding, and a line between any two parts. Which range of the *buffer* has rank
//! 1 in common with each parameter? What is to be subtracted from it for each of the
//! two kinds of range? What do `max(a.start, b.start)` and `min(a.end, b.end)` come to
//! for a parameter that ends before the part begins, and what has to be there?
#![allow(unused_variables)]
use std::ops::Range;

/// What a rank updates of one parameter; both ranges are as long.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Counted from where the parameter begins.
    pub of_parameter: Range<usize>,
    /// Counted from where the rank's part begins.
    pub of_part: Range<usize>,
}

/// The range of the flat buffer that is part `rank` of `ranks`. `parameters` says how
/// many elements each parameter has.
pub fn part(parameters: &[usize], ranks: usize, rank: usize) -> Range<usize> {
    todo!("equal parts of the buffer, padding included")
}

/// What rank `rank` updates of each parameter.
pub fn pieces(parameters: &[usize], ranks: usize, rank: usize) -> Vec<Piece> {
    todo!("what the rank's part has in common with each parameter")
}
