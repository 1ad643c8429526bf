//! The apps' own data directories: made on a thread of their own when an app appears, so that its first request does not
//! wait for the disk.

use crate::model::AppName;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

pub struct DataDirs {
    root: PathBuf,
    made: Arc<Mutex<HashSet<AppName>>>,
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
        let made = Arc::new(Mutex::default());
        let (parent, done) = (root.clone(), Arc::clone(&made));
        std::thread::Builder::new().name("buntime-data".into()).spawn(move || {
            for name in inbox {
                // What fails here is tried again, and told, when the app is assigned.
                if std::fs::create_dir_all(parent.join(name.as_str())).is_ok() {
                    lock(&done).insert(name);
                }
            }
        })?;
        Ok(DataDirs { root, made, wanted })
    }

    /// Has the directory of an app made soon, also where it was there once: somebody may have removed it since.
    pub fn want(&self, name: &AppName) {
        lock(&self.made).remove(name);
        // Without its thread a directory is made when it is needed.
        let _ = self.wanted.send(name.clone());
    }

    /// The directory of an app, made now unless it is there.
    pub fn of(&self, name: &AppName) -> PathBuf {
        let dir = self.root.join(name.as_str());
        if !lock(&self.made).contains(name) {
            match std::fs::create_dir_all(&dir) {
                Ok(()) => drop(lock(&self.made).insert(name.clone())),
                Err(error) => {
                    tracing::warn!(app = %name, dir = %dir.display(), %error, "no data directory");
                }
            }
        }
        dir
    }
}

fn lock(made: &Mutex<HashSet<AppName>>) -> MutexGuard<'_, HashSet<AppName>> {
    made.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_removed_is_made_again_for_the_next_version() {
        let temp = tempfile::tempdir().unwrap();
        let dirs = DataDirs::start(temp.path().join("data")).unwrap();
        let name: AppName = "@team/shop".parse().unwrap();
        for _ in 0..3 {
            dirs.want(&name);
            let dir = dirs.of(&name);
            assert!(dir.is_dir());
            // The thread has had its turn when it has this one too.
            let next: AppName = "next".parse().unwrap();
            dirs.want(&next);
            while !lock(&dirs.made).contains(&next) {
                std::thread::yield_now();
            }
            std::fs::remove_dir_all(temp.path().join("data")).unwrap();
        }
    }
}
