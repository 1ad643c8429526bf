//! What is noted of a request when it has ended: when its last byte has gone, or its client.

use super::connection::{Conn, InFlight};
use buntime_plugin::{Body, BodyError};
use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, Request, StatusCode};
use http_body::Frame;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// Notes the end of a request when its last byte has gone.
pub struct Watch {
    _in_flight: InFlight,
    log: Option<Record>,
}

/// What the request log says of a request.
struct Record {
    began: Instant,
    method: Method,
    path: String,
    id: HeaderValue,
    status: StatusCode,
}

/// A body with its `Watch`.
struct Watched {
    body: Body,
    _watch: Watch,
}

impl Watch {
    pub fn begin(conn: &Arc<Conn>, request: &Request<Incoming>) -> Watch {
        let log = tracing::enabled!(target: "buntime::request", tracing::Level::DEBUG).then(|| Record {
            began: Instant::now(),
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            id: HeaderValue::from_static(""),
            status: StatusCode::OK,
        });
        Watch { _in_flight: conn.begin(), log }
    }

    pub fn name(&mut self, id: &HeaderValue) {
        if let Some(log) = &mut self.log {
            log.id = id.clone();
        }
    }

    /// The body whose end is that of the request.
    pub fn over(self, body: Body) -> Body {
        Body::stream(Watched { body, _watch: self })
    }

    pub fn note(&mut self, status: StatusCode) {
        if let Some(log) = &mut self.log {
            log.status = status;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(Record { began, method, path, id, status }) = &self.log {
            tracing::debug!(
                target: "buntime::request",
                %method,
                path,
                status = status.as_u16(),
                duration_ms = began.elapsed().as_secs_f64() * 1000.0,
                request_id = id.to_str().unwrap_or_default(),
                "request"
            );
        }
    }
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
