//! The way of a request where there are plugins: their phases, their own routes and apps, and their look at the answer.

use super::super::csrf::{self, Guard};
use super::super::forward::Source;
use super::super::problem::{Code, Problem};
use super::super::split::Place;
use super::super::watch::Watch;
use super::{Asked, Meant, Site, Target, Who, upgrades};
use crate::plugin::loaded::OwnApp;
use crate::plugin::{Loaded, Serving, Set, Stopped};
use buntime_plugin::{Body, Fetched, Phase, Request, Response, Route, Upgrade};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;

/// Where a request goes, once its phases have let it pass.
enum Destination {
    App(Box<Target<'static>>),
    /// Below the base of a plugin, so many bytes of the path.
    Plugin(Arc<Loaded>, usize),
    Landing,
}

/// What a request meant before a plugin sent it to another path.
#[derive(Clone, Copy)]
struct Earlier<'a> {
    place: Option<&'a Place>,
}

/// When to come again where a plugin has failed.
const RETRY: Duration = Duration::from_secs(1);

impl Site {
    pub(super) async fn pass(
        &self,
        plugins: &Arc<Serving>,
        asked: &mut Asked<'_>,
        uri: Uri,
        body: Incoming,
    ) -> Result<Response, Problem> {
        let blank = http::Request::new(()).into_parts().0;
        let mut head = std::mem::replace(&mut asked.head, blank);
        head.uri = uri;
        let upgrade = upgrades::take(&mut head);
        let foreign = upgrade.is_some() && csrf::is_foreign_upgrade(&head.headers, &asked.origin);
        // To be offered to whoever may answer, and to no hook before.
        let offer =
            upgrade.filter(|_| !foreign).map(|upgrade| upgrades::offer(upgrade, &asked.conn, plugins));
        let mut request = Request::from_parts(head, asked.origin.host.clone(), asked.id.clone(), None);
        request.client = asked.origin.client;
        request.https = asked.origin.https;
        let mut source = Some(Source::Client(body));
        let passed = self.phases(plugins, &mut request, &mut source, asked.watch).await;
        let passed = match passed {
            Ok(passed @ (Passed::On(_) | Passed::Nowhere(_))) if plugins.has_fetchers() => {
                request.lend_body(|| lent(&mut source));
                // For those who look at the answer, and for the page of an error.
                let shown = Shown::of(&request);
                request.offer_upgrade(offer);
                match plugins.fetch(request).await {
                    Ok(Fetched::Answer(response)) => {
                        request = shown.into_request(asked);
                        Ok(Passed::Answered(response))
                    }
                    Ok(Fetched::Pass(back)) => {
                        request = *back;
                        Ok(passed)
                    }
                    Err(stopped) => {
                        request = shown.into_request(asked);
                        Err(problem(stopped))
                    }
                }
            }
            passed => {
                request.offer_upgrade(offer);
                passed
            }
        };
        let (target, info) = (request.target().clone(), (request.client, request.https));
        let response = match passed {
            Ok(Passed::Answered(response)) => {
                asked.head = request.into_parts().0;
                plain(response)
            }
            Ok(Passed::On(Destination::Plugin(plugin, base))) => {
                request.lend_body(|| lent(&mut source));
                self.route_to(asked, &plugin, base, request, foreign).await
            }
            Ok(Passed::On(Destination::App(target))) => {
                let (head, _, body) = request.into_parts();
                asked.head = head;
                let source = body.map(Source::Plugin).or(source);
                self.serve(asked, *target, source.unwrap_or(Source::Plugin(Body::Empty))).await
            }
            Ok(Passed::On(Destination::Landing)) => {
                asked.head = request.into_parts().0;
                self.landing(&asked.head.method)
            }
            Ok(Passed::Nowhere(problem)) | Err(problem) => {
                asked.head = request.into_parts().0;
                Err(problem)
            }
        };
        match response {
            Ok(response) if plugins.wants_responses() => {
                let blank = http::Request::new(()).into_parts().0;
                let head = std::mem::replace(&mut asked.head, blank);
                let mut request =
                    Request::from_parts(head, asked.origin.host.clone(), asked.id.clone(), None);
                (request.client, request.https) = info;
                request.set_target(target);
                let response = plugins.respond(response, &request).await;
                asked.head = request.into_parts().0;
                plain(response)
            }
            response => response,
        }
    }

    /// Takes a request through all phases. `source` is its body until a hook takes it.
    async fn phases(
        &self,
        plugins: &Set,
        request: &mut Request,
        source: &mut Option<Source>,
        watch: &mut Watch,
    ) -> Result<Passed, Problem> {
        let mut lend = || lent(source);
        if plugins.wants(Phase::Resolve)
            && let Some(response) = plugins.pass(Phase::Resolve, request, &mut lend).await.map_err(problem)?
        {
            return Ok(Passed::Answered(response));
        }
        let mut destination = self.destination(plugins, request, None);
        self.count_for(&destination, watch);
        for phase in &Phase::ALL[1..] {
            if !plugins.wants(*phase) {
                continue;
            }
            if let Some(response) = plugins.pass(*phase, request, &mut lend).await.map_err(problem)? {
                return Ok(Passed::Answered(response));
            }
            if request.has_moved() {
                let place = match &destination {
                    Ok(Destination::App(target)) => target.place.as_ref(),
                    _ => None,
                };
                destination = self.destination(plugins, request, Some(Earlier { place }));
                self.count_for(&destination, watch);
            }
        }
        Ok(destination.map_or_else(Passed::Nowhere, Passed::On))
    }

    /// A request counts for the app that it means, also where a plugin answers it.
    fn count_for(&self, destination: &Result<Destination, Problem>, watch: &mut Watch) {
        if let Ok(Destination::App(target)) = destination {
            watch.counts_for(self.kept.series(&target.app));
        }
    }

    /// What a request means, which those who come later in its phases are told.
    fn destination(
        &self,
        plugins: &Set,
        request: &mut Request,
        earlier: Option<Earlier<'_>>,
    ) -> Result<Destination, Problem> {
        use buntime_plugin::Target as Told;
        let found = self.find_destination(plugins, request, earlier);
        request.set_target(match &found {
            Ok(Destination::App(target)) => Told::App(self.kept.info(&target.app)),
            Ok(Destination::Plugin(plugin, _)) => Told::Plugin(Arc::clone(&plugin.name)),
            Ok(Destination::Landing) | Err(_) => Told::Nothing,
        });
        found
    }

    fn find_destination(
        &self,
        plugins: &Set,
        request: &Request,
        before: Option<Earlier<'_>>,
    ) -> Result<Destination, Problem> {
        let earlier = before.and_then(|before| before.place);
        let who = Who { headers: request.headers(), client: request.client };
        match request.route() {
            Some(Route::App { app, mount, base, path }) => {
                let (found, place) = self.find_app(app, who, earlier).map_err(|problem| astray(&problem))?;
                // A plugin that came later may have sent it to another path of the same app.
                let moved = request.uri().path_and_query().filter(|_| before.is_some());
                let moved = moved.and_then(|path| path.as_str().strip_prefix(&**mount));
                return Ok(Destination::App(Box::new(Target {
                    app: found,
                    place,
                    mount: mount.clone().into(),
                    base: Some(base.clone().into()),
                    rest: moved.unwrap_or(path).to_owned().into(),
                    meant: Meant::Route(app.clone().into()),
                })));
            }
            Some(_) => return Err(Problem::new(Code::NotFound)),
            None => {}
        }
        let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        if let Some((plugin, end)) = plugins.mounted(target) {
            return Ok(mounted(plugin, target, end));
        }
        let found = self.find(target, who, earlier);
        match found {
            Ok(Some(found)) => Ok(Destination::App(Box::new(found.into_owned()))),
            Ok(None) => Ok(plugins.at_root().map_or(Destination::Landing, |root| mounted(root, target, 0))),
            Err(problem) if problem.is_nothing_there() => match plugins.at_root() {
                Some(root) => Ok(mounted(root, target, 0)),
                None => Err(problem),
            },
            Err(problem) => Err(problem),
        }
    }

    /// Has a plugin's routes answer, or its app where they have no such path.
    async fn route_to(
        &self,
        asked: &mut Asked<'_>,
        plugin: &Arc<Loaded>,
        base: usize,
        mut request: Request,
        foreign: bool,
    ) -> Result<Response, Problem> {
        let uri = request.uri().clone();
        let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let forged =
            foreign || csrf::is_forged(Guard::Browsers, request.method(), request.headers(), &asked.origin);
        let rest = &target[base..];
        let inside = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        let inside = PathAndQuery::try_from(inside).map_err(|_| Problem::new(Code::InvalidPath))?;
        // An app may still be asked, and the page of an error needs the head.
        let (method, headers) = (request.method().clone(), request.headers().clone());
        let restore = |asked: &mut Asked<'_>| {
            asked.head.method = method.clone();
            asked.head.headers = headers.clone();
            asked.head.uri = uri.clone();
        };
        if forged {
            restore(asked);
            return Err(Problem::new(Code::CrossSite));
        }
        request.set_path_and_query(inside);
        let answer = match plugin.hooks.routes {
            true => Set::route(plugin, request).await.map_err(problem),
            false => Ok(request.not_found()),
        };
        restore(asked);
        let answer = answer?;
        let is_read = matches!(method, Method::GET | Method::HEAD);
        match &plugin.app {
            Some(OwnApp { app, .. }) if answer.status() == StatusCode::NOT_FOUND && is_read => {
                let target = Target {
                    app: Arc::clone(app),
                    place: None,
                    mount: target[..base].into(),
                    base: None,
                    rest: rest.into(),
                    meant: Meant::Plugin(Arc::clone(app)),
                };
                self.serve(asked, target, Source::Plugin(Body::Empty)).await
            }
            _ => plain(answer),
        }
    }
}

/// What has come of the phases.
enum Passed {
    On(Destination),
    /// They let it pass, and it means nothing that is there.
    Nowhere(Problem),
    Answered(Response),
}

/// A request's head, while a plugin has it.
struct Shown {
    head: http::request::Parts,
    target: buntime_plugin::Target,
    client: Option<std::net::IpAddr>,
    https: bool,
}

impl Shown {
    fn of(request: &Request) -> Shown {
        let mut head = http::Request::new(()).into_parts().0;
        head.method = request.method().clone();
        head.uri = request.uri().clone();
        head.headers = request.headers().clone();
        Shown { head, target: request.target().clone(), client: request.client, https: request.https }
    }

    fn into_request(self, asked: &Asked) -> Request {
        let mut request = Request::from_parts(self.head, asked.origin.host.clone(), asked.id.clone(), None);
        (request.client, request.https) = (self.client, self.https);
        request.set_target(self.target);
        request
    }
}

/// A plugin's app alone is an app like any other, which takes bodies too; routes come first where there are some.
fn mounted(plugin: &Arc<Loaded>, target: &str, base: usize) -> Destination {
    match &plugin.app {
        Some(OwnApp { app, .. }) if !plugin.hooks.routes => Destination::App(Box::new(Target {
            app: Arc::clone(app),
            place: None,
            mount: target[..base].to_owned().into(),
            base: None,
            rest: target[base..].to_owned().into(),
            meant: Meant::Plugin(Arc::clone(app)),
        })),
        _ => Destination::Plugin(Arc::clone(plugin), base),
    }
}

/// A plugin has sent the request to what is not there: that is no fault of the client's.
fn astray(problem: &Problem) -> Problem {
    let detail = problem.words().to_owned();
    Problem::new(Code::UnknownTarget).detail(detail)
}

fn lent(source: &mut Option<Source>) -> Body {
    source.take().map(Source::into_body).unwrap_or_default()
}

/// An answer, or the problem that it stands for.
fn plain(mut response: Response) -> Result<Response, Problem> {
    match response.extensions_mut().remove::<buntime_plugin::Problem>() {
        Some(problem) => Err(problem.into()),
        // It has not taken the connection, and the client would wait for a protocol that nobody speaks.
        None if response.status().is_informational() && !Upgrade::is_taken_by(&response) => {
            let detail =
                "The answer has a status that only a connection which changes its protocol can have.";
            Err(Problem::new(Code::PluginFailed).detail(detail))
        }
        None => Ok(response),
    }
}

fn problem(stopped: Stopped) -> Problem {
    match stopped {
        Stopped::Refused(problem) => problem.into(),
        Stopped::Failed(error) => {
            Problem::new(Code::PluginFailed).detail(error.to_string()).retry_after(RETRY)
        }
    }
}
