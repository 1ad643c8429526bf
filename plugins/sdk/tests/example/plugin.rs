//! Lets each client send only so many requests in a while.

use buntime_plugin::http::{HeaderName, HeaderValue, StatusCode};
use buntime_plugin::{
    Body, BoxFuture, Context, Filter, Flow, Hooks, Native, Outcome, Phase, Plugin, Problem, Request,
    Response, Result, Router, Service, settings,
};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

pub static NATIVE: Native = Native {
    manifest: include_str!("manifest.yaml"),
    // From outside it never arrives, so apps can believe it.
    owned_headers: &["x-quota-left"],
    make: |context| Ok(Arc::new(Quota::new(context)?)),
};

/// As the manifest's `config` has them, defaults filled in.
#[derive(serde::Deserialize)]
struct Settings {
    requests: u32,
    #[serde(with = "settings::millis")]
    window: Duration,
}

/// What other plugins may ask, by its type.
pub trait Quotas: Send + Sync {
    fn left(&self, client: IpAddr) -> u32;
}

pub struct Quota {
    shared: Arc<Shared>,
    routes: Router<Shared>,
}

struct Shared {
    settings: Settings,
    context: Arc<Context>,
    /// Kept over reloads: else whoever is at the limit waits for one.
    seen: Arc<Mutex<HashMap<IpAddr, Window>>>,
}

struct Window {
    since: Instant,
    requests: u32,
}

impl Quota {
    fn new(context: &Arc<Context>) -> Result<Quota> {
        let shared = Arc::new(Shared {
            settings: context.settings().read()?,
            context: Arc::clone(context),
            seen: context.keep(Mutex::default),
        });
        Ok(Quota { shared, routes: Router::new().get("/clients", clients) })
    }
}

impl Plugin for Quota {
    /// Nothing but what a filter lets through costs anything.
    fn hooks(&self) -> Hooks {
        Hooks::new().request(Phase::Limit, Filter::all()).routes()
    }

    fn on_init(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            let quotas = Arc::clone(&self.shared) as Arc<dyn Quotas>;
            self.shared
                .context
                .provide("quotas", Service::typed(quotas))
                .map_err(|error| buntime_plugin::Error::new("the service cannot be provided").because(error))
        })
    }

    fn on_request<'a>(&'a self, _: Phase, request: &'a mut Request) -> Outcome<'a, Flow> {
        // Whoever is not known is not counted.
        let Some(client) = request.client else { return Outcome::CONTINUE };
        // Nothing to wait for, so nothing is allocated.
        Outcome::ready(match self.shared.take(client) {
            Ok(left) => {
                request
                    .headers_mut()
                    .insert(HeaderName::from_static("x-quota-left"), HeaderValue::from(left));
                Flow::Continue
            }
            Err(after) => Problem::new(StatusCode::TOO_MANY_REQUESTS, "quota_used_up")
                .detail("You have sent too many requests.")
                .retry_after(after)
                .into(),
        })
    }

    fn route(&self, request: Request) -> BoxFuture<'_, Result<Response>> {
        Box::pin(self.routes.answer(Arc::clone(&self.shared), request))
    }
}

impl Shared {
    /// How many are left after this one; or how long it is until there are some again.
    fn take(&self, client: IpAddr) -> Result<u32, Duration> {
        let Settings { requests, window } = self.settings;
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |of: &Window| now.duration_since(of.since) >= window;
        // Everything is bounded.
        if seen.len() >= 10_000 {
            seen.retain(|_, of| !is_over(of));
        }
        let own = seen.entry(client).or_insert(Window { since: now, requests: 0 });
        if is_over(own) {
            *own = Window { since: now, requests: 0 };
        }
        match own.requests < requests {
            true => {
                own.requests += 1;
                Ok(requests - own.requests)
            }
            false => Err(window.saturating_sub(now.duration_since(own.since))),
        }
    }
}

impl Quotas for Shared {
    fn left(&self, client: IpAddr) -> u32 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let used = seen.get(&client).map_or(0, |own| own.requests);
        self.settings.requests.saturating_sub(used)
    }
}

/// `GET /quota/clients`: how many are counted, for whoever may see workers.
async fn clients(shared: Arc<Shared>, request: Request, _: buntime_plugin::Params) -> Result<Response> {
    let caller = match shared.context.core().access().identify(&request).await {
        Ok(caller) => caller,
        Err(problem) => return Ok(request.refuse(problem)),
    };
    if let Err(problem) = caller.may("workers:read", None) {
        return Ok(request.refuse(problem));
    }
    let count = shared.seen.lock().unwrap_or_else(PoisonError::into_inner).len();
    Ok(Response::new(Body::from(format!("{count} clients\n"))))
}
