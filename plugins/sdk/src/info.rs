//! What plugins learn of apps and their workers.

use serde::Serialize;

/// A version of an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AppInfo {
    /// `shop`, `@team/shop`.
    pub name: String,
    /// `1.4.2`, `latest`.
    pub version: String,
}

/// A worker as it is now.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WorkerInfo {
    /// `w12`.
    pub id: String,
    /// None: a spare, or a plugin's.
    pub app: Option<AppInfo>,
    /// The plugin that it runs.
    pub plugin: Option<String>,
    pub state: &'static str,
    /// All of it, as `GET /api/workers` says it.
    pub details: serde_json::Value,
}

/// A worker has come, or has gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WorkerEvent {
    pub worker: String,
    /// None: a spare.
    pub app: Option<AppInfo>,
    pub pid: Option<u32>,
    /// None: it begins here.
    pub from: Option<&'static str>,
    /// `creating`, `ready`, `active`, `idle`, `terminated`.
    pub to: &'static str,
    pub reason: &'static str,
}

impl AppInfo {
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> AppInfo {
        AppInfo { name: name.into(), version: version.into() }
    }
}

impl WorkerInfo {
    pub fn new(id: impl Into<String>, state: &'static str, details: serde_json::Value) -> WorkerInfo {
        WorkerInfo { id: id.into(), app: None, plugin: None, state, details }
    }
}

impl WorkerEvent {
    pub fn new(worker: impl Into<String>, to: &'static str, reason: &'static str) -> WorkerEvent {
        WorkerEvent { worker: worker.into(), app: None, pid: None, from: None, to, reason }
    }
}
