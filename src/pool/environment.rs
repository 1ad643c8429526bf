//! What a worker's process and its app find in their environment. Nothing comes from the supervisor's own environment but
//! what `Settings::env` was given at start.

use super::Settings;
use crate::model::{App, WorkerId};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What is executed, and its arguments. The executable is to an app what a spare is: a version that no spare may take has
/// something that acts at the start of `bun` itself.
pub fn program(settings: &Settings, app: Option<&App>) -> (PathBuf, Vec<OsString>) {
    match app {
        Some(app) if app.needs_fresh.is_some() => {
            (settings.bun.clone(), settings.shim.arguments(app.manifest.low_memory))
        }
        app => match &settings.shim.executable {
            Some(executable) => (executable.clone(), Vec::new()),
            None => {
                let low_memory = app.is_some_and(|app| app.manifest.low_memory);
                (settings.bun.clone(), settings.shim.arguments(low_memory))
            }
        },
    }
}

/// The environment that the process starts with. It is the same for a spare and for a fresh worker, but for versions that
/// no spare may take: what acts at process start has to be there by then.
pub fn of_process(settings: &Settings, app: Option<&App>, private: &Path) -> BTreeMap<String, String> {
    let mut env = base(settings, private);
    if let Some(app) = app.filter(|app| app.needs_fresh.is_some()) {
        env.extend(app.env.clone());
        if let Some(bytes) = app.manifest.max_memory {
            env.insert("BUN_JSC_forceRAMSize".into(), bytes.to_string());
        }
    }
    env
}

/// The environment that the app sees.
pub fn of_app(
    settings: &Settings,
    app: &App,
    entrypoint: &Path,
    worker: WorkerId,
    private: &Path,
    data_dir: &Path,
) -> BTreeMap<String, String> {
    let mut env = base(settings, private);
    env.extend(app.env.clone());
    let own = [
        ("APP_DIR", app.dir.to_string_lossy().into_owned()),
        ("APP_NAME", app.name.to_string()),
        ("APP_VERSION", app.version.to_string()),
        ("APP_DATA_DIR", data_dir.to_string_lossy().into_owned()),
        ("ENTRYPOINT", entrypoint.to_string_lossy().into_owned()),
        ("WORKER_ID", worker.to_string()),
    ];
    env.extend(own.map(|(name, value)| (name.to_owned(), value)));
    if let Some(url) = &settings.api_url {
        env.insert("RUNTIME_API_URL".into(), url.clone());
    }
    env
}

fn base(settings: &Settings, private: &Path) -> BTreeMap<String, String> {
    let mut env = settings.env.clone();
    let home = settings.isolation.home(private);
    // One directory for both: making and removing it is a third of what a process for one request costs here.
    for name in ["HOME", "TMPDIR"] {
        env.insert(name.into(), home.to_string_lossy().into_owned());
    }
    env
}
