//! A request as plugins see it, and where it goes.

use crate::{AppInfo, Body, Offer, Problem, Upgrade};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, Uri};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

pub type Response = http::Response<Body>;

/// A request on its way. What a hook changes of it goes on.
#[derive(Debug)]
pub struct Request {
    head: Parts,
    /// The client, as the runtime believes it; none where nobody knows.
    pub client: Option<IpAddr>,
    /// Whether the client came by TLS.
    pub https: bool,
    /// Host and port as the client says them: `:authority`, `Host`, or what a trusted proxy said.
    pub host: HeaderValue,
    /// `x-request-id`.
    pub id: HeaderValue,
    target: Target,
    route: Option<Route>,
    /// Behind a lock that nobody ever takes: bodies are not `Sync`, and a request that is only looked at should be.
    body: Mutex<Option<Body>>,
    /// The same of its connection, where that can speak another protocol.
    offer: Mutex<Option<Offer>>,
    /// Its path is another than before.
    moved: bool,
    canonical: Option<Box<str>>,
}

/// What a request means, once that is known.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Target {
    /// Nothing that is there, or it is not known yet (before [`Phase::Resolve`](crate::Phase::Resolve) is over).
    #[default]
    Nothing,
    App(Arc<AppInfo>),
    /// The plugin of this name.
    Plugin(Arc<str>),
}

/// Where a hook in [`Phase::Resolve`](crate::Phase::Resolve) sends a request, instead of where its path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Route {
    App {
        /// A version request: `shop`, `shop@1`, `@team/shop@latest`.
        app: String,
        /// The part of the public path that was taken off, such as `/shop`; empty at the root.
        mount: String,
        /// What the app is told as its base (`x-base`), such as `/`.
        base: String,
        /// What the app sees: path and query. Without a leading slash (empty or `?x`) where the request named the mount itself: a
        /// browser is sent to `{mount}/` then.
        path: String,
    },
    /// The plugin itself will answer, in [`Phase::Serve`](crate::Phase::Serve).
    Own,
}

impl Request {
    /// A request of its parts; nothing is known of the client.
    pub fn new(head: Parts, body: Body) -> Request {
        let host = head.uri.authority().map(|authority| authority.as_str().to_owned());
        let host = host.and_then(|host| HeaderValue::try_from(host).ok());
        let host = host.or_else(|| head.headers.get(http::header::HOST).cloned());
        let host = host.unwrap_or(HeaderValue::from_static("localhost"));
        Request::from_parts(head, host, HeaderValue::from_static(""), Some(body))
    }

    pub fn method(&self) -> &Method {
        &self.head.method
    }

    pub fn set_method(&mut self, method: Method) {
        self.head.method = method;
    }

    /// As it was sent, still percent-encoded.
    pub fn path(&self) -> &str {
        self.head.uri.path()
    }

    pub fn query(&self) -> Option<&str> {
        self.head.uri.query()
    }

    pub fn uri(&self) -> &Uri {
        &self.head.uri
    }

    /// Sends the request to another path. What it means is found anew.
    pub fn set_path_and_query(&mut self, path: PathAndQuery) {
        let mut parts = std::mem::take(&mut self.head.uri).into_parts();
        parts.path_and_query = Some(path);
        // A path makes a URI of whatever else was one.
        self.head.uri = Uri::from_parts(parts).unwrap_or_default();
        self.moved = true;
    }

    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.head.headers
    }

    /// What plugins tell each other about this request.
    pub fn extensions(&self) -> &Extensions {
        &self.head.extensions
    }

    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.head.extensions
    }

    /// What the request means, as far as that is known.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The app that it means.
    pub fn app(&self) -> Option<&Arc<AppInfo>> {
        match &self.target {
            Target::App(app) => Some(app),
            _ => None,
        }
    }

    /// Decides where it goes, in [`Phase::Resolve`](crate::Phase::Resolve). The first plugin that does has decided.
    pub fn route_to(&mut self, route: Route) {
        self.route.get_or_insert(route);
    }

    pub fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// The body, where the hook has asked for it, or a route answers.
    pub fn body(&mut self) -> Option<&mut Body> {
        self.slot().as_mut()
    }

    /// Takes the body; what is left is empty.
    pub fn take_body(&mut self) -> Body {
        self.slot().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Another body takes its place. `content-length` is left out: it is counted anew.
    pub fn set_body(&mut self, body: Body) {
        self.head.headers.remove(http::header::CONTENT_LENGTH);
        *self.slot() = Some(body);
    }

    /// Whether [`Request::upgrade`] would give something.
    pub fn can_upgrade(&mut self) -> bool {
        self.offer().is_some()
    }

    /// The connection, to speak another protocol on it than HTTP (RFC 9110 §7.8), once. None: the request does not ask for that; its
    /// connection cannot (HTTP/2); a page of another site asks; or this is no answer's place: only [`Plugin::fetch`](crate::Plugin::fetch)
    /// and [`Plugin::route`](crate::Plugin::route) have it. Who takes it and answers otherwise goes on with HTTP.
    pub fn upgrade(&mut self) -> Option<Upgrade> {
        let offer = self.offer().take()?;
        Some(Upgrade::new(&self.head, offer))
    }

    /// Whether [`Request::upgrade`] would give a connection that the client opens a WebSocket on as it should.
    pub fn opens_websocket(&mut self) -> bool {
        self.can_upgrade() && crate::upgrade::is_websocket(&self.head)
    }

    /// 404, as the runtime says it.
    pub fn not_found(&self) -> Response {
        Problem::new(StatusCode::NOT_FOUND, "not_found").into()
    }

    /// A problem as this request's answer, where something has to be returned now.
    pub fn refuse(&self, problem: Problem) -> Response {
        problem.into()
    }
}

/// With a 404 as the answer of a plugin's route: the request, as it was, for the plugin's own app.
#[derive(Clone, Debug)]
pub struct Passed(Arc<Mutex<Option<Box<Request>>>>);

impl Passed {
    /// 404, and the request in it.
    pub fn response(request: Request) -> Response {
        let mut response = request.not_found();
        response.extensions_mut().insert(Passed(Arc::new(Mutex::new(Some(Box::new(request))))));
        response
    }

    /// Takes the request out of an answer, if one was passed on with it.
    pub fn take(response: &mut Response) -> Option<Box<Request>> {
        let passed = response.extensions_mut().remove::<Passed>()?;
        passed.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The runtime's side.
impl Request {
    /// Of the runtime: as a hook that does not read the body gets it.
    pub fn from_parts(head: Parts, host: HeaderValue, id: HeaderValue, body: Option<Body>) -> Request {
        Request {
            head,
            client: None,
            https: false,
            host,
            id,
            target: Target::Nothing,
            route: None,
            body: Mutex::new(body),
            offer: Mutex::new(None),
            moved: false,
            canonical: None,
        }
    }

    /// Of the runtime: says what the request means, and the path of that where it is another than the one that was sent.
    pub fn set_target(&mut self, target: Target, canonical: Option<Box<str>>) {
        self.target = target;
        self.canonical = canonical;
    }

    /// Where the app of this request is reached without a version and without a host of its own: `/shop/cart` for
    /// `/shop@1/cart`. None where that is the path itself.
    pub fn canonical_path(&self) -> Option<&str> {
        self.canonical.as_deref()
    }

    /// Of the runtime: whether its path has changed since this was last asked.
    pub fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved)
    }

    /// Of the runtime: gives the body to a hook that reads it, once.
    pub fn lend_body(&mut self, lend: impl FnOnce() -> Body) {
        self.slot().get_or_insert_with(lend);
    }

    /// Of the runtime: keeps a body that was lent from a hook that does not read it.
    pub fn withdraw_body(&mut self) -> Option<Body> {
        self.slot().take()
    }

    /// Of the runtime: gives back what was withdrawn, unless another body has taken its place.
    pub fn return_body(&mut self, body: Option<Body>) {
        let slot = self.slot();
        *slot = slot.take().or(body);
    }

    /// Of the runtime: the same body again, after somebody had it who did not want it.
    pub fn restore_body(&mut self, body: Body) {
        *self.slot() = Some(body);
    }

    /// Of the runtime: takes it apart again. The body is none where it was none and was not replaced.
    pub fn into_parts(self) -> (Parts, Option<Route>, Option<Body>) {
        (self.head, self.route, self.body.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// Of the runtime: its connection can speak another protocol.
    pub fn offer_upgrade(&mut self, offer: Option<Offer>) {
        *self.offer() = offer;
    }

    fn offer(&mut self) -> &mut Option<Offer> {
        self.offer.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&mut self) -> &mut Option<Body> {
        self.body.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rendered by the runtime where it passes; this is what programs that know no runtime see.
impl From<Problem> for Response {
    fn from(problem: Problem) -> Response {
        let mut response = Response::default();
        *response.status_mut() = problem.status;
        response.extensions_mut().insert(problem);
        response
    }
}
