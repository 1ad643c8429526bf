//! Who may do what: keys, roles, namespaces, and the reasons for a no. Pure: no clock, no randomness, no file.
//!
//! A request presents a secret ([`secret`]). What it opens is a [`Grant`]: permissions, namespaces and an end. A key's grant
//! is stored with it ([`Key`]); the root key's grant is everything. [`Grant::check`] answers whether something may be
//! done; [`Grant::covers`] whether a key may be made by the holder of another.

pub mod actor;
pub mod denied;
pub mod grant;
pub mod key;
pub mod namespace;
pub mod permission;
pub mod role;
pub mod secret;
pub mod time;

pub use actor::Actor;
pub use denied::Denied;
pub use grant::{Grant, GrantError, Lack};
pub use key::{Key, KeyId, KeyName, NewKey};
pub use namespace::{Namespace, Namespaces};
pub use permission::{Permission, Permissions};
pub use role::Role;
pub use secret::{KeySecret, Presented, RootKey, SecretHash};
pub use time::UnixTime;
