//! A small grammar: named rules, each a choice of texts with holes.
//!
//! In a text, `{name}` is what the story has bound to `name`, or else a choice of the
//! rule `name`; `{Name}` is the same with a capital. `{x=rule}` binds `x` to a choice
//! of `rule` and prints nothing, `{x=rule!y}` one that differs from `y`. `[a|b]` is a
//! choice on the spot. A choice that begins with `?x` (or `!x`) is open only once `x`
//! has (or has not) been printed.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};

/// The rules, by name.
pub struct Grammar {
    rules: BTreeMap<String, Vec<String>>,
}

impl Grammar {
    /// Reads rules: `@name: a, b, c` (or `a | b | c`) and `@name` with lines that begin
    /// with a dash. Rules of the same name are joined.
    ///
    /// # Errors
    /// If a line belongs to no rule; with its number.
    pub fn parse(text: &str) -> Result<Grammar> {
        let mut rules: BTreeMap<String, Vec<String>> = BTreeMap::new();
        // The current rule, and the text of its list if it is one.
        let mut name = String::new();
        let mut list = String::new();
        for (number, line) in (1..).zip(text.lines().chain(["@"])) {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            if let Some(header) = line.strip_prefix('@') {
                let separator = if list.contains('|') { '|' } else { ',' };
                let items = list.split(separator).map(|item| item.trim().to_string());
                let items = items.filter(|item| !item.is_empty());
                rules.entry(name.clone()).or_default().extend(items);
                let (head, rest) = header.split_once(':').unwrap_or((header, ""));
                name = head.trim().to_string();
                list = rest.to_string();
            } else if let Some(choice) = line.strip_prefix('-') {
                rules.entry(name.clone()).or_default().push(choice.trim().into());
            } else if let Some(last) = rules.get_mut(&name).and_then(|r| r.last_mut()) {
                *last = format!("{last} {}", line.trim());
            } else if !list.is_empty() {
                list = format!("{list} {}", line.trim());
            } else {
                bail!("line {number} belongs to no rule: {line}");
            }
        }
        rules.remove("");
        Ok(Grammar { rules })
    }

    /// The choices of the rule `name`.
    ///
    /// # Errors
    /// If there is no such rule.
    pub fn choices(&self, name: &str) -> Result<&[String]> {
        let rule = self.rules.get(name);
        rule.map(Vec::as_slice).with_context(|| format!("there is no rule `{name}`"))
    }
}

/// Random numbers: SplitMix64.
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((u128::from(z) * bound as u128) >> 64) as usize
    }
}

/// One story under way: what it has named and said so far.
pub struct Story<'a> {
    grammar: &'a Grammar,
    random: &'a mut Random,
    bound: BTreeMap<String, String>,
    said: BTreeSet<String>,
}

impl<'a> Story<'a> {
    /// An empty story.
    pub fn new(grammar: &'a Grammar, random: &'a mut Random) -> Story<'a> {
        Story { grammar, random, bound: BTreeMap::new(), said: BTreeSet::new() }
    }

    /// From now on, `{name}` is `value`.
    pub fn bind(&mut self, name: &str, value: &str) {
        self.bound.insert(name.into(), value.into());
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.random.below(bound)
    }

    /// A choice of the rule `name`, all its holes filled.
    ///
    /// # Errors
    /// If a rule that it needs is missing or has no open choice.
    pub fn choose(&mut self, name: &str) -> Result<String> {
        let mut open = Vec::new();
        for choice in self.grammar.choices(name)? {
            let (condition, text) = match choice.split_once(' ') {
                Some((head, rest)) if head.starts_with(['?', '!']) => (head, rest),
                _ => ("", choice.as_str()),
            };
            let is_open = match condition.split_at(condition.len().min(1)) {
                ("?", name) => self.said.contains(name),
                ("!", name) => !self.said.contains(name),
                _ => true,
            };
            if is_open {
                open.push(text);
            }
        }
        if open.is_empty() {
            bail!("no choice of the rule `{name}` is open");
        }
        let text = open[self.random.below(open.len())];
        self.expand(text).with_context(|| format!("in the rule `{name}`: {text}"))
    }

    /// `text` with its holes filled.
    fn expand(&mut self, text: &str) -> Result<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '[']) {
            out.push_str(&rest[..open]);
            let inside = inside(&rest[open..])?;
            rest = &rest[open + inside.len() + 2..];
            if text.as_bytes()[text.len() - rest.len() - 1] == b'}' {
                let hole = self.expand(inside)?;
                out.push_str(&self.fill(&hole)?);
            } else {
                let choices = split(inside);
                let choice = choices[self.random.below(choices.len())];
                out.push_str(&self.expand(choice)?);
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    /// What stands in the hole `{hole}`.
    fn fill(&mut self, hole: &str) -> Result<String> {
        if let Some((name, rule)) = hole.split_once('=') {
            let (rule, other) = rule.split_once('!').unwrap_or((rule, ""));
            let other = self.bound.get(other).cloned();
            let value = loop {
                let value = self.choose(rule)?;
                if Some(&value) != other.as_ref() {
                    break value;
                }
            };
            self.bind(name, &value);
            return Ok(String::new());
        }
        let name = hole.to_lowercase();
        let value = match self.bound.get(&name) {
            Some(value) => {
                self.said.insert(name.clone());
                value.clone()
            }
            None => self.choose(&name)?,
        };
        Ok(if name == hole { value } else { capital(&value) })
    }
}

/// `text` with its first letter a capital.
pub fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().to_string() + chars.as_str())
}

/// What is between the bracket that `text` begins with and its partner.
fn inside(text: &str) -> Result<&str> {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(&text[1..at]);
        }
    }
    bail!("a bracket is not closed: {text}")
}

/// `text` at the bars that are in no bracket.
fn split(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            '|' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}
