//! What workers are kept from, by the configuration.

use super::Dirs;
use crate::config::{Bun, Config, Tls};
use crate::shim::Shim;
use crate::worker::isolation::{Isolation, Layout};
use anyhow::Result;
use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Keeps the workers from what is the supervisor's, as far as this system allows it.
pub fn establish(config: &Config, bun: &Bun, dirs: &Dirs, shim: &Shim) -> Result<Isolation> {
    let real = |dir: &Path| dir.canonicalize();
    // systemd gives a colon-separated list when the unit names several.
    let runtime =
        config.environment.get("RUNTIME_DIRECTORY").map(std::env::split_paths).into_iter().flatten();
    // Through these sockets a user's own services take orders, which would run where nothing is hidden.
    let session = PathBuf::from(format!("/run/user/{}", nix::unistd::geteuid()));
    let admin = config.admin_socket.parent().filter(|dir| is_private(dir)).map(Path::to_owned);
    let worker_dirs: Vec<PathBuf> = config.worker_dirs.iter().filter_map(|dir| real(dir).ok()).collect();
    let plugin_dirs: BTreeSet<PathBuf> = config.plugin_dirs.iter().filter_map(|dir| real(dir).ok()).collect();
    let apart = |dir: &PathBuf| !worker_dirs.iter().any(|apps| apps.starts_with(dir));
    let environment =
        |name: &str| config.environment.get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let root_key = config.root_key_file.as_deref().and_then(|file| real(file).ok());
    let alone = root_key.as_deref().and_then(|file| home_of(file, &[], &bun.path)).map(Path::to_owned);
    let tls = pairs(config.tls.as_ref());
    let of_tls = tls.iter().filter_map(|(cert, key)| home_of(key, &[cert], &bun.path)).map(Path::to_owned);
    let tls_dir = config.tls.as_ref().and_then(|tls| tls.sources.dir.clone());
    let keys = environment("CREDENTIALS_DIRECTORY").into_iter().chain(alone).chain(tls_dir).chain(of_tls);
    let others =
        admin.into_iter().chain([session]).chain(keys).filter_map(|dir| real(&dir).ok()).filter(apart);
    let others: Vec<PathBuf> = runtime.filter_map(|dir| real(&dir).ok()).chain(others).collect();
    let layout = Layout {
        state: dirs.state.clone(),
        run: dirs.run.clone(),
        hidden: [real(&config.cache_dir)?].into_iter().chain(others).collect(),
        hidden_files: root_key.clone().into_iter().chain(tls.iter().map(|(_, key)| key.clone())).collect(),
        shown: vec![real(shim.files())?],
        // Those that are not there yet cannot be hidden, nor cleared a way to.
        plugin_dirs: plugin_dirs.into_iter().collect(),
        worker_dirs,
        needed: config
            .worker_dirs
            .iter()
            .filter(|dir| dir.is_dir())
            .cloned()
            .chain([bun.path.clone()])
            .collect(),
    };
    let (program, args) = shim.command(&bun.path);
    let isolation = Isolation::establish(layout, &program, &args)?;
    if let Some(file) = root_key.filter(|file| !keeps_from(&isolation, file)) {
        tracing::warn!(
            file = %file.display(),
            hint = "give it by RUNTIME_ROOT_KEY, which no app can read",
            "apps can read the root key"
        );
    }
    if let Some((_, file)) = tls.iter().find(|(_, key)| !keeps_from(&isolation, key)) {
        tracing::warn!(file = %file.display(), "apps can read the key of a certificate");
    }
    Ok(isolation)
}

/// Warns of keys that a reload has brought in and that apps can read: what is hidden is settled when the process starts.
pub fn tell_open_keys(before: Option<&Tls>, after: Option<&Tls>, isolation: &Isolation) {
    let known = pairs(before);
    let hint = isolation.hides_files().then_some("SIGUSR2 or a restart hides it");
    for (_, key) in pairs(after) {
        if !known.iter().any(|(_, other)| *other == key) && !keeps_from(isolation, &key) {
            tracing::warn!(file = %key.display(), hint, "apps can read the key of a certificate");
        }
    }
}

/// Certificates with their keys, where they really are.
fn pairs(tls: Option<&Tls>) -> Vec<(PathBuf, PathBuf)> {
    let files = tls.map(|tls| tls.sources.files()).unwrap_or_default();
    files
        .iter()
        .filter_map(|pair| Some((pair.cert.canonicalize().ok()?, pair.key.canonicalize().ok()?)))
        .collect()
}

/// The directory that a key is kept in, where that is private and holds nothing else, or only what belongs to it: hidden as a whole, it
/// also hides the key that replaces this one.
fn home_of<'a>(key: &'a Path, others: &[&Path], bun: &Path) -> Option<&'a Path> {
    let dir = key.parent().filter(|dir| is_private(dir) && !bun.starts_with(dir))?;
    let mut names = std::fs::read_dir(dir).ok()?.map(|entry| entry.map(|entry| entry.path()));
    names.all(|path| path.is_ok_and(|path| path == key || others.contains(&&*path))).then_some(dir)
}

/// Whether no app can open what is ours alone at this path: a socket, a key.
pub fn keeps_from(isolation: &Isolation, path: &Path) -> bool {
    // Its mode keeps another user out wherever it is.
    isolation.hides(path) || isolation.identity().is_some()
}

/// A directory that is this user's alone.
fn is_private(dir: &Path) -> bool {
    std::fs::metadata(dir).is_ok_and(|meta| {
        meta.uid() == nix::unistd::geteuid().as_raw() && meta.permissions().mode() & 0o077 == 0
    })
}
