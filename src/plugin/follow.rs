//! Tells the plugins of workers that come and go. Nothing waits for it: it reads the events at its own pace.

use super::Current;
use crate::events::{Event, Filter, Hub, Item, Kind};
use buntime_plugin::{AppInfo, WorkerEvent};
use std::sync::Arc;

/// Follows the events until the process ends.
pub async fn follow(hub: Arc<Hub>, current: Arc<Current>) {
    let mut events = hub.subscribe(Some(hub.newest()), Filter::all().kinds([Kind::Worker]));
    loop {
        match events.next().await {
            Item::Event(published) => {
                if let Event::Worker(event) = &published.event {
                    current.load().tell(&told(event));
                }
            }
            Item::Gap(gap) => {
                tracing::warn!(target: "buntime::plugin", lost = gap.lost, "plugins were not told of all workers");
            }
            Item::Reset(_) => {}
        }
    }
}

fn told(event: &crate::events::WorkerEvent) -> WorkerEvent {
    let mut told = WorkerEvent::new(event.worker.to_string(), event.to, event.reason);
    let app = event.app.as_ref().zip(event.version.as_ref());
    told.app = app.map(|(app, version)| AppInfo::new(app.as_str(), version.to_string()));
    told.pid = event.pid;
    told.from = event.from;
    told
}
