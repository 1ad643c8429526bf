//! Changes to versions that several requests make: disabling, deleting, restarting, and the entry of each in the audit log.

use super::auth::{Caller, now};
use super::error::{ApiError, Result};
use super::{Api, aliases, blocking, input, types};
use crate::apps::Listed;
use crate::events::{AppAction, AppEvent, Event};
use crate::model::{AppName, AppVersion, VersionKey};
use crate::package;
use crate::store::{Outcome, Record};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long the directory of a deleted version is kept for workers that do not end.
const KEEP_DELETED: Duration = Duration::from_secs(15 * 60);

impl Api {
    /// One version, also one that was disabled and whose directory has gone since: that it is disabled is what is left of it.
    pub(super) fn known(&self, name: &AppName, version: &AppVersion) -> Result<Listed> {
        let mark = || Listed {
            name: name.clone(),
            version: version.clone(),
            dir: PathBuf::new(),
            app: None,
            serving: None,
            proven: false,
            candidate: false,
            disabled_by_manifest: false,
            disabled_by_operator: true,
            warnings: Arc::default(),
        };
        self.listed(name, version).or_else(|unknown| match self.index.is_disabled(name, version) {
            true => Ok(mark()),
            false => Err(unknown),
        })
    }

    /// Replaces the workers of revisions.
    pub(super) async fn restart(
        &self,
        keys: Vec<VersionKey>,
        subject: &str,
        caller: &Caller,
    ) -> Result<(http::StatusCode, axum::Json<types::Affected>)> {
        let workers: usize = keys.into_iter().map(|key| self.pool.restart(key)).sum();
        self.note("apps:restart", subject, caller, Outcome::Done, json!({ "workers": workers })).await;
        let workers = u32::try_from(workers).unwrap_or(u32::MAX);
        Ok((http::StatusCode::ACCEPTED, axum::Json(types::Affected { workers })))
    }

    /// Disables a version or enables it again: kept first, then in force.
    pub(super) async fn disable(
        &self,
        name: &AppName,
        version: &AppVersion,
        disabled: bool,
        caller: &Caller,
    ) -> Result<()> {
        let (actor, app, key) = (caller.actor.clone(), name.clone(), version.clone());
        self.with_store(move |store| store.set_disabled(&app, &key, disabled, &actor, now())).await?;
        let set = self.lookout.set_disabled(name.clone(), version.clone(), disabled).await;
        set.map_err(ApiError::internal)?;
        self.hub.publish(Event::App(AppEvent {
            action: if disabled { AppAction::Disabled } else { AppAction::Enabled },
            app: name.clone(),
            version: version.clone(),
            failure: None,
        }));
        Ok(())
    }

    /// Takes versions of one app off the disk, and with `aliases` all that its aliases stand for is forgotten first. Workers finish
    /// what they have; only then their files go.
    pub(super) async fn delete(
        self: &Arc<Self>,
        versions: Vec<Listed>,
        aliases: bool,
        caller: &Caller,
    ) -> Result<()> {
        let mut leaving = Vec::new();
        for listed in versions {
            let place = self.place_of(&listed).await?;
            leaving.push((listed, place));
        }
        // First nobody can ask for any: one that is still there would be what the name means, and a worker that starts for a
        // request would not find its files.
        let hide = async |listed: &Listed, hidden| {
            let set = self.lookout.set_disabled(listed.name.clone(), listed.version.clone(), hidden).await;
            set.map_err(ApiError::internal)
        };
        let mut gone = Vec::new();
        let done = async {
            // The highest last: no older one is meant meanwhile.
            for (listed, _) in leaving.iter().rev() {
                hide(listed, true).await?;
            }
            if let Some((listed, _)) = leaving.first().filter(|_| aliases) {
                for alias in self.aliases_of(&listed.name).await? {
                    aliases::unset(self, &listed.name, &input::alias(&alias.name)?, caller).await?;
                }
            }
            for (listed, (root, entry)) in &leaving {
                let (root, id, number) = (root.clone(), listed.name.clone(), listed.version.clone());
                let removed = blocking(move || package::remove(&root, &id, &number)).await??;
                gone.push(listed.version.clone());
                let subject = format!("{}@{}", listed.name, listed.version);
                self.note("apps:remove", &subject, caller, Outcome::Done, json!({})).await;
                let keys = listed.serving.into_iter().chain(listed.app.as_ref().map(|app| app.key)).collect();
                self.keep_until_settled(keys, removed);
                // It is deleted: what fails from here on does not change that, and is logged.
                let _ = self.lookout.look(entry.clone()).await.map_err(ApiError::internal);
            }
            Ok(())
        };
        let done = done.await;
        for (listed, _) in &leaving {
            let _ = match listed.disabled_by_operator {
                false => hide(listed, false).await,
                true if gone.contains(&listed.version) => {
                    self.disable(&listed.name, &listed.version, false, caller).await
                }
                true => Ok(()),
            };
        }
        done
    }

    /// Drops what removes files from disk when nobody reads them any more.
    pub(super) fn keep_until_settled(&self, keys: Vec<VersionKey>, files: impl Send + 'static) {
        let pool = Arc::clone(&self.pool);
        tokio::spawn(async move {
            for key in keys {
                pool.settled(key, KEEP_DELETED).await;
            }
            let _ = blocking(move || drop(files)).await;
        });
    }

    /// The worker directory that a version's directory is in, and that directory below it: both as they were configured, which
    /// may lead through links.
    ///
    /// # Errors
    /// It is in none, or another one is what the version's name leads to there.
    pub(super) async fn place_of(&self, listed: &Listed) -> Result<(PathBuf, PathBuf)> {
        let Listed { name, version, dir, .. } = listed;
        let within = |root: &PathBuf| {
            let inside = dir.strip_prefix(root).ok().map(ToOwned::to_owned);
            let inside =
                inside.or_else(|| Some(dir.strip_prefix(root.canonicalize().ok()?).ok()?.to_owned()))?;
            Some((root.clone(), inside))
        };
        let conflict = |why: &str| ApiError::conflict("package_place", format!("{} {why}", dir.display()));
        let found = self.places.worker_dirs.iter().find_map(within);
        let (root, inside) = found.ok_or_else(|| conflict("is in no worker directory."))?;
        let (at, id, number) = (root.clone(), name.clone(), version.clone());
        let located = blocking(move || package::locate(&at, &id, &number)).await??;
        if let Some(other) = located.filter(|located| *located != inside) {
            let why = format!("is {name}@{version}, and so is {} beside it.", root.join(other).display());
            return Err(conflict(&why).hint("remove one of the two by hand"));
        }
        Ok((root.clone(), root.join(inside)))
    }

    /// Writes to the audit log what was done. That it was done does not change if this fails: then the log says so.
    pub(super) async fn note(
        &self,
        action: &'static str,
        subject: &str,
        caller: &Caller,
        outcome: Outcome,
        detail: serde_json::Value,
    ) {
        let (actor, subject) = (caller.actor.clone(), subject.to_owned());
        let (by, to) = (actor.clone(), subject.clone());
        let noted = self.with_store(move |store| {
            let record = Record { actor: &actor, action, subject: &subject, outcome, detail };
            store.append_audit(&record, now()).map(drop)
        });
        if let Err(error) = noted.await {
            tracing::error!(target: "buntime::api", action, subject = to, %by, error = %error.detail, "the audit log lacks what was done");
        }
    }
}
