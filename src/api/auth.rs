//! Who asks: the admin socket, the root key, or a key of the store; and whether they may.

use super::error::{ApiError, Result};
use crate::access::{Actor, Denied, Grant, Namespaces, Permission, UnixTime};
use crate::model::AppName;
use crate::store::{Outcome, Record, Store};
use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Where a key may be.
pub(super) const AUTH_HEADERS: [HeaderName; 2] = [X_API_KEY, AUTHORIZATION];
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
    pub(super) audit: Arc<Denials>,
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

/// The key in a request's head: in `X-API-Key`, or as a bearer token (RFC 6750 §2.1).
pub(super) fn presented(headers: &HeaderMap) -> Result<Option<&str>, Denied> {
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
