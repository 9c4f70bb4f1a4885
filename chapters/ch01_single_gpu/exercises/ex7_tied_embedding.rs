//! # Find the bug: the embedding of a tied model
//!
//! An operation of this house owns its parameter: while a recording is on, it leaves a
//! note of its backward on the tape, and that backward adds to the parameter's main
//! gradient. Here is the lookup of tokens written anew, a little plainer than
//! `ops::embedding` and only for f64.
//!
//! In an untied model, with one micro-batch a step, every gradient is right to the last
//! digit. In a tied model, such as the preset `nano`, the output matrix *is* the
//! embedding, and one gradient is wrong: the table's. All others are right, and nothing
//! is reported.
//!
//! It is wrong in one place.
//!
//! ## Hint
//!
//! `params::accumulate` hands its closure the main gradient and one more thing; see
//! what for (`shared/params/src/param.rs`), and what other operations do with it, for
//! example the biases in `shared/ops/src/linear.rs`. And in which order does backward
//! reach the two uses of a tied table?
use candle_core::{Device, Result, Tensor, bail};
use params::Param;

/// The rows of `table [vocab, hidden]` at `tokens [batch, seq]`, which are u32:
/// `[batch, seq, hidden]`, all in f64.
///
/// # Errors
/// `table` is not a matrix, or a token is not in the vocabulary.
pub fn embedding(tokens: &Tensor, table: &Param) -> Result<Tensor> {
    let [vocab, hidden] = table.shard().shape[..] else {
        bail!("{}: {:?}, not a table", table.name(), table.shard().shape)
    };
    let ids = tokens.flatten_all()?.to_vec1::<u32>()?;
    let rows = table.values::<f64>()?;
    let mut out = Vec::with_capacity(ids.len() * hidden);
    for id in &ids {
        if *id as usize >= vocab {
            bail!("token {id}, but the vocabulary of {} has {vocab}", table.name())
        }
        out.extend_from_slice(&rows[*id as usize * hidden..][..hidden]);
    }
    let shape = [tokens.dims(), &[hidden]].concat();
    let out = Tensor::from_vec(out, shape, &Device::Cpu)?;

    let table = table.clone();
    ops::note("embedding", &out, &[], move |dy| {
        let dy = dy.flatten_all()?.to_vec1::<f64>()?;
        params::accumulate::<f64>(std::slice::from_ref(&table), |grad, _| {
            // A row that no token names has a gradient of zero.
            grad.fill(0.0);
            // A token that occurs several times adds to its row each time.
            for (id, dy) in ids.iter().zip(dy.chunks_exact(hidden)) {
                let row = &mut grad[*id as usize * hidden..][..hidden];
                row.iter_mut().zip(dy).for_each(|(g, d)| *g += d);
            }
        })?;
        // Tokens are integers: there is no gradient to pass on.
        Ok(vec![])
    });
    Ok(out)
}
