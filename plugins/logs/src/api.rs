//! The routes below the plugin's base.

use crate::collect::{Kept, Owner};
use crate::follow::{self, From, Opening};
use crate::query::{Query, Scope};
use crate::store::FOLLOWERS;
use crate::{Settings, find, ingest, stats};
use buntime_plugin::answer::{answered, event_stream, json};
use buntime_plugin::http::{HeaderName, Method, StatusCode};
use buntime_plugin::{Body, Caller, Context, Params, Problem, Request, Response, Result, Router};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What the routes work with.
pub struct Api {
    context: Arc<Context>,
    settings: Settings,
    kept: Arc<Kept>,
    ending: watch::Sender<Option<u64>>,
    owner: Mutex<Option<Owner>>,
}

impl Api {
    pub fn new(context: Arc<Context>, settings: Settings, kept: Arc<Kept>) -> Api {
        Api { context, settings, kept, ending: watch::Sender::new(None), owner: Mutex::default() }
    }

    /// Keeps what is to end with this set.
    pub fn own(&self, owner: Owner) {
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = Some(owner);
    }

    /// Ends the streams with what there is by now, and takes no more entries.
    pub fn end(&self) {
        self.end_streams();
        let owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(owner);
    }

    /// Ends the streams with what there is by now.
    pub fn end_streams(&self) {
        self.ending.send_replace(Some(self.kept.store().next()));
    }

    /// What is asked for, and what of it the caller may be shown.
    fn asked(request: &Request, caller: Arc<dyn Caller>) -> Result<(Query, Scope), Problem> {
        let query = Query::parse(request.query().unwrap_or_default(), SystemTime::now());
        // Who may not is not told what is wrong with the question.
        let app = query.as_ref().ok().and_then(|query| query.app.as_deref());
        let scope = Scope::of(caller, app)?;
        Ok((query?, scope))
    }

    async fn page(&self, request: Request) -> Result<Response, Problem> {
        let caller = self.context.core().access().identify(&request).await?;
        let (query, scope) = Api::asked(&request, caller)?;
        Ok(json(find::page(self.kept.store(), &query, &scope).await))
    }

    async fn stream(&self, request: Request) -> Result<Response, Problem> {
        let caller = self.context.core().access().identify(&request).await?;
        let (query, scope) = Api::asked(&request, caller)?;
        let last = request.headers().get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or("?"));
        let last = last.map(|id| id.parse::<u64>().map_err(|_| event_id_invalid())).transpose()?;
        let from = match last.or(query.after) {
            Some(number) => From::After(number),
            None if query.since.is_some() => From::Beginning,
            None => From::Now,
        };
        let place = Arc::clone(&self.kept.store().places).try_acquire_owned().map_err(|_| {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "followers_busy")
                .detail(format!("{FOLLOWERS} clients follow the log already."))
                .retry_after(Duration::from_secs(5))
        })?;
        let opening = Opening {
            store: Arc::clone(self.kept.store()),
            query,
            scope,
            from,
            heartbeat: self.settings.sse_heartbeat,
            ending: self.ending.subscribe(),
            place,
        };
        let body = match *request.method() {
            Method::HEAD => Body::Empty,
            _ => follow::follow(opening).await,
        };
        Ok(event_stream(body))
    }

    async fn stats(&self, request: Request) -> Result<Response, Problem> {
        let caller = self.context.core().access().identify(&request).await?;
        let scope = Scope::of(caller, None)?;
        no_parameters(&request)?;
        Ok(json(stats::stats(self.kept.store(), &scope).to_string()))
    }

    async fn clear(&self, request: Request) -> Result<Response, Problem> {
        let caller = self.context.core().access().identify(&request).await?;
        caller.may("plugins:configure", None)?;
        if !caller.sees_everything() {
            return Err(Problem::new(StatusCode::FORBIDDEN, "namespace_denied")
                .detail("The log has entries of apps outside the namespaces of this key."));
        }
        no_parameters(&request)?;
        let cleared = self.kept.store().clear();
        // The first entry of what comes after.
        self.context.info(format_args!("the log was cleared of {cleared} entries by {}", caller.name()));
        Ok(json(format!(r#"{{"run":"{}","cleared":{cleared}}}"#, self.kept.store().run())))
    }

    async fn ingest(&self, request: Request) -> Result<Response, Problem> {
        no_parameters(&request)?;
        let accepted = ingest::ingest(self.kept.store(), &self.kept.redactor(), request).await?;
        Ok(json(format!(r#"{{"run":"{}","accepted":{accepted}}}"#, self.kept.store().run())))
    }
}

pub fn router() -> Router<Api> {
    Router::new()
        .get("/api", |api: Arc<Api>, request, _| async move { answered(api.page(request).await) })
        .on(Method::DELETE, "/api", |api: Arc<Api>, request: Request, _: Params| async move {
            answered(api.clear(request).await)
        })
        .get("/api/sse", |api: Arc<Api>, request, _| async move { answered(api.stream(request).await) })
        .get("/api/stats", |api: Arc<Api>, request, _| async move { answered(api.stats(request).await) })
        .on(Method::POST, "/api/ingest", |api: Arc<Api>, request: Request, _: Params| async move {
            match api.settings.ingest {
                true => answered(api.ingest(request).await),
                false => Ok(request.not_found()),
            }
        })
}

fn no_parameters(request: &Request) -> Result<(), Problem> {
    match request.query() {
        None | Some("") => Ok(()),
        Some(_) => Err(Problem::new(StatusCode::BAD_REQUEST, "parameter_unknown")
            .detail("There are no parameters here.")
            .hint("leave them out")),
    }
}

fn event_id_invalid() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "event_id_invalid")
        .detail("`Last-Event-ID` is no number.")
        .hint("give the `id` of the last event that came")
}
