use super::{On, at, uninit, upload};
use crate::attention::Dims;
use crate::flops::{add_product, of_attention};
use crate::tape::{note, save};
use candle_core::{Error, Result, Tensor};
use kernels::attention::{self as kernel, Backward, Shape};
use std::rc::Rc;
use std::sync::Arc;

/// As [`crate::attention`](fn@crate::attention), of what is checked.
pub(crate) fn attention(
    on: On,
    qkv: &Tensor,
    dims: Dims,
    documents: Arc<[u32]>,
) -> Result<Tensor> {
    let Dims { batch, seq, heads, kv_heads, dim } = dims;
    let [batch_, seq_, heads_, kv_heads_, dim_] =
        [batch, seq, heads, kv_heads, dim].map(|n| n as u32);
    let shape = Shape {
        batch: batch_,
        seq: seq_,
        heads: heads_,
        kv_heads: kv_heads_,
        dim: dim_,
    };
    let first_keys = match documents.is_empty() {
        true => None,
        false => Some(Rc::new(upload(&documents)?)),
    };
    let first_at = |keys: &Option<Rc<Vec<u32>>>| keys.as_ref().map(|keys| at(keys));
    let (x, out) = (on.array(qkv)?, on.empty((batch, seq, heads * dim))?);
    let log_sums = uninit::<f32>(batch * heads * seq)?;
    let both = [x.at, out.at];
    let launch =
        kernel::forward(on.number, shape, both, first_at(&first_keys), at(&log_sums));
    on.launch(launch.map_err(Error::msg)?)?;
    count(dims, &documents, 2);
    let (saved, result) = (save(qkv), out.tensor.clone());
    note("attention", &out.tensor, &[qkv], move |dy| {
        let saved = saved.get()?;
        let ([x, out, dy], dx) =
            (on.arrays([&saved, &result, &dy])?, on.empty(saved.shape())?);
        let deltas = uninit::<f32>(log_sums.len())?;
        let all = Backward {
            qkv: x.at,
            out: out.at,
            log_sums: at(&log_sums),
            dy: dy.at,
            deltas: at(&deltas),
            dqkv: dx.at,
        };
        let launches = kernel::backward(on.number, shape, all, first_at(&first_keys));
        for launch in launches.map_err(Error::msg)? {
            on.launch(launch)?;
        }
        count(dims, &documents, 5);
        Ok(vec![dx.tensor])
    });
    Ok(out.tensor)
}

/// Counts so many products for each pair of a block of queries and its keys, as large
/// as the CPU's: a kernel's tiles may be larger, and compute more on the diagonal.
fn count(dims: Dims, documents: &[u32], products: usize) {
    of_attention(|| {
        for b in 0..dims.batch {
            let first_keys = documents.get(b * dims.seq..(b + 1) * dims.seq);
            for (queries, keys) in dims.blocks(first_keys.unwrap_or_default()) {
                add_product(
                    products * dims.heads * queries.len(),
                    dims.dim,
                    keys.len(),
                );
            }
        }
    });
}
