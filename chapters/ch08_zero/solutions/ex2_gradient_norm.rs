//! # Find the bug: the norm of cut gradients
//!
//! In chapter 5 every rank had the sums of all its gradients, and the ranks that see
//! other data had the same ones: so each summed the squares of all it had, and asked
//! those that hold the rest of the model. After a reduce-scatter neither is so.
//!
//! *Which elements.* A rank has the sums of its part. In the rest of the buffer there
//! is still what its own backward came to, before it was summed: numbers of the right
//! size, which nothing marks as old. Of each parameter it counts what lies in its part,
//! and that may be nothing. To take all of the part at once would count copies, such as
//! those of a norm on the ranks of `tp`, once for each of them.
//!
//! *Which ranks.* The squares are now spread over all: over those that hold the model
//! together, since each has other matrices, and over those that see other data, since
//! each has other sums of the same matrices. That is the world, and each element is in
//! it once.
//!
//! An all-reduce in place of the reduce-scatter would make both right again, and send
//! twice as much. Each rank would have all sums, and use its part of them.
//!
//! Nothing but a comparison with one rank finds this. Gradients are clipped a little
//! too much or too little, on each rank by another factor, and AdamW, which divides by
//! the gradient's own size, hides most of that.
use candle_core::Result;
use comm::{Group, Mesh, Reduce};
use params::Params;
use std::ops::Range;

/// Of a flat buffer of `len` elements, those of which this rank of `data` has the sums.
fn own(len: usize, data: &Group) -> Range<usize> {
    let each = len / data.size();
    data.rank() * each..(data.rank() + 1) * each
}

/// Leaves in this rank's part of each flat buffer the gradients, in fp64, of all data,
/// scaled down to the length `max_norm` if the whole model's gradient is longer.
/// Returns how long that was, the same on all ranks. What is left in the rest of the
/// buffers has no meaning.
///
/// # Errors
/// A parameter received no gradient, or another rank failed.
pub fn clip(params: &Params, mesh: &Mesh, max_norm: f64) -> Result<f64> {
    for flat in &params.flats {
        let mut grads = flat.grads.write::<f64>(0..flat.grads.len())?;
        grads[flat.padding()].fill(0.0);
        let sum = Reduce::Sum;
        mesh.data().start_reduce_scatter("gradients", grads, sum)?.wait()?;
    }

    let mut squares = [0.0];
    for flat in &params.flats {
        let own = own(flat.grads.len(), mesh.data());
        // Of what several ranks have a copy of, one copy counts.
        for param in flat.params.iter().filter(|param| param.shard().counts()) {
            // Of a parameter, what lies in this rank's part.
            let range = param.range()?;
            let start = range.start.clamp(own.start, own.end);
            let end = range.end.clamp(own.start, own.end);
            squares[0] += ops::sum_of_squares(&flat.grads.read::<f64>(start..end)?);
        }
    }
    // Every rank has the sums of other elements.
    mesh.world().all_reduce("gradient norm", &mut squares, Reduce::Sum)?;
    let norm = squares[0].sqrt();

    let factor = (max_norm / (norm + 1e-6)).min(1.0);
    for flat in &params.flats {
        let own = own(flat.grads.len(), mesh.data());
        flat.grads.write::<f64>(own)?.iter_mut().for_each(|grad| *grad *= factor);
    }
    Ok(norm)
}
