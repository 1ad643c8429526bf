//! The name of a Unix socket in the file system.

use std::path::{Path, PathBuf};

/// Dropped, it is removed, if it is this process's own.
#[derive(Debug)]
pub struct Name {
    path: PathBuf,
    own: bool,
}

impl Name {
    /// Of a socket that this process has bound.
    pub fn own(path: &Path) -> Name {
        Name { path: path.to_owned(), own: true }
    }

    /// Of a socket that another process listens on, which this one is to replace.
    pub fn of_another(path: &Path) -> Name {
        Name { path: path.to_owned(), own: false }
    }

    /// It is this process's from here on.
    pub fn take(&mut self) {
        self.own = true;
    }

    /// It stays: another process listens.
    pub fn leave(mut self) {
        self.own = false;
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if self.own {
            // One that stays is replaced at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
