//! One entry for each request, at its end.

use super::Feed;
use buntime_plugin::{Level, LogEntry, Source};
use http::{Method, StatusCode};
use serde_json::Value;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A request that has ended.
pub struct Access<'a> {
    pub method: &'a Method,
    /// Without its query, which may have secrets.
    pub path: &'a str,
    /// None: its client had gone before there was one.
    pub status: Option<StatusCode>,
    /// Until the last byte had gone.
    pub duration: Duration,
    /// Of the answer's body.
    pub bytes: u64,
    /// The answer broke off.
    pub broken: bool,
    pub app: Option<(&'a Arc<str>, &'a Arc<str>)>,
    pub request_id: &'a str,
    pub trace_id: Option<String>,
    pub client: Option<IpAddr>,
}

impl Feed {
    pub fn access(&self, access: &Access<'_>) {
        if !self.is_on() {
            return;
        }
        let Access { method, path, status, .. } = access;
        let level =
            if status.is_some_and(|status| status.is_server_error()) { Level::Error } else { Level::Info };
        let message = match status {
            Some(status) => format!("{method} {path} {}", status.as_u16()),
            None => format!("{method} {path} aborted"),
        };
        let mut entry = LogEntry::new(level, Source::Access, message);
        if let Some((app, version)) = access.app {
            (entry.app, entry.version) = (Some(Arc::clone(app)), Some(Arc::clone(version)));
        }
        entry.request_id = (!access.request_id.is_empty()).then(|| access.request_id.into());
        entry.trace_id = access.trace_id.as_deref().map(Into::into);
        entry.fields.reserve(7);
        // To the microsecond.
        let duration = (access.duration.as_secs_f64() * 1e6).round() / 1e3;
        entry = entry
            .field("method", method.as_str())
            .field("path", *path)
            .field("status", status.map(|status| status.as_u16()))
            .field("duration_ms", duration)
            .field("bytes", access.bytes);
        if let Some(client) = access.client {
            entry = entry.field("client", client.to_string());
        }
        if access.broken {
            entry = entry.field("broken", Value::Bool(true));
        }
        self.push(entry);
    }
}
