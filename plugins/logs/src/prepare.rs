//! What comes becomes what is kept: escape sequences and secrets go, what is too long is cut, lines of JSON are read.

use crate::ansi;
use crate::entry::Entry;
use crate::redact::Redactor;
use crate::structured::{Structured, structured};
use buntime_plugin::{LogEntry, Source};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// Bytes of a message, and of the fields as JSON. What is longer is cut and left out, with a field [`TRUNCATED`].
pub const MAX_TEXT: usize = 64 << 10;
const TRUNCATED: &str = "truncated";

pub fn prepare(entry: LogEntry, redactor: &Redactor) -> Entry {
    let LogEntry { time, mut level, source, app, version, worker, mut request_id, mut trace_id, .. } = entry;
    let mut cut = entry.cut;
    let mut fields: Map<String, Value> =
        entry.fields.into_iter().map(|(name, value)| (name.into_owned(), value)).collect();
    let mut message = ansi::strip(&entry.message);
    if matches!(source, Source::WorkerStdout | Source::WorkerStderr)
        && let Some(object) = object(&message)
    {
        let read = structured(object);
        level = read.level.unwrap_or(level);
        request_id = request_id.or(read.request_id);
        trace_id = trace_id.or(read.trace_id);
        message = Cow::Owned(ansi::strip(&read.message).into_owned());
        fields.extend(read.fields);
    }
    if message.len() > MAX_TEXT {
        let end = message.floor_char_boundary(MAX_TEXT);
        message = Cow::Owned(message[..end].to_owned());
        cut = true;
    }
    let message = redactor.text(&message).into_owned().into_boxed_str();
    for (name, value) in &mut fields {
        clean(value);
        redactor.field(name, value);
    }
    if cut {
        fields.insert(TRUNCATED.into(), Value::Bool(true));
    }
    let fields = match fields.is_empty() {
        true => None,
        false => match serde_json::to_string(&fields) {
            Ok(json) if json.len() <= MAX_TEXT => Some(json.into_boxed_str()),
            _ => Some(format!(r#"{{"{TRUNCATED}":true}}"#).into_boxed_str()),
        },
    };
    Entry { time, level, source, app, version, worker, request_id, trace_id, message, fields }
}

/// An entry that an app has sent.
pub fn fill(mut entry: LogEntry, sent: Structured) -> LogEntry {
    entry.level = sent.level.unwrap_or(entry.level);
    (entry.request_id, entry.trace_id) = (sent.request_id, sent.trace_id);
    entry.message = sent.message.into();
    entry.fields = sent.fields.into_iter().map(|(name, value)| (Cow::Owned(name), value)).collect();
    entry
}

/// The line, if it is a JSON object.
fn object(line: &str) -> Option<Map<String, Value>> {
    let line = line.trim();
    (line.starts_with('{') && line.ends_with('}')).then(|| serde_json::from_str(line).ok())?
}

fn clean(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(plain) = ansi::strip(text) {
                *text = plain;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(clean),
        Value::Object(values) => values.values_mut().for_each(clean),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use buntime_plugin::Level;
    use serde_json::json;

    fn prepared(entry: LogEntry) -> (Entry, Value) {
        let entry = prepare(entry, &Redactor::default());
        let fields =
            entry.fields.as_deref().map_or(Value::Null, |fields| serde_json::from_str(fields).unwrap());
        (entry, fields)
    }

    fn line(text: &str) -> (Entry, Value) {
        prepared(LogEntry::new(Level::Info, Source::WorkerStdout, text))
    }

    #[test]
    fn a_line_of_json_has_its_level_and_message_and_the_rest_are_fields() {
        let (entry, fields) = line(
            r#" {"level":"warn","time":1,"msg":"hi \u001b[31mred","requestId":"r-1","user":{"n":"\u001b[1mx"},"cookie":"a"} "#,
        );
        assert_eq!(
            (entry.level, &*entry.message, entry.request_id.as_deref()),
            (Level::Warn, "hi red", Some("r-1"))
        );
        assert_eq!(fields, json!({ "time": 1, "user": { "n": "x" }, "cookie": "[redacted]" }));
    }

    #[test]
    fn a_coloured_line_of_json_is_one_too() {
        let (entry, fields) = line("\u{1b}[32m{\"level\":50,\"msg\":\"m\",\"a\":1}\u{1b}[0m");
        assert_eq!((entry.level, &*entry.message, fields), (Level::Error, "m", json!({ "a": 1 })));
    }

    #[test]
    fn what_is_no_object_is_a_text() {
        for text in ["{not json}", "[1]", "\"x\"", "{\"a\":1", "{\"a\":1} tail", "5", ""] {
            let (entry, fields) = line(text);
            assert_eq!((entry.level, &*entry.message, fields), (Level::Info, text, Value::Null));
        }
        let deep = format!("{}1{}", "{\"a\":".repeat(300), "}".repeat(300));
        assert_eq!(*line(&deep).0.message, *deep);
        let (entry, _) = prepared(LogEntry::new(Level::Info, Source::Runtime, "{\"level\":\"error\"}"));
        assert_eq!(entry.level, Level::Info, "only workers print JSON");
    }

    #[test]
    fn an_ansi_coloured_line_is_plain_and_its_secrets_are_found() {
        let (entry, _) = line("\u{1b}[33mCookie\u{1b}[0m: \u{1b}[1ma=b\u{1b}[0m");
        assert_eq!(&*entry.message, "Cookie: [redacted]");
    }

    #[test]
    fn a_message_of_more_than_64_kib_is_cut_between_characters_with_a_note() {
        let (entry, fields) = line(&"é".repeat(600_000));
        assert_eq!((entry.message.len(), fields), (MAX_TEXT, json!({ "truncated": true })));
        let (entry, _) = line(&format!("x{}", "é".repeat(600_000)));
        assert_eq!(entry.message.len(), MAX_TEXT - 1);
        let mut whole = LogEntry::new(Level::Info, Source::WorkerStdout, "begins");
        whole.cut = true;
        assert_eq!(prepared(whole).1, json!({ "truncated": true }));
    }

    #[test]
    fn fields_of_more_than_64_kib_are_left_out_with_a_note() {
        let entry = LogEntry::new(Level::Info, Source::Runtime, "m").field("x", "y".repeat(MAX_TEXT));
        let (entry, fields) = prepared(entry);
        assert_eq!((&*entry.message, fields), ("m", json!({ "truncated": true })));
    }
}
