//! Aliases of apps, as they were set. Whether a version is there is not known here.

use super::audit::append;
use super::error::corrupt;
use super::{Outcome, Record, Store, StoreError, moment, stored};
use crate::access::{Actor, UnixTime};
use crate::model::{AliasName, AppName, AppVersion, Route, Split, Sticky};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Most aliases of one app.
pub const MAX_ALIASES: u64 = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    pub app: AppName,
    pub name: AliasName,
    pub route: Route,
    /// What it stood for before that.
    pub previous: Option<Route>,
    pub changed: UnixTime,
}

/// Of a row: app, alias, when it was changed, how clients stick, and what was before.
type Head = (String, String, i64, String, Option<String>);

/// A route as it is kept for later: versions and weights in their order.
#[derive(Serialize, Deserialize)]
struct Kept {
    split: Vec<(String, u8)>,
    sticky: String,
}

impl Store {
    /// Sets an alias, writes its entry in the audit log, and gives what the alias stood for before.
    ///
    /// # Errors
    /// Also [`StoreError::TooMany`], for a new one.
    pub fn set_alias(
        &self,
        app: &AppName,
        name: &AliasName,
        route: &Route,
        by: &Actor,
        now: UnixTime,
    ) -> Result<Option<Route>, StoreError> {
        self.write(|transaction| {
            let before = route_of(transaction, app, name)?;
            if before.is_none() {
                let count: i64 = transaction.query_row(
                    "SELECT count(*) FROM aliases WHERE app = ?1",
                    [app.as_str()],
                    |row| row.get(0),
                )?;
                if count as u64 >= MAX_ALIASES {
                    return Err(StoreError::TooMany { what: "aliases of this app", limit: MAX_ALIASES });
                }
            }
            transaction.execute(
                "INSERT INTO aliases (app, alias, changed, sticky) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (app, alias) DO UPDATE SET changed = excluded.changed, sticky = excluded.sticky,
                 previous = coalesce(?5, previous)",
                (
                    app.as_str(),
                    name.as_str(),
                    stored(now),
                    route.sticky.as_str(),
                    before.as_ref().filter(|before| *before != route).map(kept),
                ),
            )?;
            transaction.execute(
                "DELETE FROM alias_parts WHERE app = ?1 AND alias = ?2",
                (app.as_str(), name.as_str()),
            )?;
            let mut insert = transaction.prepare(
                "INSERT INTO alias_parts (app, alias, position, version, weight) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            for (position, (version, weight)) in route.split.parts().iter().enumerate() {
                insert.execute((
                    app.as_str(),
                    name.as_str(),
                    position as i64,
                    version.to_string(),
                    weight,
                ))?;
            }
            let detail = json!({ "route": shown(route), "before": before.as_ref().map(shown) });
            let subject = format!("{app}@{name}");
            let record =
                Record { actor: by, action: "alias:set", subject: &subject, outcome: Outcome::Done, detail };
            append(transaction, self.limits, &record, now)?;
            Ok(before)
        })
    }

    /// Removes an alias, writes its entry in the audit log, and gives what the alias stood for. Where there is none, nothing
    /// is written.
    pub fn remove_alias(
        &self,
        app: &AppName,
        name: &AliasName,
        by: &Actor,
        now: UnixTime,
    ) -> Result<Option<Route>, StoreError> {
        self.write(|transaction| {
            let Some(before) = route_of(transaction, app, name)? else { return Ok(None) };
            // Its parts go with it.
            transaction.execute(
                "DELETE FROM aliases WHERE app = ?1 AND alias = ?2",
                (app.as_str(), name.as_str()),
            )?;
            let detail = json!({ "before": shown(&before) });
            let subject = format!("{app}@{name}");
            let record = Record {
                actor: by,
                action: "alias:remove",
                subject: &subject,
                outcome: Outcome::Done,
                detail,
            };
            append(transaction, self.limits, &record, now)?;
            Ok(Some(before))
        })
    }

    /// All aliases of all apps, by app and name.
    pub fn aliases(&self) -> Result<Vec<Alias>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT app, alias, changed, sticky, previous, version, weight FROM aliases JOIN alias_parts USING (app, alias)
             ORDER BY app, alias, position",
        )?;
        let mut rows = statement.query(())?;
        let mut found: Vec<(Head, Vec<(AppVersion, u8)>)> = Vec::new();
        while let Some(row) = rows.next()? {
            let head = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            let part = (version(&row.get::<_, String>(5)?)?, row.get(6)?);
            match found.last_mut() {
                Some((last, parts)) if *last == head => parts.push(part),
                _ => found.push((head, vec![part])),
            }
        }
        let alias = |((app, name, changed, sticky, previous), parts): (Head, _)| {
            Ok(Alias {
                app: AppName::parse(&app).map_err(corrupt)?,
                name: AliasName::parse(&name).map_err(corrupt)?,
                route: route(parts, &sticky)?,
                previous: previous.as_deref().map(unkept).transpose()?,
                changed: moment(changed),
            })
        };
        found.into_iter().map(alias).collect()
    }

    /// What one alias stands for.
    pub fn alias(&self, app: &AppName, name: &AliasName) -> Result<Option<Route>, StoreError> {
        route_of(&self.lock(), app, name)
    }

    /// What one alias stood for before what it stands for.
    pub fn previous_route(&self, app: &AppName, name: &AliasName) -> Result<Option<Route>, StoreError> {
        let previous: Option<Option<String>> = self
            .lock()
            .query_row(
                "SELECT previous FROM aliases WHERE app = ?1 AND alias = ?2",
                (app.as_str(), name.as_str()),
                |row| row.get(0),
            )
            .optional()?;
        previous.flatten().as_deref().map(unkept).transpose()
    }
}

fn route_of(connection: &Connection, app: &AppName, name: &AliasName) -> Result<Option<Route>, StoreError> {
    let key = (app.as_str(), name.as_str());
    let sticky: Option<String> = connection
        .query_row("SELECT sticky FROM aliases WHERE app = ?1 AND alias = ?2", key, |row| row.get(0))
        .optional()?;
    let Some(sticky) = sticky else { return Ok(None) };
    let mut statement = connection
        .prepare("SELECT version, weight FROM alias_parts WHERE app = ?1 AND alias = ?2 ORDER BY position")?;
    let mut rows = statement.query(key)?;
    let mut parts = Vec::new();
    while let Some(row) = rows.next()? {
        parts.push((version(&row.get::<_, String>(0)?)?, row.get(1)?));
    }
    route(parts, &sticky).map(Some)
}

fn route(parts: Vec<(AppVersion, u8)>, sticky: &str) -> Result<Route, StoreError> {
    Ok(Route {
        split: Split::new(parts).map_err(corrupt)?,
        sticky: sticky.parse::<Sticky>().map_err(corrupt)?,
    })
}

fn kept(route: &Route) -> String {
    let split = route.split.parts().iter().map(|(version, weight)| (version.to_string(), *weight)).collect();
    let kept = Kept { split, sticky: route.sticky.as_str().to_owned() };
    serde_json::to_string(&kept).unwrap_or_default() // texts and numbers always serialize
}

fn unkept(text: &str) -> Result<Route, StoreError> {
    let kept: Kept = serde_json::from_str(text).map_err(corrupt)?;
    let part = |(text, weight): (String, u8)| Ok((version(&text)?, weight));
    route(kept.split.into_iter().map(part).collect::<Result<_, StoreError>>()?, &kept.sticky)
}

fn version(text: &str) -> Result<AppVersion, StoreError> {
    AppVersion::parse(text).map_err(corrupt)
}

/// A route in the audit log: versions with their weights, in their order, and how clients stick.
fn shown(route: &Route) -> Value {
    let weights: Value =
        route.split.parts().iter().map(|(version, weight)| (version.to_string(), json!(weight))).collect();
    json!({ "split": weights, "sticky": route.sticky.as_str() })
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

    fn app(text: &str) -> AppName {
        text.parse().unwrap()
    }

    fn name(text: &str) -> AliasName {
        text.parse().unwrap()
    }

    fn split(parts: &[(&str, u8)]) -> Route {
        let parts = parts.iter().map(|&(text, weight)| (text.parse().unwrap(), weight));
        Split::new(parts.collect()).unwrap().into()
    }

    fn set(store: &Store, to: (&str, &str), route: &Route, now: u64) -> Result<Option<Route>, StoreError> {
        store.set_alias(&app(to.0), &name(to.1), route, &Actor::RootKey, UnixTime::new(now))
    }

    #[test]
    fn an_alias_is_read_as_it_was_set_in_the_order_it_was_set() {
        let (dir, store) = store();
        let canary = split(&[("2.0.0-rc.1", 5), ("1.4.2+build.7", 95)]);
        let canary = Route { sticky: Sticky::Address, ..canary };
        assert_eq!(set(&store, ("@team/shop", "latest"), &canary, 1).unwrap(), None);
        assert_eq!(set(&store, ("blog", "beta"), &Route::one(AppVersion::Latest), 2).unwrap(), None);
        drop(store);
        let store = Store::open(dir.path(), Limits::default()).unwrap();
        let alias = |text: &str, to: &str, route, changed| Alias {
            app: app(text),
            name: name(to),
            route,
            previous: None,
            changed: UnixTime::new(changed),
        };
        assert_eq!(
            store.aliases().unwrap(),
            [
                alias("@team/shop", "latest", canary.clone(), 1),
                alias("blog", "beta", Route::one(AppVersion::Latest), 2),
            ]
        );
        assert_eq!(store.alias(&app("@team/shop"), &name("latest")).unwrap(), Some(canary));
        assert_eq!(store.alias(&app("blog"), &name("latest")).unwrap(), None);
    }

    #[test]
    fn setting_an_alias_again_replaces_all_of_it_and_gives_what_was() {
        let (_dir, store) = store();
        let (canary, whole) = (split(&[("1.0.0", 90), ("2.0.0", 10)]), split(&[("2.0.0", 100)]));
        let canary = Route { sticky: Sticky::Address, ..canary };
        set(&store, ("shop", "latest"), &canary, 1).unwrap();
        assert_eq!(set(&store, ("shop", "latest"), &whole, 2).unwrap(), Some(canary));
        let aliases = store.aliases().unwrap();
        assert_eq!((aliases.len(), &aliases[0].route, aliases[0].changed), (1, &whole, UnixTime::new(2)));
    }

    #[test]
    fn what_an_alias_stood_for_is_kept_until_it_stands_for_something_else() {
        let (_dir, store) = store();
        let (one, two) = (split(&[("1.0.0", 100)]), split(&[("1.0.0", 90), ("2.0.0-rc.1", 10)]));
        let two = Route { sticky: Sticky::Address, ..two };
        let previous = || store.previous_route(&app("shop"), &name("latest")).unwrap();
        set(&store, ("shop", "latest"), &one, 1).unwrap();
        assert_eq!(previous(), None);
        set(&store, ("shop", "latest"), &two, 2).unwrap();
        assert_eq!(previous(), Some(one.clone()));
        set(&store, ("shop", "latest"), &two, 3).unwrap();
        assert_eq!(previous(), Some(one.clone()), "it stood for the same");
        set(&store, ("shop", "latest"), &one, 4).unwrap();
        assert_eq!(
            (previous(), store.aliases().unwrap()[0].previous.clone()),
            (Some(two.clone()), Some(two))
        );
    }

    #[test]
    fn a_removed_alias_leaves_nothing_behind() {
        let (_dir, store) = store();
        let canary = split(&[("1.0.0", 90), ("2.0.0", 10)]);
        set(&store, ("shop", "latest"), &canary, 1).unwrap();
        set(&store, ("shop", "beta"), &canary, 1).unwrap();
        let remove = || store.remove_alias(&app("shop"), &name("latest"), &Actor::RootKey, UnixTime::new(2));
        assert_eq!(remove().unwrap(), Some(canary));
        assert_eq!(remove().unwrap(), None);
        let left: i64 =
            store.lock().query_row("SELECT count(*) FROM alias_parts", (), |row| row.get(0)).unwrap();
        assert_eq!((left, store.aliases().unwrap().len()), (2, 1));
    }

    #[test]
    fn every_change_of_an_alias_has_its_entry() {
        let (_dir, store) = store();
        set(&store, ("@team/shop", "latest"), &split(&[("1.0.0", 100)]), 1).unwrap();
        set(&store, ("@team/shop", "latest"), &split(&[("1.0.0", 90), ("2.0.0", 10)]), 2).unwrap();
        let (app, latest) = (app("@team/shop"), name("latest"));
        for now in [3, 4] {
            store.remove_alias(&app, &latest, &Actor::AdminSocket, UnixTime::new(now)).unwrap();
        }
        let entries = store.audit(None, 10).unwrap().entries;
        let told: Vec<_> = entries
            .iter()
            .map(|entry| format!("{} {} {} {}", entry.actor, entry.action, entry.subject, entry.detail))
            .collect();
        assert_eq!(
            told,
            [
                r#"admin socket alias:remove @team/shop@latest {"before":{"split":{"1.0.0":90,"2.0.0":10},"sticky":"cookie"}}"#,
                r#"root key alias:set @team/shop@latest {"route":{"split":{"1.0.0":90,"2.0.0":10},"sticky":"cookie"},"before":{"split":{"1.0.0":100},"sticky":"cookie"}}"#,
                r#"root key alias:set @team/shop@latest {"route":{"split":{"1.0.0":100},"sticky":"cookie"},"before":null}"#,
            ]
        );
    }

    #[test]
    fn an_app_has_a_bounded_number_of_aliases() {
        let (_dir, store) = store();
        let one = split(&[("1.0.0", 100)]);
        for n in 0..MAX_ALIASES {
            set(&store, ("shop", &format!("a{n}")), &one, 0).unwrap();
        }
        let refusal = set(&store, ("shop", "more"), &one, 0);
        assert!(matches!(refusal, Err(StoreError::TooMany { limit: MAX_ALIASES, .. })));
        assert_eq!(
            set(&store, ("shop", "a0"), &one, 1).unwrap(),
            Some(one.clone()),
            "those there are can be moved"
        );
        assert_eq!(set(&store, ("blog", "more"), &one, 1).unwrap(), None);
    }

    #[test]
    fn a_stored_alias_that_means_nothing_is_damage() {
        let (_dir, store) = store();
        set(&store, ("shop", "latest"), &split(&[("1.0.0", 90), ("2.0.0", 10)]), 1).unwrap();
        store.lock().execute("UPDATE alias_parts SET weight = 20 WHERE position = 1", ()).unwrap();
        assert!(matches!(store.aliases(), Err(StoreError::Corrupt(_))));
        store.lock().execute("UPDATE alias_parts SET version = 'x'", ()).unwrap();
        assert!(matches!(store.alias(&app("shop"), &name("latest")), Err(StoreError::Corrupt(_))));
    }
}
