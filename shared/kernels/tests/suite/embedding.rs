use super::Checks;
use super::host::run;
use super::twin::{close, flat, numbers, tensor};
use candle_core::{DType, Device, Tensor};
use kernels::Number;
use kernels::embedding::{Places, PlacesAt, backward, forward};
use params::{Init, Param, ParamBuilder, Shard};
use std::ops::Range;

pub const CHECKS: Checks =
    checks![rows_are_looked_up_and_added, places_are_sorted_by_row,];

/// The rows `held` of a table of `vocab` rows.
fn table(vocab: usize, width: usize, held: Range<usize>, values: &[f64]) -> Param {
    let mut builder = ParamBuilder::new(1, DType::F64);
    let shard = Shard::whole("table", &[vocab, width]).narrow(0, held);
    let table = builder.add_shard(shard, Init::Zeros);
    builder.build(1).unwrap();
    table.values_mut::<f64>().unwrap().copy_from_slice(values);
    table.begin_step();
    table
}

/// `n` tokens, of which a third are the last one.
fn tokens(n: usize, vocab: usize) -> Vec<u32> {
    let random = numbers(Number::F32, n, 9);
    let token = |x: &f64| ((x + 2.0) / 4.0 * 1.5 * vocab as f64) as u32;
    random.iter().map(|x| token(x).min(vocab as u32 - 1)).collect()
}

#[cfg_attr(test, test)]
pub fn rows_are_looked_up_and_added() {
    for number in Number::ALL {
        for (n, vocab, held, width, after) in [
            (1, 1, 0..1, 1, [0, 0]),
            (7, 5, 0..5, 8, [0, 0]),
            (40, 13, 4..9, 16, [0, 0]),
            (40, 13, 4..13, 24, [1, 0]),
            (40, 13, 4..13, 24, [0, 1]),
            (30, 11, 0..4, 33, [0, 0]),
            // More than one span of a row.
            (9, 6, 2..6, 2048 + 72, [0, 0]),
            (9, 6, 0..5, 2083, [0, 0]),
            // No token is of a row that is here.
            (9, 6, 2..2, 16, [0, 0]),
        ] {
            let ids = tokens(n, vocab);
            let values = numbers(number, held.len() * width, 1);
            let dy = numbers(number, n * width, 2);
            let param = table(vocab, width, held.clone(), &values);
            let (y, dtable) = {
                let ids = Tensor::from_slice(&ids, (1, n), &Device::Cpu).unwrap();
                let (y, tape) = ops::record(|| ops::embedding(&ids, &param)).unwrap();
                tape.backward_from(&y, tensor(&dy, y.dims())).unwrap();
                (flat(&y), flat(&param.grad_tensor().unwrap()))
            };
            let rows = held.start as u32..held.end as u32;
            let places = Places::of(&ids, rows.clone());
            let got = run(|host| {
                let tokens = host.indices(&ids);
                let mut y = host.poisoned(number, n * width, after[0]);
                let table = host.array(number, &values, after[1]);
                let (tokens, table) =
                    ((tokens.at(), n as u32), (table.at(), rows.clone()));
                let width = width as u32;
                host.launch(&forward(number, tokens, table, width, y.at()));

                let dy = host.array(number, &dy, after[0]);
                let before = vec![1.0; values.len()];
                let mut grad = host.array(Number::F32, &before, after[1]);
                let [rows, starts, each] =
                    [&places.rows, &places.starts, &places.places]
                        .map(|of| host.indices(of));
                let at = PlacesAt {
                    count: places.rows.len() as u32,
                    rows: rows.at(),
                    starts: starts.at(),
                    places: each.at(),
                };
                host.launch(&backward(number, at, width, dy.at(), grad.at()));
                [y.values(), grad.values()]
            });
            let what = format!("{number:?} {n}, {held:?} of {vocab} × {width}");
            assert_eq!(got[0], y, "{what}");
            let dtable: Vec<f64> = dtable.iter().map(|g| g + 1.0).collect();
            close(&format!("gradient of {what}"), &got[1], &dtable, 1e-6);
        }
    }
}

#[cfg_attr(test, test)]
pub fn places_are_sorted_by_row() {
    let places = Places::of(&[7, 3, 9, 3, 8, 0, 7, 3, 4], 3..9);
    let want = Places {
        rows: vec![0, 1, 4, 5],
        starts: vec![0, 3, 4, 6, 7],
        places: vec![1, 3, 7, 8, 0, 6, 4],
    };
    assert_eq!(places, want);
    let none = Places::of(&[1, 2], 3..9);
    assert_eq!(none, Places { rows: vec![], starts: vec![0], places: vec![] });
}
