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
use serde::Deserializer;
use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::time::Duration;

/// Bytes of a body.
const MAX_BODY: usize = 1 << 20;
/// Entries of a body.
const MOST: usize = SENT_A_SECOND as usize;
/// So many bytes of a body that is refused count as an entry: a body as large as may be costs an app its second.
const A_FAULT: usize = 1 << 10;
/// Likewise where it has to wait. Its next attempt must not always come too early because of this one.
const A_WAIT: usize = 16 << 10;
/// In which time it must have come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Entries that are made ready in one go. Between two of them other tasks run.
const CHUNK: usize = 256;

/// Adds what a request has, all of it or nothing, even if its client goes meanwhile. Returns how many.
pub async fn ingest(store: &Store, redactor: &Redactor, mut request: Request) -> Result<usize, Problem> {
    let sender = sender(store, &request)?;
    store.may_begin(&sender.app).map_err(too_many_a_second)?;
    let body = receive(&mut request).await.map_err(|(problem, bytes)| {
        store.charge(&sender.app, price(bytes));
        problem
    })?;
    // How many they are is known before any is made.
    let sent = read(&body).inspect_err(|_| store.charge(&sender.app, price(body.len())))?;
    let to_wait = 1 + (body.len() / A_WAIT) as u64;
    store.may_send(&sender.app, sent.len() as u64, to_wait).map_err(too_many_a_second)?;
    let entries = sent.iter().enumerate().map(|(index, sent)| make(index, sent));
    let entries = entries.collect::<Result<Vec<Structured>, Problem>>()?;
    let mut ready = Vec::with_capacity(entries.len());
    for (index, sent) in entries.into_iter().enumerate() {
        if index > 0 && index % CHUNK == 0 {
            tokio::task::yield_now().await;
        }
        let mut entry = fill(LogEntry::new(Level::Info, Source::Ingest, ""), sent);
        let Sender { app, version, worker } = sender.clone();
        (entry.app, entry.version, entry.worker) = (Some(app), Some(version), Some(worker));
        ready.push(prepare(entry, redactor));
    }
    let count = ready.len();
    // Nothing is waited for any more.
    ready.into_iter().for_each(|entry| store.add(entry));
    Ok(count)
}

/// As how many entries a body counts that is refused for what it is.
fn price(bytes: usize) -> u64 {
    1 + (bytes / A_FAULT) as u64
}

fn too_many_a_second(after: Duration) -> Problem {
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_entries")
        .detail(format!("An app sends at most {SENT_A_SECOND} entries a second."))
        .hint("wait as long as Retry-After says, and send them again")
        .retry_after(after)
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

/// The error has about how many bytes have come.
async fn receive(request: &mut Request) -> Result<Bytes, (Problem, usize)> {
    let body = Limited::new(request.take_body(), MAX_BODY).collect();
    match tokio::time::timeout(PATIENCE, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let problem = Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large")
                .detail(format!("The body has more than {MAX_BODY} bytes."))
                .hint("send fewer entries at once");
            Err((problem, MAX_BODY))
        }
        Ok(Err(_)) => {
            Err((Problem::new(StatusCode::BAD_REQUEST, "body_broken").detail("The body broke off."), 0))
        }
        Err(_) => {
            let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow")
                .detail("The body came too slowly.");
            Err((problem, 0))
        }
    }
}

/// An object, an array of objects, or one object after another (NDJSON): the text of each. Nothing is made of them yet, and what
/// comes behind too many is not looked at.
fn read(body: &[u8]) -> Result<Vec<&RawValue>, Problem> {
    let broken = |error: serde_json::Error| wrong(format!("The body is no JSON: {error}."));
    let mut entries = Vec::new();
    let mut values = serde_json::Deserializer::from_slice(body).into_iter::<&RawValue>();
    while let Some(value) = values.next() {
        let value = value.map_err(broken)?;
        if entries.is_empty() && value.get().starts_with('[') {
            if values.next().is_some() {
                return Err(wrong("There is something behind the array.".to_owned()));
            }
            Elements(&mut entries).deserialize(value).map_err(broken).or_else(|error| {
                // That is why it has stopped.
                if entries.len() > MOST { Ok(()) } else { Err(error) }
            })?;
        } else {
            entries.push(value);
        }
        if entries.len() > MOST {
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_entries")
                .detail(format!("There are more than {MOST} entries."))
                .hint(format!("send at most {MOST} at once")));
        }
    }
    if entries.is_empty() {
        return Err(wrong("There is no entry.".to_owned()));
    }
    for (index, entry) in entries.iter().enumerate() {
        if !entry.get().starts_with('{') {
            return Err(wrong(format!("Entry {index} is no object.")));
        }
        if entry.get().len() > MAX_TEXT {
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "entry_too_large")
                .detail(format!("Entry {index} has more than {MAX_TEXT} bytes."))
                .hint("send less of it"));
        }
    }
    Ok(entries)
}

/// Numbers beyond all measure and objects within objects without end are found here.
fn make(index: usize, entry: &RawValue) -> Result<Structured, Problem> {
    let object = serde_json::from_str(entry.get());
    object.map(structured).map_err(|error| wrong(format!("Entry {index} cannot be read: {error}.")))
}

fn wrong(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "entry_invalid")
        .detail(detail)
        .hint(r#"send {"level":"info","message":"…"}, an array of such, or one on each line"#)
}

/// Takes the elements of an array, and stops where there are too many.
struct Elements<'e, 'de>(&'e mut Vec<&'de RawValue>);

impl<'de> DeserializeSeed<'de> for Elements<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            self.0.push(element);
            if self.0.len() > MOST {
                return Err(serde::de::Error::custom("there are too many"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(body: &str) -> Result<Vec<String>, (u16, String)> {
        let made = read(body.as_bytes()).and_then(|entries| {
            let made = entries.iter().enumerate().map(|(index, entry)| make(index, entry));
            made.map(|entry| entry.map(|entry| entry.message)).collect()
        });
        match made {
            Ok(entries) => Ok(entries),
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
            (r#"{"msg":1e999}"#, 400, "entry_invalid"),
            (r#"[{"msg":"a"}"#, 400, "entry_invalid"),
            (&*format!(r#"{{"a":{}}}"#, "[".repeat(500) + &"]".repeat(500)), 400, "entry_invalid"),
            (&*long, 413, "entry_too_large"),
            (&*format!("[{long}]"), 413, "entry_too_large"),
        ] {
            assert_eq!(messages(body), Err((status, code.to_owned())), "{}", &body[..body.len().min(40)]);
        }
    }

    #[test]
    fn what_comes_behind_too_many_entries_is_not_looked_at() {
        for body in ["{} ".repeat(MOST + 1) + "no JSON", format!("[{}{{}}]", "{},".repeat(300_000))] {
            assert_eq!(messages(&body), Err((413, "too_many_entries".to_owned())));
        }
        assert_eq!(messages(&"{}".repeat(MOST)).map(|all| all.len()), Ok(MOST));
    }
}
