//! The two doors of the management API: `{prefix}/api` on the public listener, and the admin socket.

use super::connection::Conn;
use super::forward::{REQUEST_ID, Source};
use super::listener::Service;
use super::problem::{Code, Problem};
use super::{answers, peer, request_id};
use crate::api::{Api, ApiError, ByAdminSocket, Door};
use crate::plugin::{Current, Set, Stopped};
use crate::pool::Pool;
use crate::telemetry::metrics::Series;
use buntime_plugin::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::UnixStream;

/// Longest silence of a client that is sent something.
const STALL: Duration = Duration::from_secs(60);

/// A request's body whose bytes are counted as they come.
pub struct Counted {
    pub body: Incoming,
    pub series: Arc<Series>,
}

/// Answers what comes over the admin socket: the API alone, at `/api` and at its public place.
#[derive(Clone)]
pub struct AdminSocket {
    pub api: Arc<Api>,
    pub pool: Arc<Pool>,
    pub plugins: Arc<Current>,
    /// Of this connection's client.
    pub may_be_an_app: bool,
    /// `BUNTIME_TEST_COMMANDS=1`: what only a test of the service manager asks for.
    pub test_commands: bool,
}

impl Service for AdminSocket {
    fn meet(&mut self, socket: &UnixStream) {
        self.may_be_an_app = peer::may_be_an_app(socket);
    }

    async fn call(self, mut request: Request<Incoming>, conn: Arc<Conn>) -> Response<Body> {
        let _in_flight = conn.begin();
        let given = request.headers_mut().remove(REQUEST_ID);
        let id = given.as_ref().and_then(request_id::accept).unwrap_or_else(request_id::generate);
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let rest = ["/api", &*self.api.about.base].iter().find_map(|base| behind(path, base));
        let mut response = match rest.map(str::to_owned) {
            _ if self.may_be_an_app => {
                let error = ApiError::new(
                    StatusCode::FORBIDDEN,
                    "peer_refused",
                    "The admin socket is not for apps.",
                )
                .hint("what runs without new privileges (NoNewPrivileges=yes) needs a key, over the network");
                refused(&error, &head.method, &id)
            }
            Some(rest) if rest == "/test/wedge" && self.test_commands => wedge(&self.pool),
            Some(rest) => {
                let leaving = *self.api.leaving.borrow();
                match answers::health(&self.pool, self.api.state(), leaving, &head.method, &rest) {
                    Some(Ok(response)) => response,
                    Some(Err(problem)) => {
                        problem.respond(&head.method, None, id.to_str().unwrap_or_default(), false)
                    }
                    None => {
                        answer(&self.api, Door::AdminSocket, head, &rest, axum::body::Body::new(body), &id)
                            .await
                    }
                }
            }
            None => self.plugin(head, body, &id).await,
        };
        limit_stall(&response, &conn);
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }
}

/// Stops everything for good, so that a watchdog has something to end.
fn wedge(pool: &Pool) -> ! {
    tracing::warn!("stuck for good, as a test asks");
    pool.inspect(|_| {
        loop {
            std::thread::park();
        }
    })
}

impl AdminSocket {
    /// The routes of plugins, without any hook: a guard that is broken must not keep the operator out.
    async fn plugin(&self, head: Parts, body: Incoming, id: &HeaderValue) -> Response<Body> {
        let method = head.method.clone();
        let set = arc_swap::Guard::into_inner(self.plugins.load());
        let target = head.uri.path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
        let mounted = set.mounted(&target).filter(|(plugin, _)| plugin.hooks.routes);
        let Some((plugin, base)) = mounted else {
            let detail = "The admin socket has the management API and the routes of plugins alone.";
            let error = ApiError::not_found("not_found", detail).hint("ask for /api/…");
            return refused(&error, &method, id);
        };
        let host = HeaderValue::from_static("localhost");
        let body = Source::Client(body).into_body();
        let mut request = buntime_plugin::Request::from_parts(head, host, id.clone(), Some(body));
        request.extensions_mut().insert(ByAdminSocket);
        let rest = &target[base..];
        let inside = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        if let Ok(inside) = PathAndQuery::try_from(inside) {
            request.set_path_and_query(inside);
        }
        let problem = match Set::route(plugin, request).await {
            Ok(mut response) => match response.extensions_mut().remove::<buntime_plugin::Problem>() {
                Some(problem) => problem.into(),
                None => return response,
            },
            Err(Stopped::Refused(problem)) => problem.into(),
            Err(Stopped::Failed(error)) => Problem::new(Code::PluginFailed).detail(error.to_string()),
        };
        problem.respond(&method, None, id.to_str().unwrap_or_default(), true)
    }
}

/// A client that follows events or downloads a package and takes nothing holds what it has only so long.
pub fn limit_stall(response: &Response<Body>, conn: &Conn) {
    if let Body::Stream(_) = response.body() {
        conn.limit_stall(STALL);
    }
}

/// What of a path stands behind a base: empty, or from its slash on.
pub fn behind<'p>(path: &'p str, base: &str) -> Option<&'p str> {
    path.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The API's answer to a request for `{base}{rest}`.
pub async fn answer(
    api: &Arc<Api>,
    door: Door,
    mut head: Parts,
    rest: &str,
    body: axum::body::Body,
    id: &HeaderValue,
) -> Response<Body> {
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let rest = if rest.is_empty() { "/" } else { rest };
    match Uri::try_from(format!("{rest}{query}")) {
        Ok(uri) => head.uri = uri,
        Err(error) => {
            let refused = ApiError::new(StatusCode::BAD_REQUEST, "path_invalid", error.to_string());
            return self::refused(&refused, &head.method, id);
        }
    }
    plain(api.answer(door, Request::from_parts(head, body), id).await)
}

/// What the API says no to before it is asked, as it does.
pub fn refused(error: &ApiError, method: &Method, id: &HeaderValue) -> Response<Body> {
    let mut response = plain(error.respond(method, id.to_str().unwrap_or_default()));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.series.received(frame.data_ref().map_or(0, Bytes::len) as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn plain(response: axum::response::Response) -> Response<Body> {
    use http_body::Body as _;
    let (mut head, body) = response.into_parts();
    // A body of nothing needs no stream. (An answer to HEAD states the length of what it leaves out.)
    let body = match body.size_hint().exact() {
        Some(0) => Body::Empty,
        exact => {
            if let Some(length) = exact {
                head.headers.entry(CONTENT_LENGTH).or_insert(length.into());
            }
            Body::stream(body.map_err(Into::into))
        }
    };
    Response::from_parts(head, body)
}
