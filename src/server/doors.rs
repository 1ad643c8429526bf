//! The sockets that clients and the operator come by: inherited, or bound here.

use super::address::{Address, listen, listen_on};
use super::admin::{self, Name};
use super::manager::Manager;
use crate::config::{Config, Listen};
use crate::http::listener::Listener;
use crate::inherit::{ADMIN, Bound, HTTP, Inherited, OWN, REDIRECT};
use anyhow::{Context, Result};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use tokio::net::{TcpListener, UnixListener};

/// The sockets that listen, and what is to become of them.
pub struct Doors {
    pub public: Vec<Listener>,
    /// Of the first public one.
    pub address: Address,
    /// They send everybody to the public ones.
    pub redirects: Vec<TcpListener>,
    pub admin: (UnixListener, Name),
    pub heirlooms: Heirlooms,
}

/// The same sockets once more, for a process that replaces this one. While it is there, clients can connect.
#[derive(Default)]
pub struct Heirlooms {
    sockets: Vec<(String, OwnedFd)>,
    /// The file of a public Unix socket that was bound here.
    file: Option<PathBuf>,
}

/// What was inherited, by what it is for.
#[derive(Default)]
struct Given {
    /// By the service manager, for whoever asks.
    public: Vec<Bound>,
    /// Bound by a process like this one.
    own: Vec<Bound>,
    redirects: Vec<TcpListener>,
    own_redirects: Vec<(TcpListener, SocketAddr)>,
    admin: Option<UnixListener>,
}

impl Doors {
    /// Takes what was inherited, as far as the configuration means it, and binds the rest.
    ///
    /// # Errors
    /// An inherited socket is no listener; an address is taken.
    pub async fn open(config: &Config, inherited: Vec<Inherited>, manager: &Manager) -> Result<Doors> {
        let mut given = Given::sort(inherited, &config.admin_socket)?;
        let mut heirlooms = Heirlooms::default();
        let redirects = given.redirects(config, manager, &mut heirlooms)?;
        let (public, address) = if given.public.is_empty() {
            let (listener, address) = match given.own.into_iter().find(|own| is_meant(own, &config.listen)) {
                Some(own) => take(own, &config.listen)?,
                None => {
                    manager.forget(&own_name(HTTP));
                    listen(&config.listen).await?
                }
            };
            heirlooms.add(own_name(HTTP), &listener)?;
            if let Listen::Unix(path) = &config.listen {
                heirlooms.file = Some(path.clone());
            } else {
                manager.keep(&own_name(HTTP), &listener);
            }
            (vec![listener], address)
        } else {
            manager.forget(&own_name(HTTP));
            let mut taken = Vec::new();
            for bound in given.public {
                let (listener, address) = take(bound, &config.listen)?;
                heirlooms.add(HTTP.to_owned(), &listener)?;
                taken.push((listener, address));
            }
            let (listeners, mut addresses): (Vec<_>, Vec<_>) = taken.into_iter().unzip();
            (listeners, addresses.swap_remove(0))
        };
        let admin = match given.admin {
            Some(listener) => (listener, Name::of_another(&config.admin_socket)),
            None => admin::listen(&config.admin_socket)?,
        };
        heirlooms.add(own_name(ADMIN), &admin.0)?;
        Ok(Doors { public, address, redirects, admin, heirlooms })
    }
}

impl Given {
    fn sort(inherited: Vec<Inherited>, admin_socket: &Path) -> Result<Given> {
        let mut given = Given::default();
        for inherited in inherited {
            let shown = inherited.name.clone();
            let (role, own) = inherited.role();
            let (is_admin, is_redirect, own) = (role == ADMIN, role == REDIRECT, own);
            let bound = inherited.listener().with_context(|| {
                format!("the socket `{shown}`, which this process was given, cannot be used")
            })?;
            match bound {
                // Whoever is to find it looks for its name.
                Bound::Unix(listener, Some(path)) if is_admin && path == admin_socket && path.exists() => {
                    given.admin = Some(UnixListener::from_std(listener)?);
                }
                _ if is_admin => {}
                Bound::Tcp(listener, at) if is_redirect && own => {
                    given.own_redirects.push((TcpListener::from_std(listener)?, at));
                }
                Bound::Tcp(listener, _) if is_redirect => {
                    given.redirects.push(TcpListener::from_std(listener)?);
                }
                Bound::Unix(..) if is_redirect => anyhow::bail!("the socket `{shown}` is no TCP socket"),
                bound if own => given.own.push(bound),
                bound => given.public.push(bound),
            }
        }
        Ok(given)
    }

    /// Takes or binds the port without TLS that stands beside the public one, if there is to be one.
    fn redirects(
        &mut self,
        config: &Config,
        manager: &Manager,
        heirlooms: &mut Heirlooms,
    ) -> Result<Vec<TcpListener>> {
        let given = std::mem::take(&mut self.redirects);
        if config.tls.is_none() && !given.is_empty() {
            anyhow::bail!("there is no TLS to send anybody to by the socket `{REDIRECT}`");
        }
        for listener in &given {
            heirlooms.add(REDIRECT.to_owned(), listener)?;
        }
        let (Some(port), Listen::Tcp { host, .. }) = (config.http_port(), &config.listen) else {
            manager.forget(&own_name(REDIRECT));
            return Ok(given);
        };
        if !given.is_empty() {
            manager.forget(&own_name(REDIRECT));
            return Ok(given);
        }
        let is_meant = |at: &SocketAddr| at.ip() == *host && (port == 0 || at.port() == port);
        let listener = match std::mem::take(&mut self.own_redirects).into_iter().find(|(_, at)| is_meant(at))
        {
            Some((listener, _)) => listener,
            None => {
                manager.forget(&own_name(REDIRECT));
                listen_on(SocketAddr::new(*host, port))?
            }
        };
        heirlooms.add(own_name(REDIRECT), &listener)?;
        manager.keep(&own_name(REDIRECT), &listener);
        Ok(vec![listener])
    }
}

impl Heirlooms {
    fn add(&mut self, name: String, socket: &impl AsFd) -> Result<()> {
        self.sockets.push((name, socket.as_fd().try_clone_to_owned()?));
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = (String, BorrowedFd<'_>)> {
        self.sockets.iter().map(|(name, socket)| (name.clone(), socket.as_fd()))
    }

    /// Nobody takes them: what this process has bound ends with it.
    pub fn end(self) {
        if let Some(file) = &self.file {
            let _ = std::fs::remove_file(file);
        }
    }
}

fn own_name(role: &str) -> String {
    format!("{OWN}{role}")
}

/// Whether a socket of an earlier process is what the configuration asks for now.
fn is_meant(bound: &Bound, listen: &Listen) -> bool {
    match (bound, listen) {
        (Bound::Tcp(_, at), Listen::Tcp { host, port }) => {
            at.ip() == *host && (*port == 0 || at.port() == *port)
        }
        (Bound::Unix(_, Some(at)), Listen::Unix(path)) => at == path && path.exists(),
        _ => false,
    }
}

fn take(bound: Bound, listen: &Listen) -> Result<(Listener, Address)> {
    Ok(match bound {
        Bound::Tcp(listener, at) => (Listener::Tcp(TcpListener::from_std(listener)?), Address::tcp(at)),
        Bound::Unix(listener, path) => {
            let named = match listen {
                Listen::Unix(path) => path,
                Listen::Tcp { .. } => Path::new("(no name)"),
            };
            let address = Address::unix(path.as_deref().unwrap_or(named));
            (Listener::Unix(UnixListener::from_std(listener)?), address)
        }
    })
}
