//! Who asks, where a plugin has an API of its own: the same keys, roles and namespaces as those of the management API.

use crate::{BoxFuture, Problem, Request};
use std::sync::Arc;

/// Finds out who asks. 401 and 403 are the runtime's own words.
pub trait Access: Send + Sync {
    /// Reads the key of a request (`X-API-Key` or `Authorization: Bearer`); one that came over the admin socket needs none.
    ///
    /// # Errors
    /// There is none, or it is unknown, revoked or expired.
    fn identify<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Arc<dyn Caller>, Problem>>;
}

/// Somebody who is known.
pub trait Caller: Send + Sync {
    /// As the audit log names them: `key:abc`, `admin-socket`, `root-key`.
    fn name(&self) -> String;

    /// Whether they may do this (to that app), such as `apps:read`. A no goes to the audit log.
    ///
    /// # Errors
    /// They may not: 403, and why.
    fn may(&self, permission: &str, app: Option<&str>) -> Result<(), Problem>;

    /// Whether what an app does may be in what they are shown.
    fn sees(&self, app: &str) -> bool;

    /// Whether what belongs to no app may be too.
    fn sees_everything(&self) -> bool;

    /// All that they may do, be it to some apps only: `apps:read` and the like.
    fn permissions(&self) -> Vec<String>;

    /// The namespaces of the apps that they may do it to, such as `@team`; `@` is that of apps without a scope. None = all.
    fn namespaces(&self) -> Option<Vec<String>>;

    /// Resolves when the key is revoked or expires: what streams to them ends then.
    fn revoked(&self) -> BoxFuture<'static, ()>;
}
