//! What becomes of workers and versions, told to the log and to whoever watches the events.

use super::core::types::{Reason, State};
use super::{Inner, Pool, StartFailure};
use crate::events::{AppAction, AppEvent, Event, Failure, WorkerEvent};
use crate::model::{App, AppName, VersionKey, WorkerId};
use std::sync::Arc;

impl Pool {
    pub(super) fn tell_transition(
        &self,
        inner: &Inner,
        worker: WorkerId,
        version: Option<VersionKey>,
        (from, to): (Option<State>, State),
        reason: Reason,
    ) {
        let app = version.and_then(|version| inner.versions.get(&version)).map(|version| &*version.app);
        let (from, to, why) = (from.map(State::as_str), to.as_str(), reason.as_str());
        let version = app.map(|app| app.version.to_string());
        let name = app.and_then(App::app_name).map(AppName::as_str);
        let plugin = app.and_then(App::plugin_name).map(AppName::as_str);
        if reason.is_fault() {
            tracing::warn!(app = name, plugin, version, %worker, from, to, reason = why, "worker");
        } else {
            tracing::info!(app = name, plugin, version, %worker, from, to, reason = why, "worker");
        }
        self.hub.publish(Event::Worker(WorkerEvent {
            worker,
            app: app.and_then(|app| app.app_name().cloned()),
            plugin: app.and_then(|app| app.plugin_name().cloned()),
            version: app.map(|app| app.version.clone()),
            pid: inner.workers.get(&worker).and_then(|handle| handle.pid),
            from,
            to,
            reason: why,
        }));
    }

    pub(super) fn tell_proven(&self, app: &App) {
        // A plugin is no version of an app, and no namespace's.
        if app.plugin.is_none() {
            self.hub.publish(of_app(app, AppAction::Proven, None));
        }
    }

    pub(super) fn tell_failure(&self, app: &App, worker: WorkerId, failure: &StartFailure) {
        let suggestion = failure.suggestion.as_deref();
        if let Some(plugin) = app.plugin_name() {
            tracing::error!(target: "buntime::failure", %plugin, version = %app.version, %worker, failure = %failure, suggestion, "a plugin failed to start");
            return;
        }
        tracing::error!(target: "buntime::failure", app = %app.name, version = %app.version, %worker, failure = %failure, suggestion, "an app failed to start");
        self.hub.publish(of_app(app, AppAction::Failed, Some(Arc::new(Failure::from(failure)))));
    }
}

fn of_app(app: &App, action: AppAction, failure: Option<Arc<Failure>>) -> Event {
    Event::App(AppEvent { action, app: app.name.clone(), version: app.version.clone(), failure })
}
