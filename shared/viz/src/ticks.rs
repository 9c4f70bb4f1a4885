//! Where the ticks of an axis are.

/// The power of ten at or below `value`, as an exponent.
fn exponent(value: f64) -> i32 {
    (value.log10() + 1e-9).floor() as i32
}

/// `digits` times ten to the `power`, without the dust of repeated multiplication.
fn times_ten(digits: f64, power: i32) -> f64 {
    if power < 0 { digits / 10f64.powi(-power) } else { digits * 10f64.powi(power) }
}

/// A linear scale's ends and ticks: about `count` ticks at steps of 1, 2 or 5 times a
/// power of ten. With `outward`, the ends move out to the nearest ticks.
pub(crate) fn linear(
    low: f64,
    high: f64,
    count: usize,
    outward: bool,
) -> (f64, f64, Vec<f64>) {
    let (low, high) = widened(low, high);
    let rough = (high - low) / count.max(1) as f64;
    let power = exponent(rough);
    let digit = match rough / times_ten(1.0, power) {
        d if d <= 1.0 + 1e-9 => 1.0,
        d if d <= 2.0 + 1e-9 => 2.0,
        d if d <= 5.0 + 1e-9 => 5.0,
        _ => 10.0,
    };
    let step = times_ten(digit, power);
    let (first, last) = if outward {
        ((low / step + 1e-9).floor(), (high / step - 1e-9).ceil())
    } else {
        ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor())
    };
    let number = (last - first).clamp(0.0, 1000.0) as usize;
    let ticks: Vec<f64> =
        (0..=number).map(|i| times_ten((first + i as f64) * digit, power)).collect();
    match (outward, ticks.as_slice()) {
        (true, [start, .., end]) => (*start, *end, ticks),
        _ => (low, high, ticks),
    }
}

/// A scale that has one value only is given some room around it.
fn widened(low: f64, high: f64) -> (f64, f64) {
    let size = low.abs().max(high.abs());
    if high - low > size * 1e-9 {
        return (low, high);
    }
    let room = if size == 0.0 { 1.0 } else { size * 0.1 };
    (low - room, high + room)
}

/// The same for a logarithmic scale: powers of ten, with 2 and 5 times them where there
/// are few, or linear ticks within a decade. Both ends have to be positive.
pub(crate) fn logarithmic(
    low: f64,
    high: f64,
    count: usize,
    outward: bool,
) -> (f64, f64, Vec<f64>) {
    let (low, high) =
        if high / low > 1.0 + 1e-9 { (low, high) } else { (low / 2.0, high * 2.0) };
    let decades = (high / low).log10();
    if decades < 0.7 {
        let (start, end, ticks) = linear(low, high, count, outward);
        if start > 0.0 {
            return (start, end, ticks);
        }
    }
    let digits: &[f64] = if decades * 3.0 <= count as f64 + 1.0 {
        &[1.0, 2.0, 5.0]
    } else if decades <= 1.0 {
        &[1.0, 3.0]
    } else {
        &[1.0]
    };
    let every = (decades / count.max(1) as f64).ceil().max(1.0) as i32;
    let first = exponent(low);
    let all: Vec<f64> = (first..=exponent(high) + 1)
        .flat_map(|power| digits.iter().map(move |digit| times_ten(*digit, power)))
        .collect();
    let at_most = |v: f64| v * (1.0 - 1e-9);
    let start = all.iter().rev().find(|v| at_most(**v) <= low).copied();
    let end = all.iter().find(|v| **v >= at_most(high)).copied();
    let (low, high) = match (outward, start, end) {
        (true, Some(start), Some(end)) => (start, end),
        _ => (low, high),
    };
    let inside = |v: &f64| *v >= at_most(low) && at_most(*v) <= high;
    let shown = |v: &f64| (exponent(*v) - first).rem_euclid(every) == 0;
    (low, high, all.into_iter().filter(inside).filter(shown).collect())
}
