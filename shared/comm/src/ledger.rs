//! The ledger: what was sent, and what it cost.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What one rank sent, by family, group and operation. Clones are the same book.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Book>>);

/// Family, group, operation.
type Key = (&'static str, Arc<str>, &'static str);
type Book = BTreeMap<Key, Entry>;

/// All calls of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// How many.
    pub calls: u64,
    /// Bytes that this rank would send in a ring, padding included.
    pub bytes: u64,
    /// Time in which the rank did nothing but make them, or wait for them.
    pub exposed: Duration,
    /// Time in which they were under way, waiting for late ranks included, while the
    /// rank computed.
    pub overlapped: Duration,
}

/// Takes the time of one call.
pub(crate) struct Stopwatch {
    ledger: Ledger,
    key: Key,
}

impl Stopwatch {
    pub fn stop(&self, exposed: Duration, overlapped: Duration) {
        let mut book = self.ledger.lock();
        let entry = book.entry(self.key.clone()).or_default();
        entry.exposed += exposed;
        entry.overlapped += overlapped;
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// Books a call; its time is added when it is known.
    pub(crate) fn call(
        &self,
        family: &'static str,
        group: &Arc<str>,
        op: &'static str,
        bytes: u64,
    ) -> Stopwatch {
        let key = (family, group.clone(), op);
        let mut book = self.lock();
        let entry = book.entry(key.clone()).or_default();
        entry.calls += 1;
        entry.bytes += bytes;
        drop(book);
        Stopwatch { ledger: self.clone(), key }
    }
    /// All entries since the last [`Ledger::reset`], in the order of family, group and
    /// operation.
    pub fn entries(&self) -> Vec<(&'static str, String, &'static str, Entry)> {
        let book = self.lock();
        let line = |((family, group, op), entry): (&Key, &Entry)| {
            (*family, group.to_string(), *op, *entry)
        };
        book.iter().map(line).collect()
    }
    /// Bytes sent for a family.
    pub fn bytes(&self, family: &str) -> u64 {
        let book = self.lock();
        let of = book.iter().filter(|((name, ..), _)| *name == family);
        of.map(|(_, entry)| entry.bytes).sum()
    }
    /// Forgets everything.
    pub fn reset(&self) {
        self.lock().clear();
    }
}

impl fmt::Display for Ledger {
    /// A table, and a line for the sum.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = |f: &mut fmt::Formatter<'_>, names: [&str; 3], entry: &Entry| {
            let [family, group, op] = names;
            let Entry { calls, bytes, exposed, overlapped } = entry;
            let [exposed, overlapped] =
                [exposed, overlapped].map(|time| time.as_secs_f64() * 1e3);
            write!(
                f,
                "\n{family:<20} {group:<10} {op:<15} {calls:>8} {:>12.3} \
                 {exposed:>11.1} {overlapped:>13.1}",
                *bytes as f64 / 1e6
            )
        };
        write!(
            f,
            "{:<20} {:<10} {:<15} {:>8} {:>12} {:>11} {:>13}",
            "family",
            "group",
            "operation",
            "calls",
            "MB sent",
            "waited, ms",
            "hidden, ms"
        )?;
        let mut sum = Entry::default();
        for (family, group, op, entry) in self.entries() {
            line(f, [family, &group, op], &entry)?;
            sum.calls += entry.calls;
            sum.bytes += entry.bytes;
            sum.exposed += entry.exposed;
            sum.overlapped += entry.overlapped;
        }
        line(f, ["in all", "", ""], &sum)
    }
}
