//! What the management API takes and gives: the shapes of its JSON, for both of its ends.
//!
//! Names are in camelCase. Moments are RFC 3339 in UTC; durations are in seconds, those of steps in milliseconds; sizes
//! are in bytes.

pub use super::plugins::shapes::*;
use super::{patterns, whole};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// An error (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ProblemDocument {
    /// `urn:buntime:problem:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What happened.
    pub detail: String,
    /// The request's id.
    pub instance: String,
    /// What programs compare.
    pub code: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Of a deployment: how the start of the new version went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<StartReport>,
}

/// How a start went: the steps as far as it came, and, where it failed, why.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartReport {
    pub steps: Vec<Step>,
    /// What went wrong, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What the app threw, with its stack.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// The last lines on stderr, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

/// One step of a start: `spawn`, `connect`, `install`, `import`, `ready`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub name: String,
    /// How long it took; none = it was not finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub milliseconds: Option<f64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppList {
    pub apps: Vec<AppSummary>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppSummary {
    /// `shop` or `@team/shop`.
    pub name: String,
    /// Where it is mounted: `/shop/`.
    pub path: String,
    /// What the name alone means now; none = nothing, or a split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    pub versions: Vec<Version>,
    pub aliases: Vec<Alias>,
    /// Workers that there are now, of all versions.
    pub workers: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct VersionList {
    pub versions: Vec<Version>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// A semver, or `latest`.
    pub version: String,
    pub kind: AppKind,
    pub state: VersionState,
    /// A worker of it was Ready once.
    pub proven: bool,
    /// Aliases that stand for it, or for it among others.
    pub aliases: Vec<String>,
    /// Workers that it has now.
    pub workers: u32,
    /// Why it is broken, or did not start the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AppKind {
    /// A server module, run by workers.
    Worker,
    /// Files.
    Static,
    /// Its manifest or entrypoint is wrong.
    Broken,
    /// Not known, because it is disabled by its manifest.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum VersionState {
    /// It can be asked for.
    Enabled,
    /// By an operator.
    Disabled,
    /// By `enabled: false` in its manifest.
    Manifest,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AliasList {
    pub aliases: Vec<Alias>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alias {
    pub name: String,
    /// Versions and how many of a hundred clients each one gets.
    pub weights: BTreeMap<String, u8>,
    pub sticky: Stickiness,
    /// What it stood for before; a rollback goes there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<BTreeMap<String, u8>>,
}

/// By what a client is known to a split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stickiness {
    #[default]
    Cookie,
    Address,
}

/// What an alias is to stand for: one `version`, or `weights` that come to 100.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetAlias {
    #[schema(schema_with = patterns::version)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    #[schema(schema_with = patterns::weights)]
    #[serde(default, deserialize_with = "whole::optional_bytes", skip_serializing_if = "Option::is_none")]
    pub weights: Option<BTreeMap<String, u8>>,
    #[serde(default)]
    pub sticky: Stickiness,
}

/// Which alias is to go back to what it stood for before.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rollback {
    /// Default: `latest`.
    #[schema(schema_with = patterns::alias)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
}

/// An upload that was installed, proven, and, if an alias was asked for, is what that stands for now.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deployment {
    pub name: String,
    pub version: String,
    /// Where it is reached: `/shop/`.
    pub path: String,
    /// The same on this runtime's own address, where that is a TCP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    pub kind: AppKind,
    /// The version of this number that was there was replaced.
    pub replaced: bool,
    /// The alias that was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// What that alias stood for before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<BTreeMap<String, u8>>,
    /// Nothing is in flight any more on what served before.
    pub drained: bool,
    pub files: u64,
    /// Of all files, unpacked.
    pub bytes: u64,
    pub warnings: Vec<String>,
    pub start: StartReport,
}

/// How many workers something was done to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Affected {
    pub workers: u32,
}

/// What was deleted.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    pub versions: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerList {
    pub workers: Vec<Worker>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Worker {
    pub id: String,
    /// None = a spare, or a plugin's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The script plugin that it runs in an app's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    pub state: WorkerState,
    /// It takes no more requests.
    pub draining: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Proportional memory in bytes, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Processor time in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Requests that are not finished, their bodies included.
    pub in_flight: u32,
    /// Requests without a response head yet.
    pub awaiting: u32,
    /// Requests ever given to it.
    pub requests: u64,
    /// Seconds since it was started.
    pub age: f64,
    /// Seconds since its last request.
    pub idle: f64,
    pub start: StartReport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    Creating,
    Ready,
    Active,
    Idle,
    Terminated,
}

/// The runtime itself.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    pub version: String,
    pub bun: String,
    /// `development`, `production`, `staging`, `test`.
    pub environment: String,
    pub pid: u32,
    /// Seconds since the start.
    pub uptime: f64,
    /// Processes with an app, and how many there may be.
    pub pooled: u32,
    pub pool_size: u32,
    pub spares: u32,
    /// Requests that wait for a worker.
    pub waiting: u32,
    pub draining: bool,
    /// Where it is reached, if that is a TCP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyList {
    pub keys: Vec<Key>,
}

/// A key without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Key {
    /// `key_` and 16 hexadecimal digits.
    pub id: String,
    pub name: String,
    /// `admin`, `editor`, `viewer` or `custom`.
    pub role: String,
    pub permissions: Vec<String>,
    /// None = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    #[schema(format = DateTime)]
    pub created: String,
    pub created_by: String,
    #[schema(format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// True to within a minute.
    #[schema(format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
    #[schema(format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateKey {
    #[schema(schema_with = patterns::key_name)]
    pub name: String,
    /// `admin`, `editor`, `viewer`, or `custom` with `permissions`.
    #[schema(schema_with = patterns::role)]
    pub role: String,
    #[schema(schema_with = patterns::permissions)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permissions: Option<Vec<String>>,
    /// `@team`, or `@` for apps without a scope; none = all.
    #[schema(schema_with = patterns::namespaces)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// Seconds from now, at most a hundred years; none = it never expires.
    #[schema(minimum = 1, maximum = 3153600000_u64)]
    #[serde(default, deserialize_with = "whole::optional", skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
}

/// A key that was made. Its secret is shown this once.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreatedKey {
    pub secret: String,
    pub key: Key,
}

/// Who asks.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Identity {
    /// `admin socket`, `root key`, or the id of a key.
    pub actor: String,
    pub permissions: Vec<String>,
    /// None = all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    #[schema(format = DateTime)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditPage {
    /// The newest first.
    pub entries: Vec<AuditEntry>,
    /// What `before` must be to get the page that follows; none = this was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<i64>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    pub id: i64,
    #[schema(format = DateTime)]
    pub at: String,
    pub actor: String,
    pub action: String,
    pub subject: String,
    /// `done`, `denied` or `failed`.
    pub outcome: String,
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
}
