//! The admin socket: made so that nobody but its owner can ever open it.

use super::name::Name;
use crate::config::MAX_SOCKET_PATH;
use anyhow::{Context, Result};
use rustix::fs::Mode;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use tokio::net::UnixListener;

const BACKLOG: i32 = 128;

/// Listens on `path`, mode 0600 from the first moment.
///
/// # Errors
/// Somebody listens there, or it cannot be made.
pub fn listen(path: &Path) -> Result<(UnixListener, Name)> {
    let what = || format!("cannot listen on the admin socket {}", path.display());
    if path.as_os_str().len() > MAX_SOCKET_PATH {
        anyhow::bail!(
            "{}: the path of a socket has at most {MAX_SOCKET_PATH} bytes\n\nhint: name a shorter one with --admin-socket",
            what()
        );
    }
    super::address::remove_stale(path).with_context(|| {
        format!(
            "another Buntime seems to use {}\n\nhint: give this one its own --state-dir or --admin-socket",
            path.display()
        )
    })?;
    let listener = bind(path).with_context(what)?;
    Ok((listener, Name::own(path)))
}

fn bind(path: &Path) -> Result<UnixListener> {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    // bind(2) gives the file the mode of the socket's own inode, which nobody else can open yet.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(UnixListener::from_std(StdListener::from(socket))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_path_that_no_socket_can_have_is_refused_with_a_hint() {
        let path = Path::new("/tmp").join("x".repeat(MAX_SOCKET_PATH));
        let error = listen(&path).unwrap_err().to_string();
        assert!(error.contains("at most 107 bytes\n\nhint: name a shorter one"), "{error}");
    }

    #[tokio::test]
    async fn it_is_its_owners_alone_and_an_old_one_gives_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let first = listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let error = format!("{:#}", listen(&path).unwrap_err());
        assert!(error.contains("it is in use") && error.contains("hint: give this one"), "{error}");
        // Its process was killed: nobody listens, and the name stays.
        let (listener, name) = first;
        std::mem::forget(name);
        drop(listener);
        drop(listen(&path).unwrap());
        assert!(!path.exists(), "its name goes with it");
        std::fs::write(&path, "a file").unwrap();
        assert!(listen(&path).is_err(), "what is no socket stays");
    }
}
