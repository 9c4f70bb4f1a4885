//! Numbers as a reader wants them.

/// How a figure writes its values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `0.25`, `1500`, `25k`, `1e−5`: suffixes only where digits would be many.
    #[default]
    Plain,
    /// `950`, `1.5k`, `23.4M`, `8.03G`.
    Count,
    /// `950 B`, `1.5 kB`, `23.4 MB`, `16.1 GB`: decimal, a kB is 1000 bytes.
    Bytes,
    /// `12 µs`, `1.5 ms`, `2.5 s`.
    Seconds,
    /// Of a fraction: 0.25 is `25%`.
    Percent,
}

const COUNTS: [(f64, &str); 5] =
    [(1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T")];
const BYTES: [(f64, &str); 6] = [
    (1.0, " B"),
    (1e3, " kB"),
    (1e6, " MB"),
    (1e9, " GB"),
    (1e12, " TB"),
    (1e15, " PB"),
];
const SECONDS: [(f64, &str); 4] =
    [(1e-9, " ns"), (1e-6, " µs"), (1e-3, " ms"), (1.0, " s")];
const PERCENT: [(f64, &str); 1] = [(0.01, "%")];
const PLAIN: [(f64, &str); 1] = [(1.0, "")];

impl Format {
    /// The value with three significant digits, or all its whole digits.
    ///
    /// ```
    /// use viz::Format;
    /// assert_eq!(Format::Bytes.value(13_421_000.0), "13.4 MB");
    /// assert_eq!(Format::Count.value(999_950.0), "1M");
    /// assert_eq!(Format::Percent.value(0.125), "12.5%");
    /// ```
    pub fn value(self, value: f64) -> String {
        if self.is_tiny(value) {
            return scientific(value);
        }
        // Rounding can carry into the next unit: 999.95 k is 1 M.
        let units = self.units(value);
        let mut unit = largest(units, value);
        if let Some(next) = units.iter().find(|next| next.0 > unit.0)
            && (value / unit.0).abs() >= 999.5
        {
            unit = *next;
        }
        let scaled = value / unit.0;
        let decimals = match scaled.abs() {
            s if s > 0.0 && s < 1.0 => (2 - s.log10().floor() as i32) as usize,
            s if s < 9.995 => 2,
            s if s < 99.95 => 1,
            _ => 0,
        };
        minus(format!("{}{}", trimmed(scaled, decimals), unit.1))
    }

    /// The values of an axis's ticks: with the digits that tell them apart, no more. On
    /// a linear axis of plain numbers all have as many.
    pub(crate) fn ticks(self, values: &[f64], linear: bool) -> Vec<String> {
        let alike = linear && values.iter().all(|v| !self.is_tiny(*v) && v.abs() < 1e4);

        let digits = |v: f64| {
            let unit = largest(self.units(v), v);
            let scaled = v / unit.0;
            let exact = |d: &i32| {
                let power = 10f64.powi(*d);
                ((scaled * power).round() / power - scaled).abs() <= 1e-6 * scaled.abs()
            };
            (scaled, (0..9).find(exact).unwrap_or(9) as usize, unit.1)
        };
        let same = values.iter().map(|v| digits(*v).1).max().unwrap_or(0);
        let tiny = values.iter().any(|v| self.is_tiny(*v));
        let label = |v: &f64| match digits(*v) {
            _ if *v == 0.0 && self == Format::Percent => "0%".to_string(),
            _ if *v == 0.0 && self != Format::Plain => "0".to_string(),
            _ if tiny && *v != 0.0 && v.abs() < 0.01 => scientific(*v),
            _ if self.is_tiny(*v) => scientific(*v),
            (scaled, _, unit) if self == Format::Plain && alike => {
                minus(format!("{scaled:.same$}{unit}"))
            }
            (scaled, own, unit) => minus(format!("{}{unit}", trimmed(scaled, own))),
        };
        values.iter().map(label).collect()
    }

    fn units(self, value: f64) -> &'static [(f64, &'static str)] {
        match self {
            Format::Plain if value.abs() < 1e4 => &PLAIN,
            Format::Plain | Format::Count => &COUNTS,
            Format::Bytes => &BYTES,
            Format::Seconds => &SECONDS,
            Format::Percent => &PERCENT,
        }
    }

    fn is_tiny(self, value: f64) -> bool {
        let least = match self {
            Format::Plain | Format::Count => 1e-4,
            _ => 0.0,
        };
        let many = matches!(self, Format::Plain | Format::Count) && value.abs() >= 1e15;
        value != 0.0 && (value.abs() < least * 0.9999 || many)
    }
}

/// The largest unit of which `value` is one or more; the smallest, if there is none.
fn largest(units: &[(f64, &'static str)], value: f64) -> (f64, &'static str) {
    let reached = |unit: &&(f64, &str)| value.abs() >= unit.0 * (1.0 - 1e-9);
    *units.iter().rev().find(reached).unwrap_or(&units[0])
}

fn trimmed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

fn scientific(value: f64) -> String {
    let text = format!("{value:.2e}");
    let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    minus(format!("{digits}e{power}"))
}

/// A minus sign as long as a plus sign.
fn minus(text: String) -> String {
    text.replace('-', "−")
}
