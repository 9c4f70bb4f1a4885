//! What each rank did, and when: for <https://ui.perfetto.dev> and `chrome://tracing`.
//!
//! [`record`] watches the operations of a rank (`ops::observe`) and its calls to other
//! ranks (`comm::Ledger`), and writes one file for all ranks, in Chrome's Trace Event
//! Format. Each rank is a process there, with these tracks:
//!
//! - *compute*: the operations, each from the end of the one before, without the time
//!   that the rank waited in between. What is not an operation (reading data, writing
//!   records) goes with the operation after it;
//! - *wait*: the rank does nothing but wait for a call;
//! - one for each group: its calls, one after the other, each from when this rank made
//!   it, or the one before was over, until all members had done their part.
//!
//! A training step has hundreds of operations: traces are for short runs.
#![warn(missing_docs)]

mod events;

use anyhow::{Context, Result, ensure};
use comm::Group;
use events::Events;
use std::cell::RefCell;
use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;

/// How a trace begins.
const START: &[u8] = b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";

/// Checks that a trace can be written to `path`, and makes its folder if need be.
///
/// # Errors
/// It cannot, or there is a file which is no trace.
pub fn check_writable(path: &Path) -> Result<()> {
    let cannot = || format!("cannot write the trace to `{}`", path.display());
    if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(cannot)?;
    }
    check_replaceable(path)?;
    let new = !path.exists();
    File::options().append(true).create(true).open(path).with_context(cannot)?;
    match new {
        true => std::fs::remove_file(path).with_context(cannot),
        false => Ok(()),
    }
}

/// Checks that no more than an earlier trace is lost with what is in `path`: not the
/// data, nor the log, which a user gave the same name.
fn check_replaceable(path: &Path) -> Result<()> {
    let mut start = vec![];
    if path.metadata().is_ok_and(|file| file.is_file() && file.len() > 0) {
        let file = File::open(path)
            .and_then(|file| file.take(START.len() as u64).read_to_end(&mut start));
        file.with_context(|| format!("cannot examine `{}`", path.display()))?;
        ensure!(
            start == START,
            "`{}` is there and is no trace, so none is written over it: give the \
             trace another name",
            path.display()
        );
    }
    Ok(())
}

/// Runs `f`; if there is a `path`, writes there what all ranks of `world` did
/// meanwhile. Every rank of `world` calls it, with a path or without.
///
/// # Errors
/// Those of `f`, after which there is no file, nor one of an earlier run; or the file
/// cannot be written, or another rank failed.
pub fn record<T>(
    path: Option<&Path>,
    world: &Group,
    f: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let Some(path) = path else { return f() };
    // Ranks may have clocks of their own: they start them together.
    world.barrier("trace")?;
    let start = Instant::now();
    world.ledger().keep_spans();
    let passed = Rc::new(RefCell::new(vec![]));
    let observer = {
        let passed = passed.clone();
        move |op, pass| passed.borrow_mut().push((op, pass, Instant::now()))
    };
    let result = ops::observe(observer, f).inspect_err(|_| {
        if world.rank() == 0 && check_replaceable(path).is_ok() {
            // Whether or not it is there: the error of `f` is what matters.
            let _ = std::fs::remove_file(path);
        }
    })?;
    let mut events = Events::new(world.rank(), start);
    events.add(&passed.take(), &world.ledger().take_spans());
    let all = gather(world, events.json().into_bytes())?;
    if world.rank() == 0 {
        check_replaceable(path)?;
        let write = || -> Result<()> {
            let mut file = BufWriter::new(File::create(path)?);
            file.write_all(START)?;
            file.write_all(&all.join(&b",\n"[..]))?;
            file.write_all(b"\n]}\n")?;
            Ok(file.flush()?)
        };
        write()
            .with_context(|| format!("cannot write the trace `{}`", path.display()))?;
    }
    Ok(result)
}

/// What all ranks have to say, in their order, on the first; on the others nothing.
fn gather(world: &Group, own: Vec<u8>) -> Result<Vec<Vec<u8>>> {
    let mut lengths = vec![0; world.size()];
    world.all_gather("trace", &[own.len() as i64], &mut lengths)?;
    if world.rank() > 0 {
        world.send("trace", &own, 0)?;
        return Ok(vec![]);
    }
    let mut all = vec![own];
    for (rank, length) in lengths.iter().enumerate().skip(1) {
        let mut theirs = vec![0; *length as usize];
        world.recv("trace", &mut theirs, rank)?;
        all.push(theirs);
    }
    Ok(all)
}
