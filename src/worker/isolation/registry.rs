//! Users of a user namespace that its first process may not name itself, because it is no longer root outside: a thread of the
//! supervisor, which is, writes the maps (user_namespaces(7), uid_map) for the child that asks.

use super::calls;
use super::user::Identity;
use std::ffi::c_int;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::thread::JoinHandle;

/// A thread that serves one child. Dropped, it ends.
pub struct Registry {
    ask: Option<OwnedFd>,
    answer: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

/// The child's side: it makes only system calls.
pub struct Desk {
    ask: RawFd,
    answer: RawFd,
}

impl Registry {
    /// Root and the workers' user are in the namespace what they are outside.
    ///
    /// # Errors
    /// No descriptor is free, or no thread.
    pub fn open(identity: &Identity) -> io::Result<Registry> {
        let map = |id: u32| format!("0 0 1\n{id} {id} 1\n");
        let maps = [("uid_map", map(identity.uid)), ("gid_map", map(identity.gid))];
        let pipe = || nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC);
        let ((asked, ask), (answer, mut answers)) =
            (pipe()?, pipe().map(|(end, write)| (end, File::from(write)))?);
        let mut asked = File::from(asked);
        let serve = move || {
            let mut number = [0; 4];
            // Closed = the child has failed before.
            if asked.read_exact(&mut number).is_err() {
                return;
            }
            let number = libc::pid_t::from_ne_bytes(number);
            let written = maps.iter().try_for_each(|(file, map)| {
                // At once, as the kernel wants it.
                File::options().write(true).open(format!("/proc/{number}/{file}"))?.write_all(map.as_bytes())
            });
            let error = written.err().map_or(0, |error| error.raw_os_error().unwrap_or(libc::EIO));
            // The child waits for it; if it has been killed, nobody does.
            let _ = answers.write_all(&error.to_ne_bytes());
        };
        let thread = std::thread::Builder::new().name("user namespace".into()).spawn(serve)?;
        Ok(Registry { ask: Some(ask), answer, thread: Some(thread) })
    }

    pub fn desk(&self) -> Desk {
        Desk { ask: self.ask.as_ref().map_or(-1, AsRawFd::as_raw_fd), answer: self.answer.as_raw_fd() }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take() {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

impl Desk {
    pub fn ask(&self) -> Result<(), c_int> {
        calls::write(self.ask, &calls::own_number().to_ne_bytes())?;
        let mut error = [0; 4];
        match calls::read(self.answer, &mut error)? {
            4 => match c_int::from_ne_bytes(error) {
                0 => Ok(()),
                error => Err(error),
            },
            _ => Err(libc::EIO),
        }
    }
}
