//! Between the rank of a process and its driver.
use super::driver::Driver;
use super::signal;
use super::ticket::Ticket;
use super::wire::Wire;
use crate::engine::{Key, several};
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::ffi::c_int;
use std::io::Write;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::{Builder, ThreadId};
use std::time::Duration;

/// How long the start of MPI may take: the other processes have to start it, too.
const START: Duration = Duration::from_secs(60);

/// How long the end of the program waits for the end of MPI.
const END: Duration = Duration::from_secs(30);

/// What the rank asks of the driver.
pub(super) enum Order {
    /// A launch begins.
    Begin(u64),
    Post(Arc<Ticket>),
    /// The rank sleeps until that call is over.
    Waits(Key),
    GivesUp(Error),
    /// The rank makes no more calls; why, if it failed. An answer comes when no rank
    /// does.
    Returns(Option<Error>, Sender<()>),
    /// The process ends. An answer comes when MPI has ended in it.
    End(Sender<()>),
}

/// What the rank is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// No launch is under way.
    Nothing,
    Running,
    /// It waits for the other ranks to return.
    Returned,
}

pub(super) struct Desk {
    pub rank: usize,
    pub size: usize,
    /// Rank 0 watches all calls.
    pub debug: bool,
    last_tag: u64,
    orders: Sender<Order>,
    driver: ThreadId,
    state: Mutex<State>,
}

struct State {
    doing: Doing,
    /// Calls that are not over.
    open: Vec<Arc<Ticket>>,
    /// Why no call can be made any more, and which rank said so.
    failure: Option<(usize, Error)>,
    /// What makes groups different, by their tags.
    groups: HashMap<c_int, String>,
}

static DESK: OnceLock<Result<Arc<Desk>>> = OnceLock::new();

impl Desk {
    /// The one of this process, which joins the others at the first time.
    ///
    /// # Errors
    /// There is no MPI, or no thread for it.
    pub fn get() -> Result<Arc<Desk>> {
        DESK.get_or_init(Desk::open).clone()
    }
    fn open() -> Result<Arc<Desk>> {
        let (orders, inbox) = channel();
        let (sender, opened) = channel();
        let run = move || {
            let desk = joined(orders);
            let wire = desk.map(|(desk, wire)| {
                let _ = sender.send(Ok(desk.clone()));
                (desk, wire)
            });
            match wire {
                Ok((desk, wire)) => {
                    memory::set_rank(desk.rank);
                    Driver::new(wire, desk, inbox).run();
                }
                Err(error) => drop(sender.send(Err(error))),
            }
        };
        let no_thread = |_| Error::new("no thread for MPI");
        Builder::new().name("mpi".into()).spawn(run).map_err(no_thread)?;
        let no_start = |_| {
            Error::new(format!(
                "MPI did not start within {START:?}: has another process ended before \
                 its launch?"
            ))
        };
        let desk = opened.recv_timeout(START).map_err(no_start)??;
        let reporter = desk.clone();
        signal::listen(move || reporter.report())?;
        // SAFETY: the handler is a function of this program, and may be called at its
        // end.
        unsafe { libc::atexit(end) };
        Ok(desk)
    }
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
    pub fn order(&self, order: Order) {
        // If the driver is no more, it has said why, and tickets are over.
        let _ = self.orders.send(order);
    }
    pub fn begin(&self, launch: u64) {
        let mut state = self.state();
        state.failure = None;
        state.doing = Doing::Running;
        self.order(Order::Begin(launch));
    }
    pub fn set(&self, doing: Doing) {
        self.state().doing = doing;
    }
    pub fn doing(&self) -> Doing {
        self.state().doing
    }
    pub fn failure(&self) -> Option<(usize, Error)> {
        self.state().failure.clone()
    }
    pub fn fail(&self, origin: usize, error: Error) {
        self.state().failure.get_or_insert((origin, error));
    }
    /// # Errors
    /// An earlier call has failed.
    pub fn post(&self, ticket: Arc<Ticket>) -> Result<()> {
        let mut state = self.state();
        if let Some((_, error)) = &state.failure {
            return Err(error.clone());
        }
        state.open.push(ticket.clone());
        self.order(Order::Post(ticket));
        Ok(())
    }
    /// A ticket is over.
    pub fn close(&self, ticket: &Arc<Ticket>, outcome: Result<()>) {
        self.state().open.retain(|open| !Arc::ptr_eq(open, ticket));
        ticket.end(outcome);
    }
    /// The number of a group, the same in every process: made of what is different
    /// between groups.
    ///
    /// # Errors
    /// Another group's calls would have the same tag.
    pub fn group(&self, words: String) -> Result<u64> {
        // FNV-1a.
        let id = words.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut state = self.state();
        let tag = self.tag(id, false);
        let known = state.groups.entry(tag).or_insert_with(|| words.clone());
        if *known == words {
            return Ok(id);
        }
        Err(Error::new(format!(
            "groups `{known}` and `{words}` cannot be told apart by MPI (tag {tag}): \
             give one of them another name"
        )))
    }
    /// The tag of a group's collectives, or of its messages.
    pub fn tag(&self, group: u64, messages: bool) -> c_int {
        // 0 is the letters'.
        let pairs = (self.last_tag - 1) / 2;
        (1 + 2 * (group % pairs) + u64::from(messages)) as c_int
    }
    /// Says what the rank was doing when the process is made to end.
    pub fn report(&self) {
        let (rank, state) = (self.rank, self.state());
        let (doing, open) = (state.doing, state.open.clone());
        drop(state);
        let mut lines = vec![];
        let mut waits = false;
        for ticket in open {
            let how = if ticket.is_waited_for() {
                waits = true;
                "while waiting in"
            } else {
                "with a call in flight,"
            };
            let for_whom = several(&ticket.awaited(), "", "");
            let name = ticket.name();
            lines.push(format!("rank {rank}: terminated {how} {name}, for {for_whom}"));
        }
        match doing {
            Doing::Running if !waits => {
                lines.push(format!("rank {rank}: terminated while computing"))
            }
            Doing::Returned => lines.push(format!(
                "rank {rank}: terminated while waiting for the other ranks to return"
            )),
            Doing::Running | Doing::Nothing => {}
        }
        say(&lines.join("\n"));
    }
}

/// In one piece, so that other processes' words are not in between.
pub(super) fn say(text: &str) {
    if !text.is_empty() {
        let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
    }
}

/// Opens MPI in this thread.
fn joined(orders: Sender<Order>) -> Result<(Arc<Desk>, Wire)> {
    let mut wire = Wire::open()?;
    let set = |name| std::env::var(name).ok();
    let debug = set("FERROTRON_COMM_DEBUG").is_some_and(|set| set != "0");
    let chunk = set("FERROTRON_COMM_CHUNK").and_then(|bytes| bytes.parse().ok());
    let debug = wire.agree(debug, chunk)?;
    let (open, groups) = Default::default();
    let state = State { doing: Doing::Nothing, open, failure: None, groups };
    let desk = Desk {
        rank: wire.rank,
        size: wire.size,
        debug,
        last_tag: wire.last_tag,
        orders,
        driver: std::thread::current().id(),
        state: Mutex::new(state),
    };
    Ok((Arc::new(desk), wire))
}

/// When the program ends, by a return or an exit: MPI wants to be told.
extern "C" fn end() {
    let Some(Ok(desk)) = DESK.get() else { return };
    // An exit by MPI's own doing, when it has lost another process.
    if std::thread::current().id() == desk.driver {
        desk.report();
        return;
    }
    let (sender, ended) = channel();
    desk.order(Order::End(sender));
    let _ = ended.recv_timeout(END);
}
