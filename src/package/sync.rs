//! Brings a tree to the disk, so that it is whole after a power cut.

use super::PackageError;
use super::tree::open;
use rustix::fs::{Dir, FileType, Mode, OFlags, fsync, syncfs};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Brings a tree of files and directories to the disk: contents first, then the directories that name them.
pub(super) fn tree(at: BorrowedFd, path: &str) -> Result<(), PackageError> {
    let io = |error: Errno| PackageError::io("write the package to the disk", error);
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = open(at, path, flags, Mode::empty()).map_err(io)?;
    // All at once is much faster than file by file. What follows is quick then; it is there for its errors.
    syncfs(&top).map_err(io)?;
    one(top).map_err(io)
}

/// Recursive: a tree is only as deep as the limits allow.
fn one(directory: OwnedFd) -> Result<(), Errno> {
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Ok(text) = name.to_str() else { return Err(Errno::ILSEQ) };
        if matches!(text, "." | "..") {
            continue;
        }
        let opened = open(directory.as_fd(), text, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        match FileType::from_raw_mode(rustix::fs::fstat(&opened)?.st_mode) {
            FileType::Directory => one(opened)?,
            _ => fsync(opened)?,
        }
    }
    fsync(directory)
}
