//! Events of `tracing` as entries.

use super::{Feed, Inside};
use buntime_plugin::{Level, LogEntry, Source};
use serde_json::Value;
use std::fmt::Debug;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// These come to the feed from where they happen, with more than the event has: lines of workers, and requests.
const ELSEWHERE: [&str; 2] = ["buntime::app", "buntime::request"];
/// What plugins log.
const PLUGIN: &str = "buntime::plugin";

pub struct FeedLayer(pub &'static Feed);

struct Reader(LogEntry);

impl<S: Subscriber> Layer<S> for FeedLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        if !self.0.is_on() || ELSEWHERE.contains(&meta.target()) || Inside::is() {
            return;
        }
        let level = match *meta.level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        };
        let source = if meta.target() == PLUGIN { Source::Plugin } else { Source::Runtime };
        let mut reader = Reader(LogEntry::new(level, source, ""));
        event.record(&mut reader);
        let mut entry = reader.0;
        if source == Source::Runtime {
            entry = entry.field("target", meta.target());
        }
        self.0.push(entry);
    }
}

impl Reader {
    fn text(&mut self, field: &Field, text: &str) {
        let entry = &mut self.0;
        // An empty one means that there is none.
        let there = !text.is_empty();
        match field.name() {
            "message" => entry.message = text.into(),
            "app" => entry.app = there.then(|| text.into()),
            "version" => entry.version = there.then(|| text.into()),
            "worker" => entry.worker = there.then(|| text.into()),
            "request_id" => entry.request_id = there.then(|| text.into()),
            "trace_id" => entry.trace_id = there.then(|| text.into()),
            name => entry.fields.push((name.into(), text.into())),
        }
    }

    fn value(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.fields.push((field.name().into(), value.into()));
    }
}

impl Visit for Reader {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, &format!("{value:?}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, value);
    }
}
