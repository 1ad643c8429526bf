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

/// Whom the manager listens to (`NotifyAccess=main`, systemd.service(5)): it drops what any other process says, and complains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// This process is to be the service, and keeps for later what it has to say.
    Successor,
    Service,
    /// Another process is.
    Replaced,
}

#[derive(Debug)]
enum Word {
    /// Lines of `NAME=value`.
    State(Vec<String>),
    Keep(String, OwnedFd),
    /// This process is the service.
    Service,
    /// Another process is the service.
    Replaced(u32),
    /// Everything before has been said.
    Flush(Sender<()>),
}

impl Manager {
    /// `succeeds`: another process is the service until [`Manager::is_the_service`].
    ///
    /// # Errors
    /// The system allows no further thread.
    pub fn start(succeeds: bool) -> std::io::Result<Manager> {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Manager(None));
        }
        let (sender, words) = channel();
        let standing = if succeeds { Standing::Successor } else { Standing::Service };
        std::thread::Builder::new().name("notify".into()).spawn(move || listen(&words, standing))?;
        Ok(Manager(Some(sender)))
    }

    /// What was kept back is said, and all that follows.
    pub fn is_the_service(&self) {
        self.send(Word::Service);
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
        self.send(Word::Replaced(pid));
    }

    /// The other process is gone: this one is the service still. A manager that knows the other's end by now starts it again.
    pub fn stays_the_service(&self) {
        self.send(Word::Replaced(std::process::id()));
        self.send(Word::Service);
    }

    /// A socket that the next process is to have, should this one end (`FileDescriptorStoreMax=`, systemd.service(5)).
    pub fn keep(&self, name: &str, socket: &impl AsFd) {
        if self.0.is_some() {
            match socket.as_fd().try_clone_to_owned() {
                Ok(socket) => self.send(Word::Keep(name.to_owned(), socket)),
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
        self.send(Word::State(states.iter().map(NotifyState::to_string).collect()));
    }

    fn send(&self, word: Word) {
        if let Some(sender) = &self.0 {
            // The thread ends with the last sender.
            let _ = sender.send(word);
        }
    }
}

/// What it is told is lines.
fn line(text: &str) -> String {
    text.replace(['\n', '\r'], " ")
}

fn listen(words: &Receiver<Word>, mut standing: Standing) {
    let mut kept = Vec::new();
    for word in words {
        match word {
            Word::Flush(done) => {
                let _ = done.send(()); // whoever waits may have given up
            }
            Word::Service => {
                standing = Standing::Service;
                kept.drain(..).for_each(tell);
            }
            Word::Replaced(_) => {
                standing = Standing::Replaced;
                tell(word);
            }
            word => match standing {
                Standing::Successor => kept.push(word),
                Standing::Service => tell(word),
                Standing::Replaced => {}
            },
        }
    }
}

fn tell(word: Word) {
    let said = match word {
        Word::Service | Word::Flush(_) => Ok(()),
        Word::Replaced(pid) => sd_notify::notify(&[MainPid(pid)]),
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
