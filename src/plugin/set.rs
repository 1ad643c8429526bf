//! One set of plugins, in their order, and the way of a request through it. Immutable: a reload makes another set.

use super::lent::Claim;
use super::loaded::{HookError, Loaded, ON_REQUEST, ON_RESPONSE};
use buntime_plugin::{
    Body, Error, Fetched, Filter, Flow, Outcome, Phase, Problem, Request, RequestHook, Response, WorkerEvent,
};
use http::StatusCode;
use std::sync::Arc;

/// The plugins that serve.
#[derive(Debug, Default)]
pub struct Set {
    /// In the order of their dependencies.
    plugins: Vec<Arc<Loaded>>,
    /// By phase.
    hooks: [Vec<Hook>; Phase::ALL.len()],
    /// In the reverse order.
    responses: Vec<(Arc<Loaded>, Filter)>,
    fetchers: Vec<(Arc<Loaded>, Filter)>,
    /// The longest base first.
    mounted: Vec<Arc<Loaded>>,
}

#[derive(Debug)]
struct Hook {
    plugin: Arc<Loaded>,
    filter: Filter,
    body: bool,
}

/// A request goes no further.
#[derive(Debug)]
pub enum Stopped {
    Refused(Problem),
    /// A hook failed, and it fails closed.
    Failed(HookError),
}

impl Set {
    /// Of plugins in their order.
    pub fn new(plugins: Vec<Arc<Loaded>>) -> Set {
        let mut set = Set::default();
        for plugin in &plugins {
            for RequestHook { phase, filter, body } in plugin.hooks.request.iter().cloned() {
                let hook = Hook { plugin: Arc::clone(plugin), filter, body };
                set.hooks[phase as usize].push(hook);
            }
            if let Some(filter) = plugin.hooks.response.clone() {
                set.responses.insert(0, (Arc::clone(plugin), filter));
            }
            if let Some(filter) = plugin.hooks.fetch.clone() {
                set.fetchers.push((Arc::clone(plugin), filter));
            }
            if plugin.base.is_some() && (plugin.hooks.routes || plugin.app.is_some()) {
                set.mounted.push(Arc::clone(plugin));
            }
        }
        set.mounted.sort_by_key(|plugin| std::cmp::Reverse(plugin.base.as_deref().map_or(0, str::len)));
        Set { plugins, ..set }
    }

    pub fn plugins(&self) -> &[Arc<Loaded>] {
        &self.plugins
    }

    pub fn find(&self, name: &str) -> Option<&Arc<Loaded>> {
        self.plugins.iter().find(|plugin| *plugin.name == *name)
    }

    /// Whether a request passes it as if it were not there.
    pub fn is_idle(&self) -> bool {
        self.mounted.is_empty() && !self.watches()
    }

    /// Whether it may see requests that are not for its plugins' own bases.
    pub fn watches(&self) -> bool {
        !self.fetchers.is_empty()
            || !self.responses.is_empty()
            || self.hooks.iter().any(|hooks| !hooks.is_empty())
    }

    /// Whether there are hooks in a phase.
    pub fn wants(&self, phase: Phase) -> bool {
        !self.hooks[phase as usize].is_empty()
    }

    pub fn wants_responses(&self) -> bool {
        !self.responses.is_empty()
    }

    /// Takes a request through one phase. `lend` gives its body to the first hook that reads it; `moved` is told of a request that a
    /// hook has sent to another path, before the next one sees it. Some = this is the answer.
    ///
    /// # Errors
    /// It was refused, or a hook failed. One that fails open is a failure as well where it has read more of the body than is
    /// kept of it: without its body the request would be another.
    pub async fn pass(
        &self,
        phase: Phase,
        request: &mut Request,
        lend: &mut (dyn FnMut() -> Body + Send),
        moved: &mut (dyn FnMut(&mut Request) + Send),
    ) -> Result<Option<Response>, Stopped> {
        for Hook { plugin, filter, body } in &self.hooks[phase as usize] {
            if !filter.takes(request) {
                continue;
            }
            let (mut kept, mut claim) = (None, None);
            if *body {
                request.lend_body(&mut *lend);
                claim = request.body().map(Claim::on);
            } else {
                kept = request.withdraw_body();
            }
            let flow = plugin.call(ON_REQUEST, |plugin| plugin.on_request(phase, request)).await;
            request.return_body(kept);
            if request.has_moved() {
                moved(request);
            }
            let flow = match flow {
                Ok(Flow::Respond(response)) if phase == Phase::Resolve && response.status().is_success() => {
                    let error = Error::new("in the phase `resolve` a hook can only redirect or refuse");
                    Err(HookError {
                        plugin: Arc::clone(&plugin.name),
                        hook: ON_REQUEST,
                        why: super::loaded::Why::Failed(error),
                    })
                }
                flow => flow,
            };
            match flow {
                Ok(Flow::Continue) => {}
                Ok(Flow::Respond(response)) => return Ok(Some(response)),
                Ok(Flow::Refuse(problem)) => return Err(Stopped::Refused(problem)),
                Err(error) if plugin.rules.fail_open => {
                    if let Some(claim) = claim {
                        match claim.back() {
                            Some(body) => request.restore_body(body),
                            None => {
                                plugin.complain(
                                    &error,
                                    "a hook failed and has read the body; the request was refused although it fails open",
                                );
                                return Err(Stopped::Failed(error));
                            }
                        }
                    }
                    plugin.complain(&error, "a hook failed; the request went on, since it fails open");
                }
                Err(error) => {
                    plugin.complain(&error, "a hook failed; the request was refused");
                    return Err(Stopped::Failed(error));
                }
            }
        }
        Ok(None)
    }

    /// Whether somebody may answer before all routes.
    pub fn has_fetchers(&self) -> bool {
        !self.fetchers.is_empty()
    }

    /// Offers a request to those who answer before all routes.
    ///
    /// # Errors
    /// One of them failed: that is the answer, since it may have begun to do what was asked.
    pub async fn fetch(&self, mut request: Request) -> Result<Fetched, Stopped> {
        for (plugin, filter) in &self.fetchers {
            if !filter.takes(&request) {
                continue;
            }
            let limit = super::ANSWER_LIMIT;
            let fetched =
                plugin.call_within("fetch", limit, |plugin| Outcome::Later(plugin.fetch(request))).await;
            match fetched {
                Ok(Fetched::Pass(back)) => request = *back,
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    plugin.complain(&error, "a plugin did not answer");
                    return Err(Stopped::Failed(error));
                }
            }
        }
        Ok(Fetched::Pass(Box::new(request)))
    }

    /// Who is mounted at a path, and where its base ends. A base of `/` alone is not among them: see [`Set::at_root`].
    pub fn mounted(&self, path: &str) -> Option<(&Arc<Loaded>, usize)> {
        self.mounted.iter().find_map(|plugin| {
            let base = plugin.base.as_deref().filter(|base| *base != "/")?;
            let rest = path.strip_prefix(base)?;
            let ends = rest.is_empty() || rest.starts_with(['/', '?']);
            ends.then_some((plugin, base.len()))
        })
    }

    /// What has the base `/`: asked where no app has the path.
    pub fn at_root(&self) -> Option<&Arc<Loaded>> {
        self.mounted.iter().find(|plugin| plugin.base.as_deref() == Some("/"))
    }

    /// First path segments that belong to plugins.
    pub fn bases(&self) -> impl Iterator<Item = &str> {
        self.mounted.iter().filter_map(|plugin| plugin.base.as_deref()?.strip_prefix('/'))
    }

    /// A plugin's answer below its base, which is off the path already.
    ///
    /// # Errors
    /// It failed.
    pub async fn route(plugin: &Arc<Loaded>, request: Request) -> Result<Response, Stopped> {
        let limit = super::ANSWER_LIMIT;
        let answer =
            plugin.call_within("routes", limit, |plugin| Outcome::Later(plugin.route(request))).await;
        answer.map_err(|error| {
            plugin.complain(&error, "a plugin did not answer");
            Stopped::Failed(error)
        })
    }

    /// Shows an answer to those who want to see it. One that fails leaves it as it was before, or 502 in its place where too much
    /// of its body is gone for that.
    pub async fn respond(&self, mut response: Response, request: &Request) -> Response {
        for (plugin, filter) in &self.responses {
            if !filter.takes(request) {
                continue;
            }
            let before = (response.status(), response.headers().clone());
            let claim = Claim::on(response.body_mut());
            let done = plugin.call(ON_RESPONSE, |plugin| plugin.on_response(&mut response, request)).await;
            if let Err(error) = done {
                let Some(body) = claim.back() else {
                    plugin
                        .complain(&error, "a hook failed and has read the answer's body; the answer is 502");
                    let problem = Problem::new(StatusCode::BAD_GATEWAY, "plugin_failed");
                    response = problem.detail("A plugin failed while it had the answer's body.").into();
                    continue;
                };
                plugin.complain(&error, "a hook failed; the answer stays as it was");
                (*response.status_mut(), *response.headers_mut()) = before;
                *response.body_mut() = body;
            }
        }
        response
    }

    /// Tells of a worker.
    pub fn tell(&self, event: &WorkerEvent) {
        for plugin in self.plugins.iter().filter(|plugin| plugin.hooks.workers) {
            if let Err(error) = plugin.call_now("onWorker", |plugin| plugin.on_worker(event)) {
                plugin.complain(&error, "a plugin failed to hear of a worker");
            }
        }
    }

    /// What the plugins add to a worker's environment, those first that come first.
    pub fn worker_env(&self, app: &str, version: &str, worker: &str) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = Vec::new();
        for plugin in self.plugins.iter().filter(|plugin| !plugin.worker_env.is_empty()) {
            match plugin.call_now("workerEnv", |plugin| plugin.worker_env(app, version, worker)) {
                Ok(values) => {
                    let declared = values.into_iter().filter(|(name, _)| plugin.worker_env.contains(name));
                    for (name, value) in declared {
                        if !env.iter().any(|(known, _)| *known == name) {
                            env.push((name, value));
                        }
                    }
                }
                Err(error) => plugin.complain(&error, "a plugin gave no variables"),
            }
        }
        env
    }
}
