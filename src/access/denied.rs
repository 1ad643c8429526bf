//! The reasons for a no: each with a status, a code that programs compare, a cause and a hint for people.

use super::{Lack, Permission};
use crate::model::AppName;
use http::StatusCode;

/// Why a request may not do what it asks for. Its text is the cause. Nothing of a presented secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("the request presents no key")]
    NoKey,
    /// It cannot be the secret of any key, so no store was asked.
    #[error("what the request presents is no key")]
    Malformed,
    #[error("the key is not known here")]
    Unknown,
    #[error("the key has been revoked")]
    Revoked,
    #[error("the key has expired")]
    Expired,
    #[error("the key lacks the permission `{0}`")]
    Permission(Permission),
    #[error("the key is not for the namespace of `{0}`")]
    Namespace(AppName),
    /// A key was to be made or revoked that can do more than the one who asks.
    #[error("a key can only give what it has, and this one lacks {0}")]
    Beyond(Lack),
}

impl Denied {
    /// 401 where another key is needed to say who asks, 403 where it is known and may not.
    pub fn status(&self) -> StatusCode {
        match self {
            Denied::NoKey | Denied::Malformed | Denied::Unknown | Denied::Revoked | Denied::Expired => {
                StatusCode::UNAUTHORIZED
            }
            Denied::Permission(_) | Denied::Namespace(_) | Denied::Beyond(_) => StatusCode::FORBIDDEN,
        }
    }

    /// Part of the interface.
    pub fn code(&self) -> &'static str {
        match self {
            Denied::NoKey => "key_missing",
            Denied::Malformed => "key_malformed",
            Denied::Unknown => "key_unknown",
            Denied::Revoked => "key_revoked",
            Denied::Expired => "key_expired",
            Denied::Permission(_) => "permission_missing",
            Denied::Namespace(_) => "namespace_missing",
            Denied::Beyond(_) => "grant_exceeded",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Denied::NoKey => "send one in the header X-API-Key, or as Authorization: Bearer",
            Denied::Malformed => "a key is btk_ and 43 characters; look whether it was copied whole",
            Denied::Unknown => "look whether it belongs to this runtime; one that was lost is made anew",
            Denied::Revoked | Denied::Expired => "have a new one made",
            Denied::Permission(permission) if permission.is_runtime_wide() => {
                "it takes a key with this permission that is for all namespaces"
            }
            Denied::Permission(_) => "use a key whose role has it",
            Denied::Namespace(_) => "use a key that is for this namespace, or for all",
            Denied::Beyond(_) => "ask for less, or use a key that has all of it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Permissions;
    use std::collections::HashSet;

    fn reasons() -> Vec<Denied> {
        vec![
            Denied::NoKey,
            Denied::Malformed,
            Denied::Unknown,
            Denied::Revoked,
            Denied::Expired,
            Denied::Permission(Permission::AppsInstall),
            Denied::Namespace("@team/shop".parse().unwrap()),
            Denied::Beyond(Lack::Permissions(Permissions::from_iter([Permission::KeysCreate]))),
        ]
    }

    #[test]
    fn every_reason_has_a_code_of_its_own_and_words() {
        let codes: HashSet<_> = reasons().iter().map(Denied::code).collect();
        assert_eq!(codes.len(), reasons().len());
        for reason in reasons() {
            assert!(!reason.to_string().is_empty() && !reason.hint().is_empty());
        }
    }

    #[test]
    fn who_is_known_gets_403_and_who_is_not_gets_401() {
        let statuses: Vec<_> = reasons().iter().map(|reason| reason.status().as_u16()).collect();
        assert_eq!(statuses, [401, 401, 401, 401, 401, 403, 403, 403]);
    }

    #[test]
    fn what_a_key_lacks_is_named() {
        let texts: Vec<_> = reasons()[5..].iter().map(Denied::to_string).collect();
        assert_eq!(
            texts,
            [
                "the key lacks the permission `apps:install`",
                "the key is not for the namespace of `@team/shop`",
                "a key can only give what it has, and this one lacks these permissions: keys:create",
            ]
        );
        assert!(Denied::Permission(Permission::AuditRead).hint().contains("all namespaces"));
    }
}
