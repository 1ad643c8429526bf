//! What can be wrong with a configuration, in words for the operator.

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// `place` names the flag, the variable or the file's key and line.
    #[error("{place}: `{value}` is not valid: {reason}\n  allowed: {allowed}")]
    Invalid { place: String, value: String, reason: String, allowed: &'static str },
    #[error(
        "no worker directory is set\n\n\
         hint: name the directory that holds your apps: --worker-dirs DIR, RUNTIME_WORKER_DIRS, or workerDirs in \
         buntime.yaml"
    )]
    NoWorkerDirs,
    #[error("{place}: none of the worker directories exists: {dirs}")]
    WorkerDirsMissing { place: String, dirs: String },
    /// The text tells nothing of the key.
    #[error("{place}: {reason}")]
    RootKey { place: String, reason: String },
    #[error(
        "{place}: others than its owner can read it (mode {mode:04o})\n\n\
         hint: chmod 600 {}, or move the key to a file of this user's alone", path.display()
    )]
    KeyOpen { place: String, path: PathBuf, mode: u32 },
    /// A certificate or its key as it is on the disk, however that was named.
    #[error("{place}: {reason}")]
    Pair { place: String, reason: String },
    #[error("RUNTIME_ROOT_KEY and RUNTIME_ROOT_KEY_FILE are both set\n\nhint: keep one of them")]
    RootKeyTwice,
    #[error("cannot read the configuration file {}: {source}", path.display())]
    FileRead { path: PathBuf, source: std::io::Error },
    #[error("the configuration file {} is larger than {limit} bytes", path.display())]
    FileTooLarge { path: PathBuf, limit: u64 },
    #[error("the configuration file {} is not valid: {reason}", path.display())]
    FileSyntax { path: PathBuf, reason: String },
    #[error("{place}: unknown key{}", suggestion.map(|key| format!("\n\nhint: did you mean `{key}`?")).unwrap_or_default())]
    UnknownKey { place: String, suggestion: Option<&'static str> },
    #[error(
        "bun was not found: not on PATH, and no node_modules/.bin/bun in {} or above\n\n\
         hint: install it with `npm install -g bun`, or name it with --bun FILE or RUNTIME_BUN", from.display()
    )]
    BunNotFound { from: PathBuf },
}

impl ConfigError {
    /// Whether it may be well at the next try, although nobody has configured anything otherwise: files are being exchanged, a
    /// directory is not mounted yet.
    pub fn may_pass(&self) -> bool {
        matches!(self, ConfigError::Pair { .. })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum OwnDirError {
    #[error("cannot use the {kind} directory {}: {source}\n\nhint: name another with --{kind}-dir DIR", dir.display())]
    Io { kind: &'static str, dir: PathBuf, source: std::io::Error },
    #[error(
        "the {kind} directory {} belongs to user {uid}, not to the user who runs Buntime\n\n\
         hint: name another with --{kind}-dir DIR", dir.display()
    )]
    Owner { kind: &'static str, dir: PathBuf, uid: u32 },
}
