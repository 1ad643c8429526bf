//! Who is let in: the keys that there are, for the management API and for the APIs of plugins.

use super::auth::{AUTH_HEADERS, Caller, Denials, Door, now, presented};
use super::error::Result;
use super::with_store;
use crate::access::{Actor, Denied, Grant, Presented, RootKey, UnixTime};
use crate::store::Store;
use arc_swap::ArcSwapOption;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Nothing waits that long.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Knows keys.
pub struct Gate {
    store: Arc<Store>,
    root_key: ArcSwapOption<RootKey>,
    denials: Arc<Denials>,
    /// Told of each key that was revoked.
    revocations: watch::Sender<()>,
}

impl Gate {
    pub fn new(store: Arc<Store>, root_key: Option<RootKey>) -> Gate {
        let denials = Arc::new(Denials::new(Arc::clone(&store)));
        let root_key = ArcSwapOption::new(root_key.map(Arc::new));
        Gate { store, root_key, denials, revocations: watch::Sender::new(()) }
    }

    /// Another root key holds from here on, or none.
    pub fn set_root_key(&self, root_key: Option<RootKey>) {
        self.root_key.store(root_key.map(Arc::new));
    }

    /// Finds out who asks.
    pub(super) async fn identify(&self, door: Door, headers: &HeaderMap) -> Result<Caller> {
        let caller = |actor, grant| Caller { actor, grant, audit: Arc::clone(&self.denials) };
        if door == Door::AdminSocket {
            return Ok(caller(Actor::AdminSocket, Grant::everything()));
        }
        let hash = match Presented::read(presented(headers)?, self.root_key.load().as_deref())? {
            Presented::RootKey => return Ok(caller(Actor::RootKey, Grant::everything())),
            Presented::Key(hash) => hash,
        };
        let key = with_store(&self.store, move |store| {
            let Some(key) = store.find_key(&hash)? else { return Ok(None) };
            if key.admit(now()).is_ok()
                && let Err(error) = store.record_use(&key, now())
            {
                tracing::warn!(target: "buntime::api", %error, "the use of a key could not be recorded");
            }
            Ok(Some(key))
        })
        .await?
        .ok_or(Denied::Unknown)?;
        let grant = key.admit(now())?.clone();
        Ok(caller(Actor::Key(key.id), grant))
    }

    /// Looks again at the key of somebody whose request has taken its time.
    pub(super) async fn still_known(&self, caller: &Caller) -> Result<()> {
        let Actor::Key(id) = caller.actor else { return Ok(()) };
        let key = with_store(&self.store, move |store| store.key(&id)).await?.ok_or(Denied::Unknown)?;
        key.admit(now())?;
        Ok(())
    }

    /// Of a key was revoked: whose stream it is may have to end.
    pub(super) fn revoked(&self) {
        self.revocations.send_replace(());
    }

    pub(super) fn revocations(&self) -> watch::Receiver<()> {
        self.revocations.subscribe()
    }

    /// Resolves when somebody may no more what they might: their key was revoked, or is over.
    pub(super) async fn wait_revoked(self: Arc<Self>, caller: Caller) {
        let mut revocations = self.revocations();
        loop {
            let over = caller.grant.expires().map(instant);
            tokio::select! {
                changed = revocations.changed() => if changed.is_err() { return },
                () = until(over) => {}
            }
            if self.still_known(&caller).await.is_err() {
                return;
            }
        }
    }

    /// Whether a request has a key of ours, be it known or not.
    pub fn has_key(&self, headers: &HeaderMap) -> bool {
        AUTH_HEADERS.iter().any(|name| self.is_ours(name, headers))
    }

    /// Takes keys of ours out of a request that is not for the API: they must not reach an app.
    pub fn keep_keys(&self, headers: &mut HeaderMap) {
        for name in AUTH_HEADERS {
            if self.is_ours(&name, headers) {
                headers.remove(&name);
            }
        }
    }

    fn is_ours(&self, name: &HeaderName, headers: &HeaderMap) -> bool {
        let is_ours = |value: &HeaderValue| {
            let text = value.to_str().unwrap_or_default();
            let token = if *name == AUTHORIZATION {
                text.split_once(' ').map_or("", |(_, token)| token)
            } else {
                text
            };
            Presented::read(Some(token.trim_matches(' ')), self.root_key.load().as_deref()).is_ok()
        };
        headers.get_all(name).iter().any(is_ours)
    }
}

/// When a moment of the clock on the wall will be.
pub(super) fn instant(time: UnixTime) -> Instant {
    Instant::now() + Duration::from_secs(time.seconds().saturating_sub(now().seconds())).min(FOREVER)
}

pub(super) async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
