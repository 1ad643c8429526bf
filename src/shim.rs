//! The worker shim inside this binary, and putting it where `bun` can read it.

use crate::config::Bun;
use anyhow::{Context, Result, ensure};
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

const SHIM: &str = include_str!("../worker-shim/dist/shim.js");
/// Stands in the bundle where the build id belongs.
const PLACEHOLDER: &str = "__BUNTIME_BUILD__";

/// Writes the shim into `dir`. Returns its path and the build id it will answer with.
///
/// # Errors
/// The file cannot be written.
pub fn install(dir: &Path, bun: &Bun) -> Result<(PathBuf, Arc<str>)> {
    let mut hasher = DefaultHasher::new();
    hasher.write(SHIM.as_bytes());
    let build = format!("{}-{:016x}", env!("CARGO_PKG_VERSION"), hasher.finish());
    let source = dir.join("shim.js");
    std::fs::write(&source, SHIM.replace(PLACEHOLDER, &build))
        .with_context(|| format!("the shim cannot be written to {}", source.display()))?;
    let shim = compile(dir, &source, bun).unwrap_or_else(|error| {
        tracing::warn!(error = %format_args!("{error:#}"), "the shim runs uncompiled: workers start more slowly");
        source
    });
    Ok((shim, build.into()))
}

/// Has the very `bun` that will run it compile the shim to bytecode, which takes a third off the processor time of a
/// worker's start. Another version of `bun` would ignore the bytecode, so it cannot be made beforehand.
fn compile(dir: &Path, source: &Path, bun: &Bun) -> Result<PathBuf> {
    let out = dir.join("compiled");
    let output = Command::new(&bun.path)
        .args(["build", "--target=bun", "--format=cjs", "--bytecode", "--no-install", "--outdir"])
        .args([&out, source])
        .env_clear()
        .env("HOME", dir)
        .env("TMPDIR", dir)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()?;
    let compiled = out.join("shim.js");
    ensure!(
        // It may succeed without bytecode, and then the file does not run.
        output.status.success() && compiled.is_file() && out.join("shim.js.jsc").is_file(),
        "bun build: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(compiled)
}
