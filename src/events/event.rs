//! The events: one type each, and how they look as JSON.

use super::id::EventId;
use crate::model::rfc3339::Rfc3339;
use crate::model::{AliasName, AppName, AppVersion, Split, WorkerId};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

/// An event with its place and its time: one flat JSON object.
#[derive(Debug, Serialize)]
pub struct Published {
    pub id: EventId,
    #[serde(serialize_with = "moment")]
    pub at: SystemTime,
    #[serde(flatten)]
    pub event: Event,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum Event {
    Worker(WorkerEvent),
    Log(LogEvent),
    App(AppEvent),
    Alias(AliasEvent),
    Deploy(DeployEvent),
    Key(KeyEvent),
    Plugin(PluginEvent),
    Server(ServerEvent),
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Worker,
    Log,
    App,
    Alias,
    Deploy,
    Key,
    Plugin,
    Server,
}

/// A worker changed its state. `from` is missing where its life begins.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerEvent {
    #[serde(serialize_with = "text")]
    pub worker: WorkerId,
    /// None = a spare, or a plugin's.
    #[serde(serialize_with = "text_if", skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// The script plugin that it runs in an app's place.
    #[serde(serialize_with = "text_if", skip_serializing_if = "Option::is_none")]
    pub plugin: Option<AppName>,
    #[serde(serialize_with = "text_if", skip_serializing_if = "Option::is_none")]
    pub version: Option<AppVersion>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<&'static str>,
    pub to: &'static str,
    pub reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// A line that a worker printed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogEvent {
    #[serde(serialize_with = "text")]
    pub worker: WorkerId,
    #[serde(serialize_with = "text_if", skip_serializing_if = "Option::is_none")]
    pub app: Option<AppName>,
    /// The script plugin that it runs in an app's place.
    #[serde(serialize_with = "text_if", skip_serializing_if = "Option::is_none")]
    pub plugin: Option<AppName>,
    #[serde(serialize_with = "text_if", skip_serializing_if = "Option::is_none")]
    pub version: Option<AppVersion>,
    pub stream: Stream,
    /// Of the one request that it had, if it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<Box<str>>,
    /// So many lines before this one were not logged, because there were too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// None = nothing was printed but what was dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AppAction {
    /// It can be asked for.
    Added,
    Removed,
    /// Its directory has another content.
    Replaced,
    /// A worker of it was Ready for the first time.
    Proven,
    /// A worker of it did not start.
    Failed,
    Enabled,
    Disabled,
}

/// Something became of a version of an app.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppEvent {
    pub action: AppAction,
    #[serde(serialize_with = "text")]
    pub app: AppName,
    #[serde(serialize_with = "text")]
    pub version: AppVersion,
    /// With `failed`.
    #[serde(serialize_with = "shared_if", skip_serializing_if = "Option::is_none")]
    pub failure: Option<Arc<Failure>>,
}

/// Why a worker did not start, in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    pub summary: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// Those that it took, in their order.
    pub steps: Vec<Step>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Thrown>,
    /// The last lines of stderr.
    pub output: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub name: &'static str,
    /// Milliseconds.
    pub ms: u64,
}

/// What the app threw.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Thrown {
    pub name: String,
    pub message: String,
    pub stack: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AliasAction {
    Set,
    Removed,
}

/// A name means other versions than before.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AliasEvent {
    pub action: AliasAction,
    #[serde(serialize_with = "text")]
    pub app: AppName,
    #[serde(serialize_with = "text")]
    pub alias: AliasName,
    /// Versions and their weights. Missing where it was not set before.
    #[serde(serialize_with = "route", skip_serializing_if = "Option::is_none")]
    pub before: Option<Split>,
    #[serde(serialize_with = "route", skip_serializing_if = "Option::is_none")]
    pub after: Option<Split>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DeployAction {
    Started,
    Finished,
    Failed,
}

/// A version is brought in from outside.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeployEvent {
    pub action: DeployAction,
    #[serde(serialize_with = "text")]
    pub app: AppName,
    #[serde(serialize_with = "text")]
    pub version: AppVersion,
    /// Who did it, as the audit log says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// With `failed`: why, in a sentence. If it was the start that failed, an `app` event before it has all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum KeyAction {
    Created,
    Revoked,
}

/// There is a key more or less. Never has its secret.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyEvent {
    pub action: KeyAction,
    pub key: String,
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PluginAction {
    Installed,
    Removed,
    Enabled,
    Disabled,
    Configured,
    /// All of them.
    Reloaded,
    /// A change was undone.
    Failed,
}

/// The plugins were changed. Never has a setting.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginEvent {
    pub action: PluginAction,
    /// None = all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    /// Who did it, as the audit log says it.
    pub by: String,
    /// With `failed`: why, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "action", rename_all = "camelCase")]
pub enum ServerEvent {
    /// It listens.
    Started { listen: String, bun: String },
    /// It was told to end, and finishes what was begun.
    Draining,
    /// An authority has given a certificate for a name.
    CertificateIssued {
        domain: String,
        #[serde(serialize_with = "moment")]
        until: SystemTime,
    },
    /// It has not; it is tried again.
    CertificateFailed { domain: String, error: String },
}

impl Event {
    pub fn kind(&self) -> Kind {
        match self {
            Event::Worker(_) => Kind::Worker,
            Event::Log(_) => Kind::Log,
            Event::App(_) => Kind::App,
            Event::Alias(_) => Kind::Alias,
            Event::Deploy(_) => Kind::Deploy,
            Event::Key(_) => Kind::Key,
            Event::Plugin(_) => Kind::Plugin,
            Event::Server(_) => Kind::Server,
        }
    }

    /// Whose event it is. None = nobody's: spares, plugins, keys, the server.
    pub fn app(&self) -> Option<&AppName> {
        match self {
            Event::Worker(event) => event.app.as_ref(),
            Event::Log(event) => event.app.as_ref(),
            Event::App(event) => Some(&event.app),
            Event::Alias(event) => Some(&event.app),
            Event::Deploy(event) => Some(&event.app),
            Event::Key(_) | Event::Plugin(_) | Event::Server(_) => None,
        }
    }

    /// Of which version it tells, if it is of one.
    pub fn version(&self) -> Option<&AppVersion> {
        match self {
            Event::Worker(event) => event.version.as_ref(),
            Event::Log(event) => event.version.as_ref(),
            Event::App(event) => Some(&event.version),
            Event::Deploy(event) => Some(&event.version),
            Event::Alias(_) | Event::Key(_) | Event::Plugin(_) | Event::Server(_) => None,
        }
    }

    /// About how many bytes of memory it holds. What is shared (names) counts as nothing.
    pub(super) fn size(&self) -> usize {
        let owned = match self {
            Event::Worker(_) => 0,
            Event::Log(event) => {
                let length = |text: &Option<Box<str>>| text.as_ref().map_or(0, |text| text.len());
                length(&event.text) + length(&event.request_id)
            }
            Event::App(event) => failure_size(&event.failure),
            Event::Alias(event) => {
                let parts = |split: &Option<Split>| split.as_ref().map_or(0, |split| split.parts().len());
                (parts(&event.before) + parts(&event.after)) * size_of::<(AppVersion, u8)>()
            }
            Event::Deploy(event) => {
                let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                length(&event.by) + length(&event.error)
            }
            Event::Key(event) => event.key.len() + event.name.len(),
            Event::Plugin(event) => {
                let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                event.by.len() + length(&event.plugin) + length(&event.error)
            }
            Event::Server(ServerEvent::Started { listen, bun }) => listen.len() + bun.len(),
            Event::Server(ServerEvent::Draining) => 0,
            Event::Server(ServerEvent::CertificateIssued { domain, .. }) => domain.len(),
            Event::Server(ServerEvent::CertificateFailed { domain, error }) => domain.len() + error.len(),
        };
        size_of::<Published>() + owned
    }
}

fn failure_size(failure: &Option<Arc<Failure>>) -> usize {
    let Some(failure) = failure else { return 0 };
    let thrown = failure.error.as_ref();
    let thrown = thrown.map_or(0, |error| error.name.len() + error.message.len() + error.stack.len());
    let output: usize = failure.output.iter().map(|line| line.len() + size_of::<String>()).sum();
    let suggestion = failure.suggestion.as_ref().map_or(0, String::len);
    size_of::<Failure>()
        + failure.summary.len()
        + suggestion
        + failure.steps.len() * size_of::<Step>()
        + thrown
        + output
}

impl Kind {
    pub const ALL: [Kind; 8] = [
        Kind::Worker,
        Kind::Log,
        Kind::App,
        Kind::Alias,
        Kind::Deploy,
        Kind::Key,
        Kind::Plugin,
        Kind::Server,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Worker => "worker",
            Kind::Log => "log",
            Kind::App => "app",
            Kind::Alias => "alias",
            Kind::Deploy => "deploy",
            Kind::Key => "key",
            Kind::Plugin => "plugin",
            Kind::Server => "server",
        }
    }
}

/// The error is what was given.
impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Kind, String> {
        Kind::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| text.to_owned())
    }
}

fn text<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn text_if<T: Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

fn moment<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Rfc3339(*at))
}

fn route<S: Serializer>(split: &Option<Split>, serializer: S) -> Result<S::Ok, S::Error> {
    let Some(split) = split else { return serializer.serialize_none() };
    let mut map = serializer.serialize_map(Some(split.parts().len()))?;
    for (version, weight) in split.parts() {
        map.serialize_entry(&version.to_string(), weight)?;
    }
    map.end()
}

fn shared_if<T: Serialize, S: Serializer>(value: &Option<Arc<T>>, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_deref().serialize(serializer)
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}
