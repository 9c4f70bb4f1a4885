//! The events of one rank, in Chrome's Trace Event Format.
use comm::Span;
use ops::Pass;
use serde_json::{Value, json};
use std::time::Instant;

/// The tracks that every rank has; groups come after them.
const COMPUTE: usize = 0;
const WAIT: usize = 1;
const FIRST_GROUP: usize = 2;

pub struct Events {
    rank: usize,
    start: Instant,
    events: Vec<Value>,
}

/// An operation, and when it was over.
pub type Passed = (&'static str, Pass, Instant);

impl Events {
    pub fn new(rank: usize, start: Instant) -> Events {
        let mut events = Events { rank, start, events: vec![] };
        let name = format!("rank {rank}");
        events.events.push(json!({
            "ph": "M", "name": "process_name", "pid": rank, "args": {"name": name},
        }));
        events.name(COMPUTE, "compute");
        events.name(WAIT, "wait");
        events
    }
    fn name(&mut self, track: usize, name: &str) {
        self.events.push(json!({
            "ph": "M", "name": "thread_name", "pid": self.rank, "tid": track,
            "args": {"name": name},
        }));
    }
    fn span(
        &mut self,
        track: usize,
        category: &str,
        name: &str,
        [from, to]: [Instant; 2],
        args: Value,
    ) {
        let micros = |at: Instant| {
            at.saturating_duration_since(self.start).as_nanos() as f64 / 1e3
        };
        let (from, to) = (micros(from), micros(to));
        self.events.push(json!({
            "ph": "X", "cat": category, "name": name, "pid": self.rank, "tid": track,
            "ts": from, "dur": to - from, "args": args,
        }));
    }
    pub fn add(&mut self, passed: &[Passed], calls: &[Span]) {
        let mut waits: Vec<(&Span, [Instant; 2])> =
            calls.iter().map(|call| (call, call.waited)).collect();
        waits.sort_by_key(|(_, [from, _])| *from);
        // Each group's name, and until when its track is taken.
        let mut groups: Vec<(&str, Instant)> = vec![];
        let mut calls: Vec<&Span> = calls.iter().collect();
        calls.sort_by_key(|call| (call.over, call.start));
        for call in calls {
            let place = groups.iter().position(|(group, _)| **group == *call.group);
            let place = place.unwrap_or_else(|| {
                groups.push((&call.group, self.start));
                self.name(FIRST_GROUP + groups.len() - 1, &call.group);
                groups.len() - 1
            });
            // Spans of a track may not overlap: a viewer drops those that do.
            let from = call.start.max(groups[place].1);
            let to = call.over.max(from);
            groups[place].1 = to;
            let args = json!({"bytes": call.bytes, "operation": call.operation});
            let track = FIRST_GROUP + place;
            self.span(track, "communication", call.family, [from, to], args);
        }
        for (call, time) in &waits {
            self.span(WAIT, "wait", call.family, *time, json!({}));
        }
        let mut waits = waits.into_iter().map(|(_, time)| time).peekable();
        let mut from = self.start;
        for (op, pass, over) in passed {
            let category = match pass {
                Pass::Forward => "forward",
                Pass::Backward => "backward",
                Pass::Update => "update",
            };
            // Without what the rank waited in between.
            while let Some([wait, end]) = waits.next_if(|[wait, _]| wait < over) {
                if wait > from {
                    self.span(COMPUTE, category, op, [from, wait], json!({}));
                }
                from = from.max(end);
            }
            if *over > from {
                self.span(COMPUTE, category, op, [from, *over], json!({}));
            }
            from = from.max(*over);
        }
    }
    /// The events, with commas between.
    pub fn json(&self) -> String {
        let lines: Vec<String> = self.events.iter().map(Value::to_string).collect();
        lines.join(",\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn operations_are_shown_without_what_was_waited() {
        let start = Instant::now();
        let at = |micros| start + Duration::from_micros(micros);
        let call = |made, over, waited: [u64; 2]| Span {
            family: "gradients",
            group: "data".into(),
            operation: "all_reduce",
            bytes: 12,
            start: at(made),
            over: at(over),
            waited: waited.map(at),
        };
        let mut events = Events::new(3, start);
        let calls = [
            // Waited for in the middle of the second operation; then right after it.
            call(5, 40, [20, 40]),
            call(30, 70, [60, 70]),
        ];
        let passed = [
            ("linear", Pass::Forward, at(10)),
            ("linear", Pass::Backward, at(50)),
            ("adamw", Pass::Update, at(90)),
        ];
        events.add(&passed, &calls);
        let all: Vec<Value> =
            serde_json::from_str(&format!("[{}]", events.json())).unwrap();
        let spans = |track: usize| -> Vec<(&str, f64, f64)> {
            let own = all.iter().filter(|e| e["ph"] == "X" && e["tid"] == track);
            let number = |event: &Value, name: &str| event[name].as_f64().unwrap();
            own.map(|e| (e["cat"].as_str().unwrap(), number(e, "ts"), number(e, "dur")))
                .collect()
        };
        assert_eq!(
            spans(COMPUTE),
            [
                ("forward", 0.0, 10.0),
                ("backward", 10.0, 10.0),
                ("backward", 40.0, 10.0),
                ("update", 50.0, 10.0),
                ("update", 70.0, 20.0),
            ]
        );
        assert_eq!(spans(WAIT), [("wait", 20.0, 20.0), ("wait", 60.0, 10.0)]);
        // The second has the track when the first is over.
        let calls = [("communication", 5.0, 35.0), ("communication", 40.0, 30.0)];
        assert_eq!(spans(FIRST_GROUP), calls);
        let names = all.iter().filter(|e| e["ph"] == "M").map(|e| &e["args"]["name"]);
        let names: Vec<&str> = names.map(|name| name.as_str().unwrap()).collect();
        assert_eq!(names, ["rank 3", "compute", "wait", "data"]);
        assert!(all.iter().all(|e| e["pid"] == 3));
    }
}
