//! The audit log: who did what.

use super::auth::Caller;
use super::error::{ApiError, Result};
use super::input::Query;
use super::{Shared, types};
use crate::access::Permission;
use crate::model::rfc3339;
use crate::store::{Entry, MAX_PAGE};
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

const PAGE: u32 = 100;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// Entries older than this one: `next` of the page before.
    before: Option<i64>,
    /// How many: 1 to 1000, otherwise 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// What was done, the newest first
#[utoipa::path(
    get, path = "/audit", tag = "audit", operation_id = "listAudit", params(Which),
    responses((status = 200, body = types::AuditPage)),
    extensions(("x-permission" = json!("audit:read"))),
)]
pub async fn list(
    State(api): Shared,
    caller: Caller,
    Query(which): Query<Which>,
) -> Result<axum::Json<types::AuditPage>> {
    caller.may(Permission::AuditRead, None)?;
    let limit = match which.limit {
        None => PAGE,
        Some(limit @ 1..=MAX_PAGE) => limit,
        Some(limit) => {
            let why = format_args!("The query is not valid: limit: {limit} is not within 1 to {MAX_PAGE}.");
            return Err(ApiError::bad("query_invalid", why));
        }
    };
    let page = api.with_store(move |store| store.audit(which.before, limit)).await?;
    Ok(axum::Json(types::AuditPage {
        entries: page.entries.into_iter().map(shown).collect(),
        next: page.next,
    }))
}

fn shown(entry: Entry) -> types::AuditEntry {
    types::AuditEntry {
        id: entry.id,
        at: rfc3339::from_seconds(entry.at.seconds()),
        actor: entry.actor.to_string(),
        action: entry.action,
        subject: entry.subject,
        outcome: entry.outcome.as_str().to_owned(),
        detail: entry.detail,
    }
}
