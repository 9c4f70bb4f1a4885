//! # Fill in: the parts of a flat buffer
//!
//! What a part and a parameter have in common is a range of the buffer, which both
//! count from where they begin. `clamp` gives an empty range in a good place where they
//! have nothing in common: the end of the one that comes first, and the beginning of
//! the one that comes last, are moved to the nearest end of the part. Then the same
//! again for the parameter, since such a place may lie outside of it.
//!
//! Padding is in the last parts only, and there may be whole parts of it: of 3 elements
//! on 8 ranks, five ranks update nothing. They take part in the collectives all the
//! same.
//!
//! The chapter does this in `overlap` of `optimizer.rs` and in `Zero::shift`. PyTorch's
//! FSDP2 cuts each parameter by itself along its first dimension instead, so a rank has
//! a piece of each; what a gather brings has then to be sorted into the parameters,
//! which costs a copy. Megatron-LM's distributed optimizer cuts whole buckets, as we
//! do: its `_build_model_gbuf_param_range_map` makes these ranges.
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
    let each = parameters.iter().sum::<usize>().div_ceil(ranks);
    rank * each..(rank + 1) * each
}

/// What rank `rank` updates of each parameter.
pub fn pieces(parameters: &[usize], ranks: usize, rank: usize) -> Vec<Piece> {
    let part = part(parameters, ranks, rank);
    let (mut end, mut found) = (0, vec![]);
    for elements in parameters {
        let start = end;
        end += elements;
        let common = part.start.clamp(start, end)..part.end.clamp(start, end);
        let of_parameter = common.start - start..common.end - start;
        // Where they have nothing in common, that may be outside of the part.
        let first = common.start.clamp(part.start, part.end) - part.start;
        let of_part = first..first + common.len();
        found.push(Piece { of_parameter, of_part });
    }
    found
}
