//! The public listener: bound, with the names under which it is reached.

use crate::config::Listen;
use crate::http::listener::Listener;
use anyhow::{Context, Result};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use tokio::net::TcpListener;

const BACKLOG: u32 = 4096;

/// Where it is reached.
pub struct Address {
    pub shown: String,
    /// `http://127.0.0.1:8000`, where the listener is a TCP port; `https://example.com`, where it speaks TLS and has a name.
    pub url: Option<String>,
    pub authority: String,
}

impl Address {
    pub fn tcp(bound: SocketAddr) -> Address {
        // Workers reach a listener on all addresses by the loopback one.
        let reached = match bound.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new([127, 0, 0, 1].into(), bound.port()),
            IpAddr::V6(ip) if ip.is_unspecified() => {
                SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), bound.port())
            }
            _ => bound,
        };
        Address {
            shown: format!("http://{bound}"),
            url: Some(format!("http://{reached}")),
            authority: reached.to_string(),
        }
    }

    /// One that speaks TLS: it can be asked only under a name that its certificate has.
    pub fn tls(bound: SocketAddr, name: Option<&str>) -> Address {
        let port = if bound.port() == 443 { String::new() } else { format!(":{}", bound.port()) };
        Address {
            shown: format!("https://{bound}"),
            url: name.map(|name| format!("https://{name}{port}")),
            authority: name.map_or(bound.to_string(), |name| format!("{name}{port}")),
        }
    }

    pub fn unix(path: &Path) -> Address {
        Address { shown: format!("unix:{}", path.display()), url: None, authority: "localhost".into() }
    }
}

pub async fn listen(listen: &Listen) -> Result<(Listener, Address)> {
    match listen {
        Listen::Tcp { host, port } => {
            let listener = listen_on(SocketAddr::new(*host, *port))?;
            let address = Address::tcp(listener.local_addr()?);
            Ok((Listener::Tcp(listener), address))
        }
        Listen::Unix(path) => {
            remove_stale(path)?;
            let listener = tokio::net::UnixListener::bind(path)
                .with_context(|| format!("cannot listen on {}", path.display()))?;
            Ok((Listener::Unix(listener), Address::unix(path)))
        }
    }
}

pub fn listen_on(address: SocketAddr) -> Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address).with_context(|| format!("cannot listen on {address}"))?;
    socket.listen(BACKLOG).with_context(|| format!("cannot listen on {address}"))
}

/// A socket that nobody listens on any more may be replaced; anything else at that path stays.
pub fn remove_stale(path: &Path) -> Result<()> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let is_used = || UnixStream::connect(path).is_ok_and(|socket| is_alive(&socket));
    if !meta.file_type().is_socket() || is_used() {
        anyhow::bail!("cannot listen on {}: it is in use", path.display());
    }
    std::fs::remove_file(path).with_context(|| format!("the old socket {} cannot be removed", path.display()))
}

/// Whether the process that listens is there. One that was killed may have left its socket open for a moment, in a child that
/// was about to begin another program.
fn is_alive(socket: &UnixStream) -> bool {
    use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
    // 0 = in a namespace that is not seen from here.
    let listener = getsockopt(socket, PeerCredentials).map_or(0, |peer| peer.pid());
    if listener == 0 {
        return true;
    }
    let stat = std::fs::read_to_string(format!("/proc/{listener}/stat"));
    // Behind its name, which may hold anything, stands its state (proc_pid_stat(5)).
    stat.is_ok_and(|stat| {
        stat.rsplit_once(')').is_none_or(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    #[test]
    fn a_socket_that_only_a_child_of_a_dead_supervisor_has_open_is_stale() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        // Python listens, hands the socket to a child that stays, and ends.
        let script = "import socket, sys, os, time
s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(1)
if os.fork() == 0:
    sys.stdout.close(); os.close(1); time.sleep(10)
print('listening', flush=True)";
        let Ok(child) = Command::new("python3")
            .args(["-c", script])
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
        else {
            return eprintln!("SKIPPED: there is no python3");
        };
        assert!(child.wait_with_output().unwrap().status.success());
        assert!(UnixStream::connect(&path).is_ok(), "somebody has it open");
        remove_stale(&path).unwrap();
        assert!(!path.exists());
        let _living = UnixListener::bind(&path).unwrap();
        assert!(remove_stale(&path).unwrap_err().to_string().contains("it is in use"));
    }
}
