//! When a line is due where lines stay: often at first, then now and then.

/// Seconds after which a line is due, however slow the steps.
const SECONDS: f64 = 10.0;

/// Remembers when the last line was shown.
#[derive(Debug)]
pub struct Rhythm {
    planned: u64,
    every: u64,
    seen: u64,
    shown_at: f64,
}

impl Rhythm {
    pub fn new(planned: u64) -> Rhythm {
        Rhythm { planned, every: planned.div_ceil(20).max(1), seen: 0, shown_at: 0.0 }
    }

    /// Whether this step's line is due, `now` seconds after the start.
    pub fn due(&mut self, step: u64, now: f64) -> bool {
        self.seen += 1;
        let due = self.seen <= 3
            || step.is_multiple_of(self.every)
            || step == self.planned
            || now - self.shown_at >= SECONDS;
        if due {
            self.shown_at = now;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(
        planned: u64,
        steps: std::ops::RangeInclusive<u64>,
        each: f64,
    ) -> Vec<u64> {
        let mut rhythm = Rhythm::new(planned);
        steps.filter(|&step| rhythm.due(step, step as f64 * each)).collect()
    }

    #[test]
    fn a_fast_run_shows_three_steps_and_every_twentieth() {
        let steps = shown(500, 1..=500, 0.001);
        assert_eq!(steps[..5], [1, 2, 3, 25, 50]);
        assert_eq!(steps.len(), 3 + 20);
        assert_eq!(steps.last(), Some(&500));
    }

    #[test]
    fn the_last_step_is_shown_even_between_twentieths() {
        assert_eq!(shown(501, 1..=501, 0.001).last(), Some(&501));
    }

    #[test]
    fn a_slow_run_shows_a_line_every_ten_seconds() {
        assert_eq!(shown(100_000, 1..=12, 4.0), [1, 2, 3, 6, 9, 12]);
    }

    #[test]
    fn a_resumed_run_shows_its_own_first_steps() {
        assert_eq!(shown(500, 260..=276, 0.001), [260, 261, 262, 275]);
    }

    #[test]
    fn a_run_of_few_steps_shows_all() {
        assert_eq!(shown(5, 1..=5, 0.0), [1, 2, 3, 4, 5]);
        assert_eq!(shown(0, 1..=4, 0.0), [1, 2, 3, 4]);
    }
}
