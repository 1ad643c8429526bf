//! `@buntime/plugin-logs`: keeps the last of what is logged, to search it and to follow it.
//!
//! What comes is cleaned ([`prepare`]), put into a ring ([`store`]) on the thread that logs it, and read from there by
//! whoever asks ([`find`], [`follow`], [`stats`]). Apps send entries of their own ([`ingest`]).

mod ansi;
mod api;
mod collect;
mod entry;
mod find;
mod flood;
mod follow;
mod ingest;
mod prepare;
mod query;
mod redact;
mod ring;
mod stats;
mod store;
mod structured;
#[cfg(test)]
mod testing;
mod time;
mod tokens;

use api::{Api, router};
use buntime_plugin::settings::millis;
use buntime_plugin::{
    BoxFuture, Context, Core, Hooks, Native, Plugin, Request, Response, Result, Router, Server, WorkerEvent,
};
use collect::Kept;
use ring::Bounds;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokens::Sender;

pub static NATIVE: Native =
    Native { manifest: include_str!("../manifest.yaml"), owned_headers: &[], make: Logs::make };

/// How often the losses of floods are said.
const TICK: Duration = Duration::from_secs(1);

/// How often the tokens are compared with the workers that there are: an end may go unheard in a flood of events. And the runtime
/// is asked again for what is secret, which may change with settings and keys.
const ROLL_CALL: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Settings {
    max_entries: usize,
    max_bytes: usize,
    #[serde(with = "millis")]
    sse_heartbeat: Duration,
    ingest: bool,
}

struct Logs {
    context: Arc<Context>,
    settings: Settings,
    kept: Arc<Kept>,
    api: Arc<Api>,
    router: Router<Api>,
}

impl Logs {
    fn make(context: &Arc<Context>) -> Result<Arc<dyn Plugin>> {
        let settings: Settings = context.settings().read()?;
        let bounds = settings.bounds();
        let kept = context.keep(|| Kept::new(bounds));
        let api = Api::new(Arc::clone(context), settings.clone(), Arc::clone(&kept));
        let (context, api) = (Arc::clone(context), Arc::new(api));
        Ok(Arc::new(Logs { context, settings, kept, api, router: router() }))
    }
}

impl Settings {
    fn bounds(&self) -> Bounds {
        Bounds { entries: self.max_entries, bytes: self.max_bytes }
    }
}

/// Revokes the tokens of workers that ended unheard, as while this plugin was off.
async fn forget_the_dead(store: &Store, core: &dyn Core) {
    // In this order: who gets a token from now on is not judged by a list that may be older.
    let known = store.tokens().workers();
    let alive = core.workers().await;
    for worker in known.iter().filter(|worker| alive.iter().all(|alive| *alive.id != ***worker)) {
        store.tokens().revoke(worker);
    }
}

impl Plugin for Logs {
    fn hooks(&self) -> Hooks {
        Hooks::new().routes().workers()
    }

    fn on_init(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async {
            self.kept.collect(&self.context, &self.api);
            // Apps may start before the server does, and their workers are to know it too.
            if let Some(server) = self.context.core().server() {
                self.kept.store().set_url(server.url);
            }
            forget_the_dead(self.kept.store(), &**self.context.core()).await;
            let store = Arc::clone(self.kept.store());
            self.context.every(TICK, move || {
                store.tell_drops();
                std::future::ready(())
            });
            let (kept, core) = (Arc::clone(&self.kept), Arc::clone(self.context.core()));
            self.context.every(ROLL_CALL, move || {
                let (kept, core) = (Arc::clone(&kept), Arc::clone(&core));
                async move {
                    kept.learn_secrets(&*core);
                    forget_the_dead(kept.store(), &*core).await;
                }
            });
            let (draining, api) = (self.context.core().draining(), Arc::clone(&self.api));
            self.context.spawn(async move {
                draining.await;
                api.end_streams();
            });
            Ok(())
        })
    }

    fn on_server_start(&self, server: Server) -> BoxFuture<'_, Result<()>> {
        let store = self.kept.store();
        // Not before: until now another set may have been the one that counts.
        store.resize(self.settings.bounds());
        store.set_url(server.url);
        // Those of all plugins' settings are known now.
        self.kept.learn_secrets(&**self.context.core());
        Box::pin(std::future::ready(Ok(())))
    }

    fn on_worker(&self, event: &WorkerEvent) {
        if event.to == "terminated" {
            self.kept.store().tokens().revoke(&event.worker);
        }
    }

    fn worker_env(&self, app: &str, version: &str, worker: &str) -> Vec<(String, String)> {
        let store = self.kept.store();
        // Where the server is a Unix socket there is no URL to send to.
        let Some(url) = store.url().filter(|_| self.settings.ingest) else { return Vec::new() };
        let sender = Sender { app: app.into(), version: version.into(), worker: worker.into() };
        let Some(token) = store.tokens().issue(sender) else { return Vec::new() };
        let base = self.context.identity().base.as_deref().unwrap_or_default();
        let url = format!("{}{base}/api/ingest", url.trim_end_matches('/'));
        vec![("LOGS_URL".to_owned(), url), ("LOGS_TOKEN".to_owned(), token)]
    }

    fn route(&self, request: Request) -> BoxFuture<'_, Result<Response>> {
        Box::pin(self.router.answer(Arc::clone(&self.api), request))
    }

    fn on_shutdown(&self) -> BoxFuture<'_, Result<()>> {
        self.kept.store().tell_drops();
        self.api.end();
        Box::pin(std::future::ready(Ok(())))
    }
}
