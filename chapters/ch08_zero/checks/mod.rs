//! What an answer must hold to, the same for the reader's and for ours.
pub mod ex1_parts_of_a_buffer;
pub mod ex2_gradient_norm;
pub mod ex3_prefetch;

use comm::Group;
use std::fmt::Display;

/// `1 rank`, `2 ranks`.
pub fn many(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Runs `f` on so many ranks; what each returns, or a panic that says when it failed.
#[track_caller]
pub fn ranks<T: Send, E: Display + Send>(
    n: usize,
    when: &str,
    f: impl Fn(Group) -> std::result::Result<T, E> + Sync,
) -> Vec<T> {
    let each = |group| {
        let _threads = ops::threads::own(1);
        f(group)
    };
    match comm::launch(n, each) {
        Ok(all) => all,
        Err(error) => panic!("{}, {when}: {error}", many(n, "rank")),
    }
}
