//! Answers that routes give.

use crate::{Problem, Response, Result};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What comes of a route: its answer, or what is wrong as one.
///
/// # Errors
/// None: it is what a [`Router`](crate::Router) takes.
pub fn answered(result: Result<Response, Problem>) -> Result<Response> {
    Ok(result.unwrap_or_else(Response::from))
}

/// JSON, which nobody keeps.
pub fn json(text: impl Into<Bytes>) -> Response {
    let mut response = Response::new(text.into().into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Server-sent events (WHATWG HTML, section 9.2).
pub fn event_stream<B>(body: B) -> http::Response<B> {
    let mut response = http::Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Of nginx: events must not wait in a buffer.
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::bytes;
    use http::StatusCode;

    #[tokio::test]
    async fn answers_say_what_they_are() {
        let json = answered(Ok(json("{}"))).unwrap();
        let said = ["content-type", "cache-control"].map(|name| &json.headers()[name]);
        assert_eq!(said, ["application/json", "no-store"]);
        assert_eq!(bytes(json.into_body()).await, "{}");
        let stream = event_stream(());
        let said = ["content-type", "cache-control", "x-accel-buffering"].map(|name| &stream.headers()[name]);
        assert_eq!(said, ["text/event-stream", "no-store", "no"]);
        let refused = answered(Err(Problem::new(StatusCode::GONE, "gone"))).unwrap();
        assert_eq!(refused.status(), StatusCode::GONE);
    }
}
