//! What a worker's process and its app find in their environment. Nothing comes from the supervisor's own environment but
//! what `Settings::env` was given at start.

use super::Settings;
use crate::model::{App, WorkerId};
use crate::worker::spawn::{HOME, TMP};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

/// Bun's arguments: it neither downloads packages nor loads `.env` files by itself.
pub fn arguments(settings: &Settings, app: Option<&App>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["--no-install".into(), "--no-env-file".into()];
    if app.is_some_and(|app| app.manifest.low_memory) {
        arguments.push("--smol".into());
    }
    arguments.push(settings.shim.clone().into());
    arguments
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
    env.insert("HOME".into(), private.join(HOME).to_string_lossy().into_owned());
    env.insert("TMPDIR".into(), private.join(TMP).to_string_lossy().into_owned());
    env
}
