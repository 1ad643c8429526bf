//! The sockets that clients and the operator come by: inherited, or bound here.

use super::address::{Address, listen, listen_on};
use super::admin;
use super::manager::Manager;
use super::name::Name;
use crate::config::{Config, Listen};
use crate::http::listener::Listener;
use crate::inherit::{ADMIN, Bound, HTTP, Inherited, OWN, REDIRECT};
use anyhow::{Context, Result};
use nix::sys::socket::{self, Backlog};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

/// How long a service manager is waited for that was told to forget a socket, where its address is wanted.
const FORGET_LIMIT: Duration = Duration::from_secs(1);

/// The sockets that listen, and what is to become of them.
pub struct Doors {
    pub public: Vec<Listener>,
    /// Of the first public one.
    pub address: Address,
    /// They send everybody to the public ones.
    pub redirects: Vec<TcpListener>,
    pub admin: UnixListener,
    pub heirlooms: Heirlooms,
}

/// The same sockets once more, for a process that replaces this one. While it is there, clients can connect. Dropped, it removes the
/// names of those that are this process's own.
#[derive(Default)]
pub struct Heirlooms {
    /// Of the admin socket.
    admin: Option<Name>,
    /// Of a public Unix socket that no service manager has made.
    public: Option<Name>,
    /// Of sockets that the process before listens on, and this one has no use for.
    unwanted: Vec<Name>,
    sockets: Vec<(String, OwnedFd)>,
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
    /// Where the process before has its admin socket.
    admin_path: Option<PathBuf>,
}

#[derive(Clone, Copy)]
enum Role {
    Public,
    Redirect,
    Admin,
}

impl Doors {
    /// Takes what was inherited, as far as the configuration means it, and binds the rest.
    ///
    /// # Errors
    /// An inherited socket is no listener; an address is taken.
    pub async fn open(config: &Config, inherited: Vec<Inherited>, manager: &Manager) -> Result<Doors> {
        let mut given = Given::sort(inherited, &config.admin_socket)?;
        let mut heirlooms = Heirlooms::default();
        let redirects = given.redirects(config, manager, &mut heirlooms).await?;
        let (public, address) = if given.public.is_empty() {
            let (meant, others): (Vec<_>, Vec<_>) =
                given.own.into_iter().partition(|own| is_meant(own, &config.listen));
            heirlooms.unwanted.extend(others.iter().filter_map(|own| unwanted(own, &config.listen)));
            let is_first_use = meant.is_empty();
            let (listener, address) = match meant.into_iter().next() {
                Some(own) => take(own, &config.listen)?,
                None => {
                    manager.forget(&own_name(HTTP));
                    let forgotten = !others.is_empty();
                    drop(others);
                    bind(manager, forgotten, || listen(&config.listen)).await?
                }
            };
            heirlooms.add(own_name(HTTP), &listener)?;
            if let Listen::Unix(path) = &config.listen {
                heirlooms.public = Some(if is_first_use { Name::own(path) } else { Name::of_another(path) });
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
        let (admin, name) = match given.admin {
            Some(listener) => (listener, Name::of_another(&config.admin_socket)),
            None => admin::listen(&config.admin_socket)?,
        };
        heirlooms.unwanted.extend(given.admin_path.as_deref().map(Name::of_another));
        heirlooms.admin = Some(name);
        heirlooms.add(own_name(ADMIN), &admin)?;
        Ok(Doors { public, address, redirects, admin, heirlooms })
    }
}

impl Given {
    fn sort(inherited: Vec<Inherited>, admin_socket: &Path) -> Result<Given> {
        let mut given = Given::default();
        for inherited in inherited {
            let shown = inherited.name.clone();
            let (role, own) = inherited.role();
            let role = match role {
                ADMIN => Role::Admin,
                REDIRECT => Role::Redirect,
                _ => Role::Public,
            };
            let bound = inherited.listener().with_context(|| {
                format!("the socket `{shown}`, which this process was given, cannot be used")
            })?;
            match (role, bound) {
                // Whoever is to find it looks for its name.
                (Role::Admin, Bound::Unix(listener, Some(path))) if path == admin_socket && path.exists() => {
                    given.admin = Some(UnixListener::from_std(listener)?);
                }
                (Role::Admin, Bound::Unix(_, path)) => {
                    given.admin_path = path.filter(|path| own && path != admin_socket);
                }
                (Role::Admin, Bound::Tcp(..)) => {}
                (Role::Redirect, Bound::Tcp(listener, at)) if own => {
                    given.own_redirects.push((TcpListener::from_std(listener)?, at));
                }
                (Role::Redirect, Bound::Tcp(listener, _)) => {
                    given.redirects.push(TcpListener::from_std(listener)?);
                }
                (Role::Redirect, Bound::Unix(..)) => anyhow::bail!("the socket `{shown}` is no TCP socket"),
                (Role::Public, bound) if own => given.own.push(bound),
                (Role::Public, bound) => given.public.push(bound),
            }
        }
        Ok(given)
    }

    /// Takes or binds the port without TLS that stands beside the public one, if there is to be one.
    async fn redirects(
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
        let (meant, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.own_redirects).into_iter().partition(|(_, at)| is_meant(at));
        let listener = match meant.into_iter().next() {
            Some((listener, _)) => listener,
            None => {
                manager.forget(&own_name(REDIRECT));
                let forgotten = !others.is_empty();
                drop(others);
                bind(manager, forgotten, async || listen_on(SocketAddr::new(*host, port))).await?
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

    /// Apps could open it: nobody listens there.
    pub fn close_admin(&mut self) {
        let admin = own_name(ADMIN);
        self.sockets.retain(|(name, _)| *name != admin);
        self.unwanted.extend(self.admin.take());
    }

    /// They are this process's from here on, with their names.
    pub fn take(&mut self) {
        for name in self.admin.iter_mut().chain(&mut self.public).chain(&mut self.unwanted) {
            name.take();
        }
        self.unwanted.clear();
        let unix =
            [self.admin.as_ref().map(|_| own_name(ADMIN)), self.public.as_ref().map(|_| own_name(HTTP))];
        for (name, socket) in &self.sockets {
            // A Unix socket shows who has called listen(2) last: whoever looks whether its process lives is to find this one.
            if unix.iter().flatten().any(|unix| unix == name)
                && let Err(error) = socket::listen(socket, Backlog::MAXCONN)
            {
                tracing::warn!(%error, name, "a socket still shows the process before this one");
            }
        }
    }

    /// Another process has them, and serves.
    pub fn leave(self) {
        self.admin.into_iter().chain(self.public).chain(self.unwanted).for_each(Name::leave);
    }
}

/// Binds. Where the service manager has just been told to forget a socket, it may still hold the address for a moment.
async fn bind<T>(manager: &Manager, forgotten: bool, attempt: impl AsyncFn() -> Result<T>) -> Result<T> {
    const PAUSE: Duration = Duration::from_millis(20);
    let is_in_use = |error: &anyhow::Error| {
        error.chain().any(|cause| {
            cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
        })
    };
    if forgotten {
        let manager = manager.clone();
        let _ = tokio::task::spawn_blocking(move || manager.flush()).await;
    }
    let limit = tokio::time::Instant::now() + FORGET_LIMIT;
    loop {
        match attempt().await {
            Err(error) if forgotten && is_in_use(&error) && tokio::time::Instant::now() < limit => {
                tokio::time::sleep(PAUSE).await;
            }
            result => return result,
        }
    }
}

/// The name of a socket that the process before has made for itself, and this one has no use for.
fn unwanted(bound: &Bound, listen: &Listen) -> Option<Name> {
    match bound {
        Bound::Unix(_, Some(path)) if *listen != Listen::Unix(path.clone()) => Some(Name::of_another(path)),
        _ => None,
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
