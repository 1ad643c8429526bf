//! `buntime logs`: what apps print.

mod kept;

use super::client::{Client, ClientError, Event, Events, KeptLog, Wanted};
use super::console::Console;
use super::failure::{Exit, Failure};
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
    /// The same as the argument
    #[arg(long, value_name = "APP[@VERSION]", conflicts_with = "target")]
    app: Option<Target>,
    /// Go on with what is printed from now on, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    pub remote: Remote,
    #[command(flatten)]
    pub output: Output,
}

/// What only the plugin that keeps the log can do.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Where @buntime/plugin-logs is on")]
pub struct Filters {
    /// Of this level at least: trace, debug, info, warn, error
    #[arg(long)]
    level: Option<String>,
    /// From there, with commas between them: runtime, worker-stdout, worker-stderr, access, plugin, ingest; or `all`. Otherwise what
    /// apps print and send
    #[arg(long, value_name = "SOURCES")]
    source: Option<String>,
    /// With this text in the message or the fields
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
    /// Since then, as in 15m or 2026-01-31T12:00:00Z; with --follow the earlier ones first
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
}

/// Where lines come from.
enum From {
    /// What the runtime has of the last events.
    Events(Wanted),
    /// The plugin that keeps the log.
    Plugin(KeptLog),
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
    let Some(from) = choose(arguments, session).await? else { return Ok(()) };
    let mut last: Option<String> = None;
    let mut pause = FIRST_PAUSE;
    let mut reached = false;
    loop {
        let broke = match from.open(client, last.as_deref()).await {
            Ok(mut events) => {
                if reached {
                    console.talk("connected again");
                }
                (reached, pause) = (true, FIRST_PAUSE);
                let broke = loop {
                    match events.next().await {
                        Ok(Some(event)) => show(&event, &from, console)?,
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

/// Where to ask; none = there is nothing to show.
async fn choose(arguments: &Arguments, session: &Session) -> Result<Option<From>, Failure> {
    let Session { client, console } = session;
    let Arguments { target, app, follow, filters, .. } = arguments;
    let target = target.as_ref().or(app.as_ref());
    let Some(base) = client.log_base().await? else {
        if filters.are_given() {
            return Err(Failure::new(
                Exit::Failure,
                "only @buntime/plugin-logs can filter so, and it is not on",
            )
            .hint("`buntime plugins enable @buntime/plugin-logs`"));
        }
        console.talk("@buntime/plugin-logs is not on: these are the last lines that the runtime itself has");
        return Ok(Some(From::Events(Wanted {
            types: "log",
            app: target.map(|target| target.app.clone()),
            version: target.and_then(|target| target.version.clone()),
            follow: *follow,
        })));
    };
    let newest = if *follow { None } else { client.newest_in_log(&base).await? };
    if !follow && newest.is_none() {
        return Ok(None);
    }
    let source = filters.source.as_deref().unwrap_or(kept::OF_APPS);
    Ok(Some(From::Plugin(KeptLog {
        base,
        app: target.map(|target| target.app.to_string()),
        version: target.and_then(|target| target.version.as_ref().map(ToString::to_string)),
        source: (source != "all").then(|| source.to_owned()),
        level: filters.level.clone(),
        search: filters.search.clone(),
        since: filters.since.clone(),
        after: newest.map(|_| 0),
        before: newest.map(|newest| newest + 1),
    })))
}

impl Arguments {
    pub fn following(mut self) -> Arguments {
        self.follow = true;
        self
    }
}

impl Filters {
    fn are_given(&self) -> bool {
        let Filters { level, source, search, since } = self;
        [level, source, search, since].iter().any(|filter| filter.is_some())
    }
}

impl From {
    async fn open(&self, client: &Client, last: Option<&str>) -> Result<Events, ClientError> {
        match self {
            From::Events(wanted) => client.events(wanted, last).await,
            From::Plugin(wanted) => client.kept_log(wanted, last).await,
        }
    }
}

fn show(event: &Event, from: &From, console: &Console) -> Result<(), Failure> {
    let said = match from {
        From::Events(_) => judge(event, console.json),
        From::Plugin(_) => kept::judge(event, console.json),
    };
    match said {
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
        _ => return missed(event, json),
    }
    let Ok(line) = serde_json::from_str::<Line>(&event.data) else {
        return Said::Missed(format!("a line cannot be read: {}", escape(&event.data)));
    };
    if json {
        return Said::Data(one_line(&event.data));
    }
    Said::Data(line.render())
}

/// What an event says of what does not come.
fn missed(event: &Event, json: bool) -> Said {
    match event.kind.as_str() {
        kind @ ("gap" | "reset") if json => Said::Data(typed(kind, &event.data)),
        "gap" => {
            let lost = serde_json::from_str(&event.data)
                .ok()
                .and_then(|gap: serde_json::Value| gap["lost"].as_u64());
            let lost = lost.map(|lost| format!(" ({})", count(lost, "event"))).unwrap_or_default();
            Said::Missed(format!("lines may be missing here: more came than the runtime keeps{lost}"))
        }
        "reset" => Said::Missed("the runtime was started anew: what it said before may be missing".into()),
        _ => Said::Nothing,
    }
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
