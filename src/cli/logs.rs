//! `buntime logs`: what apps print.

use super::client::{ClientError, Event, Wanted};
use super::console::Console;
use super::failure::Failure;
use super::remote::{Output, Remote};
use super::session::Session;
use super::target::Target;
use super::text::{count, escape};
use clap::Args;
use serde::Deserialize;
use std::time::Duration;

/// Waited before connecting again, the first time and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct Arguments {
    /// Only of this app, or of this version of it
    #[arg(value_name = "APP[@VERSION]")]
    target: Option<Target>,
    /// Go on with what is printed from now on, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    pub remote: Remote,
    #[command(flatten)]
    pub output: Output,
}

/// An event of the type `log`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    at: String,
    worker: String,
    app: Option<String>,
    plugin: Option<String>,
    version: Option<String>,
    #[serde(default)]
    stream: String,
    #[serde(default)]
    dropped: u64,
    text: Option<String>,
}

/// What is to be said of an event.
#[derive(Debug, PartialEq)]
enum Said {
    /// On stdout.
    Data(String),
    /// On stderr: something is missing.
    Missed(String),
    Nothing,
}

pub async fn run(arguments: &Arguments, session: &Session) -> Result<(), Failure> {
    let Session { client, console } = session;
    let target = arguments.target.as_ref();
    let wanted = Wanted {
        types: "log",
        app: target.map(|target| target.app.clone()),
        version: target.and_then(|target| target.version.clone()),
        follow: arguments.follow,
    };
    let mut last: Option<String> = None;
    let mut pause = FIRST_PAUSE;
    let mut reached = false;
    loop {
        let broke = match client.events(&wanted, last.as_deref()).await {
            Ok(mut events) => {
                if reached {
                    console.talk("connected again");
                }
                (reached, pause) = (true, FIRST_PAUSE);
                let broke = loop {
                    match events.next().await {
                        Ok(Some(event)) => show(&event, console)?,
                        Ok(None) if !arguments.follow => return Ok(()),
                        Ok(None) => break "the runtime ended the stream".to_owned(),
                        Err(ClientError::Unreachable { why, .. }) if arguments.follow => break why,
                        Err(error) => return Err(error.into()),
                    }
                };
                last = events.last_id().map(str::to_owned).or(last);
                broke
            }
            // The first time it is an error like any other; later the runtime may be on its way back.
            Err(ClientError::Unreachable { why, .. }) if reached => why,
            Err(ClientError::Problem(problem)) if reached && problem.status == 503 => problem.detail,
            Err(error) => return Err(error.into()),
        };
        if pause == FIRST_PAUSE {
            console.talk(&format!("{}; connecting again", escape(&broke)));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn show(event: &Event, console: &Console) -> Result<(), Failure> {
    match judge(event, console.json) {
        Said::Data(line) => console.data(&line),
        Said::Missed(what) => {
            console.warn(&what);
            Ok(())
        }
        Said::Nothing => Ok(()),
    }
}

fn judge(event: &Event, json: bool) -> Said {
    match event.kind.as_str() {
        "log" => {}
        kind @ ("gap" | "reset") if json => return Said::Data(typed(kind, &event.data)),
        "gap" => {
            let lost = serde_json::from_str(&event.data)
                .ok()
                .and_then(|gap: serde_json::Value| gap["lost"].as_u64());
            let lost = lost.map(|lost| format!(" ({})", count(lost, "event"))).unwrap_or_default();
            return Said::Missed(format!(
                "lines may be missing here: more came than the runtime keeps{lost}"
            ));
        }
        "reset" => {
            return Said::Missed("the runtime was started anew: what it said before may be missing".into());
        }
        _ => return Said::Nothing,
    }
    let Ok(line) = serde_json::from_str::<Line>(&event.data) else {
        return Said::Missed(format!("a line cannot be read: {}", escape(&event.data)));
    };
    if json {
        return Said::Data(one_line(&event.data));
    }
    Said::Data(line.render())
}

/// The data of these events does not say what it is of.
fn typed(kind: &str, data: &str) -> String {
    let mut value = serde_json::json!({ "type": kind });
    if let (Some(all), Ok(serde_json::Value::Object(more))) =
        (value.as_object_mut(), serde_json::from_str(data))
    {
        all.extend(more);
    }
    format!("{value}\n")
}

/// JSON on one line: in it a line's end is white space.
fn one_line(json: &str) -> String {
    json.replace('\n', " ") + "\n"
}

impl Line {
    fn render(&self) -> String {
        // To the second: `2026-01-31T12:00:00`.
        let at = escape(self.at.get(..19).unwrap_or(&self.at)).replace('T', " ");
        let name = self.app.as_ref().or(self.plugin.as_ref());
        let app = match (name, &self.version) {
            (Some(name), Some(version)) => format!("{}@{}", escape(name), escape(version)),
            (Some(name), None) => escape(name).into_owned(),
            (None, _) => "(spare)".into(),
        };
        let head = format!("{at} {app} {}", escape(&self.worker));
        let mark = if self.stream == "stderr" { '!' } else { '|' };
        let mut lines = String::new();
        if self.dropped > 0 {
            lines +=
                &format!("{head} {mark} … {} lines were not logged: there were too many\n", self.dropped);
        }
        if let Some(text) = &self.text {
            lines += &format!("{head} {mark} {}\n", escape(text).replace("\\t", "\t"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: &str) -> Event {
        Event { id: Some("b-1".into()), kind: kind.into(), data: data.into() }
    }

    fn log(version: &str, rest: &str) -> Event {
        let data = format!(
            r#"{{"id":"b-1","at":"2026-01-31T12:00:00.123Z","type":"log","worker":"w7","app":"shop","version":"{version}",{rest}}}"#
        );
        event("log", &data)
    }

    #[test]
    fn lines_say_when_and_who_and_harm_no_terminal() {
        let events = [
            log("1.0.0", r#""stream":"stdout","text":"hello\tyou""#),
            log("1.0.0", r#""stream":"stderr","text":"\u001b[2Jboom","requestId":"r""#),
            log("1.0.0", r#""stream":"stdout","dropped":12,"text":"after""#),
            event("gap", r#"{"lost":3}"#),
            event("reset", "{}"),
            event("log", "nonsense\u{7}"),
        ];
        let said = events.map(|event| match judge(&event, false) {
            Said::Data(text) => format!("stdout: {text}"),
            Said::Missed(text) => format!("stderr: {text}\n"),
            Said::Nothing => panic!(),
        });
        insta::assert_snapshot!(said.concat());
    }

    #[test]
    fn other_events_are_left_out() {
        assert_eq!(judge(&event("worker", "{}"), false), Said::Nothing);
    }

    #[test]
    fn for_programs_each_event_is_one_line() {
        let event = event("log", "{\"at\":\"\",\n\"worker\":\"w\"}");
        assert_eq!(judge(&event, true), Said::Data("{\"at\":\"\", \"worker\":\"w\"}\n".into()));
        let gap = self::event("gap", r#"{"lost":3}"#);
        assert_eq!(judge(&gap, true), Said::Data("{\"type\":\"gap\",\"lost\":3}\n".into()));
    }
}
