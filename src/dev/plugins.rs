//! Plugins that are edited are loaded anew: all of them or, where one does not start, none.

use super::{QUIET, Workbench};
use crate::apps::{Edits, Ignored};
use crate::plugin::Host;
use std::sync::Arc;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// Ends when it is dropped.
pub struct Watching {
    _edits: Edits,
    task: JoinHandle<()>,
}

impl Watching {
    /// None = the directories cannot be watched.
    pub fn start(bench: &Arc<Workbench>, host: &Arc<Host>, ignored: Ignored) -> Option<Watching> {
        let edited = Arc::new(Notify::new());
        let tell = Arc::clone(&edited);
        let edits = Edits::watch(host.dirs().to_vec(), ignored, QUIET, move || tell.notify_one())
            .inspect_err(|error| tracing::warn!(%error, "plugins are not watched"))
            .ok()?;
        let (bench, host) = (Arc::clone(bench), Arc::clone(host));
        let task = tokio::spawn(async move {
            loop {
                // What is edited while plugins are loaded has them loaded once more.
                edited.notified().await;
                let result = host.reload().await.map_err(|error| error.to_string());
                bench.plugins_changed(result);
            }
        });
        Some(Watching { _edits: edits, task })
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}
