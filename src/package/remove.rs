//! Takes a version away, by one rename: whoever looks sees it whole or not at all.

use super::place::Place;
use super::staging::Staging;
use super::{Code, PackageError, step};
use crate::model::{AppName, AppVersion};
use rustix::fs::{AtFlags, fsync, renameat, unlinkat};
use rustix::io::Errno;
use std::path::Path;

/// What it is called in its staging.
const REMOVED: &str = "removed";

/// What was taken away. Dropped, it is removed from disk. (If the process ends first, `sweep` removes it.)
#[derive(Debug)]
pub struct Removed {
    staging: Staging,
    place: Place,
}

impl Removed {
    /// Puts it back where it was.
    ///
    /// # Errors
    /// `Io`; the error says where it is then.
    pub fn undo(self) -> Result<(), PackageError> {
        let Removed { staging, place } = self;
        let back = renameat(staging.directory(), REMOVED, &place.parent, place.name.as_str())
            .and_then(|()| fsync(&place.parent));
        back.map_err(|error| {
            let (path, kept) = (place.path.display(), staging.keep().join(REMOVED));
            PackageError::io(format!("put {path} back (it is in {} now)", kept.display()), error)
        })
    }
}

/// Moves the directory at `path` (`name` or `@scope/name`) out of `dir`. None = it is not there.
///
/// # Errors
/// As [`remove`].
pub fn remove_at(dir: &Path, path: &Path) -> Result<Option<Removed>, PackageError> {
    let staging = Staging::create(dir).map_err(|error| not_writable(dir, error))?;
    let place = Place::at(staging.worker_dir(), path)?;
    if !place.taken {
        return Ok(None);
    }
    take(staging, &place).map(|staging| Some(Removed { staging, place }))
}

/// Moves a version out of its worker directory. Workers may still be reading it: drop what this gives when they have ended,
/// and it is removed from disk. (If the process ends first, `sweep` removes it.) None = it is not there.
///
/// # Errors
/// `Place` (the worker directory cannot be written) or `Io`; the version is where it was.
pub fn remove(
    worker_dir: &Path,
    name: &AppName,
    version: &AppVersion,
) -> Result<Option<Staging>, PackageError> {
    let staging = Staging::create(worker_dir).map_err(|error| not_writable(worker_dir, error))?;
    let place = Place::find(staging.worker_dir(), name, version)?;
    if !place.taken {
        return Ok(None);
    }
    let staging = take(staging, &place)?;
    // The directory of a nested layout goes with its last version. Not empty, or not nested: then it stays.
    if let Some(above) = place.path.parent().filter(|above| above.file_name().is_some()) {
        let _ = unlinkat(staging.worker_dir(), above, AtFlags::REMOVEDIR);
    }
    Ok(Some(staging))
}

/// The rename.
fn take(staging: Staging, place: &Place) -> Result<Staging, PackageError> {
    let io = |error: Errno| PackageError::io(format!("remove {}", place.path.display()), error);
    step::reached();
    renameat(&place.parent, place.name.as_str(), staging.directory(), REMOVED).map_err(io)?;
    step::reached();
    if let Err(error) = fsync(&place.parent) {
        // It may be on the disk or not: either way it is where it was.
        if renameat(staging.directory(), REMOVED, &place.parent, place.name.as_str()).is_err() {
            let (path, kept) = (place.path.display(), staging.keep().join(REMOVED));
            return Err(PackageError::io(format!("remove {path} (it is in {} now)", kept.display()), error));
        }
        return Err(io(error));
    }
    Ok(staging)
}

fn not_writable(dir: &Path, error: PackageError) -> PackageError {
    let message = format!("the directory {} cannot be written: {error}", dir.display());
    PackageError { code: Code::Place, message, ..error }
        .hint("change its permissions, or change what is in it by hand")
}
