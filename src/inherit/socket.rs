//! A listening socket that somebody else has bound.

use super::OWN;
use nix::sys::socket::{SockType, getsockopt, sockopt};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// A descriptor with its name.
#[derive(Debug)]
pub struct Inherited {
    pub name: String,
    pub socket: OwnedFd,
}

/// One that listens.
#[derive(Debug)]
pub enum Bound {
    Tcp(TcpListener, SocketAddr),
    /// None = it has no name in the file system.
    Unix(UnixListener, Option<PathBuf>),
}

impl Inherited {
    /// The name of what is spoken on it, and whether Buntime had bound it itself.
    pub fn role(&self) -> (&str, bool) {
        match self.name.strip_prefix(OWN) {
            Some(role) => (role, true),
            None => (&self.name, false),
        }
    }

    /// # Errors
    /// It is no stream socket that listens, or not of a family that connections are taken on.
    pub fn listener(self) -> io::Result<Bound> {
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        if getsockopt(&self.socket, sockopt::SockType).map_err(|_| wrong("it is no socket"))?
            != SockType::Stream
        {
            return Err(wrong("it is no stream socket (ListenStream=)"));
        }
        if !getsockopt(&self.socket, sockopt::AcceptConn)? {
            return Err(wrong("it does not listen (Accept=no is needed)"));
        }
        let tcp = TcpListener::from(self.socket);
        if let Ok(address) = tcp.local_addr() {
            tcp.set_nonblocking(true)?;
            return Ok(Bound::Tcp(tcp, address));
        }
        let unix = UnixListener::from(OwnedFd::from(tcp));
        let address = unix.local_addr().map_err(|_| wrong("it is neither a TCP nor a Unix socket"))?;
        unix.set_nonblocking(true)?;
        let path = address.as_pathname().map(Path::to_owned);
        Ok(Bound::Unix(unix, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::net::UdpSocket;
    use std::os::unix::net::UnixStream;

    fn inherited(socket: impl Into<OwnedFd>) -> Inherited {
        Inherited { name: "http".into(), socket: socket.into() }
    }

    #[test]
    fn a_listener_is_known_by_what_it_is_bound_to() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        assert!(matches!(inherited(tcp).listener().unwrap(), Bound::Tcp(_, at) if at == address));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        let unix = UnixListener::bind(&path).unwrap();
        assert!(matches!(inherited(unix).listener().unwrap(), Bound::Unix(_, Some(at)) if at == path));
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let (stream, _other) = UnixStream::pair().unwrap();
        let file = File::open("/dev/null").unwrap();
        for (inherited, why) in [
            (inherited(udp), "it is no stream socket"),
            (inherited(stream), "it does not listen"),
            (inherited(file), "it is no socket"),
        ] {
            let error = inherited.listener().unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn a_name_says_what_is_spoken_and_who_has_bound_it() {
        for (name, role) in
            [("http", ("http", false)), ("own-http", ("http", true)), ("own-admin", ("admin", true))]
        {
            let socket = File::open("/dev/null").unwrap().into();
            assert_eq!(Inherited { name: name.into(), socket }.role(), role);
        }
    }
}
