//! Reads zip: the directory at the end says what there is, and each entry must agree with it.
//!
//! The reader is our own because the common one keeps the directory by name, so that of two entries with one name only
//! the last is seen. Here the directory is bounded before it is read, and entries are unpacked in the order in which
//! they lie in the file, so that none can share bytes with another.

mod directory;
mod end;
mod entry;
mod fields;

use self::directory::Entry;
use super::tree::Tree;
use super::{Code, Limits, PackageError};
use std::io::{self, Read, Seek};

/// Unpacks the whole archive.
pub(super) fn unpack(
    source: &mut (impl Read + Seek),
    tree: &mut Tree,
    limits: &Limits,
) -> Result<(), PackageError> {
    let end = end::find(source)?;
    if end.entries > limits.entries {
        let message = format!("the archive has {} entries, more than {}", end.entries, limits.entries);
        return Err(PackageError::new(Code::TooManyEntries, message));
    }
    let mut entries = directory::read(source, &end, limits)?;
    entries.sort_by_key(|entry| entry.offset);
    let (mut packed, mut unpacked) = (0, 0);
    for (index, entry) in entries.iter().enumerate() {
        // Each must end before the next begins; that of two with one place the first does not is seen likewise.
        let until = entries.get(index + 1).map_or(end.directory, |next| next.offset);
        entry::unpack(source, entry, until, tree, limits, &mut packed, &mut unpacked)?;
    }
    Ok(())
}

fn overlap(entry: &Entry) -> PackageError {
    PackageError::new(Code::Overlap, format!("`{}` shares bytes with another entry", entry.shown()))
}

fn corrupt(message: &str) -> PackageError {
    PackageError::new(Code::Corrupt, format!("the archive is damaged: {message}"))
}

/// A failed read: the end came too early, or the machine failed.
fn failed(error: io::Error) -> PackageError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => PackageError::new(Code::Truncated, "the archive ends too early"),
        _ => PackageError::io("read the archive", error),
    }
}
