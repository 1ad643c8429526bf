//! The worker shim inside this binary, and putting it where `bun` can read it.

use anyhow::{Context, Result};
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const SHIM: &str = include_str!("../worker-shim/dist/shim.js");
/// Stands in the bundle where the build id belongs.
const PLACEHOLDER: &str = "__BUNTIME_BUILD__";

/// Writes the shim into `dir`. Returns its path and the build id it will answer with.
///
/// # Errors
/// The file cannot be written.
pub fn install(dir: &Path) -> Result<(PathBuf, Arc<str>)> {
    let mut hasher = DefaultHasher::new();
    hasher.write(SHIM.as_bytes());
    let build = format!("{}-{:016x}", env!("CARGO_PKG_VERSION"), hasher.finish());
    let path = dir.join("shim.js");
    std::fs::write(&path, SHIM.replace(PLACEHOLDER, &build))
        .with_context(|| format!("the shim cannot be written to {}", path.display()))?;
    Ok((path, build.into()))
}
