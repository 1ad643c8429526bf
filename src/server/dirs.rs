//! The directories of one supervisor.

use crate::uproot;
use anyhow::{Context, Result};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Where this process keeps its files.
pub struct Dirs {
    pub state: PathBuf,
    /// For this process only; removed at the end.
    pub run: PathBuf,
}

impl Dirs {
    pub fn prepare(state: &Path) -> Result<Dirs> {
        // Apps see it by this path, and what it would lead over is perhaps not there for them.
        let state = &state.canonicalize().with_context(|| state.display().to_string())?;
        let runs = state.join("run");
        remove_dead(&runs);
        let run = runs.join(std::process::id().to_string());
        // In a container every start has the same number: nothing of an earlier one may be found there.
        if run.exists() {
            uproot::remove(&run)
                .with_context(|| format!("the old directory {} cannot be removed", run.display()))?;
        }
        for dir in ["empty", "workers"] {
            make(&run.join(dir))?;
        }
        make(&state.join("data"))?;
        Ok(Dirs { state: state.to_owned(), run })
    }

    pub fn clean(&self) {
        if let Err(error) = uproot::remove(&self.run) {
            tracing::warn!(dir = %self.run.display(), %error, "the run directory could not be removed");
        }
    }
}

fn make(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("the directory {} cannot be made", dir.display()))
}

/// Removes what supervisors that were killed left behind.
fn remove_dead(runs: &Path) {
    let Ok(entries) = std::fs::read_dir(runs) else { return };
    for entry in entries.flatten() {
        let dead = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
            .is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if dead {
            let _ = uproot::remove(&entry.path());
        }
    }
}
