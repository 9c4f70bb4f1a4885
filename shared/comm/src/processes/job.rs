//! The processes that `torchrun` or `srun` started, as their environment has it.
//!
//! | what | torchrun | srun |
//! | --- | --- | --- |
//! | rank | RANK | SLURM_PROCID |
//! | ranks | WORLD_SIZE | SLURM_STEP_NUM_TASKS, or SLURM_NTASKS |
//! | place on its host | LOCAL_RANK | SLURM_LOCALID |
//! | rank 0's host | MASTER_ADDR | MASTER_ADDR, or the first of SLURM_STEP_NODELIST |
//! | its port | MASTER_PORT | MASTER_PORT, or made of the job's number |
//! | the job's token | TORCHELASTIC_RUN_ID | SLURM_JOB_ID and SLURM_STEP_ID |
//!
//! FERROTRON_PORT is the port in any case. If torchrun itself has a server at
//! MASTER_PORT (it says so in TORCHELASTIC_USE_AGENT_STORE), it is the next one. In a
//! batch script of Slurm a program that `srun` did not start is by itself: only `srun`
//! makes steps.
use crate::error::{Error, Result};

/// One process of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    /// Who started it.
    pub by: &'static str,
    pub rank: usize,
    pub size: usize,
    /// Its place among those of its host, and so its GPU.
    pub local_rank: usize,
    /// Where rank 0 listens.
    pub host: String,
    pub port: u16,
    pub token: String,
}

type Get<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What `get` says of a job; `None` if there is none.
///
/// # Errors
/// Something is missing, or contradicts the rest.
pub(crate) fn read(get: Get) -> Result<Option<Job>> {
    let by = if get("WORLD_SIZE").is_some() && get("RANK").is_some() {
        "torchrun"
    } else if get("SLURM_STEP_ID").is_some() && get("SLURM_PROCID").is_some() {
        "srun"
    } else {
        return Ok(None);
    };
    let job = if by == "torchrun" { torchrun(get)? } else { srun(get)? };
    let Job { rank, size, local_rank, .. } = job;
    if rank >= size {
        let why = format!("{by} says that this is rank {rank} of {size}, from 0");
        return Err(Error::new(why));
    }
    if local_rank > rank {
        return Err(Error::new(format!(
            "{by} says that rank {rank} is process {local_rank} of its host: there are \
             not so many before it"
        )));
    }
    Ok(Some(job))
}

fn torchrun(get: Get) -> Result<Job> {
    let of = |name: &str| number(get, name, "torchrun");
    let port_of = |name: &str| number::<u16>(get, name, "torchrun");
    let port = match get("FERROTRON_PORT") {
        Some(_) => port_of("FERROTRON_PORT")?,
        None => {
            let port = port_of("MASTER_PORT")?;
            let taken = get("TORCHELASTIC_USE_AGENT_STORE");
            let taken = taken.is_some_and(|taken| taken.eq_ignore_ascii_case("true"));
            if taken { port.checked_add(1).unwrap_or(port - 1) } else { port }
        }
    };
    let local_rank = of("LOCAL_RANK")?;
    if let Some(text) = get("LOCAL_WORLD_SIZE") {
        let here: usize = of("LOCAL_WORLD_SIZE")?;
        if local_rank >= here {
            return Err(Error::new(format!(
                "LOCAL_RANK is {local_rank}, and LOCAL_WORLD_SIZE {text}: expected \
                 less"
            )));
        }
    }
    Ok(Job {
        by: "torchrun",
        rank: of("RANK")?,
        size: of("WORLD_SIZE")?,
        local_rank,
        host: needed(get, "MASTER_ADDR", "torchrun")?,
        port,
        token: format!("torchrun {}", get("TORCHELASTIC_RUN_ID").unwrap_or_default()),
    })
}

fn srun(get: Get) -> Result<Job> {
    let of = |name: &str| number(get, name, "srun");
    let sizes = ["SLURM_STEP_NUM_TASKS", "SLURM_NTASKS"];
    let size = *sizes.iter().find(|name| get(name).is_some()).unwrap_or(&sizes[0]);
    let (job, step) = (get("SLURM_JOB_ID"), get("SLURM_STEP_ID").unwrap_or_default());
    let nodes = get("SLURM_STEP_NODELIST").map(|nodes| first_host(&nodes));
    let host = get("MASTER_ADDR").or(nodes).or(get("SLURM_LAUNCH_NODE_IPADDR"));
    let ports = ["FERROTRON_PORT", "MASTER_PORT"];
    let port = match ports.iter().find(|name| get(name).is_some()) {
        Some(name) => number(get, name, "srun")?,
        // Above what services have, and below what systems lend to connections.
        None => {
            let job: u64 = number(get, "SLURM_JOB_ID", "srun")?;
            let step: u64 = step.parse().unwrap_or(0);
            (20_000 + (job * 7 + step) % 10_000) as u16
        }
    };
    Ok(Job {
        by: "srun",
        rank: of("SLURM_PROCID")?,
        size: of(size)?,
        local_rank: of("SLURM_LOCALID")?,
        host: host.ok_or_else(|| missing("SLURM_STEP_NODELIST", "srun"))?,
        port,
        token: format!("srun {}.{step}", job.unwrap_or_default()),
    })
}

fn missing(name: &str, by: &str) -> Error {
    Error::new(format!("{name} is not set, as {by} does: was this started by it?"))
}

fn needed(get: Get, name: &str, by: &str) -> Result<String> {
    get(name).filter(|text| !text.is_empty()).ok_or_else(|| missing(name, by))
}

fn number<T: std::str::FromStr>(get: Get, name: &str, by: &str) -> Result<T> {
    let text = needed(get, name, by)?;
    text.parse().map_err(|_| {
        let kind = if name.ends_with("PORT") { "a port" } else { "a number" };
        Error::new(format!("{name} is `{text}`, expected {kind}"))
    })
}

/// Of `node[03-05,9],other`: `node03`.
fn first_host(nodes: &str) -> String {
    let (mut name, mut rest) = (String::new(), nodes);
    while let Some(at) = rest.find(['[', ',']) {
        name += &rest[..at];
        if rest[at..].starts_with(',') {
            return name;
        }
        let (numbers, after) =
            rest[at + 1..].split_once(']').unwrap_or((&rest[at + 1..], ""));
        name += numbers.split([',', '-']).next().unwrap_or_default();
        rest = after;
    }
    name + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(set: &[(&str, &str)]) -> Result<Option<Job>> {
        read(&|name| {
            let found = set.iter().find(|(other, _)| *other == name);
            found.map(|(_, text)| text.to_string())
        })
    }
    const TORCHRUN: [(&str, &str); 7] = [
        ("RANK", "5"),
        ("WORLD_SIZE", "8"),
        ("LOCAL_RANK", "1"),
        ("LOCAL_WORLD_SIZE", "4"),
        ("MASTER_ADDR", "head"),
        ("MASTER_PORT", "29500"),
        ("TORCHELASTIC_RUN_ID", "a"),
    ];
    const SRUN: [(&str, &str); 6] = [
        ("SLURM_PROCID", "5"),
        ("SLURM_STEP_NUM_TASKS", "8"),
        ("SLURM_LOCALID", "1"),
        ("SLURM_STEP_ID", "2"),
        ("SLURM_JOB_ID", "12345"),
        ("SLURM_STEP_NODELIST", "gpu[03-04,7],other"),
    ];

    fn with(set: &[(&str, &str)], name: &str, text: Option<&str>) -> String {
        let others = set.iter().filter(|(other, _)| *other != name).copied();
        let mut all: Vec<_> = others.collect();
        all.extend(text.map(|text| (name, text)));
        match of(&all) {
            Err(error) => error.to_string(),
            Ok(job) => format!("{job:?}"),
        }
    }

    #[test]
    fn what_torchrun_says() {
        let job = of(&TORCHRUN).unwrap().unwrap();
        let (host, token) = ("head".into(), "torchrun a".into());
        let by = "torchrun";
        let want =
            Job { by, rank: 5, size: 8, local_rank: 1, host, port: 29500, token };
        assert_eq!(job, want);
        let agent = ("TORCHELASTIC_USE_AGENT_STORE", "True");
        assert!(with(&TORCHRUN, agent.0, Some(agent.1)).contains("port: 29501"));
        assert!(with(&TORCHRUN, "FERROTRON_PORT", Some("7")).contains("port: 7,"));
    }
    #[test]
    fn what_srun_says() {
        let job = of(&SRUN).unwrap().unwrap();
        let (host, token) = ("gpu03".into(), "srun 12345.2".into());
        let port = 26_417;
        let want =
            Job { by: "srun", rank: 5, size: 8, local_rank: 1, host, port, token };
        assert_eq!(job, want);
        // In a batch script, by itself.
        assert_eq!(with(&SRUN, "SLURM_STEP_ID", None), "None");
        assert!(with(&SRUN, "MASTER_ADDR", Some("x")).contains("host: \"x\""));
        for (nodes, first) in [
            ("a", "a"),
            ("a,b", "a"),
            ("n[7]-ib,m", "n7-ib"),
            ("r[0-1]n[03,5],m[1]", "r0n03"),
        ] {
            assert_eq!(first_host(nodes), first);
        }
    }
    #[test]
    fn what_is_missing_or_wrong_is_named() {
        for (name, text, said) in [
            ("MASTER_ADDR", None, "MASTER_ADDR is not set, as torchrun does"),
            ("LOCAL_RANK", None, "LOCAL_RANK is not set"),
            ("RANK", Some("x"), "RANK is `x`, expected a number"),
            ("MASTER_PORT", Some("70000"), "is `70000`, expected a port"),
            ("RANK", Some("8"), "rank 8 of 8"),
            ("LOCAL_RANK", Some("4"), "LOCAL_WORLD_SIZE 4: expected less"),
            ("RANK", Some("0"), "rank 0 is process 1 of its host"),
        ] {
            let found = with(&TORCHRUN, name, text);
            assert!(found.contains(said), "{name}: {found}");
        }
        for (name, said) in [
            ("SLURM_JOB_ID", "SLURM_JOB_ID is not set, as srun does"),
            ("SLURM_STEP_NODELIST", "SLURM_STEP_NODELIST is not set"),
            ("SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_TASKS is not set"),
        ] {
            let found = with(&SRUN, name, None);
            assert!(found.contains(said), "{name}: {found}");
        }
    }
}
