//! A process that is nobody's child here.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{ForkResult, fork};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A process that was started here, and is the child of whoever takes in orphans: of PID 1, or of the service manager. Such a manager
/// sees the end of its own children alone, and treats a main process (`MAINPID=`, sd_notify(3)) that is none worse: it does not
/// wait for it at a stop.
#[derive(Debug)]
pub struct Detached {
    pid: u32,
    /// None = it has ended.
    process: Option<OwnedFd>,
}

impl Detached {
    /// Starts a program. Blocks until it is executed.
    ///
    /// # Errors
    /// It cannot be executed.
    pub fn start(mut program: Command) -> io::Result<Detached> {
        check(&program)?;
        let (mut numbers, number) = io::pipe()?;
        let fd = number.as_raw_fd();
        // SAFETY: between fork(2) and execve(2) it calls nothing but fork(2), write(2) and _exit(2), which are safe there
        // (signal-safety(7)), and touches no memory of anybody else's. The descriptor stays open until `spawn` returns.
        #[allow(unsafe_code)]
        unsafe {
            program.pre_exec(move || match fork()? {
                ForkResult::Child => Ok(()),
                ForkResult::Parent { child } => {
                    let bytes = child.as_raw().to_ne_bytes();
                    libc::write(fd, bytes.as_ptr().cast(), bytes.len());
                    libc::_exit(0)
                }
            })
        };
        let mut between = program.spawn()?;
        // What was opened for the program alone is closed here, so that its end is seen.
        drop(program);
        drop(number);
        between.wait()?;
        let mut bytes = [0; 4];
        numbers.read_exact(&mut bytes)?;
        let pid = i32::from_ne_bytes(bytes);
        let number = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidData)?;
        let process = match pidfd_open(number, PidfdFlags::empty()) {
            Err(rustix::io::Errno::SRCH) => None,
            opened => Some(opened?),
        };
        Ok(Detached { pid: pid.unsigned_abs(), process })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it ends in this time. Blocks.
    pub fn ends(&self, within: Duration) -> bool {
        let Some(process) = &self.process else { return true };
        let timeout = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
        let mut ended = [PollFd::new(process.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut ended, timeout) {
                Err(nix::errno::Errno::EINTR) => {}
                polled => return polled.is_ok_and(|ready| ready > 0),
            }
        }
    }

    /// Asks it to end, and ends it if it does not in this time. Blocks.
    pub fn end(&self, within: Duration) {
        self.signal(Signal::TERM);
        if !self.ends(within) {
            self.signal(Signal::KILL);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            let _ = pidfd_send_signal(process, signal); // it may have ended
        }
    }
}

/// A file that is no program would be run by a shell, line by line (execvp(3)), such as one that was copied in part.
fn check(program: &Command) -> io::Result<()> {
    let path = Path::new(program.get_program());
    // One without a directory is looked for in PATH.
    if path.components().count() > 1 {
        let mut first = Vec::new();
        File::open(path)?.take(4).read_to_end(&mut first)?;
        if first != b"\x7fELF" && !first.starts_with(b"#!") {
            return Err(io::Error::from(nix::errno::Errno::ENOEXEC));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    fn shell(script: &str) -> Detached {
        let mut program = Command::new("sh");
        program.args(["-c", script]);
        Detached::start(program).unwrap()
    }

    #[test]
    fn it_is_the_child_of_somebody_else() {
        let process = shell("exec sleep 1000");
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid())).unwrap();
        // Behind the name: the state, then the parent (proc_pid_stat(5)).
        let parent: u32 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap();
        assert_ne!(parent, std::process::id());
        assert!(!process.ends(Duration::ZERO));
        process.end(LONG);
        assert!(process.ends(LONG));
    }

    #[test]
    fn one_that_does_not_want_to_end_is_ended() {
        let (mut ready, theirs) = io::pipe().unwrap();
        let mut program = Command::new("sh");
        program.args(["-c", "trap '' TERM; echo; while :; do sleep 0.01; done"]).stdout(theirs);
        let process = Detached::start(program).unwrap();
        ready.read_exact(&mut [0]).unwrap();
        process.end(Duration::from_millis(50));
        assert!(process.ends(LONG));
    }

    #[test]
    fn what_is_no_program_is_an_error() {
        let error = Detached::start(Command::new("/no/such/program")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("text");
        std::fs::write(&path, "exit 0").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let error = Detached::start(Command::new(path)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOEXEC), "no shell runs it");
    }
}
