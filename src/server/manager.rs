//! The service manager, told of what becomes of this process (sd_notify(3)).
//!
//! A thread of its own tells it, in order: a manager that is busy holds up nobody.

use sd_notify::NotifyState::{self, *};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// How long the end of the process waits for a manager that does not listen.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Says nothing to nobody where there is no manager.
#[derive(Debug, Clone)]
pub struct Manager(Option<Sender<Word>>);

#[derive(Debug)]
enum Word {
    /// Lines of `NAME=value`.
    State(Vec<String>),
    Keep(String, OwnedFd),
    /// The last one: another process is the service.
    Replaced(u32),
    /// Everything before has been said.
    Flush(Sender<()>),
}

impl Manager {
    /// # Errors
    /// The system allows no further thread.
    pub fn start() -> std::io::Result<Manager> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Manager(None));
        }
        let (sender, words) = channel();
        std::thread::Builder::new().name("notify".into()).spawn(move || tell(&words))?;
        Ok(Manager(Some(sender)))
    }

    /// Requests are served.
    pub fn ready(&self, status: &str) {
        self.say([Ready, Status(&line(status))]);
    }

    pub fn status(&self, status: &str) {
        self.say([Status(&line(status))]);
    }

    /// A reload has begun; `ready` ends it. With its time, which `Type=notify-reload` wants (systemd.service(5)).
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.say([Reloading, now]),
            Err(error) => tracing::warn!(%error, "the service manager cannot be told of the reload"),
        }
    }

    pub fn stopping(&self, status: &str) {
        self.say([Stopping, Status(&line(status))]);
    }

    /// The control loop is alive.
    pub fn alive(&self) {
        self.say([Watchdog]);
    }

    /// Another process is the service from here on; this one says nothing more.
    pub fn replaced_by(&self, pid: u32) {
        if let Some(sender) = &self.0 {
            let _ = sender.send(Word::Replaced(pid)); // as in `say`
        }
    }

    /// A socket that the next process is to have, should this one end (`FileDescriptorStoreMax=`, systemd.service(5)).
    pub fn keep(&self, name: &str, socket: &impl AsFd) {
        if let Some(sender) = &self.0 {
            match socket.as_fd().try_clone_to_owned() {
                Ok(socket) => drop(sender.send(Word::Keep(name.to_owned(), socket))),
                Err(error) => tracing::warn!(%error, name, "a socket cannot be kept for the next process"),
            }
        }
    }

    /// What was kept under this name is of no use any more.
    pub fn forget(&self, name: &str) {
        self.say([FdStoreRemove, FdName(name)]);
    }

    /// Returns when all has been said. Blocks, two seconds at most.
    pub fn flush(&self) {
        if let Some(sender) = &self.0 {
            let (done, said) = channel();
            if sender.send(Word::Flush(done)).is_ok() {
                let _ = said.recv_timeout(FLUSH_LIMIT);
            }
        }
    }

    fn say<const N: usize>(&self, states: [NotifyState<'_>; N]) {
        if let Some(sender) = &self.0 {
            // The thread ends with the last sender.
            let _ = sender.send(Word::State(states.iter().map(NotifyState::to_string).collect()));
        }
    }
}

/// What it is told is lines.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn tell(words: &Receiver<Word>) {
    let mut replaced = false;
    for word in words {
        let said = match word {
            Word::Flush(done) => {
                let _ = done.send(()); // whoever waits may have given up
                Ok(())
            }
            // The manager would complain of each word.
            _ if replaced => Ok(()),
            Word::Replaced(pid) => {
                replaced = true;
                sd_notify::notify(&[MainPid(pid)])
            }
            Word::State(lines) => {
                let states: Vec<_> = lines.iter().map(|line| Custom(line)).collect();
                sd_notify::notify(&states)
            }
            Word::Keep(name, socket) => {
                // It is not to be watched: a listener that has an error is for the process to see.
                let states = [FdStore, FdName(&name), Custom("FDPOLL=0")];
                sd_notify::notify_with_fds(&states, &[socket.as_fd()])
            }
        };
        if let Err(error) = said {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}
