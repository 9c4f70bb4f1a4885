//! # Find the bug: the embedding of a tied model
//!
//! The gradient was filled with zeros each time, whether or not something had arrived
//! in it before. A parameter that is used twice has the sum of two gradients. Backward
//! reaches the output matrix first; then the lookup wiped out what that had left, and
//! the table learnt only from the tokens it was looked up for. `first` says whether
//! this is the first gradient of the step: only then does what lies in the buffer mean
//! nothing and must go. The same line lost the gradients of all micro-batches but the
//! last, tied or not.
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
        params::accumulate::<f64>(std::slice::from_ref(&table), |grad, first| {
            // What lies there before the first gradient of a step has no meaning.
            if first {
                grad.fill(0.0);
            }
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
