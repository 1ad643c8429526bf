//! Who asks: the admin socket, the root key, or a key of the store; and whether they may.

use super::Api;
use super::error::{ApiError, Result};
use crate::access::{Actor, Denied, Grant, Namespaces, Permission, Presented, UnixTime};
use crate::model::AppName;
use crate::store::{Outcome, Record, Store};
use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::request::Parts;
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Denials that are written to the audit log in a minute: a client that tries in a loop must not push everything else out.
const DENIALS: u32 = 60;
const MINUTE: Duration = Duration::from_secs(60);

/// By which door a request came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// A key is needed.
    Network,
    /// The permissions of the socket's file have let the client in.
    AdminSocket,
}

/// Whoever asks, once they are known.
#[derive(Clone, Debug)]
pub struct Caller {
    pub actor: Actor,
    pub grant: Grant,
    audit: Arc<Denials>,
}

/// Writes denials to the audit log, so many a minute.
#[derive(Debug)]
pub(super) struct Denials {
    store: Arc<Store>,
    written: Mutex<(Instant, u32)>,
}

impl Caller {
    /// Whether they may do this (to that app) now. A no goes to the audit log.
    pub fn may(&self, permission: Permission, app: Option<&AppName>) -> Result<()> {
        let Err(denied) = self.grant.check(permission, app, now()) else { return Ok(()) };
        Err(self.denied(permission, app, denied))
    }

    /// Whoever asked is known, and may not. That goes to the audit log.
    pub fn denied(
        &self,
        permission: Permission,
        app: Option<&AppName>,
        why: impl Into<ApiError>,
    ) -> ApiError {
        let refused = why.into();
        self.audit.note(&self.actor, permission, app, refused.code);
        refused
    }

    /// The operator himself: limits that keep keys from each other are not for him.
    pub fn is_operator(&self) -> bool {
        matches!(self.actor, Actor::AdminSocket | Actor::RootKey)
    }

    /// Whether what belongs to no app may be in what they are shown.
    pub fn sees_everything(&self) -> bool {
        *self.grant.namespaces() == Namespaces::All
    }

    /// Whether an app may be in what they are shown.
    pub fn sees(&self, app: &AppName) -> bool {
        self.grant.namespaces().has_app(app)
    }
}

impl Denials {
    pub fn new(store: Arc<Store>) -> Denials {
        Denials { store, written: Mutex::new((Instant::now(), 0)) }
    }

    fn note(
        self: &Arc<Self>,
        actor: &Actor,
        permission: Permission,
        app: Option<&AppName>,
        code: &'static str,
    ) {
        {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            if written.0.elapsed() > MINUTE {
                *written = (Instant::now(), 0);
            }
            written.1 += 1;
            if written.1 > DENIALS {
                return;
            }
        }
        let (denials, actor) = (Arc::clone(self), actor.clone());
        let subject = app.map(AppName::to_string).unwrap_or_default();
        tokio::task::spawn_blocking(move || {
            let record = Record {
                actor: &actor,
                action: permission.as_str(),
                subject: &subject,
                outcome: Outcome::Denied,
                detail: json!({ "code": code }),
            };
            if let Err(error) = denials.store.append_audit(&record, now()) {
                tracing::warn!(target: "buntime::api", %error, "a denial could not be written to the audit log");
            }
        });
    }
}

impl Api {
    /// Finds out who asks.
    pub(super) async fn identify(&self, door: Door, headers: &HeaderMap) -> Result<Caller> {
        let caller = |actor, grant| Caller { actor, grant, audit: Arc::clone(&self.denials) };
        if door == Door::AdminSocket {
            return Ok(caller(Actor::AdminSocket, Grant::everything()));
        }
        let hash = match Presented::read(presented(headers)?, self.root_key.as_ref())? {
            Presented::RootKey => return Ok(caller(Actor::RootKey, Grant::everything())),
            Presented::Key(hash) => hash,
        };
        let key = self
            .with_store(move |store| {
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
}

impl Api {
    /// Looks again at the key of somebody whose request has taken its time.
    pub(super) async fn still_known(&self, caller: &Caller) -> Result<()> {
        let Actor::Key(id) = caller.actor else { return Ok(()) };
        let key = self.with_store(move |store| store.key(&id)).await?.ok_or(Denied::Unknown)?;
        key.admit(now())?;
        Ok(())
    }
}

/// Takes keys of ours out of a request that is not for the API: they must not reach an app.
pub fn keep_keys(api: &Api, headers: &mut HeaderMap) {
    for name in [X_API_KEY, AUTHORIZATION] {
        let is_ours = |value: &HeaderValue| {
            let text = value.to_str().unwrap_or_default();
            let token = if name == AUTHORIZATION {
                text.split_once(' ').map_or("", |(_, token)| token)
            } else {
                text
            };
            Presented::read(Some(token.trim_matches(' ')), api.root_key.as_ref()).is_ok()
        };
        if headers.get_all(&name).iter().any(is_ours) {
            headers.remove(&name);
        }
    }
}

/// The key in a request's head: in `X-API-Key`, or as a bearer token (RFC 6750 §2.1).
fn presented(headers: &HeaderMap) -> Result<Option<&str>, Denied> {
    let mut given = headers
        .get_all(X_API_KEY)
        .iter()
        .map(Some)
        .chain(headers.get_all(AUTHORIZATION).iter().map(|_| None));
    let (first, second) = (given.next(), given.next());
    if second.is_some() {
        return Err(Denied::Malformed);
    }
    match first {
        None => Ok(None),
        Some(Some(key)) => key.to_str().map(Some).map_err(|_| Denied::Malformed),
        Some(None) => {
            let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
            let (scheme, token) = value.and_then(|value| value.split_once(' ')).ok_or(Denied::Malformed)?;
            match scheme.eq_ignore_ascii_case("bearer") {
                true => Ok(Some(token.trim_matches(' '))),
                false => Err(Denied::Malformed),
            }
        }
    }
}

/// Every handler that takes one is behind [`Api::answer`], which has put it there.
impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller> {
        parts.extensions.get::<Caller>().cloned().ok_or_else(|| Denied::NoKey.into())
    }
}

pub(super) fn now() -> UnixTime {
    UnixTime::from(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &str)]) -> Result<Option<String>, Denied> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        presented(&map).map(|key| key.map(str::to_owned))
    }

    #[test]
    fn a_key_is_in_one_of_two_headers() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("x-api-key", "k")]), Ok(Some("k".into())));
        assert_eq!(read(&[("authorization", "Bearer k")]), Ok(Some("k".into())));
        assert_eq!(read(&[("authorization", "bearer  k")]), Ok(Some("k".into())));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_no_key() {
        for headers in [
            &[("x-api-key", "a"), ("x-api-key", "b")][..],
            &[("x-api-key", "a"), ("authorization", "Bearer a")],
            &[("authorization", "Bearer a"), ("authorization", "Bearer a")],
            &[("authorization", "Basic a")],
            &[("authorization", "Bearer")],
            &[("x-api-key", "\u{e9}")],
        ] {
            assert_eq!(read(headers), Err(Denied::Malformed), "{headers:?}");
        }
    }
}
