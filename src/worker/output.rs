//! What a worker prints, line by line, as log events of its app.

use super::link::Link;
use crate::model::WorkerId;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

/// Longer lines are cut here.
const MAX_LINE: usize = 64 * 1024;
/// Lines of stderr that are kept for error reports.
const TAIL_LINES: usize = 40;
const TAIL_LINE: usize = 4 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Whose output it is: the worker, and its app once it has one.
pub struct Identity {
    pub worker: WorkerId,
    app: OnceLock<(String, String)>,
}

/// The last lines of stderr.
#[derive(Default)]
pub struct Tail {
    lines: Mutex<VecDeque<String>>,
}

/// Cuts bytes into lines of bounded length.
#[derive(Default)]
struct Lines {
    partial: Vec<u8>,
    /// The rest of a line that was cut is dropped.
    skipping: bool,
}

impl Identity {
    pub fn new(worker: WorkerId) -> Self {
        Identity { worker, app: OnceLock::new() }
    }

    pub fn set(&self, app: &str, version: &str) {
        // A worker gets one app in its life.
        let _ = self.app.set((app.to_owned(), version.to_owned()));
    }

    fn app(&self) -> (&str, &str) {
        self.app.get().map_or(("", ""), |(app, version)| (app, version))
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.app.get() {
            Some((app, version)) => write!(f, "{app}@{version}"),
            None => f.write_str("spare"),
        }
    }
}

impl Tail {
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn push(&self, line: &str) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        let end = line.floor_char_boundary(TAIL_LINE);
        lines.push_back(line[..end].to_owned());
    }
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&str)) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.extend(&rest[..end], &mut emit);
            if !std::mem::take(&mut self.skipping) {
                emit(String::from_utf8_lossy(&self.partial).trim_end_matches('\r'));
            }
            self.partial.clear();
            rest = &rest[end + 1..];
        }
        self.extend(rest, &mut emit);
    }

    fn finish(&mut self, mut emit: impl FnMut(&str)) {
        if !self.partial.is_empty() && !self.skipping {
            emit(&String::from_utf8_lossy(&self.partial));
        }
    }

    fn extend(&mut self, bytes: &[u8], emit: &mut impl FnMut(&str)) {
        if self.skipping {
            return;
        }
        let room = MAX_LINE - self.partial.len();
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            emit(&String::from_utf8_lossy(&self.partial));
            self.partial.clear();
            self.skipping = true;
        }
    }
}

/// Reads one pipe until it closes.
pub fn follow(
    fd: OwnedFd,
    stream: Stream,
    identity: Arc<Identity>,
    link: Arc<Link>,
    tail: Option<Arc<Tail>>,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut pipe = match pipe::Receiver::from_owned_fd(fd) {
            Ok(pipe) => pipe,
            Err(error) => {
                tracing::error!(worker = %identity.worker, %error, "a worker's output cannot be read");
                return;
            }
        };
        let mut lines = Lines::default();
        let mut buffer = vec![0; 8 * 1024];
        loop {
            match pipe.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => lines.push(&buffer[..read], |line| log(line, stream, &identity, &link, tail.as_deref())),
            }
        }
        lines.finish(|line| log(line, stream, &identity, &link, tail.as_deref()));
    })
}

fn log(line: &str, stream: Stream, identity: &Identity, _link: &Link, tail: Option<&Tail>) {
    if let Some(tail) = tail {
        tail.push(line);
    }
    let (app, version) = identity.app();
    let worker = identity.worker.0;
    match stream {
        Stream::Stdout => tracing::info!(target: "buntime::app", app, version, worker, stream = "stdout", "{line}"),
        Stream::Stderr => tracing::warn!(target: "buntime::app", app, version, worker, stream = "stderr", "{line}"),
    }
}
