//! Every worker with all that is known of it, for people to look at.

use super::Pool;
use super::core::types::State;
use crate::model::{AppName, AppVersion, VersionKey, WorkerId};
use crate::worker::journey::Journey;
use crate::worker::usage::{self, Memory};
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct WorkerInfo {
    pub id: WorkerId,
    /// None = a spare, or a plugin's.
    pub app: Option<AppName>,
    /// The script plugin that it runs in an app's place.
    pub plugin: Option<AppName>,
    /// None = a spare; so is the next.
    pub version: Option<AppVersion>,
    pub key: Option<VersionKey>,
    pub state: State,
    /// Takes no more requests.
    pub draining: bool,
    /// None = the process is about to be started.
    pub pid: Option<u32>,
    /// Exchanges, bodies included.
    pub in_flight: u32,
    /// Requests without a response head yet.
    pub awaiting: u32,
    /// Requests ever given to it.
    pub served: u64,
    /// Since its start was ordered.
    pub age: Duration,
    /// Since it last began or ended a request, or became Ready.
    pub last_used: Duration,
    pub journey: Journey,
    /// None = the process is gone, or the kernel does not let us know.
    pub memory: Option<Memory>,
    pub cpu: Option<Duration>,
}

/// How the last start of a version went.
#[derive(Clone, Debug, Default)]
pub struct LastStart {
    /// The steps of the last one that came to Ready.
    pub ready: Option<Journey>,
    /// Why the last one failed, if none has come to Ready since.
    pub failure: Option<Arc<super::StartFailure>>,
}

impl Pool {
    /// All workers in the order of their ids, with what the kernel says of their processes at the moment.
    pub async fn workers(&self) -> Vec<WorkerInfo> {
        let mut workers = self.listed();
        let measure = move || {
            for worker in &mut workers {
                worker.memory = worker.pid.and_then(usage::memory);
                worker.cpu = worker.pid.and_then(usage::cpu);
            }
            workers
        };
        // The kernel walks all pages of each process.
        match tokio::task::spawn_blocking(measure).await {
            Ok(measured) => measured,
            // The runtime is ending.
            Err(_) => self.listed(),
        }
    }

    /// How the last start of a version went. None = there is no such version.
    pub fn last_start(&self, version: VersionKey) -> Option<LastStart> {
        let inner = self.lock();
        let version = inner.versions.get(&version)?;
        Some(LastStart { ready: version.ready, failure: version.failure.clone() })
    }

    fn listed(&self) -> Vec<WorkerInfo> {
        let inner = self.lock();
        let now = self.now();
        let workers = inner.core.snapshot(now).workers.into_iter().map(|worker| {
            let handle = inner.workers.get(&worker.id);
            let app = worker.version.and_then(|key| inner.versions.get(&key)).map(|version| &version.app);
            WorkerInfo {
                id: worker.id,
                app: app.and_then(|app| app.app_name().cloned()),
                plugin: app.and_then(|app| app.plugin_name().cloned()),
                version: app.map(|app| app.version.clone()),
                key: worker.version,
                state: worker.state,
                draining: worker.draining,
                pid: handle.and_then(|handle| handle.pid),
                in_flight: worker.in_flight,
                awaiting: worker.awaiting,
                served: worker.served,
                age: now.saturating_sub(worker.started),
                last_used: now.saturating_sub(worker.last_used),
                journey: handle.map(|handle| handle.journey).unwrap_or_default(),
                memory: None,
                cpu: None,
            }
        });
        workers.collect()
    }
}
