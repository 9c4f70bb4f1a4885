//! Where the processes of a job meet, over TCP, to tell each other what NCCL does not:
//! names of communicators, who has failed, who has died.
//!
//! Rank 0 listens at the job's address ([`hub`]), and every rank, rank 0 as well,
//! connects to it, as often as it takes until a time limit. Each says who it is: the
//! version of what is spoken here, the job's token, which launch of the program this
//! is, the rank, and how many ranks there are. A stranger, who does not know the token,
//! is sent away, and the others notice nothing. A process of the job that contradicts
//! the others (another number of ranks, a rank that is here already) ends the meeting:
//! every rank hears why. So does a rank that has not come when the time is up.
//!
//! When all are here, each can send letters (bytes) to one rank, or to all. Letters go
//! through the hub, one after the other, so that all ranks get those to all in the same
//! order. A connection that closes without a goodbye is a process that has died: the
//! hub tells the others. When all have said goodbye, or are dead, the hub says
//! farewell, and the meeting is over for everyone at once; rank 0 cannot leave before.
//!
//! Nothing is encrypted: a cluster's inner network is trusted, as it is by NCCL.
mod frame;
mod hub;

use crate::error::{Error, Result};
use frame::{ALL, Frame, Kind, LONGEST};
use hub::Hub;
use std::io::ErrorKind;
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Of what is spoken; both ends must have the same.
const VERSION: u32 = 1;

/// Between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(50);

/// How long one of a host's addresses may take, before the next one is tried.
const EACH: Duration = Duration::from_secs(5);

/// Who a process is in its job, and where the job meets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub rank: usize,
    pub size: usize,
    /// Rank 0's host, and a port of it that is free.
    pub host: String,
    pub port: u16,
    /// What processes of another job do not know.
    pub token: String,
    /// How many launches of this program came before.
    pub launch: u64,
    /// How long ranks wait for each other to come.
    pub limit: Duration,
}

/// What a rank hears.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum News {
    Letter {
        from: usize,
        bytes: Vec<u8>,
    },
    /// That rank's process has ended without a goodbye.
    Died {
        rank: usize,
    },
}

/// One rank's part in a meeting. Dropped without [`Meeting::leave`], it is a process
/// that has died, to the others.
pub(crate) struct Meeting {
    post: Post,
    hub: Option<Hub>,
    reader: Option<JoinHandle<()>>,
}

/// Sends letters.
#[derive(Clone)]
pub(crate) struct Post(Arc<Line>);

struct Line {
    stream: TcpStream,
    writing: Mutex<()>,
    /// The hub said farewell, or is no more.
    over: Mutex<bool>,
    bell: Condvar,
}

impl Post {
    /// Sends a letter to a rank, or to all (this one, too).
    ///
    /// # Errors
    /// The connection is lost.
    pub fn send(&self, to: Option<usize>, bytes: &[u8]) -> Result<()> {
        let to = to.map_or(ALL, |rank| rank as u32);
        self.write(Kind::Letter, to, bytes)
    }
    fn write(&self, kind: Kind, rank: u32, bytes: &[u8]) -> Result<()> {
        let _one_at_a_time = lock(&self.0.writing);
        Frame::new(kind, rank, bytes).write(&self.0.stream).map_err(|error| {
            Error::new(format!("the connection to rank 0 is lost: {error}"))
        })
    }
}

impl Meeting {
    /// Meets all other ranks. `hear` gets what they say from then on, on a thread of
    /// its own, with what it takes to answer.
    ///
    /// # Errors
    /// They do not come in time, or contradict each other; rank 0 cannot listen there.
    pub fn join(
        seat: &Seat,
        mut hear: impl FnMut(&Post, News) + Send + 'static,
    ) -> Result<Meeting> {
        let until = Instant::now() + seat.limit;
        let hub = (seat.rank == 0).then(|| Hub::open(seat)).transpose()?;
        let stream = connect(seat, until)?;
        let (writing, over, bell) = Default::default();
        let post = Post(Arc::new(Line { stream, writing, over, bell }));
        let own = post.clone();
        let listen = move || {
            while let Ok(frame) = Frame::read(&own.0.stream, LONGEST) {
                let rank = frame.rank as usize;
                match frame.kind {
                    Kind::Letter => {
                        hear(&own, News::Letter { from: rank, bytes: frame.bytes })
                    }
                    Kind::Died => hear(&own, News::Died { rank }),
                    Kind::Farewell => return own.end(),
                    _ => {}
                }
            }
            // Who is the hub has left without a farewell.
            hear(&own, News::Died { rank: 0 });
            own.end();
        };
        let thread = Builder::new().name("rendezvous".into()).spawn(listen);
        let reader = Some(thread.map_err(|error| no_thread(&error))?);
        Ok(Meeting { post, hub, reader })
    }
    pub fn post(&self) -> &Post {
        &self.post
    }
    /// Says goodbye, and returns when all ranks have, or are dead.
    pub fn leave(mut self) {
        // If there is nobody to tell, it is over.
        let _ = self.post.write(Kind::Goodbye, 0, &[]);
        let over = lock(&self.post.0.over);
        let bell = &self.post.0.bell;
        drop(bell.wait_while(over, |over| !*over).unwrap_or_else(|e| e.into_inner()));
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        let _ = self.post.0.stream.shutdown(Shutdown::Both);
        // Rank 0 stays until all are gone.
        drop(self.hub.take());
    }
}

impl Post {
    fn end(&self) {
        *lock(&self.0.over) = true;
        self.0.bell.notify_all();
    }
}

/// Connects, and returns when all ranks are here.
fn connect(seat: &Seat, until: Instant) -> Result<TcpStream> {
    let Seat { rank, size, host, port, .. } = seat;
    loop {
        let last = match attempt(seat, until) {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(why)) => return Err(Error::new(format!("rank {rank}: {why}"))),
            Err(why) => why,
        };
        if Instant::now() >= until {
            return Err(Error::new(format!(
                "rank {rank} of {size} has not met the others at {host}:{port}, where \
                 rank 0 should listen, within {:?}: {last}",
                seat.limit
            )));
        }
        sleep(AGAIN);
    }
}

/// # Errors
/// What may be otherwise the next time; in the result, what will not.
fn attempt(
    seat: &Seat,
    until: Instant,
) -> std::result::Result<std::result::Result<TcpStream, String>, String> {
    let said = |error: std::io::Error| error.to_string();
    let left = || until.saturating_duration_since(Instant::now()).max(AGAIN);
    let addresses = (&*seat.host, seat.port).to_socket_addrs().map_err(said)?;
    let mut found = Err("the host has no address".to_string());
    for address in addresses {
        found = TcpStream::connect_timeout(&address, left().min(EACH)).map_err(said);
        if found.is_ok() {
            break;
        }
    }
    let stream = found?;
    // Where nobody listens, on this host, TCP may connect a port with itself.
    if stream.local_addr().ok() == stream.peer_addr().ok() {
        return Err("nobody listens".to_string());
    }
    stream.set_nodelay(true).map_err(said)?;
    Frame::new(Kind::Hello, seat.rank as u32, hello(seat))
        .write(&stream)
        .map_err(said)?;
    // A little more than the hub's own, so that it can say who is missing.
    let patience = left() + Duration::from_secs(2);
    stream.set_read_timeout(Some(patience)).map_err(said)?;
    let frame = Frame::read(&stream, LONGEST).map_err(|error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer".to_string(),
        _ => error.to_string(),
    })?;
    stream.set_read_timeout(None).map_err(said)?;
    match frame.kind {
        Kind::Welcome => Ok(Ok(stream)),
        Kind::Later => Err(frame.text()),
        _ => Ok(Err(frame.text())),
    }
}

/// What a process says of itself.
fn hello(seat: &Seat) -> String {
    let Seat { size, token, launch, .. } = seat;
    format!("ferrotron {VERSION}\n{token}\n{launch}\n{size}")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_thread(error: &std::io::Error) -> Error {
    Error::new(format!("no thread for the rendezvous: {error}"))
}

#[cfg(test)]
mod tests;
