//! What is said at the end.

use crate::record::Last;
use crate::units;
use memory::Family;
use std::fmt::Write;

/// Steps, tokens, time, validation loss, and the memory of the fullest rank.
pub fn text(last: &Last, planned: u64) -> String {
    let Last { steps, tokens, seconds, .. } = *last;
    let mut text = if last.interrupted {
        format!("interrupted after step {steps} of {planned}")
    } else {
        format!("{steps} {}", if steps == 1 { "step" } else { "steps" })
    };
    text += &format!(
        ", {} tokens in {}",
        units::count(tokens as f64),
        units::clock(seconds)
    );
    if tokens > 0 && seconds > 0.0 {
        text += &format!(" ({} tok/s)", units::count(tokens as f64 / seconds));
    }
    if let Some(loss) = last.val_loss {
        text += &format!(", validation loss {loss:.4} nats per token");
    }
    text + &table(last)
}

/// The account of the rank with the highest peak.
fn table(last: &Last) -> String {
    let ranks = last.memory.iter().enumerate();
    let Some((rank, fullest)) = ranks.rev().max_by_key(|(_, a)| a.total.peak) else {
        return String::new();
    };
    let title = match last.memory.len() {
        1 => "memory".to_string(),
        ranks => format!("memory, rank {rank} of {ranks}"),
    };
    let mut table = format!("\n{title:26}      peak    at end");
    let rows = Family::ALL.iter().map(|&family| (family.name(), fullest[family]));
    for (name, used) in rows.chain([("total", fullest.total)]) {
        let (peak, live) = (units::bytes(used.peak), units::bytes(used.live));
        // Writing to a String cannot fail.
        let _ = write!(table, "\n  {name:24}{peak:>10}{live:>10}");
    }
    let process = units::bytes(memory::process_peak());
    let _ = write!(table, "\n  {:24}{process:>10}", "process, all in all");
    table
}
