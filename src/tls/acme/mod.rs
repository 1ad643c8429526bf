//! Certificates from an authority that speaks ACME (RFC 8555).
//!
//! `manager` decides when one is wanted, by the times in `renewal`; `authority` gets one; `http` carries what it says; `files`
//! keeps what must survive.

mod authority;
mod files;
mod http;
mod manager;
mod renewal;

pub use manager::Manager;

use files::Files;
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
