//! What the pool tells a worker's task, and what the task reports.

use super::journey::Journey;
use super::link::Link;
use crate::model::{AppName, AppVersion, PluginSeat};
use crate::wire::WireError;
use crate::wire::message::AppError;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

/// An app for a worker to load. Owned, because it crosses to the worker's task.
#[derive(Clone, Debug)]
pub struct Assignment {
    pub dir: PathBuf,
    pub entry: PathBuf,
    pub name: AppName,
    pub version: AppVersion,
    pub mount: String,
    pub origin: String,
    pub dev: bool,
    pub env: BTreeMap<String, String>,
    pub head_timeout: Duration,
    pub stream_timeout: Duration,
    /// The name of its data directory, where there is one.
    pub data: Option<String>,
    /// The directory of its plugin, where it is a plugin's.
    pub plugin_dir: Option<PathBuf>,
    /// Makes it a script plugin, and where its state is.
    pub plugin: Option<(Arc<PluginSeat>, PathBuf)>,
    /// Measure proportional memory while it serves.
    pub watch_memory: bool,
}

#[derive(Debug)]
pub enum Order {
    Assign(Box<Assignment>),
    /// It cannot be given its app, for want of what the machine has too little of: it ends.
    Starve(io::Error),
    IdleHook,
    /// `onTerminate`, SIGTERM, SIGKILL. `quick` = straight to SIGKILL where the app has no such hook.
    Terminate {
        quick: bool,
    },
    Kill,
}

#[derive(Debug)]
pub enum Report {
    /// The process runs.
    Spawned {
        pid: u32,
        journey: Journey,
    },
    /// The shim is there.
    Connected {
        link: Arc<Link>,
        journey: Journey,
    },
    Ready(Journey),
    /// The app could not be loaded; the process still runs.
    StartFailed {
        journey: Journey,
        error: Box<AppError>,
        stderr: Vec<String>,
    },
    /// The link closed by itself: the worker takes no more requests. Its exit follows.
    Lost,
    /// The event loop did not answer.
    Unresponsive,
    Protocol(WireError),
    Memory(u64),
    /// There is no process, or there is none any more, for want of what the machine has too little of. Nothing further comes.
    Starved(io::Error),
    /// The process could not be started. Nothing further comes.
    NotStarted(io::Error),
    /// Reaped. Nothing further comes.
    Exited {
        status: Option<ExitStatus>,
        journey: Journey,
        stderr: Vec<String>,
    },
}
