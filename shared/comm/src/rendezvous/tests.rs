//! Meetings of threads and of processes, and what can be wrong with them.
use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};

/// A port that is free now, and is not lent to connections (Linux lends from 32768 on).
fn port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (20_000 + (std::process::id() * 61 + next * 7) % 10_000) as u16;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

fn seat(rank: usize, size: usize, port: u16) -> Seat {
    let (host, token) = ("127.0.0.1".into(), "a token".into());
    let limit = Duration::from_secs(20);
    Seat { rank, size, host, port, token, launch: 0, limit }
}

fn join(seat: &Seat) -> Result<(Meeting, Receiver<News>)> {
    let (sender, news) = channel();
    let hear = move |_: &Post, said| drop(sender.send(said));
    Ok((Meeting::join(seat, hear)?, news))
}

/// What joining comes to on threads, one for each seat.
fn all(seats: Vec<Seat>) -> Vec<Result<(Meeting, Receiver<News>)>> {
    let threads = seats.into_iter().map(|seat| std::thread::spawn(move || join(&seat)));
    let threads: Vec<_> = threads.collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

fn leave(meetings: Vec<Meeting>) {
    let leaves = |meeting: Meeting| std::thread::spawn(move || meeting.leave());
    let threads: Vec<_> = meetings.into_iter().map(leaves).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

fn letter(from: usize, text: &str) -> News {
    News::Letter { from, bytes: text.into() }
}

#[test]
fn letters_to_one_and_to_all_arrive_in_order() {
    let port = port();
    let all = all((0..4).map(|rank| seat(rank, 4, port)).collect());
    let (meetings, news): (Vec<_>, Vec<_>) =
        all.into_iter().map(Result::unwrap).unzip();
    for k in 0..100 {
        meetings[2].post().send(Some(1), format!("one {k}").as_bytes()).unwrap();
        meetings[3].post().send(None, format!("all {k}").as_bytes()).unwrap();
    }
    for (rank, news) in news.iter().enumerate() {
        let (mut ones, mut alls) = (0, 0);
        while alls < 100 || (rank == 1 && ones < 100) {
            let said = news.recv_timeout(Duration::from_secs(10)).unwrap();
            if said == letter(3, &format!("all {alls}")) {
                alls += 1;
            } else {
                assert_eq!((rank, said), (1, letter(2, &format!("one {ones}"))));
                ones += 1;
            }
        }
    }
    leave(meetings);
    assert!(news.iter().all(|news| news.try_recv().is_err()), "more was said");
}

/// The goodbye of the last is the farewell of all, and the port is free again.
#[test]
fn nobody_is_through_before_all_are() {
    let port = port();
    for launch in 0..3 {
        let seats = (0..2).map(|rank| Seat { launch, ..seat(rank, 2, port) });
        let mut all: Vec<_> =
            all(seats.collect()).into_iter().map(Result::unwrap).collect();
        let (last, _) = all.pop().unwrap();
        let (first, _) = all.pop().unwrap();
        let first = std::thread::spawn(move || first.leave());
        sleep(Duration::from_millis(100));
        assert!(!first.is_finished());
        last.leave();
        first.join().unwrap();
    }
}

/// Who is ahead waits for those who are still in the launch before.
#[test]
fn the_next_launch_waits_for_this_one() {
    let port = port();
    let all = all((0..2).map(|rank| seat(rank, 2, port)).collect());
    let ahead = Seat { launch: 1, ..seat(1, 2, port) };
    let ahead = std::thread::spawn(move || join(&ahead).unwrap().0);
    sleep(Duration::from_millis(200));
    leave(all.into_iter().map(|joined| joined.unwrap().0).collect());
    let second = join(&Seat { launch: 1, ..seat(0, 2, port) }).unwrap().0;
    leave(vec![second, ahead.join().unwrap()]);
}

#[test]
fn a_late_rank_is_waited_for_and_a_missing_one_is_named() {
    let port = port();
    let late = std::thread::spawn(move || {
        sleep(Duration::from_millis(500));
        join(&seat(1, 2, port))
    });
    let first = join(&seat(0, 2, port)).unwrap().0;
    leave(vec![first, late.join().unwrap().unwrap().0]);
    let limit = Duration::from_millis(300);
    let seats = [0, 2].map(|rank| Seat { limit, ..seat(rank, 3, port) });
    for outcome in all(seats.into()) {
        let error = outcome.err().unwrap().to_string();
        assert!(error.contains("rank 1 has not come within 300ms, of 3"), "{error}");
    }
    let error = join(&Seat { limit, ..seat(1, 3, port) }).err().unwrap().to_string();
    assert!(error.contains("where rank 0 should listen, within 300ms"), "{error}");
}

#[test]
fn a_stranger_is_sent_away_and_nobody_notices() {
    let port = port();
    let first = std::thread::spawn(move || join(&seat(0, 2, port)).unwrap().0);
    sleep(Duration::from_millis(100));
    let token = "another".to_string();
    let stranger = join(&Seat { token, ..seat(1, 2, port) }).err().unwrap().to_string();
    assert!(stranger.contains("another job meets at port"), "{stranger}");
    // One that says nothing, one that says something else, one that says too much.
    let _silent = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut web = TcpStream::connect(("127.0.0.1", port)).unwrap();
    web.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut heavy = TcpStream::connect(("127.0.0.1", port)).unwrap();
    heavy.write_all(&[0xff, 0xff, 0xff, 0x7f, 1, 0, 0, 0, 0]).unwrap();
    heavy.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    assert_eq!(heavy.read(&mut [0]).unwrap(), 0, "it waits for 2 GiB");
    let second = join(&seat(1, 2, port)).unwrap().0;
    // And while the meeting is under way.
    let error = join(&seat(1, 2, port)).err().unwrap().to_string();
    assert!(error.contains("two processes were started as rank 1"), "{error}");
    leave(vec![first.join().unwrap(), second]);
}

#[test]
fn contradictions_end_it_for_all() {
    for (wrong, said) in [
        ((1, 3), "rank 1 was started as one of 3, rank 0 as one of 2"),
        ((2, 2), "a rank 2 has come, of 2 that count from 0"),
        ((0, 2), "two processes were started as rank 0"),
    ] {
        let port = port();
        let first = std::thread::spawn(move || join(&seat(0, 2, port)));
        sleep(Duration::from_millis(200));
        let (rank, size) = wrong;
        // Not as the one who listens.
        let until = Instant::now() + Duration::from_secs(5);
        let error = connect(&seat(rank, size, port), until).err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
        let error = first.join().unwrap().err().unwrap().to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// Also if the wrong one comes before rank 0 itself.
#[test]
fn who_comes_after_a_contradiction_hears_it() {
    let port = port();
    let hub = Hub::open(&seat(0, 2, port)).unwrap();
    let until = Instant::now() + Duration::from_secs(5);
    for (rank, size) in [(1, 3), (0, 2), (1, 2)] {
        let error = connect(&seat(rank, size, port), until).err().unwrap().to_string();
        assert!(error.contains("rank 1 was started as one of 3"), "{error}");
    }
    drop(hub);
}

#[test]
fn a_port_in_use_is_named() {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = join(&seat(0, 2, port)).err().unwrap().to_string();
    assert!(error.contains(&format!("cannot listen on port {port}")), "{error}");
    assert!(error.contains("FERROTRON_PORT"), "{error}");
}

const RANK: &str = "RENDEZVOUS_TEST_RANK";
const PORT: &str = "RENDEZVOUS_TEST_PORT";

/// The other end of the tests below: a process that is one rank of three.
#[test]
fn as_a_process() {
    let number = |name| std::env::var(name).ok().and_then(|n| n.parse::<usize>().ok());
    let (Some(rank), Some(port)) = (number(RANK), number(PORT)) else { return };
    let (meeting, news) = join(&seat(rank, 3, port as u16)).unwrap();
    meeting.post().send(None, b"here").unwrap();
    for said in news {
        println!("{said:?}");
        match said {
            News::Letter { bytes, .. } if bytes == b"go" => break,
            News::Letter { bytes, .. } if bytes == b"exit" => std::process::exit(0),
            News::Died { rank: 0 } => return,
            _ => {}
        }
    }
    meeting.leave();
}

fn start(rank: usize, port: u16) -> Child {
    let name = "rendezvous::tests::as_a_process";
    Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(RANK, rank.to_string())
        .env(PORT, port.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a process said, and that it ended as it should.
fn end(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn processes_hear_who_died() {
    for killed in [true, false] {
        let port = port();
        let mut one = start(1, port);
        let two = start(2, port);
        let (meeting, news) = join(&seat(0, 3, port)).unwrap();
        let next = || news.recv_timeout(Duration::from_secs(10)).unwrap();
        let mut here = [next(), next()];
        here.sort_by_key(|said| matches!(said, News::Letter { from: 2, .. }));
        assert_eq!(here, [letter(1, "here"), letter(2, "here")]);
        if killed {
            // SIGKILL.
            one.kill().unwrap();
        } else {
            meeting.post().send(Some(1), b"exit").unwrap();
        }
        assert_eq!(next(), News::Died { rank: 1 });
        meeting.post().send(Some(2), b"go").unwrap();
        meeting.leave();
        assert!(end(two).contains("Died { rank: 1 }"));
        one.wait().unwrap();
    }
}

#[test]
fn processes_hear_that_rank_0_died() {
    let port = port();
    let (one, two, mut zero) = (start(1, port), start(2, port), start(0, port));
    sleep(Duration::from_millis(500));
    zero.kill().unwrap();
    zero.wait().unwrap();
    for child in [one, two] {
        assert!(end(child).contains("Died { rank: 0 }"));
    }
}
