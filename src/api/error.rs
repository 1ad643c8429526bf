//! A request that was not done, as its client sees it: the one error shape (RFC 9457).

use super::types::{ProblemDocument, StartReport};
use crate::access::{Denied, GrantError};
use crate::package::{self, PackageError};
use crate::plugin::ChangeError;
use crate::shortage::Shortage;
use crate::store::StoreError;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

/// Nothing of what was asked for was done, unless its code says otherwise.
#[derive(Debug)]
pub struct ApiError {
    pub status: StatusCode,
    /// Part of the interface: programs compare it.
    pub code: &'static str,
    pub detail: Cow<'static, str>,
    pub hint: Option<Cow<'static, str>>,
    pub start: Option<Box<StartReport>>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

pub type Result<T, E = ApiError> = std::result::Result<T, E>;

impl ApiError {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError { status, code, detail: detail.into(), hint: None, start: None, headers: Vec::new() }
    }

    pub fn bad(code: &'static str, detail: impl Display) -> ApiError {
        let text = detail.to_string();
        let error = |detail: &str| ApiError::new(StatusCode::BAD_REQUEST, code, sentence(detail));
        // Errors for people say what to do behind an empty line.
        match text.split_once("\n\nhint: ") {
            Some((detail, hint)) => error(detail).hint(hint.to_owned()),
            None => error(&text),
        }
    }

    /// Its parts are well-formed, but do not fit together.
    pub fn unfit(code: &'static str, detail: impl Display) -> ApiError {
        ApiError { status: StatusCode::UNPROCESSABLE_ENTITY, ..ApiError::bad(code, detail) }
    }

    pub fn not_found(code: &'static str, detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, code, detail)
    }

    pub fn conflict(code: &'static str, detail: impl Into<Cow<'static, str>>) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, code, detail)
    }

    /// A fault of ours. What it was is logged, and told to nobody.
    pub fn internal(what: impl Display) -> ApiError {
        tracing::error!(target: "buntime::api", error = %what, "a request to the management API failed");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Something failed in the runtime.")
            .hint("its log says what")
    }

    /// It works later.
    pub fn later(code: &'static str, detail: impl Into<Cow<'static, str>>, after: Duration) -> ApiError {
        let mut error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, detail);
        error.headers.push((header::RETRY_AFTER, after.as_secs().max(1).into()));
        error
    }

    /// The machine has too little of something; nothing is wrong with what was asked for, or with us.
    pub fn short(shortage: Shortage) -> ApiError {
        let stored = |code, detail| ApiError::new(StatusCode::INSUFFICIENT_STORAGE, code, detail);
        match shortage {
            Shortage::Disk => stored("disk_full", "The disk is full.")
                .hint("make room where the apps, the plugins and the state directory are"),
            Shortage::ReadOnly => stored("disk_read_only", "The disk cannot be written.")
                .hint("look at how the directories of the apps, the plugins and the state are mounted"),
            shortage => {
                let detail = "The server has too little of what this takes at the moment.";
                ApiError::later("no_resources", detail, Duration::from_secs(1)).hint(shortage.hint())
            }
        }
    }

    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> ApiError {
        self.hint = Some(hint.into());
        self
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> ApiError {
        self.headers.push((name, value));
        self
    }

    pub fn start(mut self, start: StartReport) -> ApiError {
        self.start = Some(Box::new(start));
        self
    }

    /// The whole answer.
    pub fn respond(&self, method: &Method, request_id: &str) -> Response {
        let document = ProblemDocument {
            kind: format!("urn:buntime:problem:{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone().into_owned(),
            instance: request_id.to_owned(),
            code: self.code.to_owned(),
            hint: self.hint.clone().map(Cow::into_owned),
            start: self.start.as_deref().cloned(),
        };
        let mut json = serde_json::to_string(&document).unwrap_or_default(); // texts and numbers always serialize
        json.push('\n');
        let length = json.len();
        let body = if method == Method::HEAD { Body::empty() } else { Body::from(json) };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CONTENT_LENGTH, length.into());
        for (name, value) in self.headers.clone() {
            headers.insert(name, value);
        }
        response
    }
}

/// Waits in the extensions of an empty response until [`ApiError::respond`] can name the request.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status;
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> ApiError {
        let mut error =
            ApiError::new(denied.status(), denied.code(), sentence(&denied.to_string())).hint(denied.hint());
        if error.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1, RFC 6750 §3.
            error
                .headers
                .push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"buntime\"")));
        }
        error
    }
}

impl From<GrantError> for ApiError {
    fn from(error: GrantError) -> ApiError {
        ApiError::unfit("grant_invalid", error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> ApiError {
        match error {
            StoreError::Busy => {
                ApiError::later("store_busy", "The database is in use.", Duration::from_secs(1))
            }
            StoreError::Full => {
                ApiError::short(Shortage::Disk).hint("make room where the state directory is")
            }
            StoreError::ReadOnly => ApiError::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "store_read_only",
                "The database cannot be written.",
            )
            .hint("look at the permissions of the state directory and at how it is mounted"),
            StoreError::TooMany { .. } => ApiError::conflict("too_many", sentence(&error.to_string())),
            other => ApiError::internal(other),
        }
    }
}

impl From<PackageError> for ApiError {
    fn from(error: PackageError) -> ApiError {
        use package::Code;
        let short = error.cause.as_ref().and_then(Shortage::of);
        let status = match (error.code, short) {
            (Code::Io, Some(shortage)) => {
                tracing::warn!(target: "buntime::api", %error, "a package could not be installed");
                return ApiError::short(shortage);
            }
            _ => error.code,
        };
        let status = match status {
            Code::Io => return ApiError::internal(error),
            Code::AlreadyThere | Code::Place | Code::ReplaceUnsupported => StatusCode::CONFLICT,
            Code::TooManyEntries | Code::TotalTooLarge | Code::FileTooLarge | Code::Ratio => {
                StatusCode::PAYLOAD_TOO_LARGE
            }
            Code::UnknownKind | Code::Unsupported | Code::Encrypted => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        let mut refused = ApiError::new(status, error.code.as_str(), sentence(&error.message));
        refused.hint = error.hint;
        refused
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> ApiError {
        let text = error.to_string();
        let taken = |code, text: &str| ApiError { status: StatusCode::CONFLICT, ..ApiError::bad(code, text) };
        match error {
            ChangeError::Unknown(_) => ApiError::not_found("plugin_unknown", sentence(&text))
                .hint("`buntime plugins` lists those that there are"),
            ChangeError::NotLoaded { .. } | ChangeError::Crowded(_) => {
                ApiError::unfit("plugin_not_loaded", text)
            }
            ChangeError::Invalid(_) => ApiError::unfit("plugin_invalid", text),
            ChangeError::Needed { .. } => taken("plugin_needed", &text),
            ChangeError::BaseTaken(_) => taken("plugin_base_taken", &text),
            ChangeError::Unreadable(text) => ApiError::internal(text),
            ChangeError::Ending => ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "draining",
                "The runtime is ending: nothing is changed any more.",
            ),
            ChangeError::NotWritten(error) => {
                Shortage::of(&error).map_or_else(|| ApiError::internal(text), ApiError::short)
            }
        }
    }
}

/// A cause as a sentence of its own. The name of a file that it begins with stays as it is.
fn sentence(text: &str) -> String {
    let text = text.split("\n\nhint: ").next().unwrap_or(text);
    let word = text.split(' ').next().unwrap_or(text);
    let mut characters = text.chars();
    let first: String = match word.contains(['.', ':', '/', '@']) {
        true => characters.next().into_iter().collect(),
        false => characters.next().into_iter().flat_map(char::to_uppercase).collect(),
    };
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_error_has_the_one_shape() {
        let error = ApiError::conflict("version_there", "It is there.").hint("replace it");
        let response = error.respond(&Method::POST, "id-1");
        assert_eq!(response.status(), 409);
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "type": "urn:buntime:problem:version_there", "title": "Conflict", "status": 409,
                "detail": "It is there.", "instance": "id-1", "code": "version_there", "hint": "replace it",
            })
        );
    }

    #[test]
    fn a_cause_becomes_a_sentence_and_its_hint_stands_alone() {
        assert_eq!(sentence("the key has expired"), "The key has expired.");
        assert_eq!(sentence("lacks `apps:read`"), "Lacks `apps:read`.");
        assert_eq!(sentence("manifest.yaml:1:1: unknown key"), "manifest.yaml:1:1: unknown key.");
        let error = ApiError::bad("x", "no such thing\n\nhint: look again");
        assert_eq!((error.detail.as_ref(), error.hint.as_deref()), ("No such thing.", Some("look again")));
    }

    #[test]
    fn who_is_not_known_is_told_how_to_be() {
        let error = ApiError::from(Denied::NoKey);
        assert_eq!((error.status.as_u16(), error.code), (401, "key_missing"));
        assert_eq!(error.headers[0].0, header::WWW_AUTHENTICATE);
        assert!(ApiError::from(Denied::Permission(crate::access::Permission::AppsRead)).headers.is_empty());
    }
}
