//! `{{#value …}}`: arithmetic on metrics, and how the result is written.
use super::Runs;
use super::capture::Metric;
use anyhow::{Context, Result, bail, ensure};

/// Evaluates what stands in `{{#value …}}`: an expression and a format.
///
/// An expression has metrics (`ch01_default.val_loss`), points of series by their x
/// (`ch01_quick.losses[40]`), numbers, `+ - * /` and parentheses. Formats, after a
/// space: `.2` decimals; `.1%` percent; `,` a whole number in groups of three digits;
/// `kB`, `MB`, `GB` of bytes, `k`, `M` of counts, with three significant digits or, as
/// in `MB.1`, with decimals. A single metric without a format is written as it was
/// captured.
///
/// # Errors
/// An unknown run, metric or point, a run without a capture, or anything else than the
/// above; says where.
pub fn value(runs: &Runs, expression: &str) -> Result<String> {
    let in_it = || format!("`{}`", expression.trim());
    evaluate(runs, expression).with_context(in_it)
}

fn evaluate(runs: &Runs, expression: &str) -> Result<String> {
    let mut parser = Parser { runs, rest: expression.trim(), metrics: vec![] };
    let value = parser.sum()?;
    let format = parser.rest;
    ensure!(value.is_finite(), "it divides by zero");
    if format.is_empty() {
        // Alone: nothing else was read, not even a parenthesis.
        return match parser.metrics.as_slice() {
            [(name, text)] if *name == expression.trim() => Ok(text.clone()),
            _ => bail!("give the result a format, such as .2"),
        };
    }
    ensure!(
        expression.trim().strip_suffix(format).is_some_and(|e| e.ends_with(' ')),
        "expected an operator or, after a space, a format before `{format}`"
    );
    written(value, format)
}

struct Parser<'a> {
    runs: &'a Runs,
    rest: &'a str,
    /// The metrics read so far, as named and as captured.
    metrics: Vec<(&'a str, String)>,
}

impl<'a> Parser<'a> {
    fn sum(&mut self) -> Result<f64> {
        let mut value = self.product()?;
        loop {
            value = match self.sign(&['+', '-']) {
                Some('+') => value + self.product()?,
                Some(_) => value - self.product()?,
                None => return Ok(value),
            }
        }
    }

    fn product(&mut self) -> Result<f64> {
        let mut value = self.factor()?;
        loop {
            value = match self.sign(&['*', '/']) {
                Some('*') => value * self.factor()?,
                Some(_) => value / self.factor()?,
                None => return Ok(value),
            }
        }
    }

    fn factor(&mut self) -> Result<f64> {
        if self.sign(&['-']).is_some() {
            return Ok(-self.factor()?);
        }
        if self.sign(&['(']).is_some() {
            let value = self.sum()?;
            ensure!(self.sign(&[')']).is_some(), "a parenthesis is not closed");
            return Ok(value);
        }
        match self.rest.chars().next() {
            Some('0'..='9') => self.literal(),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => self.metric(),
            Some(_) => bail!("expected a metric or a number at `{}`", self.rest),
            None => bail!("expected a metric or a number at the end"),
        }
    }

    /// The next sign, if it is one of these.
    fn sign(&mut self, signs: &[char]) -> Option<char> {
        let sign = self.rest.chars().next().filter(|next| signs.contains(next))?;
        self.rest = self.rest[1..].trim_start();
        Some(sign)
    }

    fn take(&mut self, letters: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !letters(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn literal(&mut self) -> Result<f64> {
        let whole = self.rest;
        self.take(|c| c.is_ascii_digit() || c == '_' || c == '.');
        if self.rest.starts_with(['e', 'E']) {
            self.rest = &self.rest[1..];
            self.rest = self.rest.strip_prefix(['-', '+']).unwrap_or(self.rest);
            self.take(|c| c.is_ascii_digit());
        }
        let text = whole[..whole.len() - self.rest.len()].replace('_', "");
        self.rest = self.rest.trim_start();
        text.parse().with_context(|| format!("`{text}` is not a number"))
    }

    fn metric(&mut self) -> Result<f64> {
        let start = self.rest;
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let id = self.take(letters);
        let Some(rest) = self.rest.strip_prefix('.') else {
            bail!("`{id}` is not a metric: expected RUN.METRIC, such as `{id}.loss`");
        };
        self.rest = rest;
        let name = self.take(letters);
        let capture = self.runs.get(id)?.captured()?;
        let metric = capture.metric(name).with_context(|| format!("run `{id}`"))?;
        let point = match self.rest.strip_prefix('[') {
            None => None,
            Some(rest) => {
                let (x, rest) = rest.split_once(']').context("a [ is not closed")?;
                self.rest = rest;
                Some(super::capture::number(x.trim())?)
            }
        };
        let (value, text) = match (metric, point) {
            (Metric::Number { text, value }, None) => (*value, text.clone()),
            (Metric::Series(series), Some(point)) => {
                let found = series.iter().find(|(x, _)| *x == point);
                let y = found.map(|(_, y)| *y);
                let y = y.with_context(|| format!("`{id}.{name}` has no {point}"))?;
                (y, y.to_string())
            }
            (Metric::Series(_), None) => {
                bail!("`{id}.{name}` is a series: say which point, as in {name}[1]")
            }
            (Metric::Number { .. }, Some(_)) => {
                bail!("`{id}.{name}` is one number, not a series")
            }
        };
        self.metrics.push((&start[..start.len() - self.rest.len()], text));
        self.rest = self.rest.trim_start();
        Ok(value)
    }
}

fn written(value: f64, format: &str) -> Result<String> {
    let unknown = || {
        format!(
            "`{format}` is no format: expected .2, .1%, `,`, kB, MB, GB, k or M, the \
             last five also as in MB.1"
        )
    };
    if format == "," {
        return Ok(grouped(value));
    }
    let (unit, decimals) = match format.split_once('.') {
        None => (format, None),
        Some((unit, decimals)) => {
            let percent = decimals.strip_suffix('%').filter(|_| unit.is_empty());
            let digits = percent.unwrap_or(decimals);
            let digits: usize = digits.parse().ok().with_context(unknown)?;
            ensure!(digits <= 15, "{digits} decimals are more than a number has");
            if percent.is_some() {
                return Ok(format!("{:.digits$}%", value * 100.0));
            }
            (unit, Some(digits))
        }
    };
    // A no-break space, so that a line does not end between number and unit.
    let (scale, suffix) = match unit {
        "" if decimals.is_some() => (1.0, ""),
        "kB" => (1e3, "\u{a0}kB"),
        "MB" => (1e6, "\u{a0}MB"),
        "GB" => (1e9, "\u{a0}GB"),
        "k" => (1e3, "k"),
        "M" => (1e6, "M"),
        _ => bail!(unknown()),
    };
    let number = match decimals {
        Some(digits) => format!("{:.digits$}", value / scale),
        None => significant(value / scale),
    };
    Ok(format!("{number}{suffix}"))
}

/// With three significant digits, but all of those before the point.
fn significant(value: f64) -> String {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).count();
    let candidates = [2, 1, 0].map(|decimals| format!("{value:.decimals$}"));
    let fits = candidates.iter().find(|text| digits(text) <= 3);
    fits.unwrap_or(&candidates[2]).clone()
}

fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
