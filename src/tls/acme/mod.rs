//! Certificates from an authority that speaks ACME (RFC 8555).
//!
//! `manager` decides when one is wanted, by the times in `renewal`; in the order of `plans`; `authority` gets one; `http` carries what it
//! says; `keeper` keeps what must survive, in `files`.

mod authority;
mod files;
mod http;
mod keeper;
mod manager;
mod plans;
mod renewal;

pub use manager::Manager;

use files::Files;
use std::io;
use std::path::PathBuf;

/// What the operator said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// At least one; host names in lower case.
    pub domains: Vec<String>,
    pub email: Option<String>,
    pub directory: String,
    /// What the authority's server is known by; none = the system's certificates.
    pub ca: Option<PathBuf>,
}

/// Does what waits for a disk where nothing waits for it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
