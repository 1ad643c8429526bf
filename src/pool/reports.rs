//! Hearing what the workers' tasks report, and telling the core.

use super::core::types::{Event, Reason};
use super::{Inner, Pool, StartFailure};
use crate::model::WorkerId;
use crate::worker::actor::Report;
use std::sync::Arc;

/// What Bun calls an import that leads nowhere.
const NOT_RESOLVED: &str = "ResolveMessage";

impl Pool {
    /// A report from a worker's task.
    pub(super) fn hear(self: &Arc<Self>, worker: WorkerId, report: Report) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let event = match report {
            Report::Connected(link) => {
                if let Some(handle) = inner.workers.get_mut(&worker) {
                    handle.link = Some(link);
                }
                inner.stillborn = None;
                Event::Connected { worker }
            }
            Report::Ready(_) => {
                if let Some(handle) = inner.workers.get_mut(&worker) {
                    handle.ready = true;
                    handle.sent_ahead = None;
                }
                Event::Ready { worker }
            }
            Report::StartFailed { journey, error } => {
                // A spare has looked at the directories above the app, and at which of them have packages, before.
                let stale = error.name == NOT_RESOLVED;
                let handle = inner.workers.get_mut(&worker);
                let again = stale && handle.as_ref().is_some_and(|handle| handle.was_spare);
                if let Some(handle) = handle {
                    handle.failed = true;
                }
                if again {
                    tracing::info!(%worker, error = %error.message, "the app is tried again in a process of its own");
                } else {
                    note_failure(inner, worker, StartFailure::thrown(journey, *error));
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
            Report::NotStarted(error) => {
                tracing::error!(%worker, %error, "a worker could not be started");
                note_failure(inner, worker, StartFailure::not_started(&error));
                inner.stillborn = Some(self.now());
                Event::Exited { worker }
            }
            Report::Exited { status, journey, stderr } => {
                if let Some(handle) = inner.workers.get(&worker) {
                    let early = handle.told.is_none();
                    if early && handle.link.is_none() && handle.version.is_none() {
                        inner.stillborn = Some(self.now());
                    }
                    let late = handle.told == Some(Reason::StartTimeout);
                    // One that turned out to be Ready as it ended was too late all the same.
                    if !handle.failed && (late || early && !handle.ready) {
                        note_failure(inner, worker, StartFailure::exited(journey, status, stderr, late));
                    }
                }
                Event::Exited { worker }
            }
        };
        let gone = matches!(event, Event::Exited { .. });
        self.step(inner, event, None);
        if gone {
            // Only now: who was sent ahead to it has been told why it failed, or finds the channel closed.
            inner.workers.remove(&worker);
        }
    }
}

fn note_failure(inner: &mut Inner, worker: WorkerId, failure: StartFailure) {
    let version = inner.workers.get(&worker).and_then(|handle| handle.version);
    let Some(version) = version.and_then(|version| inner.versions.get_mut(&version)) else {
        tracing::error!(%worker, failure = %failure, "a spare failed to start");
        return;
    };
    tracing::error!(app = %version.app.name, version = %version.app.version, %worker, failure = %failure, "an app failed to start");
    // A worker that reported what was thrown is ended after that: its exit says less.
    if failure.error.is_some() || version.failure.as_ref().is_none_or(|known| known.error.is_none()) {
        version.failure = Some(Arc::new(failure));
    }
}
