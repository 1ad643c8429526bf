//! Roles: names for the sets of permissions that people need most.

use super::{Permission, Permissions};
use std::fmt;

/// What a key is for. The permissions of a named role are looked up when they are needed, so that a key made before a
/// permission existed has it as soon as its role does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything.
    Admin,
    /// Deploys and runs apps. Manages neither keys nor plugins, and does not read the audit log.
    Editor,
    /// Looks and changes nothing.
    Viewer,
    /// Just these.
    Custom(Permissions),
}

impl Role {
    pub fn permissions(self) -> Permissions {
        match self {
            Role::Admin => Permissions::all(),
            Role::Editor => {
                Permission::ALL.into_iter().filter(|&permission| is_editors(permission)).collect()
            }
            Role::Viewer => {
                Permission::ALL.into_iter().filter(|&permission| is_viewers(permission)).collect()
            }
            Role::Custom(permissions) => permissions,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Editor => "editor",
            Role::Viewer => "viewer",
            Role::Custom(_) => "custom",
        }
    }

    /// The role of that name. `custom` is none: it needs its permissions.
    pub fn named(text: &str) -> Option<Role> {
        [Role::Admin, Role::Editor, Role::Viewer].into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn is_editors(permission: Permission) -> bool {
    match permission {
        Permission::AppsDownload
        | Permission::AppsInstall
        | Permission::AppsConfigure
        | Permission::AppsRestart
        | Permission::AppsRemove
        | Permission::WorkersRestart
        | Permission::WorkersRemove => true,
        _ => is_viewers(permission),
    }
}

fn is_viewers(permission: Permission) -> bool {
    matches!(
        permission,
        Permission::AppsRead | Permission::WorkersRead | Permission::PluginsRead | Permission::EventsRead
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_has_what_the_one_below_has() {
        let [admin, editor, viewer] = [Role::Admin, Role::Editor, Role::Viewer].map(Role::permissions);
        assert!(admin.contains_all(editor) && editor.contains_all(viewer));
        assert!(!editor.contains_all(admin) && !viewer.contains_all(editor));
        assert_eq!(admin, Permissions::all());
    }

    #[test]
    fn an_editor_manages_no_keys_and_a_viewer_changes_nothing() {
        assert_eq!(
            Role::Admin.permissions().without(Role::Editor.permissions()).to_string(),
            "keys:read, keys:create, keys:revoke, plugins:install, plugins:configure, plugins:remove, audit:read"
        );
        assert_eq!(
            Role::Viewer.permissions().to_string(),
            "apps:read, workers:read, plugins:read, events:read"
        );
    }

    #[test]
    fn a_named_role_is_read_back_from_its_text() {
        for role in [Role::Admin, Role::Editor, Role::Viewer] {
            assert_eq!(Role::named(role.as_str()), Some(role));
        }
        assert_eq!(Role::named("custom"), None);
        assert_eq!(Role::named("root"), None);
    }
}
