//! Keys: all but their secrets, of which only the hashes are kept.

use super::audit::append;
use super::error::corrupt;
use super::{Outcome, Record, Store, StoreError, moment, stored};
use crate::access::secret::SECRET_BYTES;
use crate::access::{
    Actor, Grant, Key, KeyId, KeyName, KeySecret, Namespace, Namespaces, NewKey, Permission, Role,
    SecretHash, UnixTime,
};
use rusqlite::{Connection, Row, Transaction};
use serde_json::{Value, json};
use std::time::Duration;

/// How long a key that was revoked or has expired can still be looked at. Then it goes when another one is made.
pub const KEEP_DEAD: Duration = Duration::from_secs(90 * 24 * 3600);
/// One key can make so many keys that live at once: a tenth of what there may be.
const MAKERS: u64 = 10;
/// A use is recorded when the one before was this long ago.
const USE_INTERVAL: Duration = Duration::from_secs(60);

const COLUMNS: &str =
    "id, hash, name, role, permissions, namespaces, expires, created, created_by, last_used, revoked";

impl Store {
    /// Makes a key, writes its entry in the audit log, and gives the secret, which is never to be had again. Whether `by`
    /// may make it is for the caller to know.
    ///
    /// # Errors
    /// Also [`StoreError::TooMany`].
    pub fn create_key(
        &self,
        new: &NewKey,
        by: &Actor,
        now: UnixTime,
    ) -> Result<(Key, KeySecret), StoreError> {
        let secret = KeySecret::new(random::<SECRET_BYTES>()?);
        let key = Key {
            id: KeyId::new(random()?),
            name: new.name().clone(),
            role: new.role(),
            grant: new.grant().clone(),
            created: now,
            created_by: by.clone(),
            last_used: None,
            revoked: None,
        };
        self.write(|transaction| {
            make_room(transaction, self.limits.keys, by, now)?;
            insert(transaction, &key, &secret.hash())?;
            let detail = described(&key);
            let subject = key.id.to_string();
            let record = Record {
                actor: by,
                action: "keys:create",
                subject: &subject,
                outcome: Outcome::Done,
                detail,
            };
            append(transaction, self.limits, &record, now)
        })?;
        Ok((key, secret))
    }

    /// All keys, the dead ones included, the newest first.
    pub fn keys(&self) -> Result<Vec<Key>, StoreError> {
        let connection = self.lock();
        let mut statement =
            connection.prepare(&format!("SELECT {COLUMNS} FROM keys ORDER BY created DESC, id"))?;
        let mut rows = statement.query(())?;
        let mut keys = Vec::new();
        while let Some(row) = rows.next()? {
            keys.push(key(row)?);
        }
        Ok(keys)
    }

    pub fn key(&self, id: &KeyId) -> Result<Option<Key>, StoreError> {
        by_id(&self.lock(), id)
    }

    /// The key with that secret, also a dead one: [`Key::admit`] decides.
    ///
    /// The index is asked for the hash, whose bytes nobody can choose without the secret; what it gives is compared once
    /// more in constant time.
    pub fn find_key(&self, hash: &SecretHash) -> Result<Option<Key>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM keys WHERE hash = ?1"))?;
        let mut rows = statement.query([hash.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        match SecretHash::from_bytes(row.get("hash")?) == *hash {
            true => key(row).map(Some),
            false => Ok(None),
        }
    }

    /// Revokes a key for ever and writes the entry in the audit log; gives the key, or none where there is no such. One
    /// that has been revoked before stays as it is, and no entry is written.
    pub fn revoke_key(&self, id: &KeyId, by: &Actor, now: UnixTime) -> Result<Option<Key>, StoreError> {
        self.write(|transaction| {
            let Some(key) = by_id(transaction, id)? else { return Ok(None) };
            if key.revoked.is_some() {
                return Ok(Some(key));
            }
            transaction
                .execute("UPDATE keys SET revoked = ?2 WHERE id = ?1", (id.to_string(), stored(now)))?;
            let detail = json!({ "name": key.name.as_str() });
            let subject = id.to_string();
            let record = Record {
                actor: by,
                action: "keys:revoke",
                subject: &subject,
                outcome: Outcome::Done,
                detail,
            };
            append(transaction, self.limits, &record, now)?;
            Ok(Some(Key { revoked: Some(now), ..key }))
        })
    }

    /// Records that a key, as it was just read, is used; at most once a minute. Tells whether something was written. A
    /// caller need not refuse a request because this fails.
    pub fn record_use(&self, key: &Key, now: UnixTime) -> Result<bool, StoreError> {
        // A moment that lies ahead comes from a clock that was wrong.
        let since = now.minus(USE_INTERVAL);
        if key.last_used.is_some_and(|last| last > since && last <= now) {
            return Ok(false);
        }
        let changed = self.write(|transaction| {
            Ok(transaction.execute(
                "UPDATE keys SET last_used = ?2
                 WHERE id = ?1 AND (last_used IS NULL OR last_used <= ?3 OR last_used > ?2)",
                (key.id.to_string(), stored(now), stored(since)),
            )?)
        })?;
        Ok(changed > 0)
    }
}

fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| StoreError::Random(error.to_string()))?;
    Ok(bytes)
}

/// Forgets keys that have been dead for long, and where there is no room, the one that has been dead for the longest time.
/// Nobody but the operator can take all places.
fn make_room(transaction: &Transaction<'_>, limit: u64, by: &Actor, now: UnixTime) -> Result<(), StoreError> {
    let before = stored(now.minus(KEEP_DEAD));
    transaction.execute("DELETE FROM keys WHERE revoked < ?1 OR expires < ?1", [before])?;
    let count = |condition: &str, values: &[&dyn rusqlite::ToSql]| -> Result<u64, StoreError> {
        let sql = format!("SELECT count(*) FROM keys {condition}");
        Ok(transaction.query_row(&sql, values, |row| row.get::<_, i64>(0))? as u64)
    };
    if let Actor::Key(_) = by {
        let own = limit / MAKERS;
        let living = "WHERE created_by = ?1 AND revoked IS NULL AND (expires IS NULL OR expires > ?2)";
        if count(living, &[&by.to_string(), &stored(now)])? >= own {
            return Err(StoreError::TooMany { what: "keys that this key has made", limit: own });
        }
    }
    if count("", &[])? < limit {
        return Ok(());
    }
    let forgotten = transaction.execute(
        "DELETE FROM keys WHERE id = (
             SELECT id FROM keys WHERE revoked IS NOT NULL OR expires <= ?1
             ORDER BY min(coalesce(revoked, expires), coalesce(expires, revoked)), id LIMIT 1
         )",
        [stored(now)],
    )?;
    match forgotten {
        0 => Err(StoreError::TooMany { what: "keys", limit }),
        _ => Ok(()),
    }
}

fn insert(transaction: &Transaction<'_>, key: &Key, hash: &SecretHash) -> Result<(), StoreError> {
    let permissions = match key.role {
        Role::Custom(permissions) => Some(list(permissions.iter().map(Permission::as_str))),
        Role::Admin | Role::Editor | Role::Viewer => None,
    };
    transaction.execute(
        &format!("INSERT INTO keys ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"),
        (
            key.id.to_string(),
            hash.as_bytes(),
            key.name.as_str(),
            key.role.as_str(),
            permissions.map(|list| list.to_string()),
            namespaces_listed(&key.grant).map(|list| list.to_string()),
            key.grant.expires().map(stored),
            stored(key.created),
            key.created_by.to_string(),
            key.last_used.map(stored),
            key.revoked.map(stored),
        ),
    )?;
    Ok(())
}

/// A key in the audit log.
fn described(key: &Key) -> Value {
    json!({
        "name": key.name.as_str(),
        "role": key.role.as_str(),
        "permissions": list(key.grant.permissions().iter().map(Permission::as_str)),
        "namespaces": namespaces_listed(&key.grant),
        "expires": key.grant.expires().map(UnixTime::seconds),
    })
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> Value {
    texts.collect()
}

fn namespaces_listed(grant: &Grant) -> Option<Value> {
    match grant.namespaces() {
        Namespaces::All => None,
        Namespaces::Only(set) => Some(list(set.iter().map(Namespace::as_str))),
    }
}

fn by_id(connection: &Connection, id: &KeyId) -> Result<Option<Key>, StoreError> {
    let mut statement = connection.prepare(&format!("SELECT {COLUMNS} FROM keys WHERE id = ?1"))?;
    let mut rows = statement.query([id.to_string()])?;
    rows.next()?.map(key).transpose()
}

fn key(row: &Row<'_>) -> Result<Key, StoreError> {
    let text = |column| row.get::<_, String>(column);
    let listed = |column| -> Result<Option<Vec<String>>, StoreError> {
        let json: Option<String> = row.get(column)?;
        json.map(|json| serde_json::from_str(&json).map_err(corrupt)).transpose()
    };
    let role = text("role")?;
    let role = match (Role::named(&role), listed("permissions")?) {
        (Some(role), None) => role,
        (None, Some(list)) if role == "custom" => {
            let permissions: Result<_, _> = list.iter().map(|text| Permission::parse(text)).collect();
            Role::Custom(permissions.map_err(corrupt)?)
        }
        _ => return Err(corrupt(format!("the role `{role}` of a key"))),
    };
    let namespaces = match listed("namespaces")? {
        None => Namespaces::All,
        Some(list) => {
            let namespaces: Result<Vec<_>, _> = list.iter().map(|text| Namespace::parse(text)).collect();
            Namespaces::only(namespaces.map_err(corrupt)?).map_err(corrupt)?
        }
    };
    let time = |column| Ok::<_, StoreError>(row.get::<_, Option<i64>>(column)?.map(moment));
    Ok(Key {
        id: KeyId::parse(&text("id")?).map_err(corrupt)?,
        name: KeyName::parse(&text("name")?).map_err(corrupt)?,
        role,
        grant: Grant::new(role, namespaces, time("expires")?).map_err(corrupt)?,
        created: moment(row.get("created")?),
        created_by: Actor::parse(&text("created_by")?).map_err(corrupt)?,
        last_used: time("last_used")?,
        revoked: time("revoked")?,
    })
}

#[cfg(test)]
mod tests;
