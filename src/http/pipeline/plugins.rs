//! The way of a request where there are plugins: their phases, their own routes and apps, and their look at the answer.

use super::super::csrf::{self, Guard};
use super::super::forward::Source;
use super::super::problem::{Code, Problem};
use super::super::watch::Watch;
use super::destination::{Destination, Earlier, own_app};
use super::lender::Lender;
use super::{Asked, Site, apps, cleaned, upgrades};
use crate::http::origin::Origin;
use crate::plugin::loaded::OwnApp;
use crate::plugin::{Loaded, Serving, Set, Stopped};
use buntime_plugin::{Body, Fetched, Passed, Phase, Request, Response, Upgrade};
use http::uri::PathAndQuery;
use http::{Method, StatusCode, Uri};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;

/// When to come again where a plugin has failed.
const RETRY: Duration = Duration::from_secs(1);

/// What has come of the phases.
enum Way {
    On(Destination),
    /// They let it pass, and it means nothing that is there.
    Nowhere(Problem),
    Answered(Response),
}

/// A request's head, while a plugin has it.
struct Shown {
    head: http::request::Parts,
    target: buntime_plugin::Target,
    canonical: Option<Box<str>>,
}

impl Site {
    pub(super) async fn pass(
        &self,
        plugins: &Arc<Serving>,
        asked: &mut Asked<'_>,
        uri: Uri,
        body: Incoming,
    ) -> Result<Response, Problem> {
        cleaned::check_path(uri.path())?;
        let mut head = std::mem::replace(&mut asked.head, blank());
        head.uri = uri;
        let upgrade = upgrades::take(&mut head);
        let foreign = upgrade.is_some() && csrf::is_foreign_upgrade(&head.headers, &asked.origin);
        let upgrade_offered = upgrade.is_some();
        // To be offered to whoever may answer, and to no hook before.
        let offer =
            upgrade.filter(|_| !foreign).map(|upgrade| upgrades::offer(upgrade, &asked.conn, plugins));
        cleaned::clean_headers(&mut head.headers, upgrade_offered);
        let mut request = as_request(head, asked);
        let mut lender = Lender::new(Source::Client(body), self.rules.load().max_body_size);
        let passed = self.phases(plugins, &mut request, &mut lender, &asked.origin, asked.watch).await;
        let passed = match passed {
            Ok(passed @ (Way::On(_) | Way::Nowhere(_))) if plugins.has_fetchers() => {
                request.lend_body(|| lender.lend());
                // For those who look at the answer, and for the page of an error.
                let shown = Shown::of(&request);
                request.offer_upgrade(offer);
                match plugins.fetch(request).await {
                    Ok(Fetched::Answer(response)) => {
                        request = shown.into_request(asked);
                        Ok(Way::Answered(response))
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
        // An app leaves the head where it is, and only those who look at the answer want it as it was before.
        let is_apps = matches!(passed, Ok(Way::On(Destination::App(_))));
        let shown = (plugins.wants_responses() || !is_apps).then(|| Shown::of(&request));
        let response = match passed {
            Ok(Way::Answered(response)) => lender.refusal().map_or_else(|| plain(response), Err),
            Ok(Way::On(Destination::Plugin(plugin, base))) => {
                request.lend_body(|| lender.lend());
                let answer = self.route_to(asked, &plugin, base, request, foreign).await;
                lender.refusal().map_or(answer, Err)
            }
            Ok(Way::On(Destination::App(target))) => {
                let (head, _, body) = request.into_parts();
                asked.head = head;
                self.serve(asked, *target, lender.rest(body)).await
            }
            Ok(Way::On(Destination::Landing)) => self.landing(request.method(), asked.is_trusted),
            Ok(Way::Nowhere(problem)) => Err(problem),
            Err(problem) => Err(lender.refusal().unwrap_or(problem)),
        };
        match shown {
            Some(shown) => self.show(plugins, asked, shown, response).await,
            None => response,
        }
    }

    /// Shows an answer of an app or a plugin to those who want to see it; leaves the request's head where it was.
    async fn show(
        &self,
        plugins: &Set,
        asked: &mut Asked<'_>,
        shown: Shown,
        response: Result<Response, Problem>,
    ) -> Result<Response, Problem> {
        let shows = plugins.wants_responses();
        let request = shown.into_request(asked);
        let response = match response {
            // A plugin's refusal is its answer.
            Err(problem) if shows && problem.is_plugins() => {
                Ok(self.with_news(problem, asked.is_trusted).respond(
                    request.method(),
                    request.headers().get(http::header::ACCEPT),
                    asked.id.to_str().unwrap_or_default(),
                    self.shows_inside(asked.is_trusted),
                ))
            }
            response => response,
        };
        let response = match response {
            Ok(response) if shows => plain(plugins.respond(response, &request).await),
            response => response,
        };
        asked.head = request.into_parts().0;
        response
    }

    /// Takes a request through all phases.
    async fn phases(
        &self,
        plugins: &Set,
        request: &mut Request,
        lender: &mut Lender,
        origin: &Origin,
        watch: &mut Watch,
    ) -> Result<Way, Problem> {
        let mut lend = || lender.lend();
        let mut moved = false;
        if plugins.wants(Phase::Resolve) {
            let passed = plugins.pass(Phase::Resolve, request, &mut lend, &mut |_| moved = true).await;
            if let Some(response) = passed.map_err(problem)? {
                return Ok(Way::Answered(response));
            }
        }
        let mut destination = self.destination(plugins, request, moved.then_some(Earlier { place: None }));
        self.count_for(&destination, watch);
        check_site(&destination, request, origin)?;
        for phase in &Phase::ALL[1..] {
            if !plugins.wants(*phase) {
                continue;
            }
            let mut find_again = |request: &mut Request| {
                let earlier = Earlier { place: destination.as_ref().ok().and_then(Destination::place) };
                let found = self.destination(plugins, request, Some(earlier));
                destination = found;
            };
            let passed = plugins.pass(*phase, request, &mut lend, &mut find_again).await;
            if let Some(response) = passed.map_err(problem)? {
                return Ok(Way::Answered(response));
            }
        }
        self.count_for(&destination, watch);
        Ok(destination.map_or_else(Way::Nowhere, Way::On))
    }

    /// A request counts for the app that it means, also where a plugin answers it.
    fn count_for(&self, destination: &Result<Destination, Problem>, watch: &mut Watch) {
        if let Ok(Destination::App(target)) = destination {
            watch.counts_for(self.kept.series(&target.app));
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
        if foreign || csrf::is_forged(Guard::Browsers, request.method(), request.headers(), &asked.origin) {
            return Err(Problem::new(Code::CrossSite));
        }
        let uri = request.uri().clone();
        let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let (base, rest) = target.split_at(base);
        let inside = if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") };
        let inside = PathAndQuery::try_from(inside).map_err(|_| Problem::new(Code::InvalidPath))?;
        let (method, headers) = (request.method().clone(), request.headers().clone());
        request.set_path_and_query(inside);
        let mut answer = match plugin.hooks.routes {
            true => Set::route(plugin, request).await.map_err(problem)?,
            false => request.not_found(),
        };
        let Some(OwnApp { app, .. }) =
            plugin.app.as_ref().filter(|_| answer.status() == StatusCode::NOT_FOUND)
        else {
            return plain(answer);
        };
        // What its routes do not have its app may. A body has come back with the request, or there was none to be read.
        let body = match Passed::take(&mut answer) {
            Some(mut request) => request.take_body(),
            None if matches!(method, Method::GET | Method::HEAD) => Body::Empty,
            None => return plain(answer),
        };
        (asked.head.method, asked.head.headers) = (method, headers);
        self.serve(asked, own_app(app, base, rest), Source::Plugin(body)).await
    }
}

impl Shown {
    fn of(request: &Request) -> Shown {
        let mut head = blank();
        head.method = request.method().clone();
        head.uri = request.uri().clone();
        head.headers = request.headers().clone();
        head.extensions = request.extensions().clone();
        let canonical = request.canonical_path().map(Into::into);
        Shown { head, target: request.target().clone(), canonical }
    }

    fn into_request(self, asked: &Asked<'_>) -> Request {
        let mut request = as_request(self.head, asked);
        request.set_target(self.target, self.canonical);
        request
    }
}

fn blank() -> http::request::Parts {
    http::Request::new(()).into_parts().0
}

fn as_request(head: http::request::Parts, asked: &Asked<'_>) -> Request {
    let mut request = Request::from_parts(head, asked.origin.host.clone(), asked.id.clone(), None);
    request.client = asked.origin.client;
    request.https = asked.origin.https;
    request
}

/// Refuses what a page of another site has a browser send, before any plugin may answer it.
fn check_site(
    destination: &Result<Destination, Problem>,
    request: &Request,
    origin: &Origin,
) -> Result<(), Problem> {
    let guard = match destination {
        Ok(Destination::App(target)) => apps::wanted_guard(&target.app),
        // Its routes are asked with a guard of their own.
        Ok(Destination::Plugin(..)) => None,
        Ok(Destination::Landing) | Err(_) => Some(Guard::Cookies),
    };
    match guard.is_some_and(|guard| csrf::is_forged(guard, request.method(), request.headers(), origin)) {
        true => Err(Problem::new(Code::CrossSite)),
        false => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_that_takes_no_connection_is_a_failure() {
        for (status, passes) in [(101, false), (103, false), (200, true)] {
            let mut response = Response::new(Body::Empty);
            *response.status_mut() = StatusCode::from_u16(status).unwrap();
            assert_eq!(plain(response).is_ok(), passes, "{status}");
        }
    }
}
