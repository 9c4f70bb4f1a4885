use super::Checks;
use super::host::run;
use super::twin::{close, numbers, roundoff};
use kernels::Number;
use kernels::reduce::{How, MOST, reduce};

pub const CHECKS: Checks = checks![several_arrays_become_one, what_is_no_number_stays];

#[cfg_attr(test, test)]
pub fn several_arrays_become_one() {
    for number in Number::ALL {
        for (n, count, after) in [
            (1, 1, 0),
            (7, 3, 0),
            (8, 2, 0),
            (4096 + 13, 4, 0),
            (40, 5, 1),
            (24, MOST, 0),
        ] {
            let all: Vec<Vec<f64>> =
                (0..count).map(|i| numbers(number, n, i as u64)).collect();
            let each = |i: usize| all.iter().map(move |x| x[i]);
            for (how, want) in [
                (How::Sum, (0..n).map(|i| each(i).sum()).collect::<Vec<f64>>()),
                (How::Max, (0..n).map(|i| each(i).fold(-9.0, f64::max)).collect()),
                (
                    How::Average,
                    (0..n).map(|i| each(i).sum::<f64>() / count as f64).collect(),
                ),
            ] {
                let got = run(|host| {
                    // The last is not where packs may be.
                    let begin = |i| if i + 1 == count { after } else { 0 };
                    let mut from: Vec<_> = (0..count)
                        .map(|i| host.array(number, &all[i], begin(i)))
                        .collect();
                    let at: Vec<_> = from.iter().map(|x| x.at()).collect();
                    let mut to = host.poisoned(number, n, 0);
                    host.launch(&reduce(number, how, n as u64, &at, to.at()).unwrap());
                    let last = at[count - 1];
                    host.launch(&reduce(number, how, n as u64, &at, last).unwrap());
                    assert_eq!(to.values(), from[count - 1].values(), "in place");
                    to.values()
                });
                let what = format!("{number:?} {how:?} {n} of {count}");
                close(&what, &got, &want, MOST as f64 * roundoff(number));
            }
        }
    }
    assert!(reduce(Number::F32, How::Sum, 1, &[], Default::default()).is_err());
    let many = [Default::default(); MOST + 1];
    assert!(reduce(Number::F32, How::Sum, 1, &many, Default::default()).is_err());
}

#[cfg_attr(test, test)]
pub fn what_is_no_number_stays() {
    for (x, y) in [(f64::NAN, 1.0), (1.0, f64::NAN)] {
        for how in [How::Sum, How::Max, How::Average] {
            let got = run(|host| {
                let [x, y] = [x, y].map(|x| host.array(Number::F32, &[x], 0));
                let mut to = host.poisoned(Number::F32, 1, 0);
                let from = [x.at(), y.at()];
                host.launch(&reduce(Number::F32, how, 1, &from, to.at()).unwrap());
                to.values()[0].is_nan()
            });
            assert!(got, "{how:?} of {x} and {y}");
        }
    }
}
