//! A request that means an app: what is asked of which version, and what is done where that one gives way to another
//! meanwhile.

use super::super::csrf::{self, Guard};
use super::super::forward::{self, Inbound, Outgoing, Source, Unanswered};
use super::super::html;
use super::super::live::{Tag, policy::Needs};
use super::super::problem::{Code, Problem};
use super::super::split::Place;
use super::super::{answers, files};
use super::{Asked, Meant, Site, Target};
use crate::model::{App, Kind};
use crate::pool::Refused;
use crate::pool::core::types::Refusal;
use crate::shortage::Shortage;
use crate::telemetry::metrics::Series;
use crate::worker::link::RequestBody;
use buntime_plugin::Body;
use http::request::Parts;
use http::{Method, Response, header};
use std::sync::Arc;

/// How many versions a request is brought to that are replaced under its feet.
const MOST_TURNS: u32 = 10;

/// The body of a request, which can be read once, whoever is asked.
enum Arriving {
    Unread(Source),
    Read(Option<Inbound>),
}

/// How an app is reached.
struct Way<'a> {
    mount: &'a str,
    /// What it is told as its base.
    base: &'a str,
    path: &'a str,
}

/// Why a version did not answer.
enum Unserved {
    /// It is there no more, or is not meant any more.
    Gone,
    /// This is the answer, unless the request means another version by now.
    Perhaps(Problem),
    Certainly(Problem),
}

impl Site {
    pub(super) async fn serve(
        &self,
        asked: &mut Asked<'_>,
        target: Target<'_>,
        body: Source,
    ) -> Result<Response<Body>, Problem> {
        let Target { mut app, mut place, mount: base, base: told, rest, meant } = target;
        let (base, rest, told) = (&*base, &*rest, told.as_deref());
        asked.watch.counts_for(self.kept.series(&app));
        // `/shop` is a directory to a browser: relative links need the slash.
        let slashed;
        let path = if rest.starts_with('/') {
            rest
        } else {
            if is_navigation(&asked.head) {
                return Ok(answers::permanent_redirect(&format!("{base}/{rest}")));
            }
            slashed = format!("/{rest}");
            &slashed
        };
        let mut body = Arriving::Unread(body);
        let mut turns = 0;
        let (response, injected) = loop {
            guard(asked, &app)?;
            self.api.gate.keep_keys(&mut asked.head.headers);
            // What a page has seen was there before it was asked for: that it is old is rather told once too often.
            let tag = self.live_for(asked.is_trusted).map(|live| live.tag(Some(&app)));
            let injected = self.inject(asked, &app, base, tag.clone());
            let result = match &app.kind {
                Kind::Worker { .. } if let Some(problem) = self.known_fault(asked, &app) => {
                    Err(Unserved::Perhaps(problem))
                }
                Kind::Worker { .. } => {
                    let is_meant = || {
                        self.again(&meant, base, asked, place.as_ref())
                            .is_ok_and(|(now, _)| now.key == app.key)
                    };
                    let way = Way { mount: base, base: told.unwrap_or(base), path };
                    self.ask(asked, &app, &way, &mut body, is_meant).await
                }
                Kind::Static { .. } => self.read(asked, &app, base, path).await.map_err(Unserved::Perhaps),
                Kind::Broken { error } => {
                    Err(Unserved::Perhaps(Problem::new(Code::AppUnavailable).detail(error.clone())))
                }
            };
            // The version may have gone, or given way to another, between being found and being asked: what the request means
            // now is asked then.
            let unserved = match result {
                Ok(response) => break (response, injected),
                Err(Unserved::Certainly(problem)) => return Err(self.of_edit(problem, &app, tag).await),
                Err(unserved) => unserved,
            };
            let known = app.clone();
            let found = self.again(&meant, base, asked, place.as_ref());
            turns += 1;
            (app, place) = match (unserved, found) {
                (Unserved::Gone, Ok(found)) if turns < MOST_TURNS => found,
                (_, Ok(found)) if found.0.key != known.key && turns < MOST_TURNS => found,
                (Unserved::Gone, Err(problem)) => return Err(problem),
                (Unserved::Gone, Ok(_)) => return Err(Problem::new(Code::UnknownVersion)),
                (Unserved::Perhaps(problem) | Unserved::Certainly(problem), _) => {
                    return Err(self.of_edit(problem, &app, tag).await);
                }
            };
            asked.watch.counts_for(self.kept.series(&app));
        };
        let mut response = match injected {
            Some(injected) => injected.apply(response),
            None => response,
        };
        if let Some(place) = place {
            let scope = if base.is_empty() { told.unwrap_or_default().trim_end_matches('/') } else { base };
            place.mark(response.headers_mut(), scope, asked.origin.https, &asked.head);
        }
        Ok(response)
    }

    /// What goes into pages of this app.
    fn inject(
        &self,
        asked: &mut Asked<'_>,
        app: &Arc<App>,
        mount: &str,
        tag: Option<Tag>,
    ) -> Option<html::Exchange> {
        let Parts { method, headers, .. } = &mut asked.head;
        let mount = app.manifest.inject_base.then_some(mount);
        match (tag, mount) {
            (Some(tag), mount) => {
                let needs = Needs::at(asked.origin.https, &asked.origin.host);
                Some(self.kept.injection(app).begin_live(mount, (tag, needs), method, headers))
            }
            (None, Some(mount)) => Some(self.kept.injection(app).begin(mount, method, headers)),
            (None, None) => None,
        }
    }

    /// Why an app as it was edited does not run. It is not tried again for each request, only for those of a person: what
    /// kept it from starting may have been something else than its files.
    fn known_fault(&self, asked: &Asked<'_>, app: &App) -> Option<Problem> {
        let fault = self.live.as_ref()?.fault_of(app, app.key)?;
        let is_asked_by_person = is_navigation(&asked.head);
        (!is_asked_by_person).then(|| fault.problem())
    }

    /// While apps are edited: a problem that the app is the cause of, as one of the edit, and with its place in the source.
    async fn of_edit(&self, problem: Problem, app: &Arc<App>, tag: Option<Tag>) -> Problem {
        let Some(tag) = tag else { return problem };
        let problem = problem.live(tag).of_edit();
        let dir = app.dir.clone();
        let unread = problem.clone();
        tokio::task::spawn_blocking(move || problem.with_excerpt(&dir)).await.unwrap_or(unread)
    }

    /// Has a worker of `app` answer.
    async fn ask(
        &self,
        asked: &Asked<'_>,
        app: &App,
        way: &Way<'_>,
        body: &mut Arriving,
        is_meant: impl Fn() -> bool,
    ) -> Result<Response<Body>, Unserved> {
        let failed = |why| Unserved::Certainly(answers::unanswered(app, why));
        let inbound = match body.receive(app.manifest.max_body_size, asked.watch.series()).await {
            Ok(inbound) => inbound,
            Err(why) => return Err(failed(Unanswered::Failed(why.into()))),
        };
        let outgoing = Outgoing {
            app,
            head: &asked.head,
            path: way.path,
            mount: way.mount,
            base: way.base,
            origin: &asked.origin,
            peer_port: asked.conn.peer_port,
            request_id: &asked.id,
        };
        match forward::forward(&self.pool, &outgoing, inbound, is_meant).await {
            Ok(response) => {
                if let Body::Stream(_) = response.body() {
                    asked.conn.limit_stall(app.manifest.stream_timeout);
                }
                Ok(response)
            }
            Err(Unanswered::Refused(Refused { why: Refusal::Gone, .. })) => Err(Unserved::Gone),
            Err(why @ Unanswered::Refused(_)) => Err(Unserved::Perhaps(answers::unanswered(app, why))),
            Err(why @ Unanswered::Failed(_)) => Err(failed(why)),
        }
    }

    /// Answers from the directory of a static app.
    async fn read(
        &self,
        asked: &Asked<'_>,
        app: &Arc<App>,
        mount: &str,
        path: &str,
    ) -> Result<Response<Body>, Problem> {
        let root = self.kept.root(app).map_err(|error| match Shortage::of(&error) {
            Some(shortage) => files::short(&error, shortage),
            None => Problem::new(Code::AppUnavailable).detail(format!("{}: {error}", app.dir.display())),
        })?;
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let request = files::FileRequest {
            method: &asked.head.method,
            path,
            query,
            headers: &asked.head.headers,
            mount,
            rewritten: app.manifest.inject_base || self.live.is_some(),
        };
        files::serve(&root, request).await
    }

    /// What a request means now.
    fn again(
        &self,
        meant: &Meant<'_>,
        mount: &str,
        asked: &Asked<'_>,
        earlier: Option<&Place>,
    ) -> Result<(Arc<App>, Option<Place>), Problem> {
        let who = asked.who();
        match meant {
            Meant::Path => {
                let target = if mount.is_empty() { "/" } else { mount };
                let found = self.find(target, who, earlier)?;
                found.map(|found| (found.app, found.place)).ok_or_else(|| Problem::new(Code::UnknownApp))
            }
            Meant::Route(app) => self.find_app(app, who, earlier),
            // It gives way only with its plugin, to those who ask from then on.
            Meant::Plugin(app) => Ok((Arc::clone(app), None)),
        }
    }
}

impl Arriving {
    /// The body, with what of it has arrived. None = it is empty.
    async fn receive(
        &mut self,
        limit: u64,
        series: &Arc<Series>,
    ) -> Result<&mut Option<Inbound>, RequestBody> {
        if let Arriving::Unread(_) = self
            && let Arriving::Unread(body) = std::mem::replace(self, Arriving::Read(None))
        {
            *self = Arriving::Read(Inbound::receive(body, limit, series).await?);
        }
        match self {
            Arriving::Read(inbound) => Ok(inbound),
            Arriving::Unread(_) => Err(RequestBody::Broken), // it was read just now
        }
    }
}

/// Refuses what a page of another site has a browser send, as far as the app wants that.
fn guard(asked: &Asked<'_>, app: &App) -> Result<(), Problem> {
    let is_forged = |guard| csrf::is_forged(guard, &asked.head.method, &asked.head.headers, &asked.origin);
    match wanted_guard(app).is_some_and(is_forged) {
        true => Err(Problem::new(Code::CrossSite)),
        false => Ok(()),
    }
}

/// Which requests of an app must come from its own site.
pub(super) fn wanted_guard(app: &App) -> Option<Guard> {
    match app.manifest.csrf {
        None => Some(Guard::Cookies),
        Some(true) => Some(Guard::Browsers),
        Some(false) => None,
    }
}

fn is_navigation(head: &Parts) -> bool {
    matches!(head.method, Method::GET | Method::HEAD)
        && head
            .headers
            .get_all(header::ACCEPT)
            .into_iter()
            .any(|accept| memchr::memmem::find(accept.as_bytes(), b"text/html").is_some())
}
