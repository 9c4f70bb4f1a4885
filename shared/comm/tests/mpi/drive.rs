//! Starts each case under mpirun, and looks at what comes of it.
use crate::cases::{CASES, Case};
use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a failure may take; of this, a second is mpirun's own start and end.
const LIMIT: Duration = Duration::from_secs(10);

/// How one run of mpirun ended.
struct Run {
    status: Option<i32>,
    took: Duration,
    said: String,
}

/// All cases, or those whose names are given; exits if one fails.
pub fn all(names: &[String]) {
    let asked = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
    let mut failures = 0;
    let mut report = |name: String, run: &Run, outcome: Result<(), String>| {
        let took = run.took.as_secs_f64();
        match outcome {
            Ok(()) => println!("{name}: ok ({took:.1} s)"),
            Err(why) => {
                failures += 1;
                println!("{name}: FAILED ({took:.1} s): {why}\n{}", run.said);
            }
        }
    };
    if asked("parity") {
        for (ranks, debug, chunk) in [
            (2, false, ""),
            (4, false, ""),
            (2, true, ""),
            (4, true, ""),
            (2, false, "1000"),
        ] {
            let run = start("parity", ranks, debug, chunk, Duration::from_secs(120));
            let outcome = match run.status {
                Some(0) if run.said.contains("are the same") => Ok(()),
                status => Err(format!("ended with {status:?}")),
            };
            let how = [
                if debug { ", watched" } else { "" },
                if chunk.is_empty() { "" } else { ", in chunks" },
            ]
            .concat();
            let hosts = run.said.lines().filter_map(|line| line.split_once(" is on "));
            let hosts: BTreeSet<&str> = hosts.map(|(_, host)| host).collect();
            let expected = std::env::var("HOSTS").map_or(1, |n| n.parse().unwrap_or(0));
            let outcome = match hosts.len() {
                n if n == expected => outcome,
                n => outcome.and(Err(format!("on {n} hosts, expected {expected}"))),
            };
            let hosts = Vec::from_iter(hosts).join(", ");
            report(format!("parity on {ranks}{how}, on {hosts}"), &run, outcome);
        }
    }
    for case in CASES.iter().filter(|case| asked(case.name)) {
        for debug in case.debug {
            let run = start(case.name, case.ranks, *debug, "", LIMIT);
            let outcome = check(case, &run);
            let how = if *debug { ", watched" } else { "" };
            report(format!("{}{how}", case.name), &run, outcome);
        }
    }
    if failures > 0 {
        println!("{failures} failed");
        std::process::exit(1);
    }
}

fn check(case: &Case, run: &Run) -> Result<(), String> {
    match run.status {
        None => return Err(format!("not over after {LIMIT:?}")),
        Some(0) => return Err("ended as if all were well".into()),
        Some(_) => {}
    }
    let of = |rank: usize| -> String {
        let mark = format!("[1,{rank}]<stderr>:");
        let lines = run.said.lines().filter_map(|line| line.strip_prefix(&mark));
        lines.collect::<Vec<_>>().join("\n")
    };
    let find = |rank: usize, told: bool, part: &str| {
        let said = of(rank);
        let mut lines = said.lines().filter(|line| !told || line.starts_with("told: "));
        match lines.any(|line| line.contains(part)) {
            true => Ok(()),
            false => Err(format!("rank {rank} does not say `{part}`")),
        }
    };
    for rank in 0..case.ranks {
        if case.told.contains(&rank) {
            for part in case.says {
                find(rank, true, part)?;
            }
        } else if of(rank).contains("told: ") {
            return Err(format!("rank {rank} was told"));
        }
    }
    for (rank, parts) in case.ended {
        for part in *parts {
            find(*rank, false, part)?;
        }
    }
    // By the program itself, once: not of those who were ended.
    let errors =
        run.said.lines().filter(|line| line.contains("<stderr>:Error: ")).count();
    let exits = case.name == "one_exits";
    if case.ended.is_empty() && !exits && errors != 1 {
        return Err(format!("{errors} processes say why, expected one"));
    }
    Ok(())
}

/// Runs a case under mpirun; once more, if it is mpirun that does not end: Open MPI
/// 4.1.4's now and then waits for a lock of its own when all ranks are gone.
fn start(case: &str, ranks: usize, debug: bool, chunk: &str, limit: Duration) -> Run {
    loop {
        if let Some(run) = try_once(case, ranks, debug, chunk, limit) {
            return run;
        }
        println!("{case}: mpirun itself did not end: once more");
    }
}

fn try_once(
    case: &str,
    ranks: usize,
    debug: bool,
    chunk: &str,
    limit: Duration,
) -> Option<Run> {
    let program = std::env::current_exe().expect("this program's path");
    // scripts/two_hosts.sh has another.
    let mpirun = std::env::var("MPIRUN").unwrap_or("mpirun".to_string());
    let mut command = Command::new(&mpirun);
    // Several ranks share a core here.
    command.args(["--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]);
    command.args(["--tag-output", "-n", &ranks.to_string()]);
    command.arg(&program).arg(case);
    command.env("FERROTRON_COMM_DEBUG", if debug { "1" } else { "0" });
    command.env("FERROTRON_COMM_CHUNK", chunk);
    command.env("RUST_BACKTRACE", "0");
    let start = Instant::now();
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(
            |error| panic!("{mpirun}: {error}: is Open MPI installed?"),
        );
    let mut pipes: Vec<Box<dyn Read + Send>> = vec![];
    pipes.extend(child.stdout.take().map(|pipe| Box::new(pipe) as _));
    pipes.extend(child.stderr.take().map(|pipe| Box::new(pipe) as _));
    let readers = pipes.into_iter().map(|mut pipe| {
        std::thread::spawn(move || {
            let mut text = vec![];
            let _ = pipe.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    });
    let readers: Vec<_> = readers.collect();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status.code().unwrap_or(-1)),
            Ok(None) if start.elapsed() < limit => {
                std::thread::sleep(Duration::from_millis(10))
            }
            _ => {
                // SAFETY: ends a child; mpirun then ends the ranks, in a second.
                unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
                std::thread::sleep(Duration::from_secs(5));
                if let Ok(None) = child.try_wait() {
                    let _ = child.kill();
                    let _ = child.wait();
                    return None;
                }
                break None;
            }
        }
    };
    let took = start.elapsed();
    let said = readers.into_iter().filter_map(|reader| reader.join().ok());
    Some(Run { status, took, said: said.collect() })
}
