//! What workers are kept from, by the configuration.

use super::Dirs;
use crate::config::{Bun, Config};
use crate::shim::Shim;
use crate::worker::isolation::{Isolation, Layout};
use anyhow::Result;
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
    let apart = |dir: &PathBuf| !worker_dirs.iter().any(|apps| apps.starts_with(dir));
    let others = admin.into_iter().chain([session]).filter_map(|dir| real(&dir).ok()).filter(apart);
    let others: Vec<PathBuf> = runtime.filter_map(|dir| real(&dir).ok()).chain(others).collect();
    let layout = Layout {
        state: dirs.state.clone(),
        run: dirs.run.clone(),
        hidden: [real(&config.cache_dir)?].into_iter().chain(others).collect(),
        shown: vec![real(shim.files())?],
        // Those that are not there yet cannot be cleared a way to.
        worker_dirs,
        needed: config.worker_dirs.iter().cloned().chain([bun.path.clone()]).collect(),
    };
    let (program, args) = shim.command(&bun.path);
    Ok(Isolation::establish(layout, &program, &args)?)
}

/// Whether no app can open a socket of ours at this path.
pub fn keeps_from(isolation: &Isolation, socket: &Path) -> bool {
    // Its mode keeps another user out wherever it is.
    isolation.hides(socket) || isolation.identity().is_some()
}

/// A directory that is this user's alone.
fn is_private(dir: &Path) -> bool {
    std::fs::metadata(dir).is_ok_and(|meta| {
        meta.uid() == nix::unistd::geteuid().as_raw() && meta.permissions().mode() & 0o077 == 0
    })
}
