//! Virtual hosts: which app answers is decided by the host of a request, before every guard.
//!
//! The settings are compiled into one [`table`] when the plugin is made; a request costs a look-up for each label of its host.

mod fault;
mod host;
mod path;
mod pattern;
mod redirect;
mod rule;
mod settings;
mod table;

use crate::host::Authority;
use crate::rule::{Action, Ambiguous, Entry, Rule, TENANT};
use crate::table::{Found, Table};
use buntime_plugin::http::{HeaderName, HeaderValue, StatusCode, header};
use buntime_plugin::{
    Context, Filter, Flow, Hooks, Native, Outcome, Phase, Plugin, Problem, Request, Response, Result, Route,
    name,
};
use std::sync::Arc;
use tokio::time::Instant;

pub static NATIVE: Native = Native {
    manifest: include_str!("../manifest.yaml"),
    owned_headers: &["x-vhost-tenant"],
    make: |context| Ok(Arc::new(Vhosts::new(context)?)),
};

const VHOST_TENANT: HeaderName = HeaderName::from_static("x-vhost-tenant");

struct Vhosts {
    context: Arc<Context>,
    table: Table,
    since: Instant,
}

/// Why nobody answers at a host of the table. Told in full to the log alone.
#[derive(Debug, thiserror::Error)]
enum Nowhere {
    #[error("{0}")]
    NoApp(String),
    #[error("it is redirected to itself")]
    Loop,
}

impl Vhosts {
    fn new(context: &Arc<Context>) -> Result<Vhosts> {
        let hosts = context.settings().value().get("hosts").unwrap_or(&serde_json::Value::Null);
        let table = settings::compile(hosts)?;
        let (plugin, hosts) = (context.name(), table.len());
        tracing::debug!(target: "buntime::plugin", plugin, hosts, "hosts are in the table");
        Ok(Vhosts { context: Arc::clone(context), table, since: Instant::now() })
    }

    fn resolve(&self, request: &mut Request) -> Flow {
        // Another plugin has decided, or it is about the server (`OPTIONS *`).
        if request.route().is_some() || !request.path().starts_with('/') {
            return Flow::Continue;
        }
        let authority = Authority::parse(request.host.as_bytes());
        let name = authority.as_ref().map(|authority| authority.name.as_str());
        let Some(Found { entry, tenant }) = self.table.find(name) else { return Flow::Continue };
        let rule = match entry.choose(request.path()) {
            Ok(Some(rule)) => rule,
            // The host is the table's: what it does not have there is nowhere.
            Ok(None) => return Problem::new(StatusCode::NOT_FOUND, "not_found").into(),
            Err(Ambiguous) => return ambiguous().into(),
        };
        match &rule.action {
            Action::Redirect(redirect) => {
                let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
                // What is no host has no port that could be kept, and leads nowhere.
                let Some(from) = &authority else { return ambiguous_host().into() };
                match redirect.location(request.https, from, target) {
                    Ok(location) => respond(redirect.status, location),
                    Err(redirect::Loop) => self.nowhere(entry, name, &Nowhere::Loop),
                }
            }
            Action::App { request: app, is_template, strips } => {
                let app = match tenant.filter(|_| *is_template) {
                    None => Ok(app.to_string()),
                    Some(tenant) => fill(app, tenant),
                };
                let known = app.and_then(|app| match self.context.core().resolves(&app) {
                    Ok(()) => Ok(app),
                    Err(why) => Err(format!("{app}: {why}")),
                });
                let app = match known {
                    Ok(app) => app,
                    Err(why) => return self.nowhere(entry, name, &Nowhere::NoApp(why)),
                };
                let tenant = tenant.and_then(|tenant| HeaderValue::from_str(tenant).ok());
                request.route_to(route(app, rule, *strips, request));
                if let Some(tenant) = tenant {
                    request.headers_mut().insert(VHOST_TENANT, tenant);
                }
                Flow::Continue
            }
        }
    }

    fn nowhere(&self, entry: &Entry, host: Option<&str>, why: &Nowhere) -> Flow {
        let host = host.unwrap_or("(none)");
        let now = u32::try_from(self.since.elapsed().as_secs()).unwrap_or(u32::MAX);
        if entry.may_log(now) {
            let plugin = self.context.name();
            tracing::warn!(target: "buntime::plugin", plugin, host, "a host leads nowhere: {why}");
        }
        let (code, detail, hint) = match why {
            Nowhere::NoApp(_) => (
                "vhost_app_unknown",
                "has no app that could answer",
                "Deploy the app that its entry names, or change the entry.",
            ),
            Nowhere::Loop => {
                ("vhost_redirect_loop", "is redirected to itself", "Give that host an entry of its own.")
            }
        };
        let problem = Problem::new(StatusCode::BAD_GATEWAY, code);
        problem.detail(format!("The host {host} {detail}.")).hint(hint).into()
    }
}

impl Plugin for Vhosts {
    fn hooks(&self) -> Hooks {
        Hooks::new().request(Phase::Resolve, Filter::all())
    }

    fn on_request<'a>(&'a self, phase: Phase, request: &'a mut Request) -> Outcome<'a, Flow> {
        match phase {
            Phase::Resolve => Outcome::ready(self.resolve(request)),
            _ => Outcome::CONTINUE,
        }
    }
}

/// A version request with the labels of a wildcard in it, which are of the client's making: they must mean nothing but a part of
/// a name.
fn fill(template: &str, tenant: &str) -> Result<String, String> {
    name::check_part(tenant).map_err(|error| format!("{tenant:?}: {error}"))?;
    let app = template.replace(TENANT, tenant);
    settings::check_request(&app)?;
    Ok(app)
}

/// Where a rule sends a request.
fn route(app: String, rule: &Rule, strips: bool, request: &Request) -> Route {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    let prefix = &*rule.prefix;
    // The rule was chosen because the path begins with its prefix.
    let rest = target.get(prefix.len()..).filter(|_| strips);
    let (mount, base) = match (strips, prefix) {
        (true, prefix) => (prefix, "/"),
        (false, "") => ("", "/"),
        (false, prefix) => ("", prefix),
    };
    let path = rest.unwrap_or(target).to_owned();
    Route::App { app, mount: mount.to_owned(), base: base.to_owned(), path }
}

fn respond(status: StatusCode, location: HeaderValue) -> Flow {
    let mut response = Response::default();
    *response.status_mut() = status;
    response.headers_mut().insert(header::LOCATION, location);
    Flow::Respond(response)
}

fn ambiguous() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "ambiguous_path")
        .detail("The path leads to different apps, depending on how it is read.")
        .hint("Send it without dot segments, empty segments, backslashes and needlessly encoded characters.")
}

fn ambiguous_host() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "bad_host")
        .detail("The Host is not a host name with an optional port.")
        .hint("Send one Host header: a name and perhaps a port.")
}
