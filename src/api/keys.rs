//! Keys: who may do what over the network.

use super::auth::{Caller, now};
use super::error::{ApiError, Result};
use super::input::{Json, Path};
use super::{Api, Shared, types};
use crate::access::namespace::{MAX_NAMESPACES, NamespaceError};
use crate::access::{Denied, Key, KeyId, KeyName, Namespace, Namespaces, NewKey, Permission, Role, UnixTime};
use crate::events::{Event, KeyAction, KeyEvent};
use crate::model::rfc3339;
use axum::extract::State;
use http::StatusCode;

/// Longest life of a key that ends, in seconds: a hundred years. The year has four digits (RFC 3339 §5.6).
const MAX_EXPIRY: u64 = 100 * 365 * 24 * 60 * 60;

/// All keys that the caller oversees, the dead ones included, the newest first
#[utoipa::path(
    get, path = "/keys", tag = "keys", operation_id = "listKeys",
    responses((status = 200, body = types::KeyList)),
    extensions(("x-permission" = json!("keys:read"))),
)]
pub async fn list(State(api): Shared, caller: Caller) -> Result<axum::Json<types::KeyList>> {
    caller.may(Permission::KeysRead, None)?;
    let keys = api.with_store(|store| store.keys()).await?;
    let seen = keys.iter().filter(|key| caller.grant.oversees(&key.grant));
    Ok(axum::Json(types::KeyList { keys: seen.map(shown).collect() }))
}

/// Makes a key
///
/// It can do no more than the caller. Its secret is in this answer and nowhere else.
#[utoipa::path(
    post, path = "/keys", tag = "keys", operation_id = "createKey",
    request_body = types::CreateKey,
    responses((status = 201, body = types::CreatedKey)),
    extensions(("x-permission" = json!("keys:create"))),
)]
pub async fn create(
    State(api): Shared,
    caller: Caller,
    Json(wanted): Json<types::CreateKey>,
) -> Result<(StatusCode, axum::Json<types::CreatedKey>)> {
    caller.may(Permission::KeysCreate, None)?;
    let new = read(wanted)?;
    if let Some(lack) = caller.grant.lacks(new.grant()) {
        return Err(caller.denied(Permission::KeysCreate, None, Denied::Beyond(lack)));
    }
    let actor = caller.actor.clone();
    let (key, secret) = api.with_store(move |store| store.create_key(&new, &actor, now())).await?;
    tracing::info!(target: "buntime::api", key = %key.id, name = %key.name, by = %caller.actor, "a key was made");
    told(&api, KeyAction::Created, &key);
    Ok((StatusCode::CREATED, axum::Json(types::CreatedKey { secret: secret.reveal(), key: shown(&key) })))
}

/// One key
#[utoipa::path(
    get, path = "/keys/{id}", tag = "keys", operation_id = "getKey",
    params(("id" = String, Path, description = "As in `key_0123456789abcdef`")),
    responses((status = 200, body = types::Key)),
    extensions(("x-permission" = json!("keys:read"))),
)]
pub async fn one(
    State(api): Shared,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<types::Key>> {
    caller.may(Permission::KeysRead, None)?;
    let id = key_id(&id)?;
    let key = api.with_store(move |store| store.key(&id)).await?;
    overseen(&caller, key).map(|key| axum::Json(shown(&key)))
}

/// Revokes a key, at once and for ever
#[utoipa::path(
    delete, path = "/keys/{id}", tag = "keys", operation_id = "revokeKey",
    params(("id" = String, Path, description = "As in `key_0123456789abcdef`")),
    responses((status = 200, body = types::Key)),
    extensions(("x-permission" = json!("keys:revoke"))),
)]
pub async fn revoke(
    State(api): Shared,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<axum::Json<types::Key>> {
    caller.may(Permission::KeysRevoke, None)?;
    let id = key_id(&id)?;
    overseen(&caller, api.with_store(move |store| store.key(&id)).await?)?;
    let actor = caller.actor.clone();
    let key = api.with_store(move |store| store.revoke_key(&id, &actor, now())).await?;
    let key = key.ok_or_else(unknown)?;
    tracing::info!(target: "buntime::api", key = %key.id, name = %key.name, by = %caller.actor, "a key was revoked");
    told(&api, KeyAction::Revoked, &key);
    api.gate.revoked();
    Ok(axum::Json(shown(&key)))
}

fn told(api: &Api, action: KeyAction, key: &Key) {
    let event = KeyEvent { action, key: key.id.to_string(), name: key.name.to_string() };
    api.hub.publish(Event::Key(event));
}

/// A key that the caller may not see is none to them.
fn overseen(caller: &Caller, key: Option<Key>) -> Result<Key> {
    key.filter(|key| caller.grant.oversees(&key.grant)).ok_or_else(unknown)
}

fn unknown() -> ApiError {
    ApiError::not_found("key_unknown", "There is no such key.")
}

fn key_id(text: &str) -> Result<KeyId> {
    KeyId::parse(text).map_err(|error| ApiError::bad("key_id_invalid", error))
}

/// What was asked for, as a key that there can be.
fn read(wanted: types::CreateKey) -> Result<NewKey> {
    let types::CreateKey { name, role, permissions, namespaces, expires_in } = wanted;
    let name = KeyName::parse(&name).map_err(|error| ApiError::bad("key_name_invalid", error))?;
    let role = match (role.as_str(), permissions) {
        ("custom", Some(permissions)) => {
            let permissions =
                permissions.iter().map(|text| Permission::parse(text)).collect::<Result<_, _>>();
            Role::Custom(permissions.map_err(|error| ApiError::bad("permission_unknown", error))?)
        }
        ("custom", None) => {
            return Err(ApiError::unfit("permissions_missing", "The role `custom` needs `permissions`."));
        }
        (_, Some(_)) => {
            return Err(ApiError::unfit(
                "permissions_given",
                "Only the role `custom` has `permissions` of its own.",
            ));
        }
        (role, None) => Role::named(role).ok_or_else(|| {
            ApiError::bad("role_unknown", format_args!("`{role}` is no role."))
                .hint("one of admin, editor, viewer, custom")
        })?,
    };
    let namespaces = match namespaces {
        None => Namespaces::All,
        Some(names) if names.len() > MAX_NAMESPACES => {
            return Err(ApiError::bad("namespace_invalid", NamespaceError::TooMany(names.len())));
        }
        Some(names) => {
            let names = names.iter().map(|name| Namespace::parse(name)).collect::<Result<Vec<_>, _>>();
            names.and_then(Namespaces::only).map_err(|error| ApiError::bad("namespace_invalid", error))?
        }
    };
    let expires = expires_in.map(|seconds| UnixTime::new(now().seconds().saturating_add(seconds)));
    if expires_in.is_some_and(|seconds| !(1..=MAX_EXPIRY).contains(&seconds)) {
        return Err(ApiError::bad("expiry_invalid", "A key expires in 1 second to 100 years, or never."));
    }
    Ok(NewKey::new(name, role, namespaces, expires)?)
}

pub fn shown(key: &Key) -> types::Key {
    let moment = |time: UnixTime| rfc3339::from_seconds(time.seconds());
    types::Key {
        id: key.id.to_string(),
        name: key.name.to_string(),
        role: key.role.to_string(),
        permissions: key
            .grant
            .permissions()
            .iter()
            .map(|permission| permission.as_str().to_owned())
            .collect(),
        namespaces: names(key.grant.namespaces()),
        created: moment(key.created),
        created_by: key.created_by.to_string(),
        expires: key.grant.expires().map(moment),
        last_used: key.last_used.map(moment),
        revoked: key.revoked.map(moment),
    }
}

pub fn names(namespaces: &Namespaces) -> Option<Vec<String>> {
    match namespaces {
        Namespaces::All => None,
        Namespaces::Only(set) => Some(set.iter().map(Namespace::to_string).collect()),
    }
}
