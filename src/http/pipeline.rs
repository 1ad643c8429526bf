//! The way of one request: checks, the supervisor's own addresses, then the app.

mod apps;
mod cleaned;
mod destination;
mod lender;
mod plugins;
mod upgrades;

use super::connection::Conn;
use super::csrf::{self, Guard};
use super::forward::{REQUEST_ID, Source};
use super::kept::Kept;
use super::listener::{MAX_HEAD, MAX_HEADERS, Service};
use super::live::{self, Live};
use super::origin::{self, Origin, OriginError};
use super::problem::{Code, Problem};
use super::split::Place;
use super::watch::Watch;
use super::{answers, landing, management, request_id};
use crate::api::{Api, ApiError, Door};
use crate::apps::{Index, Meaning, Mount, ResolveError, split_path};
use crate::config::CidrList;
use crate::model::name::split_request;
use crate::model::{App, AppName};
use crate::plugin::{Current, native};
use crate::pool::Pool;
use arc_swap::ArcSwap;
use buntime_plugin::Body;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The methods that `Request` keeps as they are (bun 1.4); of any other it makes GET or changes its case, and the app would
/// do what nobody asked for. CONNECT is for proxies.
#[rustfmt::skip]
const METHODS: [&str; 36] = [
    "ACL", "BIND", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "M-SEARCH", "MERGE",
    "MKACTIVITY", "MKADDRESSBOOK", "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY", "OPTIONS", "PATCH", "POST", "PROPFIND",
    "PROPPATCH", "PURGE", "PUT", "QUERY", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "TRACE", "UNBIND",
    "UNLINK", "UNLOCK", "UNSUBSCRIBE",
];

/// All that answering a request takes. One for the whole process.
pub struct Site {
    pub index: Arc<Index>,
    pub pool: Arc<Pool>,
    pub api: Arc<Api>,
    /// What a reload of the configuration changes.
    pub rules: ArcSwap<Rules>,
    pub dev: bool,
    /// `/api`, `/_ops/api`.
    pub api_base: String,
    /// Stands in for `Host` where HTTP/1.0 sends none.
    pub local_host: HeaderValue,
    /// Becomes true once: requests should be sent elsewhere.
    pub leaving: watch::Receiver<bool>,
    pub kept: Arc<Kept>,
    pub plugins: Arc<Current>,
    /// Apps are edited, and pages learn of it.
    pub live: Option<Arc<Live>>,
    /// The home app has the whole site: no path is another app's.
    pub sole: bool,
}

/// What the operator may change while requests are served. A request goes by one and the same to its end only as far as it
/// matters to it.
#[derive(Clone, Debug)]
pub struct Rules {
    pub trusted: CidrList,
    /// The app served at `/`.
    pub home: Option<AppName>,
    /// Bytes: what plugins are lent of a request's body.
    pub max_body_size: u64,
}

/// What the rest of the way knows of a request.
struct Asked<'w> {
    head: Parts,
    origin: Origin,
    id: HeaderValue,
    conn: Arc<Conn>,
    watch: &'w mut Watch,
    /// See [`live::hosts`]; without meaning where apps are not edited.
    is_trusted: bool,
}

/// An app was found for a request.
struct Target<'a> {
    app: Arc<App>,
    /// Where the client stands, if the app is one of a split.
    place: Option<Place>,
    /// `/shop@1`; empty for the home app.
    mount: Cow<'a, str>,
    /// What the app is told as its base, if that is not its mount path.
    base: Option<Cow<'a, str>>,
    /// What the app sees, with the query.
    rest: Cow<'a, str>,
    meant: Meant<'a>,
}

/// How a request came to mean its app: to be asked again where a version gives way to another.
enum Meant<'a> {
    /// By its path.
    Path,
    /// A plugin has sent it to this version request.
    Route(Cow<'a, str>),
    /// It is a plugin's own.
    Plugin(Arc<App>),
}

/// Of a request, what tells its place in a split.
#[derive(Clone, Copy)]
struct Who<'a> {
    headers: &'a HeaderMap,
    client: Option<IpAddr>,
}

impl Service for Arc<Site> {
    async fn call(self, request: Request<Incoming>, conn: Arc<Conn>) -> Response<Body> {
        let mut watch = Watch::begin(&conn, &request, self.kept.no_series());
        let mut response = self.answer(request, &conn, &mut watch).await;
        watch.note(response.status(), response.body());
        if let Body::Stream(_) = response.body() {
            let body = std::mem::take(response.body_mut());
            *response.body_mut() = watch.over(body);
        }
        response
    }
}

impl Site {
    async fn answer(
        &self,
        request: Request<Incoming>,
        conn: &Arc<Conn>,
        watch: &mut Watch,
    ) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        let given = head.headers.remove(REQUEST_ID);
        for name in native::OWNED_HEADERS.iter() {
            head.headers.remove(name);
        }
        let (given, origin) = {
            let rules = self.rules.load();
            let trusts = |address| rules.trusted.contains(address);
            let given = given.filter(|_| origin::is_believed(conn.peer, trusts));
            let Parts { version, uri, headers, .. } = &head;
            (given, Origin::of(*version, uri, headers, conn.peer, conn.is_secure(), trusts, &self.local_host))
        };
        let id = given.as_ref().and_then(request_id::accept).unwrap_or_else(request_id::generate);
        watch.name(&id);
        let is_trusted = self.live.is_some() && self.is_trusted(&head, conn);
        let result = match origin {
            _ if is_over_limits(&head) => Err(Problem::new(Code::HeadersTooLarge)),
            Err(error) => Err(bad_host(error)),
            Ok(origin) if is_understood(&head) => {
                watch.comes_from(origin.client);
                let (id, conn) = (id.clone(), Arc::clone(conn));
                let mut asked = Asked { head, origin, id, conn, watch, is_trusted };
                let result = self.route(&mut asked, body).await;
                head = asked.head;
                result
            }
            Ok(_) => Err(not_understood(&head)),
        };
        let mut response = match result {
            Ok(response) => response,
            Err(problem) => self.with_news(problem, is_trusted).respond(
                &head.method,
                head.headers.get(header::ACCEPT),
                id.to_str().unwrap_or_default(),
                self.shows_inside(is_trusted),
            ),
        };
        response.headers_mut().insert(REQUEST_ID, id);
        response
    }

    async fn route(&self, asked: &mut Asked<'_>, body: Incoming) -> Result<Response<Body>, Problem> {
        let uri = std::mem::take(&mut asked.head.uri);
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let path = uri.path();
        match asked.head.method {
            Method::CONNECT => {
                return Err(Problem::new(Code::MethodNotAllowed).detail("This server is no proxy."));
            }
            // It would show a page's script the cookies that are kept from it. (The API says which methods it has.)
            Method::TRACE if management::behind(path, &self.api_base).is_none() => {
                return Err(Problem::new(Code::MethodNotAllowed));
            }
            // About the server, not about an app (RFC 9110 §9.3.7).
            Method::OPTIONS if path == "*" => return Ok(answers::no_content()),
            _ => {}
        }
        if let Some(rest) = management::behind(path, &self.api_base) {
            return self.manage(asked, &uri, rest, body).await;
        }
        // The rest of /.well-known is the home app's: certificates, passkeys, security.txt.
        if path == "/.well-known/buntime" {
            return answers::read_only(&asked.head.method, || answers::about(&self.api_base));
        }
        if let Some(live) = &self.live
            && let Some(answer) =
                live::events::answer(live, &asked.head.method, path, uri.query(), &self.api.draining)
        {
            if !asked.is_trusted {
                let detail = "What is about edits is told at localhost, at names below localhost and test, and at addresses.";
                return Err(Problem::new(Code::Forbidden).detail(detail));
            }
            if let Ok(response) = &answer {
                management::limit_stall(response, &asked.conn);
            }
            return answer;
        }
        let plugins = self.plugins.load();
        // One that has only a place of its own costs other requests a look at their path.
        if !plugins.is_idle()
            && (plugins.watches() || plugins.mounted(target).is_some() || plugins.at_root().is_some())
        {
            return self.pass(&arc_swap::Guard::into_inner(plugins), asked, uri.clone(), body).await;
        }
        drop(plugins);
        let Some(target) = self.find(target, asked.who(), None)? else {
            return self.landing(&asked.head.method, asked.is_trusted);
        };
        self.serve(asked, target, Source::Client(body)).await
    }

    /// `{prefix}/api/…`
    async fn manage(
        &self,
        asked: &mut Asked<'_>,
        uri: &Uri,
        rest: &str,
        body: Incoming,
    ) -> Result<Response<Body>, Problem> {
        let leaving = *self.leaving.borrow();
        if let Some(health) = answers::health(&self.pool, self.api.state(), leaving, &asked.head.method, rest)
        {
            // As JSON whatever the client prefers.
            let id = asked.id.to_str().unwrap_or_default();
            return Ok(health.unwrap_or_else(|problem| problem.respond(&asked.head.method, None, id, false)));
        }
        if csrf::is_forged(Guard::Browsers, &asked.head.method, &asked.head.headers, &asked.origin) {
            let detail = "Requests from other sites may not change anything here.";
            let error = ApiError::new(StatusCode::FORBIDDEN, "cross_site", detail);
            return Ok(management::refused(&error, &asked.head.method, &asked.id));
        }
        let mut head = Request::new(()).into_parts().0;
        head.method = asked.head.method.clone();
        head.headers = std::mem::take(&mut asked.head.headers);
        head.uri = uri.clone();
        let rest = rest.to_owned();
        let body = management::Counted { body, series: Arc::clone(asked.watch.series()) };
        let body = axum::body::Body::new(body);
        let response = management::answer(&self.api, Door::Network, head, &rest, body, &asked.id).await;
        management::limit_stall(&response, &asked.conn);
        Ok(response)
    }

    /// Which app a request target means; none = the landing page. `earlier` is where the request stood in a split before.
    fn find<'a>(
        &self,
        target: &'a str,
        who: Who<'_>,
        earlier: Option<&Place>,
    ) -> Result<Option<Target<'a>>, Problem> {
        let at_root = target.starts_with("/?") || target == "/";
        let mount = if at_root || self.sole { None } else { split_path(target) };
        let found = |meaning, mount: &'a str, rest: &'a str| {
            let (app, place) = choose(meaning, who, earlier);
            Target { app, place, mount: mount.into(), base: None, rest: rest.into(), meant: Meant::Path }
        };
        if let Some(Mount { name, spec, base, rest }) = mount {
            match self.index.resolve(name, spec.as_deref()) {
                Ok(meaning) => return Ok(Some(found(meaning, base, rest))),
                Err(ResolveError::UnknownApp) if self.rules.load().home.is_some() => {}
                Err(error) => return Err(unresolved(&error)),
            }
        }
        match &self.rules.load().home {
            Some(home) => match self.index.resolve(home.as_str(), None) {
                Ok(meaning) => Ok(Some(found(meaning, "", target))),
                Err(error) => Err(unresolved(&error)),
            },
            None if at_root => Ok(None),
            None => Err(Problem::new(Code::NotFound)),
        }
    }

    /// Which app a version request means (`shop`, `shop@1`, `@team/shop@latest`).
    fn find_app(
        &self,
        wanted: &str,
        who: Who<'_>,
        earlier: Option<&Place>,
    ) -> Result<(Arc<App>, Option<Place>), Problem> {
        let (name, spec) = split_request(wanted);
        match self.index.resolve(name, spec) {
            Ok(meaning) => Ok(choose(meaning, who, earlier)),
            Err(error) => Err(unresolved(&error)),
        }
    }

    /// Whether whoever asks may see what an app is like inside, while apps are edited.
    fn is_trusted(&self, head: &Parts, conn: &Conn) -> bool {
        conn.is_secure()
            || origin::own_host(head.version, &head.uri, &head.headers, &self.local_host)
                .is_ok_and(|host| live::hosts::is_trusted(conn.peer, &host))
    }

    fn shows_inside(&self, is_trusted: bool) -> bool {
        self.dev && (self.live.is_none() || is_trusted)
    }

    /// For pages that learn of edits.
    fn live_for(&self, is_trusted: bool) -> Option<&Arc<Live>> {
        self.live.as_ref().filter(|_| is_trusted)
    }

    /// An error page is reloaded when something has changed that may be the reason for it.
    fn with_news(&self, problem: Problem, is_trusted: bool) -> Problem {
        match self.live_for(is_trusted) {
            Some(live) => problem.live(live.tag(None)),
            None => problem,
        }
    }

    fn landing(&self, method: &Method, is_trusted: bool) -> Result<Response<Body>, Problem> {
        if !self.dev {
            return Err(Problem::new(Code::NotFound));
        }
        let apps = self.index.apps();
        let live = self.live_for(is_trusted).map(|live| live.tag(None));
        answers::read_only(method, || landing::respond(apps.iter().map(|app| &**app), live.as_ref()))
    }
}

impl Target<'_> {
    fn into_owned(self) -> Target<'static> {
        let Target { app, place, mount, base, rest, meant } = self;
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let meant = match meant {
            Meant::Path => Meant::Path,
            Meant::Route(app) => Meant::Route(owned(app)),
            Meant::Plugin(app) => Meant::Plugin(app),
        };
        Target { app, place, mount: owned(mount), base: base.map(owned), rest: owned(rest), meant }
    }
}

impl Asked<'_> {
    fn who(&self) -> Who<'_> {
        Who { headers: &self.head.headers, client: self.origin.client }
    }
}

/// The version that a client gets.
fn choose(meaning: Meaning, who: Who<'_>, earlier: Option<&Place>) -> (Arc<App>, Option<Place>) {
    match meaning {
        Meaning::One(app) => (app, None),
        Meaning::Split(fork) => {
            let place = Place::find(fork, who.headers, who.client, earlier);
            (Arc::clone(place.app()), Some(place))
        }
    }
}

/// Whether a request has a method that apps get as it is, and no transfer coding but the one that is undone here.
fn is_understood(head: &Parts) -> bool {
    let usual = matches!(head.method, Method::GET | Method::POST);
    let mut codings = head.headers.get_all(header::TRANSFER_ENCODING).into_iter();
    let first_fits = codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    (usual || METHODS.contains(&head.method.as_str())) && first_fits && codings.next().is_none()
}

/// RFC 9110 §9.1, RFC 9112 §6.1.
fn not_understood(head: &Parts) -> Problem {
    let problem = Problem::new(Code::NotImplemented);
    if METHODS.contains(&head.method.as_str()) {
        problem
            .detail("The only transfer coding that is known here is chunked.")
            .hint("A compressed body is announced with Content-Encoding.")
    } else {
        problem
            .detail(format!("The method {} is not known here.", head.method))
            .hint("Methods are case-sensitive: GET, not get.")
    }
}

/// hyper looks at the size of an HTTP/1.1 head only while it is not whole, and at the number of HTTP/2 fields not at all.
fn is_over_limits(head: &Parts) -> bool {
    let field =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + ": \r\n".len();
    let size = head.headers.iter().map(field).sum::<usize>()
        + head.uri.path_and_query().map_or(0, |target| target.as_str().len());
    // HTTP/2 may split one cookie header into many.
    let cookies = || head.headers.get_all(header::COOKIE).iter().count();
    size > MAX_HEAD || head.headers.len() > MAX_HEADERS && head.headers.len() - cookies() >= MAX_HEADERS
}

fn bad_host(error: OriginError) -> Problem {
    Problem::new(Code::BadRequest)
        .detail(error.to_string())
        .hint("Send one Host header: a name and perhaps a port.")
}

fn unresolved(error: &ResolveError) -> Problem {
    match error {
        ResolveError::UnknownApp => Problem::new(Code::UnknownApp),
        ResolveError::UnknownVersion | ResolveError::UnknownTag | ResolveError::Dangling(_) => {
            Problem::new(Code::UnknownVersion).detail(error.to_string())
        }
        ResolveError::BadRange { hint } => Problem::new(Code::InvalidVersion).hint(*hint),
    }
}
