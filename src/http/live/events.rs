//! The addresses of live reload: the script, and what happens, as server-sent events (WHATWG HTML, section 9.2).

use super::{EVENTS, Listener, Live, SCRIPT, Seen, Told};
use crate::http::answers::read_only;
use crate::http::problem::{Code, Problem};
use buntime_plugin::answer::event_stream;
use buntime_plugin::{Body, BodyError};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Response};
use http_body::Frame;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const CLIENT: &str = include_str!("client.js");
/// A comment goes out after such a silence, so that a page that has gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// When the browser comes again after the connection was lost, in milliseconds.
const RETRY: u32 = 250;

/// Answers at the addresses of live reload; none = it is another address.
pub fn answer(
    live: &Arc<Live>,
    method: &Method,
    path: &str,
    query: Option<&str>,
    draining: &watch::Receiver<bool>,
) -> Option<Result<Response<Body>, Problem>> {
    match path {
        SCRIPT => Some(read_only(method, script)),
        EVENTS if *method == Method::GET => {
            Some(Ok(follow(live, query.unwrap_or_default(), draining.clone())))
        }
        EVENTS => Some(Err(
            Problem::new(Code::MethodNotAllowed).header(header::ALLOW, HeaderValue::from_static("GET"))
        )),
        _ => None,
    }
}

fn script() -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from_static(CLIENT.as_bytes())));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn follow(live: &Arc<Live>, query: &str, draining: watch::Receiver<bool>) -> Response<Body> {
    let value = |wanted: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == wanted)
            .map(|pair| pair.1)
    };
    let number = |key| value(key).and_then(|text| text.parse().ok());
    let app = value("app").map(|app| {
        percent_encoding::percent_decode_str(app).decode_utf8_lossy().into_owned().into_boxed_str()
    });
    let seen = Seen { change: number("seen").unwrap_or_default(), fault: number("fault") };
    let is_old = value("boot").is_some_and(|boot| boot != live.boot);
    let follower = Follower {
        listener: live.listen(app),
        changes: live.changes.subscribe(),
        seen,
        is_old,
        begun: false,
        draining,
    };
    let frames = futures_util::stream::unfold(follower, |mut follower| async move {
        let text = follower.next().await?;
        Some((Ok::<_, BodyError>(Frame::data(Bytes::from(text))), follower))
    });
    event_stream(Body::stream(http_body_util::StreamBody::new(frames)))
}

struct Follower {
    listener: Listener,
    changes: watch::Receiver<u64>,
    seen: Seen,
    /// The page was made by another process.
    is_old: bool,
    begun: bool,
    draining: watch::Receiver<bool>,
}

impl Follower {
    /// The next piece of the stream; none = it ends.
    async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.begun, true) {
            return Some(format!("retry: {RETRY}\n\n"));
        }
        loop {
            if *self.draining.borrow() {
                return None;
            }
            // Marked before the look: what changes during it wakes us.
            let change = *self.changes.borrow_and_update();
            if std::mem::take(&mut self.is_old) {
                return Some(self.told(&Told::Reload, change));
            }
            if let Some(told) = self.listener.next(&mut self.seen) {
                return Some(self.told(&told, change));
            }
            tokio::select! {
                Ok(_) = self.draining.wait_for(|draining| *draining) => return None,
                Ok(()) = self.changes.changed() => {}
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(":\n\n".to_owned()),
            }
        }
    }

    fn told(&self, told: &Told, change: u64) -> String {
        let boot = &self.listener.live.boot;
        let (kind, data) = match told {
            Told::Reload => ("reload", serde_json::json!({ "seen": change, "boot": boot })),
            Told::Restyle(sheets) => {
                let names: Vec<_> = sheets.iter().map(|sheet| sheet.to_string_lossy()).collect();
                ("restyle", serde_json::json!({ "seen": change, "boot": boot, "sheets": names }))
            }
            // Texts and numbers always serialize.
            Told::Fault(fault) => ("fault", serde_json::to_value(&**fault).unwrap_or_default()),
            Told::Clear => ("clear", serde_json::json!({})),
        };
        format!("event: {kind}\ndata: {data}\n\n")
    }
}
