//! The database's versions: each step makes the next one, and `PRAGMA user_version` counts them.

use super::StoreError;
use rusqlite::{Connection, TransactionBehavior};

/// Steps that were released never change; a new one comes behind them. What is stored in a new way, such as the name of a
/// new permission, is a step too, if an empty one: so that an older Buntime says that the database is newer, not that it
/// is damaged.
pub(super) const STEPS: &[&str] = &[FIRST, ROUTES_AND_DISABLED, PREVIOUS_ROUTES];

const FIRST: &str = "
CREATE TABLE keys (
    id TEXT NOT NULL PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    permissions TEXT, -- JSON list; of a custom role only
    namespaces TEXT, -- JSON list; none = all
    expires INTEGER,
    created INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    last_used INTEGER,
    revoked INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE aliases (
    app TEXT NOT NULL,
    alias TEXT NOT NULL,
    changed INTEGER NOT NULL,
    PRIMARY KEY (app, alias)
) STRICT, WITHOUT ROWID;

CREATE TABLE alias_parts (
    app TEXT NOT NULL,
    alias TEXT NOT NULL,
    position INTEGER NOT NULL,
    version TEXT NOT NULL,
    weight INTEGER NOT NULL CHECK (weight BETWEEN 1 AND 100),
    PRIMARY KEY (app, alias, position),
    FOREIGN KEY (app, alias) REFERENCES aliases (app, alias) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    outcome TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;

CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'the audit log is append-only');
END;
";

const ROUTES_AND_DISABLED: &str = "
ALTER TABLE aliases ADD COLUMN sticky TEXT NOT NULL DEFAULT 'cookie' CHECK (sticky IN ('cookie', 'address'));

CREATE TABLE disabled (
    app TEXT NOT NULL,
    version TEXT NOT NULL, -- without build metadata
    changed INTEGER NOT NULL,
    PRIMARY KEY (app, version)
) STRICT, WITHOUT ROWID;
";

const PREVIOUS_ROUTES: &str = "
ALTER TABLE aliases ADD COLUMN previous TEXT; -- JSON: what it stood for before, to go back to
";

/// Refuses a database that a newer Buntime wrote. Changes nothing.
pub(super) fn check(connection: &Connection, steps: &[&str]) -> Result<usize, StoreError> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match usize::try_from(found) {
        Ok(version) if version <= steps.len() => Ok(version),
        Ok(_) => Err(StoreError::Newer { found, known: steps.len() as i64 }),
        Err(_) => Err(StoreError::Corrupt(format!("its version is {found}"))),
    }
}

/// Takes the steps that are missing, all or none.
pub(super) fn migrate(connection: &mut Connection, steps: &[&str]) -> Result<(), StoreError> {
    if check(connection, steps)? == steps.len() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Another process may have been faster.
    for step in &steps[check(&transaction, steps)?..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "user_version", steps.len() as i64)?;
    Ok(transaction.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(connection: &Connection) -> Vec<String> {
        let mut statement = connection.prepare("SELECT name FROM sqlite_schema ORDER BY name").unwrap();
        let names = statement.query_map((), |row| row.get(0)).unwrap();
        names.map(Result::unwrap).collect()
    }

    #[test]
    fn steps_are_taken_once_and_from_where_a_database_is() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &["CREATE TABLE a (x)"]).unwrap();
        let steps = ["CREATE TABLE a (x)", "CREATE TABLE b (x)", "CREATE TABLE c (x)"];
        migrate(&mut connection, &steps).unwrap();
        migrate(&mut connection, &steps).unwrap();
        assert_eq!(tables(&connection), ["a", "b", "c"]);
    }

    #[test]
    fn aliases_of_the_first_version_stick_by_cookie() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &STEPS[..1]).unwrap();
        connection.execute("INSERT INTO aliases VALUES ('shop', 'latest', 7)", ()).unwrap();
        migrate(&mut connection, STEPS).unwrap();
        let sticky: String =
            connection.query_row("SELECT sticky FROM aliases", (), |row| row.get(0)).unwrap();
        assert_eq!(sticky, "cookie");
    }

    #[test]
    fn a_failed_migration_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, &["CREATE TABLE a (x)"]).unwrap();
        let steps = ["", "CREATE TABLE b (x)", "CREATE TABLE c (x); nonsense"];
        assert!(matches!(migrate(&mut connection, &steps), Err(StoreError::Other(_))));
        assert_eq!(tables(&connection), ["a"]);
        assert_eq!(check(&connection, &steps).unwrap(), 1);
        migrate(&mut connection, &steps[..2]).unwrap();
        assert_eq!(tables(&connection), ["a", "b"]);
    }

    #[test]
    fn a_version_that_cannot_be_is_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        for (version, newer) in [(2, true), (-1, false)] {
            connection.pragma_update(None, "user_version", version).unwrap();
            let refusal = migrate(&mut connection, &["CREATE TABLE a (x)"]).unwrap_err();
            assert_eq!(matches!(refusal, StoreError::Newer { found: 2, known: 1 }), newer, "{refusal}");
            assert_eq!(tables(&connection), [""; 0]);
        }
    }
}
