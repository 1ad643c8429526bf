//! Keeps what an authority has given. They count it: what cannot be written, because the disk is full, is used all the same and written
//! later, not ordered again.

use super::{Files, aside};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

#[derive(Debug)]
pub struct Keeper {
    files: Files,
    /// What could not be written yet, by its file.
    owed: BTreeMap<PathBuf, Vec<u8>>,
}

impl Keeper {
    pub fn new(files: Files) -> Keeper {
        Keeper { files, owed: BTreeMap::new() }
    }

    /// Writes it now, or says why not and owes it.
    pub async fn keep(&mut self, path: PathBuf, bytes: Vec<u8>) {
        let file = path.display().to_string();
        if let Err(error) = self.write(path, bytes).await {
            tracing::warn!(file, %error, "what ACME has got cannot be kept yet, and would be lost with this process");
        }
    }

    /// Whether something is still to be written.
    pub fn owes(&self) -> bool {
        !self.owed.is_empty()
    }

    /// Writes what could not be written before.
    pub async fn settle(&mut self) {
        for (path, bytes) in std::mem::take(&mut self.owed) {
            let file = path.display().to_string();
            if self.write(path, bytes).await.is_ok() {
                tracing::info!(file, "what ACME has got is kept by now");
            }
        }
    }

    async fn write(&mut self, path: PathBuf, bytes: Vec<u8>) -> io::Result<()> {
        let (files, to, content) = (self.files.clone(), path.clone(), bytes.clone());
        let result = aside(move || files.write(&to, &content)).await;
        match &result {
            Ok(()) => self.owed.remove(&path),
            Err(_) => self.owed.insert(path, bytes),
        };
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It was thrown away, and each attempt ordered another one.
    #[tokio::test]
    async fn what_cannot_be_written_is_written_later() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), "https://ca.test/dir");
        let [path, other] = ["a.test", "b.test"].map(|domain| files.certificate(domain));
        let mut keeper = Keeper::new(files);
        // What is in the way of root, too.
        let obstacle = path.with_added_extension("new");
        std::fs::create_dir_all(&obstacle).unwrap();
        keeper.keep(path.clone(), b"one".to_vec()).await;
        keeper.keep(other.clone(), b"other".to_vec()).await;
        keeper.settle().await;
        assert!(keeper.owes() && !path.exists());
        assert_eq!(std::fs::read(&other).unwrap(), b"other");
        // What came after it counts.
        keeper.keep(path.clone(), b"two".to_vec()).await;
        std::fs::remove_dir(&obstacle).unwrap();
        keeper.settle().await;
        assert!(!keeper.owes());
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }
}
