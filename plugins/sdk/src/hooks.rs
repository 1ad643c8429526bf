//! Which hooks a plugin has.

use crate::Filter;
use std::fmt;
use std::str::FromStr;

/// Where on the way of a request a hook stands. In their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// Host and path → app or upstream. No side effect; can answer only to refuse or to redirect.
    Resolve,
    /// Answers that need no identity.
    Preflight,
    /// Who is it?
    Identify,
    /// How much may they?
    Limit,
    /// May they?
    Permit,
    /// Answers: a cache, a shell, a proxy.
    Serve,
}

impl Phase {
    pub const ALL: [Phase; 6] =
        [Phase::Resolve, Phase::Preflight, Phase::Identify, Phase::Limit, Phase::Permit, Phase::Serve];

    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Resolve => "resolve",
            Phase::Preflight => "preflight",
            Phase::Identify => "identify",
            Phase::Limit => "limit",
            Phase::Permit => "permit",
            Phase::Serve => "serve",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error is what was given.
impl FromStr for Phase {
    type Err = String;

    fn from_str(text: &str) -> Result<Phase, String> {
        Phase::ALL.into_iter().find(|phase| phase.as_str() == text).ok_or_else(|| text.to_owned())
    }
}

/// The hooks of a plugin, each with its filter. Asked for once, when the plugin is loaded.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    pub request: Vec<RequestHook>,
    pub response: Option<Filter>,
    /// `fetch`: answers before the plugins' routes, wherever they are mounted.
    pub fetch: Option<Filter>,
    /// Has routes at the manifest's `base`.
    pub routes: bool,
    /// Wants to hear of workers that come and go.
    pub workers: bool,
}

/// One phase in which a plugin sees requests.
#[derive(Clone, Debug)]
pub struct RequestHook {
    pub phase: Phase,
    pub filter: Filter,
    /// The hook reads the request's body: it gets it, and what it leaves in [`Request::body`](crate::Request::body) goes on. Without this
    /// a hook runs as soon as the head is there.
    pub body: bool,
}

impl Hooks {
    pub fn new() -> Hooks {
        Hooks::default()
    }

    /// `on_request` in a phase. One for each phase; the last one counts.
    pub fn request(mut self, phase: Phase, filter: Filter) -> Hooks {
        self.request.retain(|hook| hook.phase != phase);
        self.request.push(RequestHook { phase, filter, body: false });
        self
    }

    /// `on_request` in a phase, with the body.
    pub fn request_with_body(mut self, phase: Phase, filter: Filter) -> Hooks {
        self = self.request(phase, filter);
        if let Some(hook) = self.request.last_mut() {
            hook.body = true;
        }
        self
    }

    pub fn response(mut self, filter: Filter) -> Hooks {
        self.response = Some(filter);
        self
    }

    pub fn fetch(mut self, filter: Filter) -> Hooks {
        self.fetch = Some(filter);
        self
    }

    pub fn routes(mut self) -> Hooks {
        self.routes = true;
        self
    }

    pub fn workers(mut self) -> Hooks {
        self.workers = true;
        self
    }
}
