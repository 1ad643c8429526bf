//! Waiting until what was in flight on a version's workers is over.

use super::core::WorkerView;
use super::{Inner, Pool};
use crate::model::{VersionKey, WorkerId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Somebody who waits for it.
pub(super) struct Settling {
    id: u64,
    workers: BTreeMap<WorkerId, Left>,
    /// Dropped when there is nothing left.
    _over: oneshot::Sender<()>,
}

/// What is left on one worker.
struct Left {
    /// The number of its youngest request at the time of asking: younger ones do not count.
    youngest: u64,
    requests: u32,
}

/// Gives up waiting when it is dropped.
struct Waiting<'a> {
    pool: &'a Arc<Pool>,
    id: u64,
    over: oneshot::Receiver<()>,
}

impl Pool {
    /// Returns true when nothing is left of what is in flight on workers of this version now, bodies included, and those that drain
    /// have been reaped; false when that takes longer than `within`. A version that is gone has nothing left.
    pub async fn settled(self: &Arc<Self>, version: VersionKey, within: Duration) -> bool {
        let mut waiting = {
            let mut inner = self.lock();
            let workers = inner.left_of(version);
            if workers.is_empty() {
                return true;
            }
            inner.tickets += 1;
            let id = inner.tickets;
            let (sender, over) = oneshot::channel();
            inner.settling.push(Settling { id, workers, _over: sender });
            Waiting { pool: self, id, over }
        };
        tokio::time::timeout(within, &mut waiting.over).await.is_ok()
    }
}

impl Inner {
    fn left_of(&self, version: VersionKey) -> BTreeMap<WorkerId, Left> {
        let mut left = BTreeMap::new();
        for (id, handle) in self.workers.iter().filter(|(_, handle)| handle.version == Some(version)) {
            if let Some(worker) = self.core.worker(*id)
                && (worker.in_flight > 0 || worker.draining)
            {
                left.insert(*id, Left { youngest: handle.given, requests: worker.in_flight });
            }
        }
        left
    }

    /// A request that was the worker's `number`th is over.
    pub(super) fn request_is_over(&mut self, worker: WorkerId, number: u64) {
        if self.settling.is_empty() {
            return;
        }
        let draining = self.core.worker(worker).is_some_and(|view: WorkerView| view.draining);
        self.settling.retain_mut(|settling| {
            if let Some(left) = settling.workers.get_mut(&worker)
                && number <= left.youngest
            {
                left.requests = left.requests.saturating_sub(1);
                if left.requests == 0 && !draining {
                    settling.workers.remove(&worker);
                }
            }
            !settling.workers.is_empty()
        });
    }

    /// The worker's process has been reaped.
    pub(super) fn worker_is_gone(&mut self, worker: WorkerId) {
        self.settling.retain_mut(|settling| {
            settling.workers.remove(&worker);
            !settling.workers.is_empty()
        });
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.pool.lock().settling.retain(|settling| settling.id != self.id);
    }
}
