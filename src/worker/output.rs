//! What a worker prints, line by line, as log events of its app.

use super::link::Link;
use crate::events::{Event, Hub, LogEvent, Stream};
use crate::model::{AppName, AppVersion, WorkerId};
use crate::telemetry::feed::{self, feed};
use crate::telemetry::{LineLimit, Verdict};
use buntime_plugin::Source;
use http::HeaderValue;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

/// Longer lines are cut here.
const MAX_LINE: usize = 64 * 1024;
/// Lines of stderr that are kept for error reports.
const TAIL_LINES: usize = 40;
const TAIL_LINE: usize = 4 * 1024;
/// What one output of one worker may log in the long run, and in a burst.
const LINES_A_SECOND: u32 = 500;
const LINES_AT_ONCE: u32 = 2000;

/// Whose output it is: the worker, and its app once it has one. And who else wants to know of it.
pub struct Identity {
    pub worker: WorkerId,
    pub hub: Arc<Hub>,
    /// As text, for each line.
    shown: Arc<str>,
    app: OnceLock<Assigned>,
}

struct Assigned {
    app: AppName,
    /// The name is that of a script plugin.
    is_plugin: bool,
    version: AppVersion,
    /// As texts, for each line.
    name: Arc<str>,
    shown: Arc<str>,
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
    pub fn new(worker: WorkerId, hub: Arc<Hub>) -> Self {
        Identity { worker, hub, shown: worker.to_string().into(), app: OnceLock::new() }
    }

    pub fn set(&self, app: &AppName, version: &AppVersion, is_plugin: bool) {
        // A worker gets one app in its life.
        let (name, shown) = (app.as_str().into(), version.to_string().into());
        let (app, version) = (app.clone(), version.clone());
        let _ = self.app.set(Assigned { app, is_plugin, version, name, shown });
    }

    /// Its app, or the plugin, and the version, as the log has them.
    fn fields(&self) -> (Option<&str>, Option<&str>, &str) {
        let Some(Assigned { app, is_plugin, shown, .. }) = self.app.get() else {
            return (Some(""), None, "");
        };
        match is_plugin {
            false => (Some(app.as_str()), None, shown),
            true => (None, Some(app.as_str()), shown),
        }
    }
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.app.get() {
            Some(Assigned { app, shown, is_plugin: false, .. }) => write!(f, "{app}@{shown}"),
            Some(Assigned { app, shown, is_plugin: true, .. }) => write!(f, "plugin {app}@{shown}"),
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
    /// `emit` gets each line, and whether it goes on.
    fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&str, bool)) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.extend(&rest[..end], &mut emit);
            if !std::mem::take(&mut self.skipping) {
                emit(String::from_utf8_lossy(&self.partial).trim_end_matches('\r'), false);
            }
            self.partial.clear();
            rest = &rest[end + 1..];
        }
        self.extend(rest, &mut emit);
    }

    fn finish(&mut self, mut emit: impl FnMut(&str, bool)) {
        if !self.partial.is_empty() && !self.skipping {
            emit(&String::from_utf8_lossy(&self.partial), false);
        }
    }

    fn extend(&mut self, bytes: &[u8], emit: &mut impl FnMut(&str, bool)) {
        if self.skipping {
            return;
        }
        let room = MAX_LINE - self.partial.len();
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            emit(&String::from_utf8_lossy(&self.partial), true);
            self.partial.clear();
            self.skipping = true;
        }
    }
}

/// One of a worker's two outputs, and where its lines go.
struct Output {
    stream: Stream,
    identity: Arc<Identity>,
    link: Arc<Link>,
    tail: Option<Arc<Tail>>,
    limit: LineLimit,
    began: Instant,
}

/// Reads one pipe until it closes.
pub fn follow(
    fd: OwnedFd,
    stream: Stream,
    identity: Arc<Identity>,
    link: Arc<Link>,
    tail: Option<Arc<Tail>>,
) -> JoinHandle<()> {
    let limit = LineLimit::new(LINES_A_SECOND, LINES_AT_ONCE);
    let mut output = Output { stream, identity, link, tail, limit, began: Instant::now() };
    tokio::spawn(async move {
        let mut pipe = match pipe::Receiver::from_owned_fd(fd) {
            Ok(pipe) => pipe,
            Err(error) => {
                tracing::error!(worker = %output.identity.worker, %error, "a worker's output cannot be read");
                return;
            }
        };
        let mut lines = Lines::default();
        let mut buffer = vec![0; 8 * 1024];
        loop {
            match pipe.read(&mut buffer).await {
                Ok(0) | Err(_) => break,
                Ok(read) => lines.push(&buffer[..read], |line, cut| output.line(line, cut)),
            }
        }
        lines.finish(|line, cut| output.line(line, cut));
        let dropped = output.limit.take_dropped();
        output.dropped(dropped);
        if dropped > 0 {
            output.publish(dropped, None, None);
        }
    })
}

impl Output {
    fn line(&mut self, line: &str, cut: bool) {
        if let Some(tail) = &self.tail {
            tail.push(line);
        }
        let mut request = None;
        // Whoever listens there has a limit of his own.
        if feed().is_on() {
            request = self.link.only_request();
            self.feed(line, cut, request.as_ref());
        }
        let Verdict::Log { dropped } = self.limit.admit(self.began.elapsed()) else { return };
        self.dropped(dropped);
        let (app, plugin, version) = self.identity.fields();
        let worker = self.identity.worker;
        let request = request.or_else(|| self.link.only_request());
        let request_id = request.as_ref().and_then(|id| id.to_str().ok());
        self.publish(dropped, request_id, Some(line));
        match self.stream {
            Stream::Stdout => {
                tracing::info!(target: "buntime::app", app, plugin, version, %worker, request_id, stream = "stdout", "{line}");
            }
            Stream::Stderr => {
                tracing::warn!(target: "buntime::app", app, plugin, version, %worker, request_id, stream = "stderr", "{line}");
            }
        }
    }

    fn feed(&self, text: &str, cut: bool, request: Option<&HeaderValue>) {
        feed().line(&feed::Line {
            source: match self.stream {
                Stream::Stdout => Source::WorkerStdout,
                Stream::Stderr => Source::WorkerStderr,
            },
            of: self.identity.app.get().map(|Assigned { name, shown, is_plugin, .. }| feed::Of {
                name,
                version: shown,
                is_plugin: *is_plugin,
            }),
            worker: &self.identity.shown,
            request_id: request.and_then(|id| id.to_str().ok()),
            text,
            cut,
        });
    }

    fn publish(&self, dropped: u64, request_id: Option<&str>, text: Option<&str>) {
        let assigned = self.identity.app.get();
        self.identity.hub.publish(Event::Log(LogEvent {
            worker: self.identity.worker,
            app: assigned.filter(|assigned| !assigned.is_plugin).map(|assigned| assigned.app.clone()),
            plugin: assigned.filter(|assigned| assigned.is_plugin).map(|assigned| assigned.app.clone()),
            version: assigned.map(|assigned| assigned.version.clone()),
            stream: self.stream,
            request_id: request_id.map(Into::into),
            dropped,
            text: text.map(Into::into),
        }));
    }

    fn dropped(&self, lines: u64) {
        if lines > 0 {
            let (app, plugin, version) = self.identity.fields();
            let worker = self.identity.worker;
            tracing::warn!(target: "buntime::app", app, plugin, version, %worker, lines, "output was dropped: the worker prints too much");
        }
    }
}
