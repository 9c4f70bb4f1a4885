//! Rank 0's side of a meeting: lets ranks in, and hands on what they say.
use super::frame::{ALL, Frame, Kind, LONGEST};
use super::{Seat, VERSION, lock, no_thread};
use crate::engine::several;
use crate::error::{Error, Result};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

/// How long a stranger may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// How long a rank may take to read what it is sent: ranks do nothing else then.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether somebody has come.
const LOOK: Duration = Duration::from_millis(10);

/// How long who comes later hears why there is no meeting.
const LINGER: Duration = Duration::from_secs(2);

/// What a hello is no longer than.
const HELLO: usize = 4096;

/// Dropping it waits until the meeting is over.
pub(super) struct Hub(Option<JoinHandle<()>>);

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

struct Room {
    seat: Seat,
    state: Mutex<State>,
}

struct State {
    /// By rank; who has left is not here any more.
    members: Vec<Option<Arc<TcpStream>>>,
    /// How many have come.
    came: usize,
    /// All have been here.
    open: bool,
    /// No letters are handed on any more.
    over: bool,
    /// Why it never began, and since when.
    spoiled: Option<(String, Instant)>,
    /// Who has said goodbye, and waits for the others to.
    leaving: Vec<bool>,
}

impl Hub {
    /// # Errors
    /// The port is in use, or there is no thread.
    pub fn open(seat: &Seat) -> Result<Hub> {
        let Seat { port, size, .. } = seat;
        // On all of this host's addresses, of both families if it has both: what others
        // call it may be none of its own.
        let both = TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port));
        let listener = match both {
            Err(error) if error.kind() != ErrorKind::AddrInUse => {
                TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port))
            }
            either => either,
        };
        let listener = listener.map_err(|error| {
            Error::new(format!(
                "rank 0 cannot listen on port {port}, where the other ranks will look \
                 for it: {error}. Set FERROTRON_PORT, for all ranks, to a free one"
            ))
        })?;
        let failed = |error| Error::new(format!("port {port}: {error}"));
        listener.set_nonblocking(true).map_err(failed)?;
        let members = vec![None; *size];
        let leaving = vec![false; *size];
        let (came, open, over, spoiled) = Default::default();
        let state = State { members, came, open, over, spoiled, leaving };
        let room = Arc::new(Room { seat: seat.clone(), state: Mutex::new(state) });
        let run = move || room.receive(&listener);
        let thread = Builder::new().name("rendezvous hub".into()).spawn(run);
        Ok(Hub(Some(thread.map_err(|error| no_thread(&error))?)))
    }
}

impl Room {
    /// Lets ranks in, and strangers know that they are wrong, until all is over.
    fn receive(self: Arc<Room>, listener: &TcpListener) {
        let until = Instant::now() + self.seat.limit;
        while !lock(&self.state).is_through() {
            if let Ok((stream, _)) = listener.accept() {
                let room = self.clone();
                // Without a thread, whoever came tries again.
                let guide = Builder::new().name("rendezvous guest".into());
                let _ = guide.spawn(move || room.guest(stream));
                continue;
            }
            let mut state = lock(&self.state);
            if !state.open && Instant::now() >= until {
                let missing: Vec<usize> = (0..self.seat.size)
                    .filter(|rank| state.members[*rank].is_none())
                    .collect();
                let who = several(&missing, "has", "have");
                let Seat { limit, size, .. } = &self.seat;
                state.spoil(&format!("{who} not come within {limit:?}, of {size}"));
            }
            drop(state);
            sleep(LOOK);
        }
    }
    /// One connection, to its end.
    fn guest(&self, stream: TcpStream) {
        let stream = Arc::new(stream);
        let patient = stream.set_nonblocking(false).is_ok()
            && stream.set_read_timeout(Some(INTRODUCTION)).is_ok()
            && stream.set_write_timeout(Some(PATIENCE)).is_ok()
            && stream.set_nodelay(true).is_ok();
        let Some(hello) = Frame::read(&stream, HELLO).ok().filter(|_| patient) else {
            return;
        };
        let rank = match self.admit(&hello, &stream) {
            Ok(rank) => rank,
            Err((kind, why)) => {
                let _ = Frame::new(kind, 0, why).write(&stream);
                return;
            }
        };
        if stream.set_read_timeout(None).is_ok() {
            self.serve(rank, &stream);
        }
        self.gone(rank);
    }
    /// Finds out who it is.
    ///
    /// # Errors
    /// Not one of these ranks, or not now; what to answer.
    fn admit(
        &self,
        hello: &Frame,
        stream: &Arc<TcpStream>,
    ) -> std::result::Result<usize, (Kind, String)> {
        let refused = |why: String| Err((Kind::Refused, why));
        let text = hello.text();
        let mut lines = text.split('\n');
        let mut next = || lines.next().unwrap_or_default();
        let (version, token, launch, size) = (next(), next(), next(), next());
        let expected = format!("ferrotron {VERSION}");
        if hello.kind != Kind::Hello || version != expected {
            return refused(format!(
                "`{expected}` is spoken here: are all ranks the same program?"
            ));
        }
        let Seat { token: own, launch: number, size: ranks, port, .. } = &self.seat;
        if token != own {
            return refused(format!(
                "another job meets at port {port}: set FERROTRON_PORT, for all ranks \
                 of one of them, to another"
            ));
        }
        match launch.parse::<u64>() {
            Ok(launch) if launch == *number => {}
            Ok(launch) if launch > *number => {
                let why = format!("launch {number} of this job is not over");
                return Err((Kind::Later, why));
            }
            _ => return refused(format!("this is launch {number} of the job")),
        }
        let mut state = lock(&self.state);
        let rank = hello.rank as usize;
        if let Some((why, _)) = &state.spoiled {
            return refused(why.clone());
        }
        // From here on it is one of the job's own: if it is wrong, the others wait in
        // vain.
        let wrong = if size != ranks.to_string() {
            Some(format!(
                "rank {rank} was started as one of {size}, rank 0 as one of {ranks}"
            ))
        } else if rank >= *ranks {
            Some(format!("a rank {rank} has come, of {ranks} that count from 0"))
        } else if state.open || state.members[rank].is_some() {
            Some(format!("two processes were started as rank {rank}"))
        } else {
            None
        };
        if let Some(why) = wrong {
            // A meeting that has begun is not disturbed.
            if !state.open {
                state.spoil(&why);
            }
            return refused(why);
        }
        state.members[rank] = Some(stream.clone());
        state.came += 1;
        if state.came == *ranks {
            state.open = true;
            state.tell(ALL, &Frame::new(Kind::Welcome, 0, []));
        }
        Ok(rank)
    }
    /// Hands on what a rank says, until it says goodbye or nothing more.
    fn serve(&self, rank: usize, stream: &TcpStream) {
        while let Ok(frame) = Frame::read(stream, LONGEST) {
            let mut state = lock(&self.state);
            match frame.kind {
                Kind::Letter if state.open => {
                    let letter = Frame::new(Kind::Letter, rank as u32, frame.bytes);
                    state.tell(frame.rank, &letter);
                }
                Kind::Goodbye => {
                    state.leaving[rank] = true;
                    state.close();
                }
                _ => {}
            }
        }
    }
    /// That connection is closed.
    fn gone(&self, rank: usize) {
        let mut state = lock(&self.state);
        state.members[rank] = None;
        if !state.open {
            state.came -= usize::from(!state.over);
        } else if !state.leaving[rank] {
            state.tell(ALL, &Frame::new(Kind::Died, rank as u32, []));
        }
        state.close();
    }
}

impl State {
    /// To a rank, or to all that are here. Who cannot be reached will be found dead by
    /// who reads from it.
    fn tell(&mut self, to: u32, frame: &Frame) {
        for (rank, stream) in self.members.iter().enumerate() {
            if let Some(stream) =
                stream.as_ref().filter(|_| [rank as u32, ALL].contains(&to))
            {
                let _ = frame.write(stream);
            }
        }
    }
    /// Farewell, if all who are here have said goodbye.
    fn close(&mut self) {
        let all = |rank: usize| self.members[rank].is_none() || self.leaving[rank];
        if self.open && !self.over && (0..self.members.len()).all(all) {
            self.tell(ALL, &Frame::new(Kind::Farewell, 0, []));
            self.over = true;
        }
    }
    /// Before it has begun, the meeting is over.
    fn spoil(&mut self, why: &str) {
        if !self.over {
            self.tell(ALL, &Frame::new(Kind::Refused, 0, why));
            self.over = true;
            self.spoiled = Some((why.to_string(), Instant::now()));
        }
    }
    /// Whether nobody else need be received.
    fn is_through(&self) -> bool {
        let lingers = |(_, since): &(String, Instant)| since.elapsed() < LINGER;
        self.over && !self.spoiled.as_ref().is_some_and(lingers)
    }
}
