//! The operator's configuration: flags, environment, configuration file and defaults become one validated [`Config`].
//!
//! `settings` is the table of what can be set, `layers` finds the text of a setting and says where it came from,
//! `build` turns the texts into values and holds the rules, `show` prints the result.

mod build;
pub mod bun;
mod cidr;
mod environment;
mod error;
mod file;
mod layers;
mod root_key;
mod secrets;
pub mod settings;
mod show;

pub use build::MAX_SOCKET_PATH;
pub use bun::{Bun, BunError};
pub use cidr::{Cidr, CidrError, CidrList};
pub use environment::Environment;
pub use error::{ConfigError, OwnDirError};
pub use layers::{Develop, Flags};
pub use secrets::Secrets;
pub use show::{Row, Source};

use crate::access::RootKey;
use crate::model::AppName;
use crate::tls::{Sources, acme};
use std::fmt;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The effective configuration. Every value is valid; every path is absolute.
#[derive(Clone, Debug)]
pub struct Config {
    pub env: Env,
    pub listen: Listen,
    /// None = the listener speaks without.
    pub tls: Option<Tls>,
    /// In order of precedence. A directory that does not exist yet may be among them; at least one exists.
    pub worker_dirs: Vec<PathBuf>,
    /// In order of precedence. One need not exist.
    pub plugin_dirs: Vec<PathBuf>,
    /// The app served at `/`.
    pub home: Option<AppName>,
    pub state_dir: PathBuf,
    pub cache_dir: PathBuf,
    /// The bun binary as it was found; [`bun::inspect`] checks it.
    pub bun: PathBuf,
    /// Most processes that hold an app.
    pub pool_size: usize,
    pub spares: usize,
    /// Threads that carry requests.
    pub threads: usize,
    /// Bytes; ceiling on every app's `maxBodySize`.
    pub max_body_size: u64,
    pub max_connections: usize,
    pub head_timeout: Duration,
    pub keepalive_timeout: Duration,
    pub shutdown_timeout: Duration,
    /// Empty, or a path that begins with `/` and does not end with one.
    pub api_prefix: String,
    pub trusted_proxies: CidrList,
    pub admin_socket: PathBuf,
    /// Opens the management API without being stored.
    pub root_key: Option<RootKey>,
    /// The file that it was read from.
    pub root_key_file: Option<PathBuf>,
    pub log: Log,
    /// `buntime dev`; none = `buntime run`.
    pub dev: Option<Dev>,
    /// The supervisor's own variables without its secrets: what `envPassthrough` and a worker's basic variables
    /// are taken from.
    pub environment: Environment,
}

/// What [`Config::load`] gives: the configuration, and what the operator should know about it.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// One for each setting, for `buntime config`.
    pub rows: Vec<Row>,
    pub warnings: Vec<String>,
}

/// Apps are served while somebody edits them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dev {
    /// The one worker directory is itself an app, of this name, and has the whole site.
    pub sole: Option<AppName>,
    /// Names of what nobody edits; `*` stands for any number of characters.
    pub ignored: Vec<String>,
}

/// All that the configuration is made from.
#[derive(Debug)]
pub struct Inputs<'a> {
    pub flags: Flags,
    pub environment: Environment,
    /// Absolute; relative paths start here.
    pub working_dir: &'a Path,
    pub stderr: Stderr,
    /// How many descriptors this process may have open.
    pub descriptor_limit: u64,
    /// The secret variables that were set and have been taken out of the environment.
    pub secrets: Secrets,
}

/// What the process's stderr leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stderr {
    Terminal,
    /// systemd's journal.
    Journal,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Env {
    Development,
    Production,
    Staging,
    Test,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Port 0 = any free port.
    Tcp {
        host: IpAddr,
        port: u16,
    },
    Unix(PathBuf),
}

/// There is at least one pair, or a domain to get one for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    pub sources: Sources,
    /// The port without TLS; 0 = any free port.
    pub http_port: Option<u16>,
    pub acme: Option<acme::Settings>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    pub level: LogLevel,
    pub format: LogFormat,
    /// Somebody reads along who may ask for more: until then it says what apps say, and what is wrong.
    pub brief: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Json,
    Pretty,
    Journald,
}

impl Config {
    /// Builds the configuration. Reads the configuration file and looks for `bun`, and changes nothing.
    ///
    /// # Errors
    /// The first setting that is not valid. No invalid value is replaced by a default.
    pub fn load(inputs: Inputs<'_>) -> Result<Loaded, ConfigError> {
        build::build(inputs)
    }

    /// Where the management API stands: `/api`, `/_ops/api`.
    pub fn api_base(&self) -> String {
        format!("{}/api", self.api_prefix)
    }

    /// The first path segment of [`Config::api_base`], which no app may be named.
    pub fn reserved_segment(&self) -> &str {
        match self.api_prefix.split('/').nth(1) {
            Some(segment) => segment,
            None => "api",
        }
    }

    /// The port without TLS beside the one with it; 0 = any free port.
    pub fn http_port(&self) -> Option<u16> {
        self.tls.as_ref().and_then(|tls| tls.http_port)
    }

    /// Makes the state and the cache directory, mode 0700, or tightens the mode of those that are there.
    ///
    /// # Errors
    /// One cannot be made, is no directory, or belongs to another user.
    pub fn prepare_dirs(&self) -> Result<(), OwnDirError> {
        prepare_dir("state", &self.state_dir)?;
        // One that cannot be written would be noticed one file after the other. (Of the cache that what is in it can be read is enough.)
        let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::access(&self.state_dir, access).map_err(|errno| OwnDirError::Io {
            kind: "state",
            dir: self.state_dir.clone(),
            source: errno.into(),
        })?;
        prepare_dir("cache", &self.cache_dir)
    }
}

fn prepare_dir(kind: &'static str, dir: &Path) -> Result<(), OwnDirError> {
    let io = |source| OwnDirError::Io { kind, dir: dir.to_owned(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    let meta = std::fs::metadata(dir).map_err(io)?;
    if meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(OwnDirError::Owner { kind, dir: dir.to_owned(), uid: meta.uid() });
    }
    if meta.permissions().mode() & 0o777 != 0o700 {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700)).map_err(io)?;
    }
    Ok(())
}

impl Env {
    pub fn as_str(self) -> &'static str {
        match self {
            Env::Development => "development",
            Env::Production => "production",
            Env::Staging => "staging",
            Env::Test => "test",
        }
    }

    /// Development: error pages with stacks, a landing page, changed files replace workers.
    pub fn is_development(self) -> bool {
        self == Env::Development
    }
}

impl fmt::Display for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp { host, port } => std::net::SocketAddr::new(*host, *port).fmt(f),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests;
