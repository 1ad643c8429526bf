//! Staging: a directory beside the apps, hidden from whoever looks for apps, in which a package is made ready.
//!
//! It is on the same file system as the place the package goes to, so that moving it there is one rename. Each upload
//! has a directory of its own, and holds a lock on it as long as its process lives.

use super::tree::open;
use super::unpack::unpack;
use super::{Limits, PackageError, Summary, step, sync};
use crate::uproot;
use rustix::fs::{AtFlags, Dir, FlockOperation, Mode, OFlags, fchmod, flock, fstat, mkdirat, statat};
use rustix::io::Errno;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// The directory in a worker directory that holds the stagings. The scanner leaves out names with a dot.
const HOLDER: &str = ".buntime-staging";
/// What a staging that is kept begins with, beside the apps.
const KEPT: &str = ".buntime-kept-";
/// Where in a staging the archive is unpacked.
const TREE: &str = "tree";
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const ATTEMPTS: u32 = 100;

/// A directory for one package. Dropped, it is removed from disk.
#[derive(Debug)]
pub struct Staging {
    worker_dir: OwnedFd,
    holder: OwnedFd,
    /// Locked.
    directory: OwnedFd,
    name: String,
    path: PathBuf,
    /// Dropped, it stays.
    is_kept: bool,
}

/// A package that is unpacked and not yet in its place. Dropped, it is removed from disk.
#[derive(Debug)]
pub struct Staged {
    pub summary: Summary,
    staging: Staging,
    /// The app's directory, relative to the staging.
    root: String,
    is_synced: bool,
}

impl Staging {
    /// Makes an empty one in a worker directory.
    ///
    /// # Errors
    /// `Code::Io`: the worker directory is not there, not writable, or has a link in the place of the staging.
    pub fn create(worker_dir: &Path) -> Result<Staging, PackageError> {
        let io = |error: Errno| PackageError::io(format!("stage in {}", worker_dir.display()), error);
        let worker = rustix::fs::open(worker_dir, DIRECTORY, Mode::empty()).map_err(io)?;
        match mkdirat(&worker, HOLDER, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(io(error)),
        }
        let holder = open(worker.as_fd(), HOLDER, DIRECTORY, Mode::empty()).map_err(io)?;
        step::reached();
        for _ in 0..ATTEMPTS {
            let name = fresh_name();
            match mkdirat(&holder, name.as_str(), Mode::RWXU) {
                Ok(()) => {}
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(io(error)),
            }
            step::reached();
            // A sweep may come between making and locking, and take it for a left-over.
            let Some(directory) = lock(holder.as_fd(), &name).map_err(io)? else { continue };
            let path = worker_dir.join(HOLDER).join(&name);
            return Ok(Staging { worker_dir: worker, holder, directory, name, path, is_kept: false });
        }
        Err(io(Errno::BUSY))
    }

    /// Unpacks an archive. If everything in it is in one directory, as in what `npm pack` makes, that is the app's.
    ///
    /// # Errors
    /// As `unpack`; nothing of the archive is left on disk then.
    pub fn receive(self, source: impl Read + Seek, limits: &Limits) -> Result<Staged, PackageError> {
        let io = |error: Errno| PackageError::io("make a directory to unpack into", error);
        mkdirat(&self.directory, TREE, Mode::RWXU).map_err(io)?;
        let tree = open(self.directory.as_fd(), TREE, DIRECTORY, Mode::empty()).map_err(io)?;
        rustix::fs::fchmod(&tree, Mode::from_raw_mode(0o755)).map_err(io)?;
        let summary = unpack(source, &tree, limits)?;
        let root = summary.top.as_ref().map_or(TREE.to_owned(), |top| format!("{TREE}/{top}"));
        Ok(Staged { summary, staging: self, root, is_synced: false })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves on disk for good what is in it, under a name that no sweep and no scan looks at. Gives where that is.
    pub(super) fn keep(mut self) -> PathBuf {
        self.is_kept = true;
        let name = format!("{KEPT}{}", self.name);
        let moved = rustix::fs::renameat(&self.holder, self.name.as_str(), &self.worker_dir, name.as_str());
        match (moved, self.path.parent().and_then(Path::parent)) {
            (Ok(()), Some(worker_dir)) => worker_dir.join(name),
            // Then it is there until the next sweep.
            _ => self.path.clone(),
        }
    }

    pub(super) fn worker_dir(&self) -> BorrowedFd<'_> {
        self.worker_dir.as_fd()
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        step::reached();
        // What cannot be removed now is what a sweep is for.
        let _ = uproot::remove_at(self.holder.as_fd(), &self.name);
    }
}

impl Staged {
    /// The app's directory, until it is installed.
    pub fn path(&self) -> PathBuf {
        self.staging.path.join(&self.root)
    }

    /// Lets everybody on the machine read it where it is, as they can where it is to be: workers may run as another user. What
    /// else is being staged stays hidden.
    ///
    /// # Errors
    /// `Io`.
    pub fn show(&self) -> Result<(), PackageError> {
        let io = |error: Errno| PackageError::io("let workers read a package", error);
        let mode = Mode::from_raw_mode(0o755);
        fchmod(&self.staging.holder, mode).and_then(|()| fchmod(&self.staging.directory, mode)).map_err(io)
    }

    /// Brings it to the disk, unless that was done before. An installation does it as well; but where requests wait for that, this
    /// comes first.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync(&mut self) -> Result<(), PackageError> {
        if !self.is_synced {
            sync::tree(self.staging.directory(), &self.root)?;
            self.is_synced = true;
        }
        Ok(())
    }

    pub(super) fn into_parts(self) -> (Staging, String) {
        (self.staging, self.root)
    }
}

/// Removes what uploads left behind whose process has ended. Returns how many there were.
///
/// # Errors
/// `Code::Io`: the stagings cannot be listed, or one of them not removed.
pub fn sweep(worker_dir: &Path) -> Result<usize, PackageError> {
    let io = |error: Errno| PackageError::io(format!("clean up in {}", worker_dir.display()), error);
    let worker = rustix::fs::open(worker_dir, DIRECTORY, Mode::empty()).map_err(io)?;
    let holder = match open(worker.as_fd(), HOLDER, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(0),
        holder => holder.map_err(io)?,
    };
    let (mut swept, mut failed) = (0, None);
    for name in names(holder.as_fd()).map_err(io)? {
        // Locked = at work. Not a directory = none of ours.
        let Ok(Some(_lock)) = lock(holder.as_fd(), &name) else { continue };
        match uproot::remove_at(holder.as_fd(), &name) {
            Ok(()) => swept += 1,
            // One that cannot be removed keeps no other from it.
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        None => Ok(swept),
        Some(error) => {
            Err(PackageError::io(format!("remove a left-over in {}", worker_dir.display()), error))
        }
    }
}

/// The names in a directory that are UTF-8, without `.` and `..`.
pub(super) fn names(directory: BorrowedFd) -> Result<Vec<String>, Errno> {
    let entries = Dir::read_from(directory)?;
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry?.file_name().to_str()
            && !matches!(name, "." | "..")
        {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Opens and locks a staging; none = somebody else has it, or it is gone.
fn lock(holder: BorrowedFd, name: &str) -> Result<Option<OwnedFd>, Errno> {
    match open(holder, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => Ok(None),
        directory => lock_open(holder, name, directory?),
    }
}

/// Whoever had the lock before may have removed it: then what is locked is not what has the name.
fn lock_open(holder: BorrowedFd, name: &str, directory: OwnedFd) -> Result<Option<OwnedFd>, Errno> {
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    let (mine, there) = (fstat(&directory)?, statat(holder, name, AtFlags::SYMLINK_NOFOLLOW));
    Ok(there.is_ok_and(|there| there.st_ino == mine.st_ino).then_some(directory))
}

fn fresh_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{:x}-{count:x}", std::process::id(), now.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_staging_that_was_removed_before_it_was_locked_is_not_used() {
        let temp = tempfile::tempdir().unwrap();
        let holder = OwnedFd::from(fs::File::open(temp.path()).unwrap());
        let name = temp.path().join("x");
        fs::create_dir(&name).unwrap();
        let mine = || OwnedFd::from(fs::File::open(&name).unwrap());
        let locked = |directory| lock_open(holder.as_fd(), "x", directory).unwrap().is_some();
        assert!(locked(mine()));
        let old = mine();
        fs::rename(&name, temp.path().join("y")).unwrap();
        assert!(!locked(old.try_clone().unwrap()), "it is gone");
        fs::create_dir(&name).unwrap();
        assert!(!locked(old), "another has its name");
        assert!(locked(mine()));
        let holds = lock(holder.as_fd(), "x").unwrap();
        assert!(!locked(mine()), "another has its lock");
        drop(holds);
    }
}
