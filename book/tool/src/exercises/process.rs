//! A process with a limit on its time.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// What a process did.
pub(super) struct Output {
    /// None if it was ended by us.
    pub status: Option<ExitStatus>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs a command to its end, or ends it after `limit`, with all that it started.
pub(super) fn output(command: &mut Command, limit: Duration) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = group::start(command)?;
    let stdout = read(child.stdout.take());
    let stderr = read(child.stderr.take());
    let status = wait(&mut child, limit)?;
    // Whoever escaped from the group may hold the pipes open: do not wait for long.
    let text = |pipe: Receiver<Vec<u8>>| {
        let bytes = pipe.recv_timeout(Duration::from_secs(5)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Output { status, stdout: text(stdout), stderr: text(stderr) })
}

/// Waits for `child`, at most for `limit`, then ends all that it started.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let (start, mut pause) = (Instant::now(), Duration::from_millis(1));
    let status = loop {
        match child.try_wait() {
            Ok(None) if start.elapsed() < limit => {}
            status => break status,
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    group::end(child);
    status
}

/// Reads a pipe to its end in a thread of its own; a flood is kept without its middle.
fn read(pipe: Option<impl Read + Send + 'static>) -> Receiver<Vec<u8>> {
    const KEPT: usize = 1 << 20;
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let (mut kept, mut part) = (Vec::new(), [0; 1 << 13]);
        let mut pipe = pipe;
        while let Some(count @ 1..) = pipe.as_mut().and_then(|p| p.read(&mut part).ok())
        {
            kept.extend_from_slice(&part[..count]);
            if kept.len() > 3 * KEPT {
                kept.drain(KEPT..2 * KEPT);
            }
        }
        // Nobody waits any longer: fine.
        let _ = send.send(kept);
    });
    receive
}

/// A check's process and all that it starts, ended together: after the limit, and when
/// the user presses Ctrl-C, which does not reach a process group of its own.
#[cfg(unix)]
mod group {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};
    use std::sync::Once;
    use std::sync::atomic::{AtomicI32, Ordering::SeqCst};

    /// The group now running, or 0.
    static RUNNING: AtomicI32 = AtomicI32::new(0);

    pub fn start(command: &mut Command) -> std::io::Result<Child> {
        static LISTEN: Once = Once::new();
        // If someone else listens already, Ctrl-C is theirs.
        LISTEN.call_once(|| {
            let _ = ctrlc::set_handler(|| {
                kill(RUNNING.load(SeqCst));
                std::process::exit(130);
            });
        });
        #[cfg(target_os = "linux")]
        // SAFETY: prctl is a system call, which may be made between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // Killed, we cannot end it; then Linux does.
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let child = command.process_group(0).spawn()?;
        RUNNING.store(id(&child), SeqCst);
        Ok(child)
    }

    pub fn end(child: &mut Child) {
        RUNNING.store(0, SeqCst);
        kill(id(child));
        // Killed or gone before: either way it is reaped.
        let _ = child.wait();
    }

    fn id(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap_or(0)
    }

    fn kill(group: i32) {
        if group > 0 {
            // SAFETY: kill touches no memory of ours.
            unsafe { libc::kill(-group, libc::SIGKILL) };
        }
    }
}

#[cfg(not(unix))]
mod group {
    use std::process::{Child, Command};

    pub fn start(command: &mut Command) -> std::io::Result<Child> {
        command.spawn()
    }

    pub fn end(child: &mut Child) {
        // It may be gone already.
        let _ = child.kill();
        let _ = child.wait();
    }
}
