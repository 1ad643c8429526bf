//! Reads `manifest.yaml`: every key checked, every error with its line and column.

mod fields;
mod values;

pub use crate::manifest::{ManifestError, Problem};
pub(crate) use fields::AppKeys;

use crate::model::Manifest;
use serde_yaml::Value;

/// Longest manifest read, in bytes.
pub const MAX_MANIFEST: usize = 64 << 10;

/// What the operator allows and the machine has, as far as a manifest depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// Bytes; the ceiling on every app's `maxBodySize`.
    pub max_body_size: u64,
    /// What `instances.max: auto` means.
    pub cores: u32,
}

/// Reads a manifest. `file` is its name in errors. Reports all that is wrong with it, not only the first.
pub fn parse(file: &str, text: &str, ceilings: &Ceilings) -> Result<Manifest, ManifestError> {
    if text.len() > MAX_MANIFEST {
        let message = format!("the file has {} bytes, more than {MAX_MANIFEST}", text.len());
        return Err(ManifestError::at_start(file, message));
    }
    // Into a `Value` first: that reports duplicate keys and their place.
    let value: Value = serde_yaml::from_str(text).map_err(|e| ManifestError::from_yaml(file, &e))?;
    fields::read(&value, ceilings).map_err(|findings| ManifestError::locate(file, text, findings))
}

#[cfg(test)]
mod tests;
