//! The apps' own data directories, and those of plugins: made on a thread of their own when an app appears, so that its first request does not
//! wait for the disk.

use crate::shortage::Shortage;
use crate::telemetry::Seldom;
use crate::worker::isolation::Isolation;
use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

pub struct DataDirs {
    making: Arc<Making>,
    /// The thread ends when this is dropped.
    wanted: mpsc::Sender<String>,
}

struct Making {
    root: PathBuf,
    isolation: Arc<Isolation>,
    made: Mutex<HashSet<String>>,
}

impl DataDirs {
    /// Starts the thread. All directories are made in `root`.
    ///
    /// # Errors
    /// The system allows no further thread.
    pub fn start(root: PathBuf, isolation: Arc<Isolation>) -> io::Result<DataDirs> {
        let (wanted, inbox) = mpsc::channel::<String>();
        let making = Arc::new(Making { root, isolation, made: Mutex::default() });
        let maker = Arc::clone(&making);
        std::thread::Builder::new().name("buntime-data".into()).spawn(move || {
            for name in inbox {
                // What fails here is tried again, and told, when the app is assigned.
                let _ = maker.make(&name);
            }
        })?;
        Ok(DataDirs { making, wanted })
    }

    /// Has the directory of an app (`App::data_name`) made soon, also where it was there once: somebody may have removed it since.
    pub fn want(&self, name: &str) {
        self.making.lock().remove(name);
        // Without its thread a directory is made when it is needed.
        let _ = self.wanted.send(name.to_owned());
    }

    /// The directory of an app, made now unless it is there, and whether it is there. Where it is not, an app is served without.
    ///
    /// # Errors
    /// It cannot be made for want of what the machine has too little of. The app would blame its disk for that, or be blamed.
    pub fn of(&self, name: &str) -> io::Result<(PathBuf, bool)> {
        let dir = self.making.root.join(name);
        if self.making.lock().contains(name) {
            return Ok((dir, true));
        }
        let made = self.making.make(name);
        static LOGGED: Seldom = Seldom::quiet();
        match made {
            Ok(()) => Ok((dir, true)),
            Err(error) if Shortage::of(&error).is_some() => Err(error),
            Err(error) => {
                if let Some(unsaid) = LOGGED.admit() {
                    tracing::warn!(app = name, dir = %dir.display(), %error, unsaid, "no data directory");
                }
                Ok((dir, false))
            }
        }
    }
}

impl Making {
    fn make(&self, name: &str) -> io::Result<()> {
        let dir = self.root.join(name);
        std::fs::create_dir_all(&dir)?;
        if let Some(identity) = self.isolation.identity() {
            identity.take_over(&dir)?;
        }
        self.isolation.prepare_data(name)?;
        self.lock().insert(name.to_owned());
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_was_removed_is_made_again_for_the_next_version() {
        let temp = tempfile::tempdir().unwrap();
        let dirs = DataDirs::start(temp.path().join("data"), Arc::new(Isolation::none())).unwrap();
        let name = "@team/shop";
        for _ in 0..3 {
            dirs.want(name);
            let (dir, made) = dirs.of(name).unwrap();
            assert!(made && dir.is_dir());
            // The thread has had its turn when it has this one too.
            let next = "next";
            dirs.want(next);
            while !dirs.making.lock().contains(next) {
                std::thread::yield_now();
            }
            std::fs::remove_dir_all(temp.path().join("data")).unwrap();
        }
    }
}
