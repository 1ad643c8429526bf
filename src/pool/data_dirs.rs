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

    /// Has the directory of an app made soon.
    pub fn want(&self, name: &AppName) {
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
