//! Entries that an app sends itself. Who it is, its worker's token says; what it says of itself is but a field.

use crate::prepare::{MAX_TEXT, fill, prepare};
use crate::redact::Redactor;
use crate::store::{SENT_A_SECOND, Store};
use crate::structured::{Structured, structured};
use crate::tokens::Sender;
use buntime_plugin::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use buntime_plugin::http::{HeaderValue, StatusCode};
use buntime_plugin::{Bytes, Level, LogEntry, Problem, Request, Source};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;
use std::time::Duration;

/// Bytes of a body.
const MAX_BODY: usize = 1 << 20;
/// In which time it must have come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Adds what a request has, all of it or nothing. Returns how many.
pub async fn ingest(store: &Store, redactor: &Redactor, mut request: Request) -> Result<usize, Problem> {
    let sender = sender(store, &request)?;
    let body = receive(&mut request).await?;
    let entries = read(&body)?;
    if entries.len() as u64 > u64::from(SENT_A_SECOND) {
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_entries")
            .detail(format!("There are {} entries.", entries.len()))
            .hint(format!("send at most {SENT_A_SECOND} at once")));
    }
    store.may_send(&sender.app, entries.len() as u64).map_err(|after| {
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_entries")
            .detail(format!("An app sends at most {SENT_A_SECOND} entries a second."))
            .hint("wait as long as Retry-After says, and send them again")
            .retry_after(after)
    })?;
    let count = entries.len();
    for sent in entries {
        let mut entry = fill(LogEntry::new(Level::Info, Source::Ingest, ""), sent);
        let Sender { app, version, worker } = sender.clone();
        (entry.app, entry.version, entry.worker) = (Some(app), Some(version), Some(worker));
        store.add(prepare(entry, redactor));
    }
    Ok(count)
}

fn sender(store: &Store, request: &Request) -> Result<Sender, Problem> {
    let given = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|given| {
        let (scheme, token) = given.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let refused = |code, detail| {
        Problem::new(StatusCode::UNAUTHORIZED, code)
            .detail(detail)
            .hint("send `Authorization: Bearer` and what the worker has in LOGS_TOKEN")
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    };
    let token = token.ok_or_else(|| refused("token_required", "Entries are taken from workers of apps."))?;
    store
        .tokens()
        .sender(token)
        .ok_or_else(|| refused("token_unknown", "No worker that lives has this token."))
}

async fn receive(request: &mut Request) -> Result<Bytes, Problem> {
    let body = Limited::new(request.take_body(), MAX_BODY).collect();
    match tokio::time::timeout(PATIENCE, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
                .detail(format!("The body has more than {MAX_BODY} bytes."))
                .hint("send fewer entries at once"))
        }
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "body_broken").detail("The body broke off.")),
        Err(_) => {
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow")
                .detail("The body came too slowly."))
        }
    }
}

/// An object, an array of objects, or one object after another (NDJSON).
fn read(body: &[u8]) -> Result<Vec<Structured>, Problem> {
    let wrong = |detail: String| {
        Problem::new(StatusCode::BAD_REQUEST, "entry_invalid")
            .detail(detail)
            .hint(r#"send {"level":"info","message":"…"}, an array of such, or one on each line"#)
    };
    let mut entries = Vec::new();
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
    let mut begin = 0;
    while let Some(value) = values.next() {
        let value = value.map_err(|error| wrong(format!("The body is no JSON: {error}.")))?;
        let end = values.byte_offset();
        match value {
            Value::Array(all) if entries.is_empty() => {
                if values.next().is_some() {
                    return Err(wrong("There is something behind the array.".to_owned()));
                }
                for value in all {
                    let size = serde_json::to_string(&value).map_or(0, |text| text.len());
                    add(&mut entries, value, size)
                        .map_err(|problem| problem.unwrap_or_else(|| wrong(no_object(&entries))))?;
                }
                break;
            }
            value => {
                add(&mut entries, value, end - begin)
                    .map_err(|problem| problem.unwrap_or_else(|| wrong(no_object(&entries))))?;
            }
        }
        begin = end;
    }
    if entries.is_empty() {
        return Err(wrong("There is no entry.".to_owned()));
    }
    Ok(entries)
}

fn no_object(before: &[Structured]) -> String {
    format!("Entry {} is no object.", before.len())
}

/// The error is none where the value is no object.
fn add(entries: &mut Vec<Structured>, value: Value, size: usize) -> Result<(), Option<Problem>> {
    let Value::Object(object) = value else { return Err(None) };
    if size > MAX_TEXT {
        return Err(Some(
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "entry_too_large")
                .detail(format!("Entry {} has more than {MAX_TEXT} bytes.", entries.len()))
                .hint("send less of it"),
        ));
    }
    entries.push(structured(object));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(body: &str) -> Result<Vec<String>, (u16, String)> {
        match read(body.as_bytes()) {
            Ok(entries) => Ok(entries.into_iter().map(|entry| entry.message).collect()),
            Err(problem) => Err((problem.status.as_u16(), problem.code.into_owned())),
        }
    }

    #[test]
    fn one_object_an_array_and_lines_are_read() {
        for body in [
            r#"[{"msg":"a"},{"msg":"b"}]"#,
            "{\"msg\":\"a\"}\n{\"msg\":\"b\"}\n",
            "\n{\n\"msg\": \"a\"\n}\r\n\r\n{\"msg\":\"b\"}",
        ] {
            assert_eq!(messages(body).unwrap(), ["a", "b"], "{body}");
        }
        assert_eq!(messages(r#"{"message":"a"}"#).unwrap(), ["a"]);
    }

    #[test]
    fn anything_else_is_refused_whole() {
        let long = format!(r#"{{"msg":"{}"}}"#, "x".repeat(MAX_TEXT));
        for (body, status, code) in [
            ("", 400, "entry_invalid"),
            ("[]", 400, "entry_invalid"),
            ("5", 400, "entry_invalid"),
            (r#"{"msg":"a"} tail"#, 400, "entry_invalid"),
            (r#"{"msg":"a"}[{}]"#, 400, "entry_invalid"),
            (r#"[{"msg":"a"}]{}"#, 400, "entry_invalid"),
            (r#"[{"msg":"a"},"b"]"#, 400, "entry_invalid"),
            (r#"[[{"msg":"a"}]]"#, 400, "entry_invalid"),
            (&*long, 413, "entry_too_large"),
            (&*format!("[{long}]"), 413, "entry_too_large"),
        ] {
            assert_eq!(messages(body), Err((status, code.to_owned())), "{}", &body[..body.len().min(40)]);
        }
    }
}
