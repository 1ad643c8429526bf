//! The permissions that there are, and sets of them.
//!
//! Most concern apps: where a namespace is all that a key has, they hold within it. `plugins:*` and `audit:read` concern
//! the whole runtime: only a grant for all namespaces can have them. No permission brings another with it.

use std::fmt;

/// One thing that may be done. The texts that [`Permission::as_str`] gives are part of the interface and are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// See apps, their versions, aliases, logs and metrics.
    AppsRead,
    /// Get a version's package back, with all that was uploaded in it.
    AppsDownload,
    /// Upload a version, or replace one.
    AppsInstall,
    /// Move aliases and weights, enable and disable versions.
    AppsConfigure,
    /// Replace the workers of an app.
    AppsRestart,
    /// Delete versions.
    AppsRemove,
    WorkersRead,
    WorkersRestart,
    /// Terminate a worker.
    WorkersRemove,
    /// See the keys that the grant [oversees](super::Grant::oversees).
    KeysRead,
    /// Make keys that the grant [covers](super::Grant::covers).
    KeysCreate,
    /// Revoke keys that the grant [oversees](super::Grant::oversees).
    KeysRevoke,
    PluginsRead,
    PluginsInstall,
    /// Enable, disable, reload and configure plugins.
    PluginsConfigure,
    PluginsRemove,
    AuditRead,
    /// Follow the stream of events, as far as the namespaces go.
    EventsRead,
}

/// A text that names no permission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no permission\n\nhint: {known}", known = known())]
pub struct PermissionError(pub String);

/// A set of permissions.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Permissions(u32);

impl Permission {
    pub const ALL: [Permission; 18] = [
        Permission::AppsRead,
        Permission::AppsDownload,
        Permission::AppsInstall,
        Permission::AppsConfigure,
        Permission::AppsRestart,
        Permission::AppsRemove,
        Permission::WorkersRead,
        Permission::WorkersRestart,
        Permission::WorkersRemove,
        Permission::KeysRead,
        Permission::KeysCreate,
        Permission::KeysRevoke,
        Permission::PluginsRead,
        Permission::PluginsInstall,
        Permission::PluginsConfigure,
        Permission::PluginsRemove,
        Permission::AuditRead,
        Permission::EventsRead,
    ];

    pub fn parse(text: &str) -> Result<Permission, PermissionError> {
        let found = Permission::ALL.into_iter().find(|permission| permission.as_str() == text);
        found.ok_or_else(|| PermissionError(text.to_owned()))
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Permission::AppsRead => "apps:read",
            Permission::AppsDownload => "apps:download",
            Permission::AppsInstall => "apps:install",
            Permission::AppsConfigure => "apps:configure",
            Permission::AppsRestart => "apps:restart",
            Permission::AppsRemove => "apps:remove",
            Permission::WorkersRead => "workers:read",
            Permission::WorkersRestart => "workers:restart",
            Permission::WorkersRemove => "workers:remove",
            Permission::KeysRead => "keys:read",
            Permission::KeysCreate => "keys:create",
            Permission::KeysRevoke => "keys:revoke",
            Permission::PluginsRead => "plugins:read",
            Permission::PluginsInstall => "plugins:install",
            Permission::PluginsConfigure => "plugins:configure",
            Permission::PluginsRemove => "plugins:remove",
            Permission::AuditRead => "audit:read",
            Permission::EventsRead => "events:read",
        }
    }

    /// Whether it concerns more than the apps of some namespaces, so that a grant for some cannot have it.
    pub fn is_runtime_wide(self) -> bool {
        matches!(
            self,
            Permission::PluginsRead
                | Permission::PluginsInstall
                | Permission::PluginsConfigure
                | Permission::PluginsRemove
                | Permission::AuditRead
        )
    }

    fn bit(self) -> u32 {
        1 << self as u32
    }
}

impl Permissions {
    pub fn all() -> Permissions {
        Permission::ALL.into_iter().collect()
    }

    pub fn contains(self, permission: Permission) -> bool {
        self.0 & permission.bit() != 0
    }

    pub fn contains_all(self, others: Permissions) -> bool {
        others.0 & !self.0 == 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that `others` does not have.
    pub fn without(self, others: Permissions) -> Permissions {
        Permissions(self.0 & !others.0)
    }

    /// In the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.into_iter().filter(move |&permission| self.contains(permission))
    }
}

impl FromIterator<Permission> for Permissions {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Permissions {
        Permissions(permissions.into_iter().fold(0, |bits, permission| bits | permission.bit()))
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Permission {
    type Err = PermissionError;

    fn from_str(text: &str) -> Result<Permission, PermissionError> {
        Permission::parse(text)
    }
}

/// The names, separated by commas.
impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, permission) in self.iter().enumerate() {
            write!(f, "{}{permission}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

fn known() -> String {
    format!("there are {}", Permissions::all())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_permission_is_read_back_from_its_text() {
        let texts: HashSet<_> = Permission::ALL.into_iter().map(Permission::as_str).collect();
        assert_eq!(texts.len(), Permission::ALL.len());
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(permission));
        }
    }

    #[test]
    fn an_unknown_permission_is_refused_with_those_there_are() {
        for text in ["", "apps", "apps:*", "Apps:read", "apps:read ", "root"] {
            let refusal = Permission::parse(text).unwrap_err().to_string();
            assert!(
                refusal.contains("hint: there are apps:read, ") && refusal.ends_with("events:read"),
                "{refusal}"
            );
        }
    }

    #[test]
    fn a_set_holds_what_was_put_in_and_nothing_else() {
        let set = Permissions::from_iter([Permission::AuditRead, Permission::AppsRead]);
        assert_eq!(set.to_string(), "apps:read, audit:read");
        assert_eq!(set.iter().count(), 2);
        assert!(Permissions::all().contains_all(set) && !set.contains_all(Permissions::all()));
        assert_eq!(Permissions::all().without(set).iter().count(), Permission::ALL.len() - 2);
        assert!(Permissions::default().is_empty() && set.contains_all(Permissions::default()));
    }
}
