//! The ledger: what was sent, and what it cost.
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// What one rank sent, by family, group and operation. Clones are the same book.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    /// Since the last [`Ledger::reset`].
    all: Entries,
    /// Since the last [`Ledger::take`].
    new: Entries,
    /// The calls themselves, if somebody wants to see them.
    spans: Option<Vec<Span>>,
    /// All the time in which the rank did nothing but make calls, or wait for them.
    waited: Duration,
    /// Until when the time that calls were under way is booked.
    booked_until: Option<Instant>,
}

/// Family, group, operation.
type Key = (&'static str, Arc<str>, &'static str);
type Entries = BTreeMap<Key, Entry>;

/// All calls of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// How many.
    pub calls: u64,
    /// Bytes that this rank would send in a ring, padding included.
    pub bytes: u64,
    /// Time in which the rank did nothing but make them, or wait for them. Written in
    /// seconds.
    #[serde(serialize_with = "seconds")]
    pub exposed: Duration,
    /// Time in which they were under way, waiting for late ranks included, while the
    /// rank computed. A moment at which several calls are under way counts once, for
    /// the one that is waited for first. Written in seconds.
    #[serde(serialize_with = "seconds")]
    pub overlapped: Duration,
}

impl AddAssign for Entry {
    fn add_assign(&mut self, more: Entry) {
        self.calls += more.calls;
        self.bytes += more.bytes;
        self.exposed += more.exposed;
        self.overlapped += more.overlapped;
    }
}

fn seconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

/// The calls of one kind, by name. (A call that fails is counted all the same, and
/// takes no time.)
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What they were for.
    pub family: &'static str,
    /// The name of their group.
    pub group: String,
    /// What is done: `all_reduce`, `send`, ….
    pub operation: &'static str,
    /// How many, how much, how long.
    #[serde(flatten)]
    pub entry: Entry,
}

/// One call as it went.
#[derive(Clone, Debug)]
pub struct Span {
    /// What it was for.
    pub family: &'static str,
    /// The name of its group.
    pub group: Arc<str>,
    /// What was done: `all_reduce`, `send`, ….
    pub operation: &'static str,
    /// Bytes, as in [`Entry::bytes`].
    pub bytes: u64,
    /// When this rank made it.
    pub start: Instant,
    /// When the last member had done its part.
    pub over: Instant,
    /// While this rank did nothing but wait for it: the whole of a blocking call; of a
    /// started one, from where it was waited for.
    pub waited: [Instant; 2],
}

/// Takes the time of one call.
pub(crate) struct Stopwatch {
    ledger: Ledger,
    key: Key,
    bytes: u64,
    start: Instant,
    /// Since when the rank does something else, if it does; and how long it had waited
    /// until then, for any call.
    flying: Option<(Instant, Duration)>,
}

impl Stopwatch {
    /// The rank goes on with something else from here.
    pub fn fly(&mut self) {
        let mut book = self.ledger.lock();
        let now = Instant::now();
        book.waited += now - self.start;
        self.flying = Some((now, book.waited));
    }
    /// The rank has waited for the call since `waiting`; it was over at `over`.
    pub fn land(self, waiting: Instant, over: Option<Instant>) {
        let now = Instant::now();
        let over = over.unwrap_or(now);
        let Some((flying, waited)) = self.flying else { return self.stop() };
        let exposed = (flying - self.start) + (now - waiting);
        let overlapped = {
            let mut book = self.ledger.lock();
            // Not what is booked for another call, nor what the rank waited for others.
            let from = book.booked_until.map_or(flying, |until| until.max(flying));
            let to = over.min(waiting);
            book.booked_until = Some(from.max(to));
            let waited = book.waited - waited;
            to.saturating_duration_since(from).saturating_sub(waited)
        };
        self.book(exposed, overlapped, over, [waiting, now]);
    }
    /// A blocking call is over.
    pub fn stop(self) {
        let (start, now) = (self.start, Instant::now());
        self.book(now - start, Duration::ZERO, now, [start, now]);
    }
    fn book(
        self,
        exposed: Duration,
        overlapped: Duration,
        over: Instant,
        waited: [Instant; 2],
    ) {
        let Stopwatch { ledger, key, bytes, start, .. } = self;
        let mut book = ledger.lock();
        book.add(&key, Entry { exposed, overlapped, ..Entry::default() });
        book.waited += waited[1] - waited[0];
        if let Some(spans) = &mut book.spans {
            let (family, group, operation) = key;
            spans.push(Span { family, group, operation, bytes, start, over, waited });
        }
    }
}

impl Book {
    fn add(&mut self, key: &Key, more: Entry) {
        for entries in [&mut self.all, &mut self.new] {
            *entries.entry(key.clone()).or_default() += more;
        }
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
        let (ledger, key) = (self.clone(), (family, group.clone(), op));
        self.lock().add(&key, Entry { calls: 1, bytes, ..Entry::default() });
        Stopwatch { ledger, key, bytes, start: Instant::now(), flying: None }
    }
    /// All there is since the last [`Ledger::reset`], in the order of family, group and
    /// operation.
    pub fn lines(&self) -> Vec<Line> {
        lines(&self.lock().all)
    }
    /// What has come since the last call of this: a step's share.
    pub fn take(&self) -> Vec<Line> {
        lines(&std::mem::take(&mut self.lock().new))
    }
    /// All calls of a family.
    pub fn family(&self, family: &str) -> Entry {
        let mut sum = Entry::default();
        for line in self.lines().iter().filter(|line| line.family == family) {
            sum += line.entry;
        }
        sum
    }
    /// Keeps every call from here on, for [`Ledger::take_spans`].
    pub fn keep_spans(&self) {
        self.lock().spans = Some(vec![]);
    }
    /// The calls that are over since [`Ledger::keep_spans`], in the order in which they
    /// ended for this rank. Those to come are not kept.
    pub fn take_spans(&self) -> Vec<Span> {
        self.lock().spans.take().unwrap_or_default()
    }
    /// Forgets everything.
    pub fn reset(&self) {
        let mut book = self.lock();
        book.all.clear();
        book.new.clear();
    }
}

fn lines(entries: &Entries) -> Vec<Line> {
    let line = |((family, group, operation), entry): (&Key, &Entry)| {
        let group = group.to_string();
        Line { family, group, operation, entry: *entry }
    };
    entries.iter().map(line).collect()
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
        for Line { family, group, operation, entry } in self.lines() {
            line(f, [family, &group, operation], &entry)?;
            sum += entry;
        }
        line(f, ["in all", "", ""], &sum)
    }
}
