//! What must survive: keys, aliases, which versions are disabled, and the audit log, in one SQLite file in the state directory.
//!
//! What a method has returned is on the disk: nothing that ends the process later takes it back. A change and its entry
//! in the audit log are one transaction, so there is no change without its entry. Methods block; async callers use
//! `spawn_blocking`.

mod aliases;
mod audit;
mod condition;
mod disabled;
mod error;
mod keys;
mod migrations;

pub use aliases::{Alias, MAX_ALIASES};
pub use audit::{Entry, MAX_PAGE, Outcome, Page, Record};
pub use condition::{Condition, watch};
pub use disabled::MAX_DISABLED;
pub use error::StoreError;
pub use keys::KEEP_DEAD;

use crate::access::UnixTime;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};
use std::fs::{File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The file's name in the state directory. SQLite keeps two more beside it, `-wal` and `-shm`.
pub const FILE: &str = "buntime.db";

/// How long a call waits for another process before it is [`StoreError::Busy`].
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// One open database. Calls take turns.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    limits: Limits,
    dir: PathBuf,
    last: condition::Last,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Keys, the dead ones included.
    pub keys: u64,
    /// Entries of the audit log; the oldest give way.
    pub audit: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { keys: 10_000, audit: 100_000 }
    }
}

impl Store {
    /// Opens the database in `dir`, which exists, or makes it; brings it to the version that this Buntime writes.
    ///
    /// # Errors
    /// It cannot be used, is damaged, or a newer Buntime wrote it.
    pub fn open(dir: &Path, limits: Limits) -> Result<Store, StoreError> {
        let path = dir.join(FILE);
        let io = |source| StoreError::File { path: path.clone(), source };
        prepare_file(&path).map_err(io)?;
        // SQLite does not wait for another process that opens the same new database.
        let deadline = Instant::now() + BUSY_TIMEOUT;
        let connection = loop {
            match connect(&path) {
                Err(StoreError::Busy) if Instant::now() < deadline => std::thread::sleep(BUSY_PAUSE),
                connected => break connected?,
            }
        };
        // The directory's entry of a new file.
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
        let last = condition::Last::default();
        Ok(Store { connection: Mutex::new(connection), limits, dir: dir.to_owned(), last })
    }

    /// A panic of another caller has rolled its transaction back, so the connection is sound.
    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does all of `work`, on the disk, or nothing.
    fn write<T>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut connection = self.lock();
        let written = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(StoreError::from)
            .and_then(|transaction| {
                let value = work(&transaction)?;
                transaction.commit()?;
                Ok(value)
            });
        drop(connection);
        written.map_err(|error| self.judged(error))
    }
}

/// Opens the file with all settings, and brings it to the newest version.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    migrations::check(&connection, migrations::STEPS)?;
    let journal: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if journal != "wal" {
        return Err(StoreError::Journal(journal));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    // Nothing is written outside of the state directory.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    migrations::migrate(&mut connection, migrations::STEPS)?;
    Ok(connection)
}

/// Makes the file, mode 0600, or tightens the mode of the one that is there.
///
/// A file that is there is not opened: closing it would drop the locks of a connection in this process (fcntl(2)).
fn prepare_file(path: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let meta = std::fs::symlink_metadata(path)?;
            if !meta.is_file() {
                return Err(std::io::Error::other("it is no regular file"));
            }
            if meta.permissions().mode() & 0o777 != 0o600 {
                std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// A moment as SQLite keeps it.
fn stored(time: UnixTime) -> i64 {
    i64::try_from(time.seconds()).unwrap_or(i64::MAX)
}

fn moment(seconds: i64) -> UnixTime {
    UnixTime::new(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod killed;
#[cfg(test)]
mod tests;
