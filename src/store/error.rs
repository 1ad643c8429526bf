//! What can go wrong with the store, by what a caller can do about it.

use rusqlite::ErrorCode;
use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was changed; the same call may succeed later.
    #[error("the database is busy: another process holds it")]
    Busy,
    /// Nothing was changed; it takes room on the disk.
    #[error("the database cannot grow: the disk is full\n\nhint: make room where the state directory is")]
    Full,
    #[error(
        "the database cannot be written\n\nhint: look at the permissions of the state directory and at how it is mounted"
    )]
    ReadOnly,
    /// Only another copy of the file helps.
    #[error(
        "the database is damaged: {0}\n\nhint: restore buntime.db from a copy, or move it away to begin with an empty one"
    )]
    Corrupt(String),
    /// The file has not been touched.
    #[error(
        "the database has version {found}, this Buntime knows versions up to {known}\n\n\
         hint: run the Buntime that wrote it, or a newer one"
    )]
    Newer { found: i64, known: i64 },
    /// A bound of ours; nothing was changed.
    #[error("there are {limit} {what} already, and there can be no more")]
    TooMany { what: &'static str, limit: u64 },
    #[error("cannot use {}: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
    /// SQLite offered the mode that is named instead.
    #[error(
        "the file system of the state directory cannot keep a write-ahead log (it offers `{0}`)\n\n\
         hint: use a local file system"
    )]
    Journal(String),
    #[error("the system gives no random numbers: {0}")]
    Random(String),
    /// The disk failed, or there is a fault in Buntime.
    #[error("the database failed: {0}")]
    Other(rusqlite::Error),
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> StoreError {
        use rusqlite::Error as E;
        if matches!(
            error,
            E::FromSqlConversionFailure(..) | E::InvalidColumnType(..) | E::IntegralValueOutOfRange(..)
        ) {
            return corrupt(error);
        }
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy,
            Some(ErrorCode::DiskFull) => StoreError::Full,
            Some(ErrorCode::ReadOnly) => StoreError::ReadOnly,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                StoreError::Corrupt(error.to_string())
            }
            _ => StoreError::Other(error),
        }
    }
}

/// A stored value that does not mean anything.
pub(super) fn corrupt(error: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(error.to_string())
}
