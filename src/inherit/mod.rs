//! What a process has from whoever came before it: listening sockets, from the service manager or from the process that it
//! replaces. A leaf.
//!
//! A socket has the name of what is spoken on it. The service manager's are named by `FileDescriptorName=`
//! (systemd.socket(5)). Those that a process has bound itself are kept by the service manager, or handed on, under a name with
//! [`OWN`] in front: they are used only where the configuration still says so.

mod detached;
mod link;
mod offer;
mod predecessor;
mod socket;

pub use link::{Link, Word};
pub use offer::{Offer, is_for_one_process};
pub use predecessor::{Answer, HandoverError, Predecessor};
pub use socket::{Bound, Inherited};

use std::time::Duration;

/// In front of the name of a socket that Buntime has bound itself.
pub const OWN: &str = "own-";
/// The name of the admin socket.
pub const ADMIN: &str = "admin";
/// The name of the public listener.
pub const HTTP: &str = "http";
/// The name of the one without TLS that sends everybody to the one with it.
pub const REDIRECT: &str = "redirect";

/// Tells a process that its standard input is the socket of a [`Predecessor`].
pub const VARIABLE: &str = "BUNTIME_PREDECESSOR";

/// All that was there at the start of the process.
#[derive(Debug, Default)]
pub struct Inheritance {
    /// From the service manager.
    pub sockets: Vec<Inherited>,
    pub predecessor: Option<Predecessor>,
    /// The service manager ends a process that says nothing for this long (sd_watchdog_enabled(3)).
    pub watchdog: Option<Duration>,
}
