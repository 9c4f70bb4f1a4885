//! The figure of chapter 8.
use crate::book::Sources;
use anyhow::Result;
use viz::{Bars, Colour, Format};

/// Bytes of a parameter in bf16: value, gradient, and master weight with moments.
const VALUE: f64 = 2.0;
const GRADIENT: f64 = 4.0;
const STATES: f64 = 12.0;
const RANKS: f64 = 4.0;

/// What the stages leave of a parameter on each rank.
pub fn bytes(_: &Sources) -> Result<String> {
    let mut bars = Bars::new("ch08-bytes", "Bytes per parameter on each rank")
        .hide_title()
        .format(Format::Bytes)
        .category("value", Colour::Blue)
        .category("gradient", Colour::Orange)
        .category("optimizer's states", Colour::Teal);
    for stage in 0..4 {
        // From this stage on it is divided.
        let share = |from: i32| if stage >= from { 1.0 / RANKS } else { 1.0 };
        bars = bars.row(
            &format!("stage {stage}"),
            [
                ("value", VALUE * share(3)),
                ("gradient", GRADIENT * share(2)),
                ("optimizer's states", STATES * share(1)),
            ],
        );
    }
    Ok(bars.svg()?)
}
