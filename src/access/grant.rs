//! A grant: what may be done, to which apps, until when.

use super::{Denied, Namespaces, Permission, Permissions, Role, UnixTime};
use crate::model::AppName;
use std::fmt;

/// Permissions within namespaces until a moment. Holds nothing that it could not use: no permission for the whole runtime
/// where it is for some namespaces only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    permissions: Permissions,
    namespaces: Namespaces,
    /// The first second in which it holds no more; none = it never ends.
    expires: Option<UnixTime>,
}

/// Why there can be no such grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("a key needs at least one permission")]
    NoPermission,
    #[error(
        "`{0}` concerns the whole runtime and cannot be limited to namespaces\n\n\
         hint: leave it out, or make a key for all namespaces"
    )]
    RuntimeWide(Permission),
}

/// What one grant has and another one has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    Permissions(Permissions),
    Namespaces,
    /// It lasts longer.
    Expiry,
}

impl Grant {
    /// What the root key and the admin socket may do.
    pub fn everything() -> Grant {
        Grant { permissions: Permissions::all(), namespaces: Namespaces::All, expires: None }
    }

    /// What a role means within namespaces. A named role leaves out what concerns the whole runtime where it is for
    /// some namespaces only; a custom one must not name it.
    pub fn new(role: Role, namespaces: Namespaces, expires: Option<UnixTime>) -> Result<Grant, GrantError> {
        let mut permissions = role.permissions();
        if namespaces != Namespaces::All {
            let wide: Permissions =
                permissions.iter().filter(|permission| permission.is_runtime_wide()).collect();
            if let (Role::Custom(_), Some(first)) = (role, wide.iter().next()) {
                return Err(GrantError::RuntimeWide(first));
            }
            permissions = permissions.without(wide);
        }
        match permissions.is_empty() {
            true => Err(GrantError::NoPermission),
            false => Ok(Grant { permissions, namespaces, expires }),
        }
    }

    pub fn permissions(&self) -> Permissions {
        self.permissions
    }

    pub fn namespaces(&self) -> &Namespaces {
        &self.namespaces
    }

    pub fn expires(&self) -> Option<UnixTime> {
        self.expires
    }

    pub fn is_over(&self, now: UnixTime) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }

    /// Whether it holds the permission, for that app. Without an app: whether there may be one to use it on; a list must
    /// then leave out what is not in its [`Grant::namespaces`]. Says nothing about time.
    pub fn allows(&self, permission: Permission, app: Option<&AppName>) -> bool {
        self.permissions.contains(permission) && app.is_none_or(|app| self.namespaces.has_app(app))
    }

    /// Whether something may be done now.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn check(&self, permission: Permission, app: Option<&AppName>, now: UnixTime) -> Result<(), Denied> {
        if self.is_over(now) {
            return Err(Denied::Expired);
        }
        if !self.permissions.contains(permission) {
            return Err(Denied::Permission(permission));
        }
        match app {
            Some(app) if !self.namespaces.has_app(app) => Err(Denied::Namespace(app.clone())),
            _ => Ok(()),
        }
    }

    /// Whether all that `other` allows at any time, this allows then too. Only such keys may be made with it.
    pub fn covers(&self, other: &Grant) -> bool {
        self.lacks(other).is_none()
    }

    /// What `other` has and this has not; none = this covers it.
    pub fn lacks(&self, other: &Grant) -> Option<Lack> {
        let missing = other.permissions.without(self.permissions);
        if !missing.is_empty() {
            return Some(Lack::Permissions(missing));
        }
        if !self.namespaces.contains_all(&other.namespaces) {
            return Some(Lack::Namespaces);
        }
        let outlived = match (self.expires, other.expires) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(own), Some(others)) => others > own,
        };
        outlived.then_some(Lack::Expiry)
    }

    /// Whether `other` has no permission and no namespace that this has not, for however long: such keys may be seen and
    /// revoked with it.
    pub fn oversees(&self, other: &Grant) -> bool {
        matches!(self.lacks(other), None | Some(Lack::Expiry))
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lack::Permissions(permissions) => write!(f, "these permissions: {permissions}"),
            Lack::Namespaces => f.write_str("all of these namespaces"),
            Lack::Expiry => f.write_str("as much time"),
        }
    }
}

#[cfg(test)]
mod tests;
