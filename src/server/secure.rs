//! TLS on the public listeners, and what looks after it: the look at changed files, and ACME.

use super::address::Address;
use crate::config::Config;
use crate::events::Hub;
use crate::http::listener::Listener;
use crate::http::redirect::Redirect;
use crate::tls::{Acceptor, Certificates, Sources, acme};
use anyhow::{Context, Result};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Listeners that speak what the configuration wants.
pub struct Secured {
    pub public: Vec<Listener>,
    pub address: Address,
    pub redirect: Vec<(Listener, Redirect)>,
    /// None = there is no TLS.
    pub tending: Option<Tending>,
}

/// What looks after certificates.
pub struct Tending {
    certificates: Arc<Certificates>,
    acme: Mutex<Option<acme::Manager>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// Has TCP listeners speak TLS if the configuration says so. A Unix socket, which may be given beside them, speaks without: it is for
/// a proxy on this machine.
///
/// # Errors
/// The certificates cannot be used.
pub fn secure(
    config: &Config,
    public: Vec<Listener>,
    address: Address,
    redirects: Vec<TcpListener>,
) -> Result<Secured> {
    let Some(tls) = &config.tls else {
        return Ok(Secured { public, address, redirect: Vec::new(), tending: None });
    };
    let certificates = Certificates::load(tls.sources.clone())?;
    let acceptor = Arc::new(Acceptor::new(Arc::clone(&certificates)).context("TLS cannot be spoken")?);
    let seed = RandomState::new().build_hasher().finish();
    let acme = tls.acme.as_ref().map(|settings| {
        acme::Manager::new(settings, &config.state_dir, &certificates, !redirects.is_empty(), seed)
    });
    // The first name of ACME has no certificate before it was asked for.
    let first = tls.acme.as_ref().filter(|_| tls.sources.is_empty()).and_then(|acme| acme.domains.first());
    let name = first.cloned().or_else(|| certificates.first_name());
    let mut port = None;
    let mut speaking = Vec::new();
    let mut address = address;
    for (place, listener) in public.into_iter().enumerate() {
        speaking.push(match listener {
            Listener::Tcp(listener) => {
                let bound = listener.local_addr()?;
                port = port.or(Some(bound.port()));
                if place == 0 {
                    address = Address::tls(bound, name.as_deref());
                }
                Listener::Tls(listener, Arc::clone(&acceptor))
            }
            other => other,
        });
    }
    let port = port.context("TLS is for a TCP port, and there is none")?;
    let mut redirect = Vec::new();
    for listener in redirects {
        tracing::info!(listen = %format_args!("http://{}", listener.local_addr()?), "sending everybody to https");
        let challenges = Arc::clone(certificates.challenges());
        redirect.push((Listener::Tcp(listener), Redirect { port, challenges }));
    }
    let tending = Tending { certificates, acme: Mutex::new(acme), tasks: Mutex::default() };
    Ok(Secured { public: speaking, address, redirect, tending: Some(tending) })
}

impl Tending {
    /// Begins to look for changed files, and to get certificates.
    pub fn begin(&self, hub: &Arc<Hub>) {
        let watching = tokio::spawn(Certificates::watch(Arc::downgrade(&self.certificates)));
        let acme = locked(&self.acme).take().map(|acme| tokio::spawn(acme.run(Arc::clone(hub))));
        locked(&self.tasks).extend([watching].into_iter().chain(acme));
    }

    /// Reads the certificates of `sources`; they are exchanged as a whole, or not at all.
    ///
    /// # Errors
    /// One cannot be used. The log says so too.
    pub async fn reload(&self, sources: Sources) -> Result<()> {
        let certificates = Arc::clone(&self.certificates);
        Ok(tokio::task::spawn_blocking(move || certificates.reload_from(sources)).await??)
    }

    pub fn end(&self) {
        for task in locked(&self.tasks).drain(..) {
            task.abort();
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
