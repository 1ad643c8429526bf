//! Logs: structured events on stderr or in systemd's journal, written by a thread of their own.
//!
//! Names of fields follow one rule: `snake_case` nouns without a prefix, the same word for the same thing everywhere:
//! `app`, `version`, `worker`, `pid`, `request_id`, `method`, `path`, `status`, `state`, `reason`, `error`, and
//! durations in milliseconds as `…_ms`. An event carries all its fields itself: there are no spans, whose cost every
//! request would pay. In the journal a field is upper case and begins with `BUNTIME_`.

pub mod feed;
mod journal;
mod limit;
pub mod metrics;
pub mod printer;
mod queue;
pub mod verbosity;

pub use limit::{LineLimit, Seldom, Verdict};

use crate::config::{Log, LogFormat, LogLevel};
use feed::FeedLayer;
use queue::Queue;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, reload};
use verbosity::Verbosity;

/// How long the end of the process waits for a log that nobody reads.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The running log.
#[derive(Debug)]
pub struct Logs {
    queue: Arc<Queue>,
    filter: reload::Handle<Verbosity, Registry>,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "cannot reach systemd's journal at {}: {source}\n\nhint: choose another --log-format",
        journal::SOCKET
    )]
    Journal { source: std::io::Error },
    #[error("cannot start the log's thread: {0}")]
    Thread(#[from] std::io::Error),
    #[error("a log is already running in this process")]
    Twice,
}

/// Starts the log of this process. To be called once.
///
/// # Errors
/// The journal cannot be reached, or the thread cannot be started.
pub fn start(log: Log) -> Result<Logs, LogError> {
    let queue = match log.format {
        LogFormat::Json | LogFormat::Pretty => Queue::start(write_to_stderr, report_dropped)?,
        LogFormat::Journald => {
            let socket = journal::connect().map_err(|source| LogError::Journal { source })?;
            Queue::start(move |records, ends| journal::send(&socket, records, ends), report_dropped)?
        }
    };
    let fmt = || tracing_subscriber::fmt::layer().with_writer(Arc::clone(&queue));
    let (filter, handle) = reload::Layer::new(Verbosity::new(filter(log.level), log.brief));
    let registry = tracing_subscriber::registry().with(filter).with(FeedLayer(feed::feed()));
    let started = match log.format {
        LogFormat::Json => {
            let json = fmt().json().flatten_event(true).with_current_span(false).with_span_list(false);
            registry.with(json).try_init()
        }
        LogFormat::Pretty => {
            // https://no-color.org
            let colour =
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            registry.with(fmt().with_ansi(colour).with_target(false)).try_init()
        }
        LogFormat::Journald => registry.with(journal::JournalLayer::new(Arc::clone(&queue))).try_init(),
    };
    started.map_err(|_| LogError::Twice)?;
    Ok(Logs { queue, filter: handle })
}

impl Logs {
    /// Logs from this level up.
    pub fn set_level(&self, level: LogLevel) {
        if let Err(error) = self.filter.modify(|verbosity| verbosity.set_all(filter(level))) {
            tracing::error!(%error, "the level of the log stays as it was");
        }
    }

    /// Waits until everything logged so far was written, at most two seconds.
    pub fn flush(&self) {
        self.queue.flush(FLUSH_TIMEOUT);
    }
}

/// Our own events from `level` up; of other crates only what is wrong.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    Targets::new().with_target("buntime", level).with_default(level.min(LevelFilter::WARN))
}

/// Lines that were lost for as long as the log could not be written, which cannot be reported before it can.
static LOST: AtomicU64 = AtomicU64::new(0);

fn write_to_stderr(records: &[u8], ends: &[usize]) {
    let mut stderr = std::io::stderr();
    let lost = LOST.load(Ordering::Relaxed);
    // The last line that was begun has no end, most likely.
    let begun = if lost > 0 { stderr.write_all(b"\n") } else { Ok(()) };
    match begun.and_then(|()| stderr.write_all(records)) {
        Ok(()) if lost > 0 => {
            LOST.store(0, Ordering::Relaxed);
            tracing::warn!(lines = lost, "log lines could not be written: is the disk of the log full?");
        }
        Ok(()) => {}
        Err(_) => LOST.store(lost + ends.len() as u64, Ordering::Relaxed),
    }
}

fn report_dropped(lines: u64) {
    tracing::warn!(lines, "log lines were dropped: whatever reads the log is too slow");
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn our_events_follow_the_level_and_those_of_other_crates_are_warnings_at_most() {
        let targets = filter(LogLevel::Debug);
        assert!(targets.would_enable("buntime::pool", &Level::DEBUG));
        assert!(!targets.would_enable("buntime::pool", &Level::TRACE));
        assert!(targets.would_enable("hyper::proto", &Level::WARN));
        assert!(!targets.would_enable("hyper::proto", &Level::INFO));

        let targets = filter(LogLevel::Error);
        assert!(!targets.would_enable("buntime::pool", &Level::WARN));
        assert!(!targets.would_enable("hyper::proto", &Level::WARN));
        assert!(targets.would_enable("hyper::proto", &Level::ERROR));
    }

    #[test]
    fn a_json_event_is_one_line_with_its_fields_at_the_top() {
        let (queue, output) = queue::testing::collecting();
        let json = tracing_subscriber::fmt::layer()
            .with_writer(Arc::clone(&queue))
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false);
        let subscriber = tracing_subscriber::registry().with(filter(LogLevel::Info)).with(json);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: "buntime::http", app = "shop", status = 200, "two\nlines");
            tracing::debug!(target: "buntime::http", "not at this level");
        });
        queue.flush(FLUSH_TIMEOUT);
        let output = output.lock().unwrap();
        let text = std::str::from_utf8(&output).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let event: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            (&event["message"], &event["app"], &event["status"], &event["level"]),
            (&"two\nlines".into(), &"shop".into(), &200.into(), &"INFO".into())
        );
    }
}
