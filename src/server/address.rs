//! The public listener: bound, with the names under which it is reached.

use crate::config::Listen;
use crate::http::listener::Listener;
use anyhow::{Context, Result};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

const BACKLOG: u32 = 4096;

/// Where it is reached.
pub struct Address {
    pub shown: String,
    /// `http://127.0.0.1:8000`, where the listener is a TCP port.
    pub url: Option<String>,
    pub authority: String,
}

pub async fn listen(listen: &Listen) -> Result<(Listener, Address)> {
    match listen {
        Listen::Tcp { host, port } => {
            let address = SocketAddr::new(*host, *port);
            let socket = match host {
                IpAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
                IpAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
            }?;
            socket.set_reuseaddr(true)?;
            socket.bind(address).with_context(|| format!("cannot listen on {address}"))?;
            let listener = socket.listen(BACKLOG).with_context(|| format!("cannot listen on {address}"))?;
            let bound = listener.local_addr()?;
            // Workers reach a listener on all addresses by the loopback one.
            let reached = match bound.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new([127, 0, 0, 1].into(), bound.port()),
                IpAddr::V6(ip) if ip.is_unspecified() => {
                    SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), bound.port())
                }
                _ => bound,
            };
            let address = Address {
                shown: format!("http://{bound}"),
                url: Some(format!("http://{reached}")),
                authority: reached.to_string(),
            };
            Ok((Listener::Tcp(listener), address))
        }
        Listen::Unix(path) => {
            remove_stale(path)?;
            let listener = tokio::net::UnixListener::bind(path)
                .with_context(|| format!("cannot listen on {}", path.display()))?;
            let shown = format!("unix:{}", path.display());
            Ok((Listener::Unix(listener), Address { shown, url: None, authority: "localhost".into() }))
        }
    }
}

/// A socket that nobody listens on any more may be replaced; anything else at that path stays.
pub fn remove_stale(path: &Path) -> Result<()> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() || std::os::unix::net::UnixStream::connect(path).is_ok() {
        anyhow::bail!("cannot listen on {}: it is in use", path.display());
    }
    std::fs::remove_file(path).with_context(|| format!("the old socket {} cannot be removed", path.display()))
}
