//! Puts a package in its place, by one rename: whoever looks sees the old state or the new one.

use super::place::Place;
use super::staging::{Staged, Staging};
use super::{Code, PackageError, step};
use crate::model::{AppName, AppVersion};
use rustix::fs::{RenameFlags, fsync, renameat, renameat_with};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

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
    /// If somebody has removed the version meanwhile, what was there before is put back all the same.
    ///
    /// # Errors
    /// `Io`; the version may be in its place still. What was there before is not removed then: the error says where it is.
    pub fn undo(self) -> Result<Staging, PackageError> {
        let undone = self.put_back().and_then(|()| {
            step::reached();
            fsync(&self.place.parent)
        });
        let Installed { path, place, staging, root } = self;
        let Err(error) = undone else { return Ok(staging) };
        let what = format!("take {} away again", path.display());
        if !place.taken {
            return Err(PackageError::io(what, error));
        }
        let kept = staging.keep().join(root);
        let error =
            PackageError::io(format!("{what} (the other one of the two is in {})", kept.display()), error);
        Err(error.hint("see which of the two is right, and put it there"))
    }

    fn put_back(&self) -> Result<(), Errno> {
        let Installed { place, staging, root, .. } = self;
        let (parent, name) = (&place.parent, place.name.as_str());
        if !place.taken {
            return match rename_alone(parent.as_fd(), name, staging.directory(), root) {
                Err(Errno::NOENT) => Ok(()), // somebody was sooner
                moved => moved,
            };
        }
        match renameat_with(parent, name, staging.directory(), root.as_str(), RenameFlags::EXCHANGE) {
            Err(Errno::NOENT) => rename_alone(staging.directory(), root, parent.as_fd(), name),
            exchanged => exchanged,
        }
    }
}

/// Renames to a name that nothing has.
fn rename_alone(from: BorrowedFd, old: &str, to: BorrowedFd, new: &str) -> Result<(), Errno> {
    match renameat_with(from, old, to, new, RenameFlags::NOREPLACE) {
        // A file system without this flag. A plain rename does not replace a directory that has something in it.
        Err(Errno::INVAL | Errno::NOSYS) => renameat(from, old, to, new),
        moved => moved,
    }
}

/// Moves a staged package to `path` in the directory that it was staged in: `name` or `@scope/name`.
///
/// # Errors
/// As [`install`].
pub fn install_at(mut staged: Staged, path: &Path, replace: bool) -> Result<Installed, PackageError> {
    staged.sync()?;
    let (staging, root) = staged.into_parts();
    let place = Place::at(staging.worker_dir(), path)?;
    put(staging, root, place, replace, &path.display().to_string())
}

/// Moves a staged package into the worker directory that it was staged in: `shop/1.2.0` if the app has such
/// directories, else `shop@1.2.0`.
///
/// With `replace`, a version that is there is exchanged for the new one in one step, where it is: also if its name has
/// a `v` or other build metadata. Two installations of one app must not run at once; of one version that is safe.
///
/// # Errors
/// `AlreadyThere`, `Place` (a link or a file is in the way), `ReplaceUnsupported`, or `Io`. Nothing has changed then but
/// that the directory of a scope may have been made. If bringing the rename to the disk fails, it is taken back.
pub fn install(
    mut staged: Staged,
    name: &AppName,
    version: &AppVersion,
    replace: bool,
) -> Result<Installed, PackageError> {
    staged.sync()?;
    let (staging, root) = staged.into_parts();
    let place = Place::find(staging.worker_dir(), name, version)?;
    put(staging, root, place, replace, &format!("{name}@{version}"))
}

/// The rename. `what` is what it is called.
fn put(
    staging: Staging,
    root: String,
    place: Place,
    replace: bool,
    what: &str,
) -> Result<Installed, PackageError> {
    let there = || {
        let message = format!("{what} is there already, in {}", place.path.display());
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
            Err(Errno::INVAL | Errno::NOSYS) => return Err(cannot_replace(what)),
            exchanged => exchanged.map_err(io)?,
        }
    } else {
        let moved = rename_alone(staging.directory(), &root, place.parent.as_fd(), &place.name);
        match moved {
            Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => return Err(there()),
            moved => moved.map_err(io)?,
        }
    }
    step::reached();
    let installed = Installed { path: place.path.clone(), place, staging, root };
    if let Err(error) = fsync(&installed.place.parent) {
        // It may be on the disk or not. Where it is not, the old one must be.
        let refused = PackageError::io(format!("put {} in its place", installed.path.display()), error);
        return match installed.put_back() {
            Ok(()) => Err(refused),
            Err(_) => installed.undo().and(Err(refused)),
        };
    }
    step::reached();
    Ok(installed)
}

fn cannot_replace(what: &str) -> PackageError {
    let message = format!("{what} cannot be replaced: this file system cannot exchange two directories");
    PackageError::new(Code::ReplaceUnsupported, message)
        .hint("remove it first; an app can be deployed under another version")
}
