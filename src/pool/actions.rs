//! Carrying out what the core decides: starting processes, giving them apps, ending them.

use super::core::types::{Action, Reason};
use super::{Handle, Inner, Journey, Pool, Version, environment};
use crate::model::{App, Kind, VersionKey, WorkerId};
use crate::worker::actor::{self, Birth};
use crate::worker::orders::{Assignment, Order, Report};
use crate::worker::spawn;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::mpsc;

impl Pool {
    pub(super) fn perform(self: &Arc<Self>, inner: &mut Inner, action: Action) {
        match action {
            Action::Spawn { worker, version } => self.spawn(inner, worker, version),
            Action::Assign { worker, version } => self.assign(inner, worker, version),
            Action::IdleHook { worker } => order(inner, worker, Order::IdleHook),
            Action::Terminate { worker, reason } => {
                self.meter.terminates(reason);
                let quick = matches!(reason, Reason::Ephemeral);
                end(inner, worker, reason, Order::Terminate { quick });
            }
            Action::Kill { worker, reason } => end(inner, worker, reason, Order::Kill),
            Action::Transition { worker, version, from, to, reason } => {
                self.meter.changed(from, to, reason);
                self.tell_transition(inner, worker, version, (from, to), reason);
            }
            Action::Proven { version } => {
                let Some(Version { app, .. }) = inner.versions.get(&version) else { return };
                self.tell_proven(app);
                if app.plugin.is_none() {
                    self.observer.proven(version);
                }
            }
            Action::Unproven { version } => {
                let Some(Version { app, failure, .. }) = inner.versions.get(&version) else { return };
                if let Some(failure) = failure.as_deref().filter(|_| app.plugin.is_none()) {
                    self.observer.unproven(version, failure);
                }
            }
            Action::Forgotten { version } => {
                inner.versions.remove(&version);
                self.observer.forgotten(version);
            }
            Action::Drained => {
                inner.drained = true;
                self.drained.notify_waiters();
            }
            Action::RefuseSent { worker, why } => {
                let sent = inner.workers.get_mut(&worker).and_then(|handle| handle.sent_ahead.take());
                if let Some(sent) = sent {
                    let _ = sent.send(why); // the client may have gone
                }
            }
            Action::Started { ticket, worker } => Pool::started(inner, ticket, worker),
            Action::NotStarted { ticket, why } => Pool::not_started(inner, ticket, why),
            Action::Dispatch { .. } | Action::SendAhead { .. } | Action::Refuse { .. } => {}
        }
    }

    fn spawn(self: &Arc<Self>, inner: &mut Inner, worker: WorkerId, version: Option<VersionKey>) {
        let app = version.and_then(|version| inner.versions.get(&version)).map(|version| &*version.app);
        let (orders, inbox) = mpsc::unbounded_channel();
        let handle = Handle {
            orders,
            link: None,
            pid: None,
            journey: Journey::default(),
            version,
            was_spare: version.is_none(),
            ready: false,
            failed: false,
            given: 0,
            told: None,
            sent_ahead: None,
            mourners: Vec::new(),
        };
        inner.workers.insert(worker, handle);
        let private = self.settings.private_dir.join(worker.to_string());
        let (program, args) = environment::program(&self.settings, app);
        let data = match app.map(|app| self.data_of(app)).transpose() {
            Ok(data) => data.and_then(|(name, _, there)| there.then_some(name)),
            Err(error) => {
                // Not before this step is done.
                let pool = Arc::clone(self);
                tokio::spawn(async move { pool.hear(worker, Report::Starved(error)) });
                return;
            }
        };
        let birth = Birth {
            id: worker,
            start: spawn::Order {
                program,
                args,
                env: environment::of_process(&self.settings, app, &private),
                dir: app.map_or_else(|| self.settings.empty_dir.clone(), |app| app.dir.clone()),
                private,
                data: data.map(Cow::into_owned),
                plugin_dir: app.and_then(|app| app.plugin_dir()).map(Path::to_owned),
            },
            build: Arc::clone(&self.settings.shim.build),
            spawner: self.spawner.clone(),
            hub: Arc::clone(&self.hub),
            orders: inbox,
        };
        let pool = Arc::clone(self);
        tokio::spawn(actor::run(birth, Arc::new(move |report| pool.hear(worker, report))));
    }

    /// The name of an app's data directory, its path, and whether it is there.
    ///
    /// # Errors
    /// As `DataDirs::of`.
    fn data_of<'a>(&self, app: &'a App) -> io::Result<(Cow<'a, str>, PathBuf, bool)> {
        let name = app.data_name();
        let (dir, there) = self.data_dirs.of(&name)?;
        Ok((name, dir, there))
    }

    /// The environment that an app sees, with what plugins add and it does not have itself.
    fn env_of(
        &self,
        app: &App,
        entrypoint: &Path,
        worker: WorkerId,
        private: &Path,
        data_dir: &Path,
    ) -> BTreeMap<String, String> {
        let mut env = environment::of_app(&self.settings, app, entrypoint, worker, private, data_dir);
        if app.plugin.is_none()
            && let Some(extra) = self.extra_env.get()
        {
            for (name, value) in extra(app, worker) {
                env.entry(name).or_insert(value);
            }
        }
        env
    }

    fn assign(&self, inner: &mut Inner, worker: WorkerId, version: VersionKey) {
        let Some(Version { app, .. }) = inner.versions.get(&version) else { return };
        let Kind::Worker { entrypoint } = &app.kind else { return };
        let (data_name, data_dir, has_data) = match self.data_of(app) {
            Ok(data) => data,
            Err(error) => {
                if let Some(handle) = inner.workers.get_mut(&worker) {
                    handle.version = Some(version);
                }
                return order(inner, worker, Order::Starve(error));
            }
        };
        let private = self.settings.private_dir.join(worker.to_string());
        let assignment = Assignment {
            dir: app.dir.clone(),
            entry: entrypoint.clone(),
            name: app.name.clone(),
            version: app.version.clone(),
            mount: match &app.plugin {
                None => format!("/{}", app.name),
                Some(seat) => seat.base.clone().unwrap_or_else(|| "/".into()),
            },
            origin: self.settings.origin.clone(),
            dev: self.settings.dev,
            env: self.env_of(app, entrypoint, worker, &private, &data_dir),
            head_timeout: app.manifest.timeout,
            stream_timeout: app.manifest.stream_timeout,
            data: has_data.then(|| data_name.into_owned()),
            plugin_dir: app.plugin_dir().map(Path::to_owned),
            plugin: app.plugin.as_ref().map(|seat| (Arc::clone(seat), data_dir)),
            watch_memory: app.manifest.max_memory.is_some(),
        };
        if let Some(handle) = inner.workers.get_mut(&worker) {
            handle.version = Some(version);
            let _ = handle.orders.send(Order::Assign(Box::new(assignment)));
        }
    }
}

fn order(inner: &Inner, worker: WorkerId, order: Order) {
    if let Some(handle) = inner.workers.get(&worker) {
        // A task that has ended has reported, or is about to report, that its process is gone.
        let _ = handle.orders.send(order);
    }
}

fn end(inner: &mut Inner, worker: WorkerId, reason: Reason, how: Order) {
    if let Some(handle) = inner.workers.get_mut(&worker) {
        handle.told = handle.told.or(Some(reason));
    }
    order(inner, worker, how);
}
