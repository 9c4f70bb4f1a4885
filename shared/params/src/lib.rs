//! Parameters: named ranges of flat buffers, each knowing which slice of a global
//! tensor it is.
//!
//! A model's parameters live in **flat buffers**, one set per layer: their values, and
//! beside them, element for element, their *main gradients*. A [`Param`] is a named
//! range of both. So the optimizer is one pass over long runs of memory, a backward
//! pass adds a weight's gradient where it belongs without any tensor in between, and
//! matrices that share an input (a query's, a key's and a value's projection) lie side
//! by side and are multiplied as one.
//!
//! What a rank holds of a parameter is written down in a [`Shard`]: name, global shape,
//! offset, local shape, replica. Initialization ([`Init::draw`]), gradient norm
//! ([`Shard::counts`]), weight decay ([`Shard::is_matrix`]) and files need nothing
//! else, so they are right for every layout or for none.
//!
//! Values are f64, f32, bf16 or f16 ([`Element`]); gradients are in the type that sums
//! them ([`Real`]). A range of a buffer is *leased* ([`Buffer::read`],
//! [`Buffer::write`]): overlapping uses are an error instead of a race.
#![warn(missing_docs)]

mod buffer;
mod element;
mod param;
mod shard;

pub use buffer::{Buffer, Read, Write};
pub use element::{Element, Real};
pub use half::{bf16, f16};
pub use param::{Flat, Param, ParamBuilder, Params, accumulate, values};
pub use shard::{Init, Shard};
