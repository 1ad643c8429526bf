//! What a native plugin of Buntime sees, and all that it may see.
//!
//! A plugin is a type that implements [`Plugin`], made by the function that its [`Native`] registration names. It says once
//! which [`Hooks`] it has, with the [`Filter`] of each; a request that no filter matches pays nothing for it. What the
//! runtime offers comes with the [`Context`]: settings, a state directory, services of other plugins, apps, workers,
//! metrics and logs. With the feature `testkit`, [`testkit`] runs a plugin without the runtime.
//!
//! A request passes the [`Phase`]s in their order; inside a phase, plugins run in the order of their dependencies:
//!
//! `resolve → preflight → identify → limit → permit → serve`
//!
//! The version of this crate follows semver: what is public here stays as it is within a major version (while it is 0,
//! within a minor one).

pub mod access;
pub mod answer;
mod body;
mod context;
mod error;
mod events;
mod filter;
mod hooks;
pub mod host;
pub mod info;
pub mod limit;
pub mod logs;
pub mod metrics;
pub mod name;
mod plugin;
mod request;
pub mod rfc3339;
mod routes;
pub mod service;
pub mod settings;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
#[cfg(test)]
mod tests;
mod upgrade;
pub mod websocket;

pub use access::{Access, Caller};
pub use body::{Body, BodyError, BodyStream};
pub use context::{Context, Core, Identity};
pub use error::{Error, Problem, Result};
pub use events::EventFilter;
pub use filter::{Filter, Glob, GlobError, plain_path};
pub use hooks::{Hooks, Phase, RequestHook};
pub use info::{AppInfo, WorkerEvent, WorkerInfo};
pub use logs::{Level, LogEntry, LogGuard, LogSink, Source};
pub use plugin::{BoxFuture, Fetched, Flow, Native, Outcome, Plugin, Server};
pub use request::{Passed, Request, Response, Route, Target};
pub use routes::{Params, Router};
pub use service::{Callable, Service, ServiceError};
pub use settings::Settings;
pub use upgrade::{Connection, Ending, Offer, Upgrade};

pub use bytes::Bytes;
pub use futures_util::stream::BoxStream;
pub use http;
pub use rmpv::Value;
