//! Starts this program again, as torchrun would.
use crate::gpu::library;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Where a process finds its case.
pub const CASE: &str = "NCCL_TEST_CASE";

/// How torchrun starts a process of a job.
#[derive(Clone)]
pub struct Start {
    pub case: String,
    pub size: usize,
    pub port: u16,
    pub watched: bool,
    pub seconds: &'static str,
    pub gpus: Option<usize>,
}

/// A port that is free now, and is not lent to connections (Linux lends from 32768 on).
fn port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = (20_000 + (std::process::id() * 61 + next * 11) % 10_000) as u16;
        if TcpListener::bind(("0.0.0.0", port)).is_ok() {
            return port;
        }
    }
}

impl Start {
    pub fn of(case: &str, size: usize) -> Start {
        let (case, watched, seconds) = (case.to_string(), false, "30");
        Start { case, size, port: port(), watched, seconds, gpus: None }
    }
    pub fn start(&self, rank: usize) -> Child {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["processes::as_a_rank", "--exact", "--nocapture"])
            .env(CASE, &self.case)
            .env("FAKE_NCCL", library())
            .env("RANK", rank.to_string())
            .env("LOCAL_RANK", rank.to_string())
            .env("WORLD_SIZE", self.size.to_string())
            .env("LOCAL_WORLD_SIZE", self.size.to_string())
            .env("MASTER_ADDR", "127.0.0.1")
            .env("MASTER_PORT", self.port.to_string())
            .env("FERROTRON_COMM_TIMEOUT", self.seconds)
            // What rank 0 is told holds for all.
            .env(
                "FERROTRON_COMM_DEBUG",
                if self.watched && rank == 0 { "1" } else { "0" },
            )
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(gpus) = self.gpus {
            command.env("GPUS", gpus.to_string());
        }
        command.spawn().unwrap()
    }
    /// Starts them all; how each ended, and what it said.
    pub fn all(&self) -> Vec<(Option<i32>, String)> {
        let children: Vec<Child> =
            (0..self.size).map(|rank| self.start(rank)).collect();
        end(children)
    }
}

/// How they end, within a minute.
pub fn end(children: Vec<Child>) -> Vec<(Option<i32>, String)> {
    let until = Instant::now() + Duration::from_secs(60);
    let waiter = |mut child: Child| {
        std::thread::spawn(move || {
            while child.try_wait().unwrap().is_none() {
                if Instant::now() > until {
                    child.kill().unwrap();
                    let output = child.wait_with_output().unwrap();
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    return (None, format!("a hang: {said}"));
                }
                sleep(Duration::from_millis(5));
            }
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.code(), said)
        })
    };
    let waiters: Vec<_> = children.into_iter().map(waiter).collect();
    waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect()
}
