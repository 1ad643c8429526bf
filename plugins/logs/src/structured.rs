//! What the JSON objects of the usual loggers mean: pino, bunyan, winston, and those of our own.

use buntime_plugin::Level;
use serde_json::{Map, Value};

/// Longest id of a request or a trace that is taken over.
const MAX_ID: usize = 128;

/// An object, read.
#[derive(Debug, Default, PartialEq)]
pub struct Structured {
    pub level: Option<Level>,
    pub message: String,
    pub request_id: Option<Box<str>>,
    pub trace_id: Option<Box<str>>,
    /// All that is nothing of the above.
    pub fields: Map<String, Value>,
}

/// Takes level, message and ids out of an object. What is not understood stays a field.
pub fn structured(mut fields: Map<String, Value>) -> Structured {
    let level = ["level", "severity"].into_iter().find_map(|name| {
        let (level, exactly) = level(name, fields.get(name)?)?;
        if exactly {
            fields.shift_remove(name);
        }
        Some(level)
    });
    let mut text = |names: &[&str], fits: fn(&str) -> bool| {
        let name = names.iter().find(|name| fields.get(**name).and_then(Value::as_str).is_some_and(fits))?;
        match fields.shift_remove(*name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    };
    let message = text(&["message", "msg"], |_| true).unwrap_or_default();
    let request_id = text(&["requestId", "request_id", "reqId"], is_id).map(Into::into);
    let trace_id = text(&["traceId", "trace_id"], is_id).map(Into::into);
    Structured { level, message, request_id, trace_id, fields }
}

fn is_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_ID && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The level, and whether it says all that the value does.
fn level(name: &str, value: &Value) -> Option<(Level, bool)> {
    if let Some(number) = value.as_f64() {
        let level = match number {
            // Of syslog (RFC 5424 §6.2.1): the less, the worse.
            0.0..8.0 if name == "severity" => match number as u8 {
                0..=3 => Level::Error,
                4 => Level::Warn,
                5 | 6 => Level::Info,
                _ => Level::Debug,
            },
            // Of pino and bunyan.
            10.0..20.0 => Level::Trace,
            20.0..30.0 => Level::Debug,
            30.0..40.0 => Level::Info,
            40.0..50.0 => Level::Warn,
            50.0..=100.0 => Level::Error,
            _ => return None,
        };
        return Some((level, matches!(number, 10.0 | 20.0 | 30.0 | 40.0 | 50.0)));
    }
    let text = value.as_str().filter(|text| text.len() <= 16)?.to_ascii_lowercase();
    let level = match &*text {
        "trace" | "silly" => Level::Trace,
        "debug" | "verbose" => Level::Debug,
        "info" | "information" | "informational" | "notice" | "log" | "http" | "default" => Level::Info,
        "warn" | "warning" => Level::Warn,
        "error" | "err" | "fatal" | "critical" | "crit" | "alert" | "emerg" | "emergency" | "panic" => {
            Level::Error
        }
        _ => return None,
    };
    let exactly = matches!(&*text, "trace" | "debug" | "info" | "warn" | "warning" | "error" | "err");
    Some((level, exactly))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn levels_of_the_usual_loggers_are_understood() {
        for (given, level, fields) in [
            (json!({ "level": "INFO" }), Some(Level::Info), json!({})),
            (json!({ "level": "warning" }), Some(Level::Warn), json!({})),
            (json!({ "level": "fatal" }), Some(Level::Error), json!({ "level": "fatal" })),
            (json!({ "level": 10 }), Some(Level::Trace), json!({})),
            (json!({ "level": 35 }), Some(Level::Info), json!({ "level": 35 })),
            (json!({ "level": 60 }), Some(Level::Error), json!({ "level": 60 })),
            (json!({ "level": 3 }), None, json!({ "level": 3 })),
            (json!({ "severity": 3 }), Some(Level::Error), json!({ "severity": 3 })),
            (json!({ "severity": "NOTICE" }), Some(Level::Info), json!({ "severity": "NOTICE" })),
            (json!({ "severity": "DEBUG", "level": "high" }), Some(Level::Debug), json!({ "level": "high" })),
            (json!({ "level": null }), None, json!({ "level": null })),
            (json!({ "level": -1e300 }), None, json!({ "level": -1e300 })),
        ] {
            let Value::Object(object) = given.clone() else { panic!() };
            let read = structured(object);
            assert_eq!((read.level, Value::Object(read.fields)), (level, fields), "{given}");
        }
    }

    #[test]
    fn message_and_ids_are_taken_and_what_they_cannot_be_stays() {
        let Value::Object(object) = json!({
            "message": { "a": 1 }, "msg": "m", "requestId": "has space", "reqId": "r", "trace_id": "t", "app": "forged",
        }) else {
            panic!()
        };
        let read = structured(object);
        assert_eq!(
            (&*read.message, read.request_id.as_deref(), read.trace_id.as_deref()),
            ("m", Some("r"), Some("t"))
        );
        let rest = json!({ "message": { "a": 1 }, "requestId": "has space", "app": "forged" });
        assert_eq!(Value::Object(read.fields), rest);
    }
}
