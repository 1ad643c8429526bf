//! What requests bring: parts of the path, queries and JSON bodies, each refused with a clear error.

use super::error::{ApiError, Result};
use crate::model::{AliasName, AppName, AppVersion};
use crate::plugin::manifest::PluginName;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Request};
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

/// Longest JSON body, in bytes.
const MAX_JSON: usize = 64 * 1024;

/// A body of JSON.
pub struct Json<T>(pub T);

/// As [`Json`], or the default where there is no body, or null.
pub struct OptionalJson<T>(pub T);

/// A query. Unknown names are refused where its type says so.
pub struct Query<T>(pub T);

/// The parts of the path that stand for something.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Json<T>> {
        let (head, body) = request.into_parts();
        if !is_json(&head.headers) {
            return Err(not_json("send it with Content-Type: application/json"));
        }
        parse(&read(body, MAX_JSON).await?).map(Json)
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<OptionalJson<T>> {
        use http_body::Body as _;
        if request.body().is_end_stream() {
            return Ok(OptionalJson(T::default()));
        }
        Json::<Option<T>>::from_request(request, state)
            .await
            .map(|Json(value)| OptionalJson(value.unwrap_or_default()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Query<T>> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(value)) => Ok(Query(value)),
            Err(error) => {
                let text = error.body_text();
                let why = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
                Err(ApiError::bad("query_invalid", format_args!("The query is not valid: {why}.")))
            }
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Path<T>> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Path(value)),
            Err(error) => Err(ApiError::bad("path_invalid", error.body_text())),
        }
    }
}

/// A body that changes an object (RFC 7396), of at most `longest` bytes.
pub async fn merge_patch(
    headers: &HeaderMap,
    body: Body,
    longest: usize,
) -> Result<serde_json::Map<String, serde_json::Value>> {
    if !is_json(headers) && media_type(headers) != "application/merge-patch+json" {
        return Err(not_json("send it with Content-Type: application/merge-patch+json"));
    }
    let bytes = read(body, longest).await?;
    super::blocking(move || parse(&bytes)).await?
}

pub fn plugin(text: &str) -> Result<PluginName> {
    PluginName::parse(text)
        .map_err(|error| ApiError::bad("plugin_name_invalid", format_args!("`{text}` is {error}")))
}

pub fn app(text: &str) -> Result<AppName> {
    AppName::parse(text)
        .map_err(|error| ApiError::bad("app_name_invalid", format_args!("`{text}` is no app name: {error}")))
}

pub fn version(text: &str) -> Result<AppVersion> {
    AppVersion::parse(text)
        .map_err(|error| ApiError::bad("version_invalid", format_args!("`{text}` is no version: {error}")))
}

pub fn alias(text: &str) -> Result<AliasName> {
    AliasName::parse(text)
        .map_err(|error| ApiError::bad("alias_name_invalid", format_args!("`{text}` is no alias: {error}")))
}

fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers) == "application/json"
}

/// In small letters, without its parameters.
fn media_type(headers: &HeaderMap) -> String {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn not_json(hint: &'static str) -> ApiError {
    let detail = "The body is not announced as JSON.";
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", detail).hint(hint)
}

async fn read(body: Body, longest: usize) -> Result<bytes::Bytes> {
    use http_body_util::{BodyExt, LengthLimitError, Limited};
    match Limited::new(body, longest).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("The body has more than {longest} bytes."),
        )),
        Err(_) => Err(ApiError::bad("body_broken", "The body broke off.")),
    }
}

fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| ApiError::bad("json_invalid", format_args!("The body is not valid: {error}.")))?;
    reader
        .end()
        .map_err(|error| ApiError::bad("json_invalid", format_args!("The body is not valid: {error}.")))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::super::types::CreateKey;
    use super::*;

    async fn take(kind: &str, body: &str) -> Result<CreateKey, (u16, &'static str, String)> {
        let request =
            Request::builder().header("content-type", kind).body(Body::from(body.to_owned())).unwrap();
        let taken = Json::from_request(request, &()).await;
        taken
            .map(|Json(key)| key)
            .map_err(|error| (error.status.as_u16(), error.code, error.detail.into_owned()))
    }

    #[tokio::test]
    async fn json_is_taken_only_as_such_whole_and_with_known_names() {
        let sound = r#"{"name": "ci", "role": "viewer"}"#;
        assert_eq!(take("application/json; charset=utf-8", sound).await.unwrap().name, "ci");
        assert_eq!(take("text/plain", sound).await.unwrap_err().0, 415);
        for (body, says) in [
            ("", "EOF while parsing"),
            ("{\"name\": 1}", "name: invalid type: integer `1`"),
            ("{\"name\": \"a\", \"role\": \"viewer\", \"admin\": true}", "unknown field `admin`"),
            ("{\"name\": \"a\", \"role\": \"viewer\"} x", "trailing characters"),
        ] {
            let (status, code, detail) = take("application/json", body).await.unwrap_err();
            assert_eq!((status, code), (400, "json_invalid"), "{body}");
            assert!(detail.contains(says), "{detail}");
        }
        let long = format!("{{\"name\": \"{}\"}}", "a".repeat(MAX_JSON));
        assert_eq!(take("application/json", &long).await.unwrap_err().0, 413);
    }
}
