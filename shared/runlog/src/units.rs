//! Numbers for people.

use std::time::Duration;

/// A count with three digits and a unit: `987`, `12.3k`, `1.23M`.
pub fn count(n: f64) -> String {
    if !n.is_finite() {
        return "-".into();
    }
    let (mut n, mut unit) = (n, "");
    for next in ["k", "M", "G", "T", "P"] {
        // 999.5 would be shown as 1000.
        if n < 999.5 {
            break;
        }
        (n, unit) = (n / 1000.0, next);
    }
    match unit {
        "" => format!("{n:.0}"),
        _ => format!("{}{unit}", three_digits(n)),
    }
}

/// Bytes, in decimal units: `512 MB`, `1.23 GB`.
pub fn bytes(n: u64) -> String {
    with_unit(n as f64, "B")
}

/// A count of something that has a unit: `989 TFLOP/s`.
pub fn with_unit(n: f64, unit: &str) -> String {
    let text = count(n);
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    format!("{digits} {}{unit}", &text[digits.len()..])
}

/// `01:12`, or `3:01:12`, or `2d 03:01:12`.
pub fn clock(seconds: f64) -> String {
    let Ok(duration) = Duration::try_from_secs_f64(seconds) else { return "-".into() };
    let all = duration.as_secs_f64().round() as u64;
    let (days, hours, minutes) = (all / 86400, all / 3600 % 24, all / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes:02}:{:02}", all % 60),
        (0, _) => format!("{hours}:{minutes:02}:{:02}", all % 60),
        _ => format!("{days}d {hours:02}:{minutes:02}:{:02}", all % 60),
    }
}

/// A fraction in percent, without the sign: `41`, `4.1`, `0.41`.
pub fn percent(fraction: f64) -> String {
    let percent = 100.0 * fraction;
    match percent {
        p if !p.is_finite() => "-".into(),
        p if p < 0.995 => format!("{p:.2}"),
        p if p < 9.95 => format!("{p:.1}"),
        p => format!("{p:.0}"),
    }
}

fn three_digits(n: f64) -> String {
    match n {
        n if n < 9.995 => format!("{n:.2}"),
        n if n < 99.95 => format!("{n:.1}"),
        n => format!("{n:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_three_digits_and_never_show_a_thousand() {
        for (n, text) in [
            (0.0, "0"),
            (12.4, "12"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (99_960.0, "100k"),
            (999_400.0, "999k"),
            (999_600.0, "1.00M"),
            (1.2e11, "120G"),
            (9.89e14, "989T"),
            (f64::INFINITY, "-"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(count(n), text, "{n}");
        }
    }

    #[test]
    fn bytes_are_decimal() {
        assert_eq!(bytes(17), "17 B");
        assert_eq!(bytes(17_300), "17.3 kB");
        assert_eq!(bytes(512_000_000), "512 MB");
        assert_eq!(bytes(1_234_000_000), "1.23 GB");
        assert_eq!(with_unit(9.89e14, "FLOP/s"), "989 TFLOP/s");
    }

    #[test]
    fn clocks() {
        assert_eq!(clock(72.4), "01:12");
        assert_eq!(clock(59.6), "01:00");
        assert_eq!(clock(3.0 * 3600.0 + 72.0), "3:01:12");
        assert_eq!(clock(51.0 * 3600.0), "2d 03:00:00");
        assert_eq!(clock(f64::NAN), "-");
        assert_eq!(clock(-1.0), "-");
        assert_eq!(clock(1e300), "-");
    }

    #[test]
    fn percents() {
        assert_eq!(percent(0.4123), "41");
        assert_eq!(percent(0.0412), "4.1");
        assert_eq!(percent(0.00412), "0.41");
        assert_eq!(percent(0.09951), "10");
        assert_eq!(percent(f64::INFINITY), "-");
    }
}
