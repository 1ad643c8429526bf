//! The apps' own data directories: made on a thread of their own when an app appears, so that its first request does not
//! wait for the disk.

use crate::model::AppName;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::mpsc;

pub struct DataDirs {
    root: PathBuf,
    /// The thread ends when this is dropped.
    wanted: mpsc::Sender<AppName>,
}

impl DataDirs {
    /// Starts the thread. All directories are made in `root`.
    ///
    /// # Errors
    /// The system allows no further thread.
    pub fn start(root: PathBuf) -> std::io::Result<DataDirs> {
        let (wanted, inbox) = mpsc::channel::<AppName>();
        let parent = root.clone();
        std::thread::Builder::new().name("buntime-data".into()).spawn(move || {
            for name in inbox {
                // What fails here is tried again, and told, when the app is assigned.
                let _ = std::fs::create_dir_all(parent.join(name.as_str()));
            }
        })?;
        Ok(DataDirs { root, wanted })
    }

    /// Has the directory of an app made soon.
    pub fn want(&self, name: &AppName) {
        // Without its thread a directory is made when it is needed.
        let _ = self.wanted.send(name.clone());
    }

    /// The directory of an app, made now unless it is there: somebody may have removed it.
    pub fn of(&self, name: &AppName) -> PathBuf {
        let dir = self.root.join(name.as_str());
        // Nearly always it is there, which one system call tells.
        let made = match std::fs::create_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => std::fs::create_dir_all(&dir),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            made => made,
        };
        if let Err(error) = made {
            tracing::warn!(app = %name, dir = %dir.display(), %error, "no data directory");
        }
        dir
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_removed_is_made_again() {
        let temp = tempfile::tempdir().unwrap();
        let dirs = DataDirs::start(temp.path().join("data")).unwrap();
        let name: AppName = "@team/shop".parse().unwrap();
        for _ in 0..2 {
            let dir = dirs.of(&name);
            assert!(dir.is_dir());
            std::fs::remove_dir_all(temp.path().join("data")).unwrap();
        }
    }
}
