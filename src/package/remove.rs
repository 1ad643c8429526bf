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
    // The directory of a nested layout goes with its last version. Not empty, or not nested: then it stays.
    if let Some(above) = place.path.parent().filter(|above| above.file_name().is_some()) {
        let _ = unlinkat(staging.worker_dir(), above, AtFlags::REMOVEDIR);
    }
    Ok(Some(staging))
}

fn not_writable(worker_dir: &Path, error: PackageError) -> PackageError {
    let message = format!("the worker directory {} cannot be written: {error}", worker_dir.display());
    PackageError { code: Code::Place, message, ..error }
        .hint("change its permissions, or change what is in it by hand")
}
