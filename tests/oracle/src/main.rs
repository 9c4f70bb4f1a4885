//! Prints how far our training is from the oracle's: `scripts/oracle.sh table`.
use anyhow::Result;
use ch02_mixed_precision::config::Precision;
use oracle::cases::{self, STEPS};
use oracle::compare::{
    Comparison, Distance, alone, same_gradients, same_weights, worst,
};

fn main() -> Result<()> {
    println!(
        "The largest of {STEPS} steps: ours from the oracle's \
         (ours, the oracle's from it in fp64)"
    );
    let cases = cases::all()?;
    let comparisons: [(_, Comparison, &[&str]); 3] = [
        ("at the same weights", same_weights, &["loss", "norm", "gradient"]),
        ("from the same gradients", same_gradients, &["weights", "all weights"]),
        ("each alone", alone, &["loss", "norm", "weights", "all weights"]),
    ];
    for (title, compare, kinds) in comparisons {
        println!("\n| {title} | | {} |", kinds.join(" | "));
        println!("| --- | --- |{}", " --- |".repeat(kinds.len()));
        for precision in [Precision::Fp64, Precision::Fp32, Precision::Bf16] {
            for case in &cases {
                let distances = compare(case, precision)?;
                let cell = |what: &&str| {
                    let Distance { apart, ours, theirs, .. } = worst(&distances, what);
                    format!("{apart:.1e} ({ours:.1e}, {theirs:.1e})")
                };
                let cells: Vec<String> = kinds.iter().map(cell).collect();
                let precision = format!("{precision:?}").to_lowercase();
                println!("| {} | {precision} | {} |", case.name, cells.join(" | "));
            }
        }
    }
    Ok(())
}
