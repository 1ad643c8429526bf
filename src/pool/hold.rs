//! Keeping workers of a version from loading while its files change: one that loads then gets some of the old and some
//! of the new.

use super::core::types::Event;
use super::{Inner, Pool};
use crate::model::VersionKey;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// No worker of the version is started as long as this is kept; loaded ones serve, and requests that need another one wait.
pub struct Held {
    pool: Arc<Pool>,
    version: VersionKey,
}

/// Somebody who waits until none is loading.
pub(super) struct Quieting {
    version: VersionKey,
    /// Dropped when that is so.
    _quiet: oneshot::Sender<()>,
}

impl Pool {
    /// Starts no further worker of a version, and returns when none of it is loading any more, at the latest after `within`. At
    /// most one may hold a version.
    pub async fn hold(self: &Arc<Self>, version: VersionKey, within: Duration) -> Held {
        let held = Held { pool: Arc::clone(self), version };
        let quiet = {
            let mut inner = self.lock();
            let (sender, quiet) = oneshot::channel();
            inner.quieting.push(Quieting { version, _quiet: sender });
            self.step(&mut inner, Event::Hold { version, held: true }, None);
            quiet
        };
        // Whoever takes longer than that to load may never.
        let _ = tokio::time::timeout(within, quiet).await;
        held
    }
}

impl Inner {
    /// Tells those who wait for that.
    pub(super) fn tell_quiet(&mut self) {
        let core = &self.core;
        self.quieting.retain(|quieting| core.is_loading(quieting.version));
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut inner = self.pool.lock();
        inner.quieting.retain(|quieting| quieting.version != self.version);
        self.pool.step(&mut inner, Event::Hold { version: self.version, held: false }, None);
    }
}
