//! Versions that were disabled from outside. Whether a version is there is not known here.

use super::audit::append;
use super::error::corrupt;
use super::{Outcome, Record, Store, StoreError, stored};
use crate::access::{Actor, UnixTime};
use crate::model::{AppName, AppVersion};
use serde_json::json;

/// Most disabled versions of one app.
pub const MAX_DISABLED: u64 = 1000;

impl Store {
    /// Disables a version, or enables it again, and writes the entry in the audit log. Versions that differ only in build
    /// metadata are one. Gives whether anything changed; where nothing does, nothing is written.
    ///
    /// # Errors
    /// Also [`StoreError::TooMany`], for one more that is to be disabled.
    pub fn set_disabled(
        &self,
        app: &AppName,
        version: &AppVersion,
        disabled: bool,
        by: &Actor,
        now: UnixTime,
    ) -> Result<bool, StoreError> {
        let version = version.identity().to_string();
        let key = (app.as_str(), version.as_str());
        self.write(|transaction| {
            let changed = match disabled {
                true => transaction.execute(
                    "INSERT INTO disabled (app, version, changed) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                    (key.0, key.1, stored(now)),
                )?,
                false => transaction.execute("DELETE FROM disabled WHERE app = ?1 AND version = ?2", key)?,
            };
            if changed == 0 {
                return Ok(false);
            }
            let count: i64 =
                transaction
                    .query_row("SELECT count(*) FROM disabled WHERE app = ?1", [key.0], |row| row.get(0))?;
            if disabled && count as u64 > MAX_DISABLED {
                return Err(StoreError::TooMany {
                    what: "disabled versions of this app",
                    limit: MAX_DISABLED,
                });
            }
            let record = Record {
                actor: by,
                action: if disabled { "version:disable" } else { "version:enable" },
                subject: &format!("{app}@{version}"),
                outcome: Outcome::Done,
                detail: json!({}),
            };
            append(transaction, self.limits, &record, now)?;
            Ok(true)
        })
    }

    /// All disabled versions of all apps, by app; versions without build metadata.
    pub fn disabled(&self) -> Result<Vec<(AppName, AppVersion)>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare("SELECT app, version FROM disabled ORDER BY app, version")?;
        let mut rows = statement.query(())?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (app, version) = (row.get::<_, String>(0)?, row.get::<_, String>(1)?);
            found.push((
                AppName::parse(&app).map_err(corrupt)?,
                AppVersion::parse(&version).map_err(corrupt)?,
            ));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Limits;

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Limits::default()).unwrap();
        (dir, store)
    }

    fn set(store: &Store, app: &str, version: &str, disabled: bool) -> Result<bool, StoreError> {
        let (app, version) = (app.parse().unwrap(), version.parse().unwrap());
        store.set_disabled(&app, &version, disabled, &Actor::AdminSocket, UnixTime::new(7))
    }

    fn shown(store: &Store) -> Vec<String> {
        store.disabled().unwrap().into_iter().map(|(app, version)| format!("{app}@{version}")).collect()
    }

    #[test]
    fn a_disabled_version_stays_so_until_it_is_enabled() {
        let (dir, store) = store();
        for (app, version) in [("shop", "1.0.0"), ("@team/shop", "latest"), ("shop", "2.0.0-rc.1+build")] {
            assert!(set(&store, app, version, true).unwrap());
        }
        drop(store);
        let store = Store::open(dir.path(), Limits::default()).unwrap();
        assert_eq!(shown(&store), ["@team/shop@latest", "shop@1.0.0", "shop@2.0.0-rc.1"]);
        assert!(set(&store, "shop", "1.0.0", false).unwrap());
        assert_eq!(shown(&store), ["@team/shop@latest", "shop@2.0.0-rc.1"]);
    }

    #[test]
    fn each_change_has_its_entry_and_what_changes_nothing_has_none() {
        let (_dir, store) = store();
        let steps = [(false, false), (true, true), (true, false), (false, true), (false, false)];
        for (disabled, changes) in steps {
            assert_eq!(set(&store, "shop", "1.0.0+b", disabled).unwrap(), changes);
        }
        let entries = store.audit(None, 10).unwrap().entries;
        let told: Vec<_> = entries
            .iter()
            .map(|entry| format!("{} {} {}", entry.actor, entry.action, entry.subject))
            .collect();
        assert_eq!(
            told,
            ["admin socket version:enable shop@1.0.0", "admin socket version:disable shop@1.0.0"]
        );
    }

    #[test]
    fn an_app_has_a_bounded_number_of_disabled_versions() {
        let (_dir, store) = store();
        let many = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT ?1)
                    INSERT INTO disabled SELECT 'shop', n || '.0.0', 0 FROM n";
        store.lock().execute(many, [MAX_DISABLED as i64]).unwrap();
        let refusal = set(&store, "shop", "0.1.0", true);
        assert!(matches!(refusal, Err(StoreError::TooMany { limit: MAX_DISABLED, .. })));
        assert_eq!(store.disabled().unwrap().len() as u64, MAX_DISABLED, "nothing was written");
        assert!(set(&store, "shop", "7.0.0", false).unwrap());
        assert!(set(&store, "shop", "0.1.0", true).unwrap());
        assert!(set(&store, "blog", "0.1.0", true).unwrap());
    }

    #[test]
    fn a_stored_version_that_is_none_is_damage() {
        let (_dir, store) = store();
        store.lock().execute("INSERT INTO disabled VALUES ('shop', 'x', 0)", ()).unwrap();
        assert!(matches!(store.disabled(), Err(StoreError::Corrupt(_))));
    }
}
