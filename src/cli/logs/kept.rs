//! Entries of the plugin that keeps the log.

use super::{Event, Said, missed, one_line};
use crate::cli::text::escape;
use serde::Deserialize;
use serde_json::{Map, Value};

/// What apps print and send.
pub const OF_APPS: &str = "worker-stdout,worker-stderr,ingest";

#[derive(Debug, Deserialize)]
struct Entry {
    time: String,
    level: String,
    source: String,
    app: Option<String>,
    version: Option<String>,
    worker: Option<String>,
    message: String,
    #[serde(default)]
    fields: Map<String, Value>,
}

pub fn judge(event: &Event, json: bool) -> Said {
    if event.kind != "message" {
        return missed(event, json);
    }
    match serde_json::from_str::<Entry>(&event.data) {
        Err(_) => Said::Missed(format!("an entry cannot be read: {}", escape(&event.data))),
        Ok(_) if json => Said::Data(one_line(&event.data)),
        Ok(entry) => Said::Data(entry.render()),
    }
}

impl Entry {
    fn render(&self) -> String {
        // To the second: `2026-01-31T12:00:00`.
        let at = escape(self.time.get(..19).unwrap_or(&self.time)).replace('T', " ");
        let prints = self.source.starts_with("worker-");
        let who = match (&self.app, &self.version) {
            (Some(app), Some(version)) => format!("{}@{}", escape(app), escape(version)),
            (Some(app), None) => escape(app).into_owned(),
            (None, _) if prints => "(spare)".into(),
            (None, _) => "(runtime)".into(),
        };
        let worker = self.worker.as_deref().map(|worker| format!(" {}", escape(worker))).unwrap_or_default();
        let mark = match &*self.source {
            "worker-stdout" => "|".to_owned(),
            "worker-stderr" => "!".to_owned(),
            source => format!("{}:", escape(source)),
        };
        // Of a plain line the stream says it.
        let plain = if self.source == "worker-stderr" { "warn" } else { "info" };
        let level = if self.level == plain { String::new() } else { format!(" {}", escape(&self.level)) };
        let message = match &*self.message {
            "" => String::new(),
            message => format!(" {}", escape(message).replace("\\t", "\t")),
        };
        let fields = match self.fields.is_empty() {
            true => String::new(),
            false => format!(" {}", escape(&Value::Object(self.fields.clone()).to_string())),
        };
        format!("{at} {who}{worker} {mark}{level}{message}{fields}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: &str) -> Event {
        Event { id: Some("7".into()), kind: kind.into(), data: data.into() }
    }

    fn entry(rest: &str) -> Event {
        event("message", &format!(r#"{{"seq":7,"time":"2026-01-31T12:00:00.123Z",{rest}}}"#))
    }

    const APP: &str = r#""app":"shop","version":"1.0.0","worker":"w7""#;

    #[test]
    fn entries_say_when_who_and_how_much_it_matters_and_harm_no_terminal() {
        let events = [
            entry(&format!(r#""level":"info","source":"worker-stdout",{APP},"message":"hello\tyou""#)),
            entry(&format!(r#""level":"warn","source":"worker-stderr",{APP},"message":"\u001b[2Jboom""#)),
            entry(&format!(
                r#""level":"error","source":"worker-stdout",{APP},"message":"m","fields":{{"a":1,"b":"x y"}}"#
            )),
            entry(&format!(r#""level":"info","source":"ingest",{APP},"message":"","fields":{{"a":1}}"#)),
            entry(r#""level":"info","source":"worker-stdout","worker":"w1","message":"of a spare""#),
            entry(r#""level":"info","source":"runtime","message":"serving""#),
            event("run", r#"{"run":"x"}"#),
            event("gap", r#"{"lost":3}"#),
            event("reset", "{}"),
            event("slow", r#"{"lost":3}"#),
            event("message", "nonsense\u{7}"),
        ];
        let said = events.map(|event| match judge(&event, false) {
            Said::Data(text) => format!("stdout: {text}"),
            Said::Missed(text) => format!("stderr: {text}\n"),
            Said::Nothing => String::new(),
        });
        insta::assert_snapshot!(said.concat());
    }

    #[test]
    fn for_programs_an_entry_is_one_line_as_it_came() {
        let event = entry(&format!(r#""level":"info","source":"ingest",{APP},"message":"m""#));
        assert_eq!(judge(&event, true), Said::Data(format!("{}\n", event.data)));
    }
}
