//! Changes to one app take turns: each is made whole, also when its client has gone, before the next one begins.

use super::Api;
use super::error::{ApiError, Result};
use crate::model::AppName;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Changes to one app that wait at most. Each goes on to its end, so a client that asks and leaves could pile them up.
const WAITING: usize = 64;

/// One lock for each app that is being changed.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<HashMap<AppName, Weak<tokio::sync::Mutex<()>>>>);

impl Turns {
    fn of(&self, app: &AppName) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lock) = locks.get(app).and_then(Weak::upgrade) {
            return lock;
        }
        locks.retain(|_, lock| lock.strong_count() > 0);
        let lock = Arc::default();
        locks.insert(app.clone(), Arc::downgrade(&lock));
        lock
    }
}

impl Api {
    /// Does `change` when the app's turn comes. It goes on to its end even if nobody waits for it any more.
    pub(super) async fn in_turn<T: Send + 'static, F>(
        self: &Arc<Self>,
        app: AppName,
        change: impl FnOnce(Arc<Api>) -> F + Send + 'static,
    ) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let lock = self.turns.of(&app);
        if Arc::strong_count(&lock) > WAITING {
            let detail = format!("{WAITING} other changes to {app} wait for their turn.");
            return Err(ApiError::later("changes_busy", detail, Duration::from_secs(1)));
        }
        let api = Arc::clone(self);
        let going = self.standstill.join();
        let turn = async move {
            let _going = going;
            let _turn = lock.lock().await;
            change(api).await
        };
        tokio::spawn(turn).await.map_err(ApiError::internal)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_app_has_one_lock_while_it_is_used_and_none_after() {
        let turns = Turns::default();
        let (shop, blog): (AppName, AppName) = ("shop".parse().unwrap(), "blog".parse().unwrap());
        let first = turns.of(&shop);
        assert!(Arc::ptr_eq(&first, &turns.of(&shop)));
        assert!(!Arc::ptr_eq(&first, &turns.of(&blog)));
        drop(first);
        drop(turns.of(&blog));
        assert_eq!(turns.0.lock().unwrap().len(), 1, "those that are gone are forgotten");
    }
}
