//! The flags that say which runtime is meant, and how to print.

use super::Key;
use crate::cli::failure::Failure;
use clap::Args;
use std::path::PathBuf;

/// Which runtime.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Runtime")]
pub struct Remote {
    /// Address of the runtime, as in https://apps.example.com [env: BUNTIME_URL]
    #[arg(long, value_name = "URL", group = "where")]
    pub url: Option<String>,
    /// A saved context (see `buntime context`), or `local` for the admin socket
    #[arg(long, value_name = "NAME", group = "where")]
    pub context: Option<String>,
    /// The admin socket [env: RUNTIME_ADMIN_SOCKET]
    #[arg(long, value_name = "PATH", group = "where")]
    pub admin_socket: Option<PathBuf>,
    /// The runtime's state directory, which has the admin socket in it [env: RUNTIME_STATE_DIR]
    #[arg(long, value_name = "DIR", group = "where")]
    pub state_dir: Option<PathBuf>,
    /// A key. Others can read a command line: better is BUNTIME_KEY or --key-file [env: BUNTIME_KEY]
    #[arg(long, value_name = "KEY", group = "secret")]
    pub key: Option<String>,
    /// A file with the key
    #[arg(long, value_name = "FILE", group = "secret")]
    pub key_file: Option<PathBuf>,
    /// What stands before /api at the address [env: RUNTIME_API_PREFIX]
    #[arg(long, value_name = "PATH")]
    pub api_prefix: Option<String>,
    /// Send a key over http also where others could read it
    #[arg(long)]
    pub insecure_http: bool,
}

/// How to print.
#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Print JSON: data on stdout, an error as problem JSON on stderr
    #[arg(long)]
    pub json: bool,
    /// Print data and errors, nothing else
    #[arg(long, short)]
    pub quiet: bool,
}

/// What a command takes that takes nothing else.
#[derive(Debug, Args)]
pub struct Common {
    #[command(flatten)]
    pub remote: Remote,
    #[command(flatten)]
    pub output: Output,
}

impl Remote {
    /// The key that a flag gives.
    pub(super) fn given_key(&self, warnings: &mut Vec<String>) -> Result<Option<Key>, Failure> {
        if let Some(text) = &self.key {
            warnings.push(
                "others can read a key on the command line; better is BUNTIME_KEY or --key-file".into(),
            );
            return Key::parse(text).map(Some).map_err(|error| Failure::usage(format!("--key: {error}")));
        }
        self.key_file.as_deref().map(Key::of_file).transpose()
    }
}
