//! An entry as it is kept: bounded, cleaned, and its fields as the JSON that is sent.

use buntime_plugin::rfc3339::Rfc3339;
use buntime_plugin::{Level, Source};
use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub time: SystemTime,
    pub level: Level,
    pub source: Source,
    pub app: Option<Arc<str>>,
    pub version: Option<Arc<str>>,
    pub worker: Option<Arc<str>>,
    pub request_id: Option<Box<str>>,
    pub trace_id: Option<Box<str>>,
    pub message: Box<str>,
    /// A JSON object; none where it would be empty.
    pub fields: Option<Box<str>>,
}

impl Entry {
    /// Bytes of memory, at most: texts that entries share count for each.
    pub fn size(&self) -> usize {
        let shared = [&self.app, &self.version, &self.worker];
        let own = [&self.request_id, &self.trace_id, &self.fields];
        // The two counters of the `Arc` that holds it, and its place in the ring.
        let fixed = size_of::<Entry>() + 3 * size_of::<usize>();
        fixed
            + self.message.len()
            + shared.iter().filter_map(|text| text.as_deref()).map(str::len).sum::<usize>()
            + own.iter().filter_map(|text| text.as_deref()).map(str::len).sum::<usize>()
    }

    /// Adds it to a text, as the one object that it is everywhere.
    pub fn write_json(&self, seq: u64, out: &mut String) {
        // Writing to a String does not fail.
        let _ = write!(
            out,
            r#"{{"seq":{seq},"time":"{}","level":"{}","source":"{}""#,
            Rfc3339(self.time),
            self.level,
            self.source
        );
        for (name, text) in [
            ("app", self.app.as_deref()),
            ("version", self.version.as_deref()),
            ("worker", self.worker.as_deref()),
            ("requestId", self.request_id.as_deref()),
            ("traceId", self.trace_id.as_deref()),
            ("message", Some(&*self.message)),
        ] {
            if let Some(text) = text {
                let _ = write!(out, r#","{name}":{}"#, quoted(text));
            }
        }
        if let Some(fields) = &self.fields {
            out.push_str(r#","fields":"#);
            out.push_str(fields);
        }
        out.push('}');
    }
}

/// A text as JSON has it.
pub fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default() // a text always serializes
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn an_entry_is_one_object_without_what_it_has_not() {
        let mut entry = Entry {
            time: UNIX_EPOCH + Duration::from_millis(1),
            level: Level::Warn,
            source: Source::WorkerStderr,
            app: None,
            version: None,
            worker: None,
            request_id: None,
            trace_id: None,
            message: "a \"b\"\n".into(),
            fields: None,
        };
        let mut json = String::new();
        entry.write_json(7, &mut json);
        assert_eq!(
            json,
            r#"{"seq":7,"time":"1970-01-01T00:00:00.001Z","level":"warn","source":"worker-stderr","message":"a \"b\"\n"}"#
        );
        let bare = entry.size();
        (entry.app, entry.version, entry.worker) =
            (Some("@t/s".into()), Some("1.0.0".into()), Some("w1".into()));
        (entry.request_id, entry.trace_id) = (Some("r".into()), Some("t".into()));
        entry.fields = Some(r#"{"a":1}"#.into());
        assert_eq!(entry.size(), bare + 4 + 5 + 2 + 1 + 1 + 7);
        json.clear();
        entry.write_json(8, &mut json);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        let expected = serde_json::json!({
            "seq": 8, "time": "1970-01-01T00:00:00.001Z", "level": "warn", "source": "worker-stderr", "app": "@t/s",
            "version": "1.0.0", "worker": "w1", "requestId": "r", "traceId": "t", "message": "a \"b\"\n", "fields": { "a": 1 },
        });
        assert_eq!(value, expected);
    }
}
