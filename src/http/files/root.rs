//! A directory whose files are served, and the one way into it. The kernel keeps every path inside
//! (`openat2(2)`, `RESOLVE_BENEATH`), so links are followed only as far as they stay there.

use super::path::refused;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A static site: its directory, held open, so that what is renamed into its place later is another site.
#[derive(Debug)]
pub struct StaticRoot {
    directory: OwnedFd,
    index: String,
}

/// What stands at a path.
#[derive(Debug)]
pub enum Found {
    /// A regular file, open for reading.
    File(File, Metadata),
    Directory,
    /// Nothing, or nothing that is served.
    Nothing,
}

impl StaticRoot {
    /// `index` is the name of the file that stands for a directory, usually `index.html`.
    ///
    /// # Errors
    /// What `open(2)` says: the directory is gone or cannot be read.
    pub fn open(directory: &Path, index: &str) -> io::Result<StaticRoot> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        Ok(StaticRoot { directory, index: index.to_owned() })
    }

    pub fn index(&self) -> &str {
        &self.index
    }

    /// Opens what stands at a path relative to the root. Blocks on the disk.
    ///
    /// # Errors
    /// A fault of the machine (descriptors used up, disk broken, no `openat2`), not of the path.
    pub fn find(&self, path: &[u8]) -> io::Result<Found> {
        let opened = match self.open_at(path, ResolveFlags::NO_SYMLINKS) {
            Err(Errno::LOOP) => self.follow(path),
            opened => opened,
        };
        let file = match opened {
            Ok(file) => file,
            Err(error) if means_nothing(error) => return Ok(Found::Nothing),
            Err(error) => return Err(error.into()),
        };
        let metadata = file.metadata()?;
        Ok(match metadata.file_type() {
            kind if kind.is_file() => Found::File(file, metadata),
            kind if kind.is_dir() => Found::Directory,
            _ => Found::Nothing,
        })
    }

    /// Opens through links that stay inside. What they lead to has a name of its own, which must be served too.
    fn follow(&self, path: &[u8]) -> Result<File, Errno> {
        let file = self.open_at(path, ResolveFlags::empty())?;
        let (Ok(root), Ok(target)) = (real_path(self.directory.as_raw_fd()), real_path(file.as_raw_fd()))
        else {
            return Err(Errno::NOENT);
        };
        let served = target
            .strip_prefix(&root)
            .is_ok_and(|inside| !inside.iter().any(|name| refused(name.as_bytes())));
        if served { Ok(file) } else { Err(Errno::NOENT) }
    }

    fn open_at(&self, path: &[u8], resolve: ResolveFlags) -> Result<File, Errno> {
        // Not blocking: to open a fifo would wait for its writer. It means nothing to regular files.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = resolve | ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..3 {
            match openat2(&self.directory, path, flags, Mode::empty(), resolve) {
                // A rename elsewhere made the kernel unsure of a `..` in a link (openat2(2), EAGAIN).
                Err(Errno::AGAIN | Errno::INTR) => {}
                opened => return opened.map(File::from),
            }
        }
        Err(Errno::NOENT)
    }
}

/// Where a descriptor really is.
fn real_path(descriptor: RawFd) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{descriptor}"))
}

/// Errors that speak of the path, not of the machine. `XDEV`: it would leave the root. `NXIO`: a socket.
fn means_nothing(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT
            | Errno::NOTDIR
            | Errno::XDEV
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::ACCESS
            | Errno::NXIO
            | Errno::NODEV
    )
}
