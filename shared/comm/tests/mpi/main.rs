//! The engine of processes beside that of threads: `scripts/mpi.sh`.
//!
//! Started by itself, this program starts itself under mpirun, for each of the cases,
//! and looks at what the ranks say and how it ends. Started by mpirun it is one rank of
//! a case.
mod cases;
mod drive;
mod parity;

use comm::launch;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match comm::processes() {
        Ok(Some(ranks)) => rank(ranks, words.first().map_or("", String::as_str)),
        Ok(None) => drive::all(&words),
        Err(error) => fail(&error.to_string()),
    }
}

/// One rank of a case.
fn rank(ranks: usize, case: &str) {
    // What rank 0 is told holds for all, and so the others are not told.
    if std::env::var("OMPI_COMM_WORLD_RANK").is_ok_and(|rank| rank != "0") {
        for name in ["FERROTRON_COMM_DEBUG", "FERROTRON_COMM_CHUNK"] {
            // SAFETY: there is no other thread yet.
            unsafe { std::env::remove_var(name) };
        }
    }
    let outcome = match (case, cases::find(case)) {
        ("parity", _) => parity::check(ranks),
        (_, Some(case)) => case.run(ranks),
        (name, None) => return fail(&format!("no case `{name}`")),
    };
    if let Err(error) = outcome {
        fail(&error.to_string());
    }
}

fn fail(why: &str) {
    eprintln!("Error: {why}");
    std::process::exit(1)
}
