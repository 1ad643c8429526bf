//! Hearing what the workers' tasks report, and telling the core.

use super::core::types::{Event, Reason};
use super::{Inner, Pool, StartError, StartFailure};
use crate::model::WorkerId;
use crate::telemetry::Verdict;
use crate::worker::isolation::Unreadable;
use crate::worker::orders::Report;
use std::sync::Arc;

/// What Bun calls an import that leads nowhere.
const NOT_RESOLVED: &str = "ResolveMessage";

impl Pool {
    /// A report from a worker's task.
    pub(super) fn hear(self: &Arc<Self>, worker: WorkerId, report: Report) {
        let unreadable = self.unreadable(worker, &report);
        let mut inner = self.lock();
        let inner = &mut *inner;
        let event = match report {
            Report::Spawned { pid, journey } => {
                if let Some(handle) = inner.workers.get_mut(&worker) {
                    handle.pid = Some(pid);
                    handle.journey = journey;
                }
                return;
            }
            Report::Connected { link, journey } => {
                if let Some(handle) = inner.workers.get_mut(&worker) {
                    handle.link = Some(link);
                    handle.journey = journey;
                    self.meter.connected(&journey, handle.was_spare);
                }
                (inner.stillborn, inner.starved_at) = (None, None);
                Event::Connected { worker }
            }
            Report::Ready(journey) => {
                if let Some(handle) = inner.workers.get_mut(&worker) {
                    handle.ready = true;
                    handle.journey = journey;
                    self.meter.ready(&journey, handle.was_spare);
                    handle.sent_ahead = None;
                    if let Some(version) = handle.version.and_then(|key| inner.versions.get_mut(&key)) {
                        version.ready = Some(journey);
                        version.failure = None;
                    }
                }
                Event::Ready { worker }
            }
            Report::StartFailed { journey, error, stderr } => {
                // A spare has looked at the directories above the app, and at which of them have packages, before.
                let stale = error.name == NOT_RESOLVED;
                let handle = inner.workers.get_mut(&worker);
                let again = stale && handle.as_ref().is_some_and(|handle| handle.was_spare);
                if let Some(handle) = handle {
                    handle.failed = true;
                    handle.journey = journey;
                }
                if again {
                    tracing::info!(%worker, error = %error.message, "the app is tried again in a process of its own");
                } else {
                    self.note_failure(
                        inner,
                        worker,
                        StartFailure::thrown(journey, *error, stderr).because(unreadable),
                    );
                }
                Event::StartFailed { worker, stale }
            }
            Report::Lost => Event::Lost { worker },
            Report::Unresponsive => Event::Unresponsive { worker },
            Report::Protocol(error) => {
                tracing::error!(%worker, %error, "a worker broke the protocol");
                Event::Protocol { worker }
            }
            Report::Memory(pss) => Event::Memory { worker, pss },
            Report::Starved(error) => {
                self.note_starved(inner, worker, StartFailure::not_started(&error));
                inner.starved_at = Some(self.now());
                Event::Starved { worker }
            }
            Report::NotStarted(error) => {
                tracing::error!(%worker, %error, "a worker could not be started");
                self.note_failure(inner, worker, StartFailure::not_started(&error).because(unreadable));
                inner.stillborn = Some(self.now());
                Event::Exited { worker }
            }
            Report::Exited { status, journey, stderr } => {
                if let Some(handle) = inner.workers.get_mut(&worker) {
                    handle.journey = journey;
                    let told = handle.told;
                    if told.is_none() && handle.link.is_none() && handle.version.is_none() {
                        inner.stillborn = Some(self.now());
                    }
                    // One that turned out to be Ready as it ended was too late all the same.
                    let late = told == Some(Reason::StartTimeout);
                    let fault = told.is_none_or(Reason::is_fault);
                    if !handle.failed && (late || fault && !handle.ready) {
                        let failure = StartFailure::exited(journey, status, stderr, told);
                        self.note_failure(inner, worker, failure.because(unreadable));
                    }
                }
                Event::Exited { worker }
            }
        };
        if !matches!(event, Event::Exited { .. } | Event::Starved { .. }) {
            self.step(inner, event, None);
            return;
        }
        let version = inner.workers.get(&worker).and_then(|handle| handle.version);
        let failure = match event {
            Event::Starved { .. } => inner.starved.clone(),
            _ => version.and_then(|key| inner.versions.get(&key)).and_then(|known| known.failure.clone()),
        };
        self.step(inner, event, None);
        // Only now: who was sent ahead to it has been told why it failed, or finds the channel closed.
        let handle = inner.workers.remove(&worker);
        inner.worker_is_gone(worker);
        for mourner in handle.into_iter().flat_map(|handle| handle.mourners) {
            let _ = mourner.send(Err(StartError::failed(failure.clone()))); // it may have gone
        }
    }

    /// Where a start failed and workers run as another user: what of the app that user cannot read. Looks at the disk, so it
    /// is asked before the lock is taken.
    fn unreadable(&self, worker: WorkerId, report: &Report) -> Option<Unreadable> {
        let identity = self.settings.isolation.identity();
        let failed = match report {
            Report::StartFailed { .. } | Report::NotStarted(_) => true,
            Report::Exited { .. } => self.lock().workers.get(&worker).is_some_and(|handle| !handle.ready),
            _ => false,
        };
        if identity.is_none() || !failed {
            return None;
        }
        let dir = {
            let inner = self.lock();
            let version = inner.workers.get(&worker)?.version?;
            inner.versions.get(&version)?.app.dir.clone()
        };
        self.settings.isolation.unreadable(&dir)
    }

    /// It says nothing of the app, so it is not its failure. Every start may meet it: told once a second.
    fn note_starved(&self, inner: &mut Inner, worker: WorkerId, failure: StartFailure) {
        if let Verdict::Log { dropped: unsaid } = inner.starved_log.admit(self.now()) {
            let hint = failure.suggestion.as_deref();
            tracing::error!(%worker, failure = %failure, hint, unsaid, "the machine has nothing left to start workers with");
        }
        inner.starved = Some(Arc::new(failure));
    }

    fn note_failure(&self, inner: &mut Inner, worker: WorkerId, failure: StartFailure) {
        let version = inner.workers.get(&worker).and_then(|handle| handle.version);
        let Some(version) = version.and_then(|version| inner.versions.get_mut(&version)) else {
            tracing::error!(%worker, failure = %failure, "a spare failed to start");
            return;
        };
        self.tell_failure(&version.app, worker, &failure);
        version.failure = Some(Arc::new(failure));
    }
}
