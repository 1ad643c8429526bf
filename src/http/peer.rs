//! Who is at the other end of the admin socket. Of the same user are also the apps of another supervisor, or of one that cannot
//! hide its files: a worker never gets its privileges back (`NoNewPrivs`), nor does anything that it starts.

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::{PeerCredentials, PeerPidfd};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::LazyLock;

/// Whether an app may be at the other end, which is so too where that cannot be told: the process has ended, or is not to be
/// seen from here.
pub fn may_be_an_app(socket: &impl AsFd) -> bool {
    let Ok(credentials) = getsockopt(socket, PeerCredentials) else { return true };
    // Of the process that has connected, whoever has the socket by now. Before Linux 6.5 its number alone tells, which another
    // process can have only if all others were used up since.
    match getsockopt(socket, PeerPidfd) {
        // Its number was its own while it was looked at if it runs even now.
        Ok(process) => is_as_an_app(credentials.pid()) || has_ended(process.as_fd()),
        Err(nix::errno::Errno::ENOPROTOOPT) => is_as_an_app(credentials.pid()),
        Err(_) => true,
    }
}

/// Where this process can gain no privileges either (in a container, say) nobody around it can: there it tells an app that it is
/// in a mount namespace of its own.
fn is_as_an_app(pid: i32) -> bool {
    static WE_ARE: LazyLock<bool> = LazyLock::new(|| is_confined(std::process::id() as i32));
    is_confined(pid) && (!*WE_ARE || !has_our_mounts(pid))
}

/// namespaces(7); what cannot be looked at has others.
fn has_our_mounts(pid: i32) -> bool {
    let namespace = |of: &str| std::fs::read_link(format!("/proc/{of}/ns/mnt")).ok();
    let own = namespace("self");
    own.is_some() && own == namespace(&pid.to_string())
}

/// proc_pid_status(5); 0 = a process of another namespace.
fn is_confined(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    !status.is_ok_and(|status| status.lines().any(|line| line == "NoNewPrivs:\t0"))
}

fn has_ended(process: BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    poll(&mut [PollFd::new(process, PollFlags::POLLIN)], PollTimeout::ZERO) != Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::{Child, Command};

    fn sleeper(through: &[&str]) -> Child {
        let args: Vec<&str> = through.iter().copied().chain(["sleep", "1000"]).collect();
        Command::new(args[0]).args(&args[1..]).spawn().unwrap()
    }

    #[test]
    fn what_gains_no_privileges_may_be_an_app_and_so_may_what_cannot_be_looked_at() {
        let (mut plain, mut confined) = (sleeper(&[]), sleeper(&["setpriv", "--no-new-privs"]));
        let number = |child: &Child| child.id() as i32;
        // It may itself have been started so.
        let here = is_confined(std::process::id() as i32);
        assert_eq!(is_confined(number(&plain)), here);
        let set = || is_confined(number(&confined));
        let began = std::time::Instant::now();
        while !set() && began.elapsed().as_secs() < 30 {
            std::thread::yield_now();
        }
        assert!(set());
        for child in [&mut plain, &mut confined] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(is_confined(number(&plain)), "it has ended");
        assert!(is_confined(0), "it is of another namespace");
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        let _client = UnixStream::connect(dir.path().join("socket")).unwrap();
        assert!(!may_be_an_app(&listener.accept().unwrap().0), "neither we nor it, or both of us");
    }
}
