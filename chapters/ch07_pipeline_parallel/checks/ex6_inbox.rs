//! All orders of a few messages, those of real schedules, and three real ranks.
use crate::answer::ex6_inbox::*;
use anyhow::{anyhow, bail};
use ch07_pipeline_parallel::plan::Plan;
use ch07_pipeline_parallel::schedule::{Action, Pass, Schedule};
use std::cell::Cell;
use std::rc::Rc;

/// `2F0`: what is for the forward of micro-batch 0 in chunk 2.
fn name((pass, chunk, micro): Key) -> String {
    Action { pass, chunk, micro }.to_string()
}

fn names(keys: &[Key]) -> String {
    let all: Vec<String> = keys.iter().map(|key| name(*key)).collect();
    all.join(" ")
}

/// A message that counts how many of them are alive. It cannot be copied.
struct Message(Key, Rc<Cell<usize>>);

impl Drop for Message {
    fn drop(&mut self) {
        self.1.set(self.1.get() - 1);
    }
}

/// Takes the messages that are `sent`, in the order in which they are `needed`.
fn take_all(sent: &[Key], needed: &[Key]) {
    let words = format!("sent: {}; needed: {}", names(sent), names(needed));
    let (alive, mut received) = (Rc::new(Cell::new(0)), 0);
    let mut inbox = Inbox::new(sent.to_vec());
    for (taken, key) in needed.iter().enumerate() {
        let place = sent.iter().position(|sent| sent == key).map_or(0, |at| at + 1);
        let (most, what) = (received.max(place), name(*key));
        let message = inbox.take(*key, || {
            assert!(
                received < most,
                "{words}: asked for {what}, after {received} received \
                 it receives once more, but {what} is {}: this may wait for ever",
                if place < most { "long here" } else { "the last of them" }
            );
            let message = Message(sent[received], alive.clone());
            alive.set(alive.get() + 1);
            received += 1;
            Ok(message)
        });
        let message = message
            .unwrap_or_else(|error| panic!("{words}: asked for {what}: {error:#}"));
        assert!(
            message.0 == *key,
            "{words}: asked for {what}, it hands out {}",
            name(message.0)
        );
        drop(message);
        let kept = received - taken - 1;
        assert!(
            alive.get() == kept,
            "{words}: after {what}, {} messages are kept, expected {kept}: {received} \
             came, of which {} were handed out",
            alive.get(),
            taken + 1
        );
    }
    assert!(received == sent.len(), "{words}: only {received} were received");
}

/// All orders of `keys`.
fn orders(keys: &[Key]) -> Vec<Vec<Key>> {
    if keys.is_empty() {
        return vec![vec![]];
    }
    let mut all = vec![];
    for first in keys {
        let rest: Vec<Key> = keys.iter().filter(|key| *key != first).copied().collect();
        let longer = |rest: Vec<Key>| [&[*first], &rest[..]].concat();
        all.extend(orders(&rest).into_iter().map(longer));
    }
    all
}

#[test]
fn messages_that_come_in_the_order_in_which_they_are_needed() {
    for n in 0..6 {
        let keys: Vec<Key> = (0..n).map(|micro| (Pass::Forward, 1, micro)).collect();
        take_all(&keys, &keys);
    }
}

#[test]
fn messages_in_any_order() {
    use Pass::{Backward, Forward};
    // Those of two chunks and two micro-batches: each part of the key tells apart.
    let sent = [
        (Forward, 2, 0),
        (Forward, 2, 1),
        (Backward, 2, 0),
        (Forward, 0, 0),
        (Backward, 0, 1),
    ];
    orders(&sent).iter().for_each(|needed| take_all(&sent, needed));
}

/// What an action of this stage waits for from another one: from which, and what.
fn needs(plan: &Plan, stage: usize, action: &Action) -> Option<(usize, Key)> {
    let Action { pass, chunk, micro } = *action;
    let (from, kind) = match pass {
        Pass::Forward => (plan.places[chunk.checked_sub(1)?], Pass::Forward),
        Pass::Weight => return None,
        _ => (*plan.places.get(chunk + 1)?, Pass::Backward),
    };
    (from != stage).then_some((from, (kind, chunk, micro)))
}

fn plans() -> Vec<Plan> {
    let mut all = vec![];
    for (schedule, chunks) in [
        (Schedule::Gpipe, 1),
        (Schedule::OneFOneB, 1),
        (Schedule::Interleaved, 2),
        (Schedule::Interleaved, 3),
        (Schedule::Zbv, 2),
    ] {
        for stages in 2..=4 {
            for micros in [stages, 2 * stages] {
                let plan = schedule.plan(stages, chunks, micros);
                all.push(plan.unwrap_or_else(|error| panic!("{error:#}")));
            }
        }
    }
    all
}

#[test]
fn messages_of_all_schedules() {
    let mut out_of_order = 0;
    for plan in plans() {
        for (stage, list) in plan.stages.iter().enumerate() {
            for other in (0..plan.stages.len()).filter(|other| *other != stage) {
                let sent = plan.messages(other, stage);
                let needed = list.iter().filter_map(|a| needs(&plan, stage, a));
                let needed = needed.filter(|(from, _)| *from == other);
                let needed: Vec<Key> = needed.map(|(_, key)| key).collect();
                out_of_order += usize::from(sent != needed);
                take_all(&sent, &needed);
            }
        }
    }
    assert!(out_of_order > 0, "an inbox is needed nowhere");
}

/// What a message says in this check.
fn content((pass, chunk, micro): Key) -> [f64; 3] {
    [f64::from(pass.letter() as u32), chunk as f64, micro as f64]
}

/// Where a stage has one chunk on the way down and one on the way up, each neighbour
/// sends it hidden states for the one and gradients for the other.
#[test]
fn three_ranks_by_zbv() {
    let plan = Schedule::Zbv.plan(3, 2, 6);
    let plan = plan.unwrap_or_else(|error| panic!("{error:#}"));
    let ran = comm::launch(3, |group| {
        let here = group.rank();
        let inbox = |from| Inbox::new(plan.messages(from, here));
        let mut inboxes: Vec<Inbox<Vec<f64>>> = (0..3).map(inbox).collect();
        let mut sent = vec![];
        for action in &plan.stages[here] {
            if let Some((from, key)) = needs(&plan, here, action) {
                let got = inboxes[from].take(key, || {
                    let mut message = vec![0.0; 3];
                    group.recv("message", &mut message, from)?;
                    Ok(message)
                })?;
                if got != content(key) {
                    let what = name(key);
                    bail!("before {action}: asked for {what}, got another message")
                }
            }
            // What comes of this action, if another stage waits for it.
            let Action { pass, chunk, micro } = *action;
            let next = match pass {
                Pass::Forward => Some((pass, chunk + 1, micro)),
                Pass::Weight => None,
                _ => chunk.checked_sub(1).map(|before| (Pass::Backward, before, micro)),
            };
            let Some(key) = next else { continue };
            if let Some(to) = plan.places.get(key.1).filter(|to| **to != here) {
                let message = content(key).to_vec();
                sent.push(group.start_send("message", message, *to)?);
            }
        }
        for sent in sent {
            sent.wait()?;
        }
        anyhow::Ok(())
    });
    if let Err(error) = ran {
        panic!("three ranks, zbv: {error}")
    }
}

#[test]
fn what_never_comes_is_an_error() {
    let key = |micro| (Pass::Forward, 1, micro);
    let case = |what: &str, sent: Vec<Key>, first: Option<Key>, wanted: Key| {
        let (mut left, mut inbox) = (sent.clone().into_iter(), Inbox::new(sent));
        let mut take = |key: Key| {
            inbox.take(key, || match left.next() {
                Some(key) => Ok(key),
                None => panic!(
                    "{what}: it receives although the other stage sends no more: this \
                     would wait for ever"
                ),
            })
        };
        let first = first.map(&mut take);
        assert!(
            first.is_none_or(|first| first.is_ok()),
            "{what}: the first time is an error, too"
        );
        let got = take(wanted);
        assert!(
            got.is_err(),
            "{what}: it hands out {}",
            names(&[got.unwrap_or(wanted)])
        );
    };
    case("a message of an empty list", vec![], None, key(0));
    case("one that is not sent", vec![key(0), key(1)], None, key(2));
    case(
        "a gradient where only hidden states come",
        vec![key(0)],
        None,
        (Pass::Backward, 1, 0),
    );
    case("one for the second time", vec![key(0), key(1)], Some(key(0)), key(0));
    let mut inbox: Inbox<Key> = Inbox::new(vec![key(0)]);
    let failed = inbox.take(key(0), || Err(anyhow!("the other rank is gone")));
    let said = failed.err().map(|error: anyhow::Error| format!("{error:#}"));
    assert!(
        said.as_ref().is_some_and(|said| said.contains("the other rank is gone")),
        "a receive that fails with `the other rank is gone` becomes {said:?}"
    );
}
