//! What holds because ranks read each other's memory.
use crate::disagreement::watched;
use comm::{Reduce, Result, launch};
use half::f16;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

/// A call that all have made comes to its end, whatever fails elsewhere meanwhile: its
/// memory must not be freed under the others' hands.
#[test]
fn what_is_ready_is_not_interrupted() {
    for _ in 0..2 {
        let [started, failed, whole] = [0; 3].map(AtomicUsize::new);
        let until = |count: &AtomicUsize, n| {
            while count.load(Ordering::SeqCst) < n {
                std::thread::yield_now();
            }
        };
        let outcome = watched(|| {
            launch(4, |world| {
                let me = world.rank();
                if me < 2 {
                    let pair = world.subgroup("pair", &[0, 1])?;
                    // Long enough to be under way when the others fail.
                    let data = vec![f16::ONE; 1 << 24];
                    let pending = pair.start_all_reduce("x", data, Reduce::Sum)?;
                    started.fetch_add(1, Ordering::SeqCst);
                    until(&failed, 1);
                    let x = pending.wait()?;
                    assert!(x.iter().all(|x| x.to_f32() == 2.0));
                    whole.fetch_add(1, Ordering::SeqCst);
                    return Result::Ok(());
                }
                until(&started, 2);
                // Rank 3 returns, and rank 2 waits for it.
                if me == 2 {
                    let error = world.subgroup("other", &[2, 3])?.barrier("x");
                    assert!(error.is_err());
                    failed.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        });
        assert_eq!(whole.load(Ordering::SeqCst), 2);
        let text = outcome.unwrap_err().to_string();
        assert!(
            text.starts_with("rank 2 waits for what will never be called"),
            "{text}"
        );
    }
}

/// The second end of a message copies it, and that is no hidden time.
#[test]
fn what_starting_takes_is_not_hidden() {
    let entries = launch(2, |world| {
        if world.rank() == 1 {
            world.send("act", &vec![1f32; 1 << 20], 0)?;
            return Result::Ok(None);
        }
        sleep(Duration::from_millis(30));
        let pending = world.start_recv("act", vec![0f32; 1 << 20], 1)?;
        assert!(pending.is_over());
        pending.wait()?;
        Ok(world.ledger().lines().into_iter().find(|line| line.operation == "recv"))
    })
    .unwrap();
    let entry = entries[0].as_ref().unwrap().entry;
    assert!(entry.overlapped.is_zero() && !entry.exposed.is_zero(), "{entry:?}");
}
