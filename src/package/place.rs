//! Where a version belongs: in the layout that its app already has.

use super::staging::names;
use super::tree::open;
use super::{Code, PackageError};
use crate::model::{AppName, AppVersion};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fsync, mkdirat, statat};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A name in an open directory.
#[derive(Debug)]
pub(super) struct Place {
    pub parent: OwnedFd,
    pub name: String,
    /// The same, relative to the worker directory.
    pub path: PathBuf,
    /// The version is there already.
    pub taken: bool,
}

impl Place {
    /// Finds where `version` is, else where it is to be. Makes the directory of a scope if it is missing.
    ///
    /// As the scanner does, it takes versions for one that differ in their build metadata only, and prefers
    /// `shop/1.2.0` to `shop@1.2.0` if both are there.
    pub fn find(worker_dir: BorrowedFd, name: &AppName, version: &AppVersion) -> Result<Place, PackageError> {
        let io = |error: Errno| PackageError::io(format!("look for {name} in the worker directory"), error);
        let (scope, base) = match name.as_str().split_once('/') {
            Some((scope, base)) => (Some(scope), base),
            None => (None, name.as_str()),
        };
        let mut above = PathBuf::new();
        let mut parent =
            worker_dir.try_clone_to_owned().map_err(|e| PackageError::io("open a directory", e))?;
        if let Some(scope) = scope {
            parent = open_scope(worker_dir, scope)?;
            above.push(scope);
        }
        let is_wanted =
            |text: &str| AppVersion::parse(text).is_ok_and(|other| other.identity() == version.identity());
        if let Some(nested) = nested(parent.as_fd(), base)? {
            let versions = versions(nested.as_fd()).map_err(io)?;
            let found = versions.iter().find(|text| is_wanted(text));
            if let Some(found) = found {
                let path = above.join(base).join(found);
                return Ok(Place { parent: nested, name: found.clone(), path, taken: true });
            }
            if versions.is_empty() && *version == AppVersion::Latest {
                return Ok(Place { parent, name: base.into(), path: above.join(base), taken: true });
            }
            if !versions.is_empty() && flat(parent.as_fd(), base, is_wanted).map_err(io)?.is_none() {
                let (name, path) = (version.to_string(), above.join(base).join(version.to_string()));
                return Ok(Place { parent: nested, name, path, taken: false });
            }
        }
        let found = flat(parent.as_fd(), base, is_wanted).map_err(io)?;
        let taken = found.is_some();
        let name = found.unwrap_or_else(|| format!("{base}@{version}"));
        Ok(Place { parent, path: above.join(&name), name, taken })
    }
}

impl Place {
    /// A directory by its name, or by its scope and its name. Makes the directory of a scope if it is missing.
    ///
    /// # Errors
    /// `Place` (a link or a file is in the way, or that is no such path) or `Io`.
    pub fn at(dir: BorrowedFd, path: &Path) -> Result<Place, PackageError> {
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        let io = |error: Errno| PackageError::io(format!("look for {}", path.display()), error);
        let (parent, name) = match parts[..] {
            [name] => {
                (dir.try_clone_to_owned().map_err(|error| PackageError::io("open a directory", error))?, name)
            }
            [scope, name] => (open_scope(dir, scope)?, name),
            _ => {
                return Err(PackageError::new(Code::Place, format!("{} is no place for it", path.display())));
            }
        };
        let there = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Some(FileType::from_raw_mode(there.st_mode)),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(io(error)),
        };
        let taken = match there {
            None => false,
            Some(FileType::Directory) => true,
            Some(FileType::Symlink) => return Err(is_link(name)),
            Some(_) => return Err(PackageError::new(Code::Place, format!("`{name}` is not a directory"))),
        };
        Ok(Place { parent, name: name.to_owned(), path: path.to_owned(), taken })
    }
}

/// Where `install` would replace and `remove` would take away this version, relative to the worker directory. None = nowhere.
///
/// # Errors
/// `Place` (a link or a file is in the way) or `Io`.
pub fn locate(
    worker_dir: &Path,
    name: &AppName,
    version: &AppVersion,
) -> Result<Option<PathBuf>, PackageError> {
    let open = rustix::fs::open(worker_dir, DIRECTORY, Mode::empty());
    let open = open.map_err(|error| PackageError::io(format!("open {}", worker_dir.display()), error))?;
    let place = Place::find(open.as_fd(), name, version)?;
    Ok(place.taken.then_some(place.path))
}

/// The directory `shop`, if there is one.
fn nested(parent: BorrowedFd, base: &str) -> Result<Option<OwnedFd>, PackageError> {
    match open(parent, base, DIRECTORY, Mode::empty()) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(Errno::LOOP) => Err(is_link(base)),
        Err(error) => Err(PackageError::io(format!("open `{base}`"), error)),
    }
}

/// The sub-directories that are named like versions, also those that are links to directories.
fn versions(directory: BorrowedFd) -> Result<Vec<String>, Errno> {
    let mut names = names(directory)?;
    names.retain(|name| {
        let stat = || statat(directory, name.as_str(), AtFlags::empty());
        let is_dir = || stat().is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        AppVersion::parse(name).is_ok() && is_dir()
    });
    Ok(names)
}

/// The first `shop@VERSION` with a version that is wanted.
fn flat(parent: BorrowedFd, base: &str, is_wanted: impl Fn(&str) -> bool) -> Result<Option<String>, Errno> {
    let version = |name: &String| name.strip_prefix(base)?.strip_prefix('@').map(&is_wanted);
    Ok(names(parent)?.into_iter().find(|name| version(name) == Some(true)))
}

fn open_scope(worker_dir: BorrowedFd, scope: &str) -> Result<OwnedFd, PackageError> {
    let io = |error: Errno| PackageError::io(format!("make the directory `{scope}`"), error);
    match mkdirat(worker_dir, scope, Mode::from_raw_mode(0o755)) {
        Ok(()) => fsync(worker_dir).map_err(io)?,
        Err(Errno::EXIST) => {}
        Err(error) => return Err(io(error)),
    }
    super::step::reached();
    match open(worker_dir, scope, DIRECTORY, Mode::empty()) {
        Err(Errno::LOOP) => Err(is_link(scope)),
        Err(Errno::NOTDIR) => Err(PackageError::new(Code::Place, format!("`{scope}` is not a directory"))),
        opened => opened.map_err(io),
    }
}

fn is_link(name: &str) -> PackageError {
    PackageError::new(Code::Place, format!("`{name}` is a link"))
        .hint("packages are installed into real directories only: put one there")
}
