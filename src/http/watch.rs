//! What is noted of a request when it has ended: when its last byte has gone, or its client.

use super::connection::{Conn, InFlight};
use super::kept::Account;
use super::live;
use super::trace;
use crate::telemetry::feed::{Access, feed};
use crate::telemetry::metrics::{Ended, MethodLabel, Series, TraceId};
use crate::telemetry::printer::{self, printer};
use buntime_plugin::{Body, BodyError};
use bytes::Bytes;
use http::header::HeaderValue;
use http::{Method, Request, StatusCode};
use http_body::Frame;
use hyper::body::Incoming;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

/// Notes the end of a request when its last byte has gone.
pub struct Watch {
    _in_flight: InFlight,
    began: Instant,
    method: MethodLabel,
    trace: Option<TraceId>,
    /// None: there is none yet.
    status: Option<StatusCode>,
    /// Bytes of the answer's body.
    sent: u64,
    /// Where it is counted, until it means an app.
    none: Arc<Series>,
    /// The app that it means.
    account: Option<Arc<Account>>,
    log: Option<Record>,
}

/// What the request log and the feed say of a request.
struct Record {
    method: Method,
    path: String,
    id: HeaderValue,
    client: Option<IpAddr>,
    /// The answer broke off.
    broken: bool,
}

/// A body with its `Watch`.
struct Watched {
    body: Body,
    watch: Watch,
}

impl Watch {
    /// A request that is counted in `series`, until it is known to mean an app.
    pub fn begin(conn: &Arc<Conn>, request: &Request<Incoming>, series: &Arc<Series>) -> Watch {
        let is_told = feed().is_on()
            || printer().is_some()
            || tracing::enabled!(target: "buntime::request", tracing::Level::DEBUG);
        let log = is_told.then(|| Record {
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            id: HeaderValue::from_static(""),
            client: conn.peer,
            broken: false,
        });
        Watch {
            _in_flight: conn.begin(),
            began: Instant::now(),
            method: MethodLabel::of(request.method()),
            trace: trace::parent(request.headers()).map(|parent| parent.trace),
            status: None,
            sent: 0,
            none: Arc::clone(series),
            account: None,
            log,
        }
    }

    /// It means an app: this is where it is counted.
    pub fn counts_for(&mut self, account: Arc<Account>) {
        self.account = Some(account);
    }

    /// Where it is counted.
    pub fn series(&self) -> &Arc<Series> {
        self.account.as_ref().map_or(&self.none, |account| &account.series)
    }

    pub fn name(&mut self, id: &HeaderValue) {
        if let Some(log) = &mut self.log {
            log.id = id.clone();
        }
    }

    /// Who asks, as far as proxies are believed.
    pub fn comes_from(&mut self, client: Option<IpAddr>) {
        if let Some(log) = &mut self.log {
            log.client = client;
        }
    }

    /// The body whose end is that of the request.
    pub fn over(self, body: Body) -> Body {
        Body::stream(Watched { body, watch: self })
    }

    /// The answer has begun. A body that is whole counts now; one that streams as it goes.
    pub fn note(&mut self, status: StatusCode, body: &Body) {
        self.status = Some(status);
        if let Body::Full(bytes) = body {
            self.sent = bytes.len() as u64;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Watch { method, status, trace, sent, .. } = *self;
        let took = self.began.elapsed();
        self.series().ended(&Ended { method, status, took, trace, sent });
        if let Some(Record { method, path, id, client, broken }) = &self.log {
            let request_id = id.to_str().unwrap_or_default();
            tracing::debug!(
                target: "buntime::request",
                %method,
                path,
                status = status.map(|status| status.as_u16()),
                duration_ms = took.as_secs_f64() * 1000.0,
                request_id,
                "request"
            );
            if let Some(printer) = printer().filter(|_| !path.starts_with(live::SPACE)) {
                printer.request(&printer::Request {
                    method: method.as_str(),
                    path,
                    status: status.map(|status| status.as_u16()),
                    took,
                    app: self.account.as_ref().map(|account| &*account.app),
                    broken: *broken,
                });
            }
            feed().access(&Access {
                method,
                path,
                status,
                duration: took,
                bytes: sent,
                broken: *broken,
                app: self.account.as_ref().map(|account| (&account.app, &account.version)),
                request_id,
                trace_id: trace.map(|TraceId(id)| format!("{id:032x}")),
                client: *client,
            });
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
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match (&polled, &mut self.watch.log) {
            (Poll::Ready(Some(Ok(frame))), _) => {
                self.watch.sent += frame.data_ref().map_or(0, Bytes::len) as u64;
            }
            (Poll::Ready(Some(Err(_))), Some(log)) => log.broken = true,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
