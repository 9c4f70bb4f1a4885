use super::{On, at, download, uninit, upload};
use crate::head::{RowSum, check_one};
use crate::tape::{note, recording};
use candle_core::{D, DType, Device, Result, Shape, Tensor};
use kernels::embedding::{self, Places, PlacesAt};
use kernels::loss::{self, Logits};
use kernels::{Matrix, Number, Store};
use memory::Family;
use params::{Param, with_float};
use std::ops::Range;
use std::slice::from_ref;

/// As [`crate::embedding`], of what is checked.
pub(crate) fn embedding(
    on: On,
    ids: Vec<u32>,
    shape: Shape,
    table: &Param,
    held: Range<u32>,
) -> Result<Tensor> {
    let hidden = table.shard().shape[1];
    let out = on.empty(shape)?;
    let tokens = upload(&ids)?;
    with_float!(table.dtype()?, T => {
        let values = table.values::<T>()?;
        let (tokens, values) = ((at(&tokens), ids.len() as u32), at(&values));
        let table = (values, held.clone());
        on.launch(embedding::forward(on.number, tokens, table, hidden as u32, out.at))?
    });
    let table = table.clone();
    note("embedding", &out.tensor, &[], move |dy| {
        let dy = on.array(&dy)?;
        let Places { rows, starts, places } = Places::of(&ids, held);
        let [count, all] = [&rows, &starts].map(|of| of.len() as u32);
        debug_assert_eq!(count + 1, all);
        let (rows, starts, places) =
            (upload(&rows)?, upload(&starts)?, upload(&places)?);
        let (rows, starts, places) = (at(&rows), at(&starts), at(&places));
        let places = PlacesAt { count, rows, starts, places };
        on.add_to(from_ref(&table), |grad| {
            let width = dy.tensor.dim(D::Minus1)? as u32;
            on.launch(embedding::backward(on.number, places, width, dy.at, grad))
        })?;
        Ok(vec![])
    });
    Ok(out.tensor)
}

/// Bytes of logits held at a time, of large vocabularies more.
const CHUNK: usize = 256 << 20;

/// As [`crate::head_loss_of_part`], of what is checked; without `combine` the rows are
/// whole. The scalar, in f64, is on the device: it is there when backward is over.
pub(crate) fn head_loss(
    on: On,
    x: &Tensor,
    weight: &Param,
    targets: &[u32],
    scale: f64,
    words: Range<u32>,
    mut combine: Option<&mut dyn FnMut(&mut [RowSum]) -> Result<()>>,
) -> Result<Tensor> {
    let [width, hidden] = [0, 1].map(|dim| weight.shard().shape[dim]);
    let back = recording();
    let array = on.array(x)?;
    let dx = back.then(|| on.empty(x.shape())).transpose()?;
    let loss = super::upload(&[0f64])?;
    let all_targets = upload(targets)?;
    let rows = targets.len();
    // As many chunks as fit, but of the same size.
    // Not too few of them, or the weight's gradient is read and written more often than
    // it is worth.
    let most = (CHUNK / (4 * width.max(1))).max(1024);
    let chunk = rows.div_ceil(rows.div_ceil(most).max(1)).max(1);
    let scratch = memory::tag(Family::Scratch);
    let logits = uninit::<f32>(chunk * width)?;
    let sums = uninit::<loss::RowSum>(chunk)?;
    let size = on.number.size();
    for start in (0..rows).step_by(chunk) {
        let n = chunk.min(rows - start);
        let offset = (start * hidden * size) as u64;
        let at_row = |at: kernels::Ptr| kernels::Ptr(at.0 + offset);
        let xs = on.matrix(at_row(array.at), n, hidden);
        let targets = kernels::Ptr(at(&all_targets).0 + 4 * start as u64);
        with_float!(x.dtype(), T => {
            let values = weight.values::<T>()?;
            let w = on.matrix(at(&values), width, hidden);
            let c = Matrix::new(Number::F32, at(&logits), n, width);
            on.multiply(c, Store::Set, xs, w.t())?
        });
        let sizes = Logits {
            rows: n as u64,
            width: width as u32,
            first: words.start,
            held: words.end - words.start,
        };
        on.launch(loss::row_sums(sizes, at(&logits), targets, at(&sums)))?;
        let whole = match &mut combine {
            None => None,
            Some(combine) => Some(upload(&combined(&sums[..n], combine)?)?),
        };
        let whole = whole.as_ref().map_or(at(&sums), |whole| at(whole));
        on.launch(loss::add_losses(n as u64, targets, whole, at(&loss), scale))?;
        let Some(dx) = &dx else { continue };
        // In the operation's numbers, for the products.
        let gradient = on.empty((n, width))?;
        let all = [at(&logits), targets, whole, gradient.at];
        on.launch(loss::gradient(on.number, sizes, all, scale as f32))?;
        let d = on.matrix(gradient.at, n, width);
        with_float!(x.dtype(), T => {
            let values = weight.values::<T>()?;
            let w = on.matrix(at(&values), width, hidden);
            on.multiply(on.matrix(at_row(dx.at), n, hidden), Store::Set, d, w)?
        });
        on.accumulate(from_ref(weight), |grad, first| {
            let c = Matrix::new(Number::F32, grad, width, hidden);
            on.multiply(c, if first { Store::Set } else { Store::Add }, d.t(), xs)
        })?;
    }
    drop(scratch);
    let loss = Tensor::from_vec(loss, (), &Device::Cpu)?;
    if let Some(dx) = dx {
        note("head_loss", &loss, &[x], move |dy| {
            check_one(&dy)?;
            Ok(vec![dx.tensor])
        });
    }
    debug_assert_eq!(loss.dtype(), DType::F64);
    Ok(loss)
}

/// What whole rows come to, by way of this machine.
fn combined(
    own: &[loss::RowSum],
    combine: &mut dyn FnMut(&mut [RowSum]) -> Result<()>,
) -> Result<Vec<loss::RowSum>> {
    let own = download(own)?.into_iter();
    let mut rows: Vec<RowSum> = own
        .map(|row| RowSum {
            max: row.max.into(),
            sum: row.sum.into(),
            target: row.target.into(),
        })
        .collect();
    combine(&mut rows)?;
    let narrow = rows.iter().map(|row| loss::RowSum {
        max: row.max as f32,
        sum: row.sum as f32,
        target: row.target as f32,
    });
    Ok(narrow.collect())
}
