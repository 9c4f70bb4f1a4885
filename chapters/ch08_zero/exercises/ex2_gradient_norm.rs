//! # Find the bug: the norm of cut gradients
//!
//! Backward is over, and each rank has gradients of its own data. `clip` scatters their
//! sums, so that each rank has those of its part of every flat buffer; finds the length
//! of the whole model's gradient; and, if that is longer than `max_norm`, scales this
//! rank's part down.
//!
//! The middle comes from chapter 5, where all was right. It is right here, too, on one
//! rank, and with `--tp 2` on two, as long as nobody sees other data. With `--dp 2` the
//! model trains, the loss falls, and the norm that is shown looks like any other. But
//! it is another one on each rank: the two halves of one matrix are scaled by different
//! factors, and with more ranks it gets worse.
//!
//! It is wrong in two places: which elements are summed, and over which ranks. What it
//! sends is right: a reduce-scatter for each flat buffer, and one number for the norm.
//!
//! ## Hint
//!
//! Take `--tp 2 --dp 2`, one matrix that is cut in two by `tp`, and the weight of one
//! norm. Write down what each of the four ranks has of them after the reduce-scatter:
//! which elements are sums, and what are the others? Which ranks have the sums of the
//! matrix between them, each element once? Who has those of the norm's weight, and how
//! often? What does `mesh.model()` stand for, and what `mesh.data()`? A parameter may
//! lie in a rank's part with some of its elements, with all, or with none.
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
        // Of what several ranks have a copy of, one copy counts.
        for param in flat.params.iter().filter(|param| param.shard().counts()) {
            squares[0] += ops::sum_of_squares(&param.grad::<f64>()?);
        }
    }
    // Each of the ranks that hold the model together has some of it.
    mesh.model().all_reduce("gradient norm", &mut squares, Reduce::Sum)?;
    let norm = squares[0].sqrt();

    let factor = (max_norm / (norm + 1e-6)).min(1.0);
    for flat in &params.flats {
        let own = own(flat.grads.len(), mesh.data());
        flat.grads.write::<f64>(own)?.iter_mut().for_each(|grad| *grad *= factor);
    }
    Ok(norm)
}
