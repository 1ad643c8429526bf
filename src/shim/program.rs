//! Running a program at the start that may hang, and that must not outlive us.

use anyhow::{Context, Result, ensure};
use nix::sys::prctl::set_pdeathsig;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a program may take that makes or tries the files. It takes a second, or a few on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a program has to say, if it says it in time.
pub fn output(command: &mut Command, patience: Duration) -> Result<Output> {
    // SAFETY: between fork and exec the child makes system calls alone.
    unsafe {
        // Nothing that the supervisor has started outlives it. This is its first thread, which ends with it.
        let parent = nix::unistd::getpid();
        command.pre_exec(move || {
            set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
            // It may have died before the signal was asked for.
            if nix::unistd::getppid() == parent { Ok(()) } else { Err(nix::errno::Errno::ESRCH.into()) }
        });
    }
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let (done, waiting) = mpsc::channel::<()>();
    let watched = Pid::from_raw(child.id() as i32)
        .context("a process has a number")
        .and_then(|pid| Ok(pidfd_open(pid, PidfdFlags::empty())?))
        .and_then(|handle| watch(handle, waiting, patience));
    let watch = match watched {
        Ok(watch) => watch,
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
    };
    let output = child.wait_with_output();
    drop(done);
    let late = watch.join().unwrap_or(false);
    ensure!(!late, "{} has not ended in {patience:?}", command.get_program().display());
    Ok(output?)
}

/// Ends a process if it is not `done` in time, and tells whether it was not.
fn watch(process: OwnedFd, done: mpsc::Receiver<()>, patience: Duration) -> Result<JoinHandle<bool>> {
    Ok(std::thread::Builder::new().spawn(move || {
        let late = done.recv_timeout(patience) == Err(RecvTimeoutError::Timeout);
        if late {
            // By its handle: it may end, and its number be given away, at this very moment.
            let _ = pidfd_send_signal(&process, Signal::KILL);
        }
        late
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let error = output(Command::new("sleep").arg("1000"), Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.to_string(), "sleep has not ended in 50ms");
        assert!(output(Command::new("sleep").arg("0"), PATIENCE).unwrap().status.success());
    }
}
