//! What the management API asks of the pool: to restart, end and retire workers, and to start one and say how that went.

use super::core::types::{Event, Refusal, Ticket};
use super::{Inner, Pool, StartFailure};
use crate::model::{VersionKey, WorkerId};
use crate::worker::journey::Journey;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A version has a worker that is Ready.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    pub worker: WorkerId,
    /// How that worker came to be, which may be a while ago.
    pub journey: Journey,
}

/// Why it has none.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// The start itself.
    #[error("{0}")]
    Failed(Arc<StartFailure>),
    /// It failed several times; nothing is started for a while.
    #[error("it failed several times and is not started again for {} s", .after.as_secs_f64())]
    BackOff { after: Duration, failure: Option<Arc<StartFailure>> },
    /// The machine has nothing left to start a process with. Nothing is known of the version.
    #[error("the server has nothing left to start a worker with")]
    Starved { after: Duration, failure: Option<Arc<StartFailure>> },
    /// All workers that there may be are busy, and none has come to rest in time.
    #[error("the pool is full of busy workers")]
    NoRoom,
    /// The version was removed or replaced, or was never there.
    #[error("the version was removed or replaced")]
    Gone,
    #[error("the server is shutting down")]
    ShuttingDown,
}

/// Somebody who waits for a start.
pub(super) struct Starter {
    version: VersionKey,
    answer: Answer,
}

pub(super) type Answer = oneshot::Sender<Result<Started, StartError>>;

/// Gives the wish up when it is dropped.
struct Wish<'a> {
    pool: &'a Arc<Pool>,
    ticket: Ticket,
}

impl StartError {
    pub(super) fn failed(failure: Option<Arc<StartFailure>>) -> StartError {
        StartError::Failed(failure.unwrap_or_else(|| Arc::new(StartFailure::unknown())))
    }

    /// What the last start said that failed.
    pub fn failure(&self) -> Option<&Arc<StartFailure>> {
        match self {
            StartError::Failed(failure) => Some(failure),
            StartError::BackOff { failure, .. } | StartError::Starved { failure, .. } => failure.as_ref(),
            StartError::NoRoom | StartError::Gone | StartError::ShuttingDown => None,
        }
    }
}

impl Pool {
    /// Replaces the workers of a version: each one serves until another is Ready, and stays if that one fails to start. One that
    /// is starting stays as it is. Returns how many are to be replaced.
    pub fn restart(self: &Arc<Self>, version: VersionKey) -> usize {
        let mut inner = self.lock();
        let count = inner.core.to_restart(version).len();
        self.step(&mut inner, Event::Restart { version }, None);
        count
    }

    /// The same where what is in the version's directory may have become another since it was proven: the observer is told anew
    /// whether it starts.
    pub fn restart_in_doubt(self: &Arc<Self>, version: VersionKey) -> usize {
        self.step(&mut self.lock(), Event::Doubt { version }, None);
        self.restart(version)
    }

    /// The same for one worker; a spare is ended and replaced from the stock. False = there is no such worker.
    pub fn restart_worker(self: &Arc<Self>, worker: WorkerId) -> bool {
        self.order(worker, Event::RestartWorker { worker })
    }

    /// Lets a worker finish what it has and ends it. Another one is started only where the manifest's `instances.min`, the stock of
    /// spares or a request asks for it. False = there is no such worker.
    pub fn terminate_worker(self: &Arc<Self>, worker: WorkerId) -> bool {
        self.order(worker, Event::TerminateWorker { worker })
    }

    /// Lets the workers that a version has now finish and end, but for as many as its `instances.min` asks for. A later request for
    /// it starts a new one, and those who wait for one are `Gone`: they ask anew what they mean. Returns how many are to end.
    pub fn retire(self: &Arc<Self>, version: VersionKey) -> usize {
        let mut inner = self.lock();
        let waits =
            |(ticket, waiting): (&Ticket, &super::Waiting)| (waiting.version == version).then_some(*ticket);
        let tickets: Vec<Ticket> = inner.waiting.iter().filter_map(waits).collect();
        for ticket in tickets {
            let Some(waiting) = inner.waiting.remove(&ticket) else { continue };
            self.step(&mut inner, Event::Abandon { ticket }, None);
            let _ = waiting.answer.send(Err(Refusal::Gone)); // its client may have gone
        }
        let count = inner.core.to_retire(version).len();
        self.step(&mut inner, Event::Retire { version }, None);
        count
    }

    fn order(self: &Arc<Self>, worker: WorkerId, event: Event) -> bool {
        let mut inner = self.lock();
        let known = inner.workers.contains_key(&worker);
        self.step(&mut inner, event, None);
        known
    }

    /// Sees to it that a version has a worker that is Ready, although nobody asks for it. Takes at most the version's
    /// `startTimeout` and its queue's timeout. All who ask share one start; to drop the future is to ask no more.
    ///
    /// # Errors
    /// There is none, and why.
    pub async fn start_one(self: &Arc<Self>, version: VersionKey) -> Result<Started, StartError> {
        let (answer, answered) = oneshot::channel();
        let _wish = {
            let mut inner = self.lock();
            inner.tickets += 1;
            let ticket = Ticket(inner.tickets);
            inner.starters.insert(ticket, Starter { version, answer });
            self.step(&mut inner, Event::Start { version, ticket }, None);
            Wish { pool: self, ticket }
        };
        // Each ticket is answered; but a pool that has gone answers nobody.
        answered.await.unwrap_or(Err(StartError::ShuttingDown))
    }

    /// The core says that a worker is Ready.
    pub(super) fn started(inner: &mut Inner, ticket: Ticket, worker: WorkerId) {
        let Some(Starter { answer, .. }) = inner.starters.remove(&ticket) else { return };
        let journey = inner.workers.get(&worker).map(|handle| handle.journey).unwrap_or_default();
        let _ = answer.send(Ok(Started { worker, journey })); // whoever asked may have gone
    }

    /// The core says that no worker is Ready. One that it had killed has yet to tell why it was not, with its end.
    pub(super) fn not_started(inner: &mut Inner, ticket: Ticket, why: Refusal) {
        let Some(Starter { version, answer }) = inner.starters.remove(&ticket) else { return };
        let failure = inner.versions.get(&version).and_then(|version| version.failure.clone());
        let error = match why {
            Refusal::StartFailed | Refusal::StartTimeout => {
                let dying =
                    |handle: &&mut super::Handle| handle.version == Some(version) && handle.owes_failure();
                if let Some(dying) = inner.workers.values_mut().find(dying) {
                    return dying.mourners.push(answer);
                }
                StartError::failed(failure)
            }
            Refusal::BackOff(after) => StartError::BackOff { after, failure },
            Refusal::Starved(after) => StartError::Starved { after, failure: inner.starved.clone() },
            Refusal::QueueFull | Refusal::QueueTimeout => StartError::NoRoom,
            Refusal::Gone => StartError::Gone,
            Refusal::ShuttingDown => StartError::ShuttingDown,
        };
        let _ = answer.send(Err(error)); // whoever asked may have gone
    }
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        let mut inner = self.pool.lock();
        if inner.starters.remove(&self.ticket).is_some() {
            self.pool.step(&mut inner, Event::AbandonStart { ticket: self.ticket }, None);
        }
    }
}
