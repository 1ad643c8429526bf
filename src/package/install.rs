//! Puts a package in its place, by one rename: whoever looks sees the old state or the new one.

use super::place::Place;
use super::staging::{Staged, Staging};
use super::{Code, PackageError, step};
use crate::model::{AppName, AppVersion};
use rustix::fs::{RenameFlags, fsync, renameat, renameat_with};
use rustix::io::Errno;
use std::path::PathBuf;

/// A version that is in its place, and on the disk. What was there before, if it was replaced, is kept as long as this
/// is: workers may still be reading it. Dropped, that is removed from disk. (If the process ends first, `sweep` removes
/// it.)
#[derive(Debug)]
pub struct Installed {
    /// Relative to the worker directory.
    pub path: PathBuf,
    place: Place,
    staging: Staging,
    /// Where in the staging the package was, and what it replaced is.
    root: String,
}

impl Installed {
    /// Something was there before.
    pub fn has_replaced(&self) -> bool {
        self.place.taken
    }

    /// Takes the version away again, by one rename: what was there before is back, or nothing. Gives the staging that holds
    /// what was taken away.
    ///
    /// # Errors
    /// `Io`; the version is in its place still.
    pub fn undo(self) -> Result<Staging, PackageError> {
        let Installed { path, place, staging, root } = self;
        let io = |error: Errno| PackageError::io(format!("take {} away again", path.display()), error);
        let flags = if place.taken { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        let (from, to) = (place.name.as_str(), root.as_str());
        match renameat_with(&place.parent, from, staging.directory(), to, flags) {
            Err(Errno::INVAL | Errno::NOSYS) if !place.taken => {
                renameat(&place.parent, from, staging.directory(), to).map_err(io)?;
            }
            moved => moved.map_err(io)?,
        }
        step::reached();
        fsync(&place.parent).map_err(io)?;
        Ok(staging)
    }
}

/// Moves a staged package into the worker directory that it was staged in: `shop/1.2.0` if the app has such
/// directories, else `shop@1.2.0`.
///
/// With `replace`, a version that is there is exchanged for the new one in one step, where it is: also if its name has
/// a `v` or other build metadata. Two installations of one app must not run at once; of one version that is safe.
///
/// # Errors
/// `AlreadyThere`, `Place` (a link or a file is in the way), `ReplaceUnsupported`, or `Io`. Nothing has changed then but
/// that the directory of a scope may have been made; only if the very last step fails (bringing the rename to the disk)
/// the package is in its place all the same.
pub fn install(
    mut staged: Staged,
    name: &AppName,
    version: &AppVersion,
    replace: bool,
) -> Result<Installed, PackageError> {
    staged.sync()?;
    let (staging, root) = staged.into_parts();
    let place = Place::find(staging.worker_dir(), name, version)?;
    let there = || {
        let message = format!("{name}@{version} is there already, in {}", place.path.display());
        PackageError::new(Code::AlreadyThere, message).hint("give it another version, or ask to replace it")
    };
    if place.taken && !replace {
        return Err(there());
    }
    step::reached();
    let io = |error: Errno| PackageError::io(format!("put {} in its place", place.path.display()), error);
    if place.taken {
        let exchange = RenameFlags::EXCHANGE;
        match renameat_with(staging.directory(), root.as_str(), &place.parent, place.name.as_str(), exchange)
        {
            Err(Errno::INVAL | Errno::NOSYS) => return Err(cannot_replace(name, version)),
            exchanged => exchanged.map_err(io)?,
        }
    } else {
        let alone = RenameFlags::NOREPLACE;
        let (to, place) = (place.name.as_str(), &place.parent);
        let moved = match renameat_with(staging.directory(), root.as_str(), place, to, alone) {
            // A file system without this flag. A plain rename does not replace a directory that has something in it.
            Err(Errno::INVAL | Errno::NOSYS) => renameat(staging.directory(), root.as_str(), place, to),
            moved => moved,
        };
        match moved {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => return Err(there()),
            moved => moved.map_err(io)?,
        }
    }
    step::reached();
    fsync(&place.parent).map_err(io)?;
    step::reached();
    Ok(Installed { path: place.path.clone(), place, staging, root })
}

fn cannot_replace(name: &AppName, version: &AppVersion) -> PackageError {
    let message =
        format!("{name}@{version} cannot be replaced: this file system cannot exchange two directories");
    PackageError::new(Code::ReplaceUnsupported, message).hint("deploy it under another version")
}
