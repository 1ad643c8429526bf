//! What is logged, wherever it comes from, for plugins that collect it.

use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

/// How much it matters, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The runtime's own events.
    Runtime,
    /// A line that a worker has printed.
    WorkerStdout,
    WorkerStderr,
    /// A request that has ended.
    Access,
    /// A plugin's own events.
    Plugin,
    /// Sent by an app.
    Ingest,
}

/// One entry. What it says of `app` and `version` comes from the runtime, never from the app itself.
#[derive(Clone, Debug)]
pub struct LogEntry {
    pub time: SystemTime,
    pub level: Level,
    pub source: Source,
    pub app: Option<Arc<str>>,
    pub version: Option<Arc<str>>,
    /// `w12`.
    pub worker: Option<Arc<str>>,
    pub request_id: Option<Box<str>>,
    /// 32 hexadecimal digits (W3C Trace Context).
    pub trace_id: Option<Box<str>>,
    /// As it was printed: whoever shows it looks after escape sequences.
    pub message: Box<str>,
    /// The message is the beginning of one that was longer.
    pub cut: bool,
    pub fields: Vec<(Cow<'static, str>, Value)>,
}

/// Takes entries.
pub trait LogSink: Send + Sync {
    /// Called where the entry comes about, also on the way of a request: it must not wait. What it logs itself is not given to any
    /// sink, and neither may what it sets off elsewhere log once for each entry.
    fn log(&self, entry: LogEntry);
}

/// Dropped, the sink gets no more entries.
#[must_use = "the sink is taken off when this is dropped"]
pub struct LogGuard(Option<Box<dyn FnOnce() + Send + Sync>>);

impl Level {
    pub const ALL: [Level; 5] = [Level::Trace, Level::Debug, Level::Info, Level::Warn, Level::Error];

    pub fn as_str(self) -> &'static str {
        match self {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

impl Source {
    pub const ALL: [Source; 6] = [
        Source::Runtime,
        Source::WorkerStdout,
        Source::WorkerStderr,
        Source::Access,
        Source::Plugin,
        Source::Ingest,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Source::Runtime => "runtime",
            Source::WorkerStdout => "worker-stdout",
            Source::WorkerStderr => "worker-stderr",
            Source::Access => "access",
            Source::Plugin => "plugin",
            Source::Ingest => "ingest",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error is what was given.
impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        Level::ALL.into_iter().find(|level| level.as_str() == text).ok_or_else(|| text.to_owned())
    }
}

/// The error is what was given.
impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Source, String> {
        Source::ALL.into_iter().find(|source| source.as_str() == text).ok_or_else(|| text.to_owned())
    }
}

impl LogEntry {
    /// An entry of now.
    pub fn new(level: Level, source: Source, message: impl Into<Box<str>>) -> LogEntry {
        LogEntry {
            time: SystemTime::now(),
            level,
            source,
            app: None,
            version: None,
            worker: None,
            request_id: None,
            trace_id: None,
            message: message.into(),
            cut: false,
            fields: Vec::new(),
        }
    }

    pub fn app(mut self, app: &str, version: &str) -> LogEntry {
        (self.app, self.version) = (Some(app.into()), Some(version.into()));
        self
    }

    pub fn field(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> LogEntry {
        self.fields.push((name.into(), value.into()));
        self
    }
}

impl LogGuard {
    /// Of the runtime: `release` takes the sink off.
    pub fn new(release: impl FnOnce() + Send + Sync + 'static) -> LogGuard {
        LogGuard(Some(Box::new(release)))
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        if let Some(release) = self.0.take() {
            release();
        }
    }
}

impl fmt::Debug for LogGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogGuard")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_are_those_of_json() {
        for level in Level::ALL {
            assert_eq!(level.as_str().parse(), Ok(level));
            assert_eq!(serde_json::to_value(level).unwrap(), level.as_str());
        }
        for source in Source::ALL {
            assert_eq!(source.as_str().parse(), Ok(source));
            assert_eq!(serde_json::to_value(source).unwrap(), source.as_str());
        }
        assert!(Level::Trace < Level::Debug && Level::Warn < Level::Error);
        assert_eq!("Info".parse::<Level>(), Err("Info".to_owned()));
    }
}
