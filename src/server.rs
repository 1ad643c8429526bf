//! The house put together: from a configuration to a serving supervisor, and down again.

mod address;
mod admin;
mod dirs;
mod isolate;
mod plugins;
mod watching;

use self::address::{Address, listen};
use self::dirs::Dirs;
use self::watching::{Proofs, options, sweep, watch};
use crate::api::{self, Api, Gate, RuntimeCore};
use crate::apps::{Decisions, Index};
use crate::config::{Bun, Config, Listen};
use crate::events::{Bounds, Event, Hub, ServerEvent};
use crate::http::connection::Book;
use crate::http::kept::Kept;
use crate::http::listener::Listener;
use crate::http::management::AdminSocket;
use crate::http::pipeline::Site;
use crate::pool::core::types::Limits;
use crate::pool::{Pool, Settings};
use crate::shim::{self, Shim};
use crate::store::{self, Store};
use crate::telemetry::metrics::Metrics;
use crate::worker::isolation::Isolation;
use anyhow::{Context, Result};
use http::HeaderValue;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Spares that may be starting at once: more would take the processors from requests.
const SPARE_STARTS: usize = 2;
/// Connections to the admin socket. They are not among those that `max-connections` bounds: when clients hold all of those,
/// the operator still gets in.
const ADMIN_CONNECTIONS: usize = 128;
/// How long a connection without a request may stay for one more when all ends: so a client that keeps connections and uses
/// them all the time learns of the end from an answer.
const GRACE: Duration = Duration::from_secs(1);
/// What plugins have to end in where connections took all the time that there was.
const PLUGINS_LEAST: Duration = Duration::from_secs(2);
/// After a second signal.
const KILL_LIMIT: Duration = Duration::from_secs(2);

/// Serves until SIGTERM or SIGINT, then finishes what was begun.
///
/// # Errors
/// What keeps it from serving: an address that is taken, a directory that cannot be made.
pub fn serve(config: Config, bun: Bun) -> Result<()> {
    let runtime = match config.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        threads => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    };
    runtime.context("the runtime could not be started")?.block_on(run(config, bun))
}

async fn run(config: Config, bun: Bun) -> Result<()> {
    let mut signals = Signals::register()?;
    let (listener, origin) = listen(&config.listen).await?;
    // Before anything in the state directory is touched, which another supervisor may have.
    let admin_socket = admin::listen(&config.admin_socket)?;
    let dirs = Dirs::prepare(&config.state_dir)?;
    let store = Arc::new(Store::open(&config.state_dir, store::Limits::default())?);
    let shim = shim::install(&config.cache_dir, &dirs.run, &bun)?;
    let index = Index::with(decisions(&store)?);
    let observer = Proofs { index: Arc::clone(&index) };
    let hub = Hub::new(Bounds::default());
    let metrics = Metrics::new(&bun.version.to_string());
    let isolation = isolate::establish(&config, &bun, &dirs, &shim)?;
    // No app runs yet that could have opened it.
    let admin_socket = isolate::keeps_from(&isolation, &config.admin_socket).then_some(admin_socket);
    if admin_socket.is_none() {
        tracing::warn!(path = %config.admin_socket.display(), "there is no admin socket: apps could open it");
    }
    let (admin_listener, admin_name) = admin_socket.unzip();
    let settings = settings(&config, &bun, &dirs, shim, isolation, &origin);
    let pool = Pool::start(settings, Box::new(observer), Arc::clone(&hub), Arc::clone(&metrics))?;
    let (drain, draining) = watch::channel(false);
    let kept = Kept::new(&metrics);
    let options = options(&config);
    let places = api::Places {
        worker_dirs: config.worker_dirs.clone(),
        state_dir: config.state_dir.clone(),
        reserved: options.reserved.clone(),
        ceilings: options.ceilings,
    };
    sweep(&config.worker_dirs);
    sweep(&config.plugin_dirs);
    let gate = Arc::new(Gate::new(Arc::clone(&store), config.root_key.clone()));
    let server = buntime_plugin::Server { url: origin.url.clone(), api_base: config.api_base() };
    let core = RuntimeCore::new(
        Arc::clone(&gate),
        Arc::clone(&index),
        Arc::clone(&pool),
        Arc::clone(&metrics),
        draining.clone(),
        server.clone(),
    );
    let plugins = tokio::select! {
        started = plugins::start(&config, &dirs, &gate, core, &pool, &hub, &metrics) => started?,
        // A plugin may take its time to start.
        () = signals.next() => {
            tracing::info!("ending before anything was served");
            let _ = tokio::time::timeout(KILL_LIMIT, pool.shut_down(Duration::ZERO)).await;
            leave(&dirs, &config.listen);
            return Ok(());
        }
    };
    let watcher = watch(options, &index, &pool, &kept, &hub)?;
    let api = Api::new(api::Parts {
        store,
        index: Arc::clone(&index),
        lookout: watcher.lookout(),
        pool: Arc::clone(&pool),
        hub: Arc::clone(&hub),
        gate: Arc::clone(&gate),
        about: about(&config, &bun, &origin),
        places,
        plugins: Arc::clone(&plugins),
        draining: draining.clone(),
    });
    let site = Arc::new(Site {
        index: Arc::clone(&index),
        pool: Arc::clone(&pool),
        api: Arc::clone(&api),
        trusted: config.trusted_proxies.clone(),
        dev: config.env.is_development(),
        api_base: config.api_base(),
        home: config.home.clone(),
        local_host: HeaderValue::from_str(&origin.authority).unwrap_or(HeaderValue::from_static("localhost")),
        draining,
        kept,
        plugins: Arc::clone(&plugins.current),
        max_body_size: config.max_body_size,
    });
    let book = Book::new(config.max_connections, config.keepalive_timeout, config.head_timeout);
    let desk = Book::new(ADMIN_CONNECTIONS, config.keepalive_timeout, config.head_timeout);
    metrics.register(Arc::<Book>::clone(&book));
    for book in [&book, &desk] {
        tokio::spawn(Arc::clone(book).sweep());
    }
    let admin = AdminSocket {
        api,
        pool: Arc::clone(&pool),
        plugins: Arc::clone(&plugins.current),
        may_be_an_app: false,
    };
    let stopped = || {
        let mut draining = site.draining.clone();
        async move { drop(draining.wait_for(|draining| *draining).await) }
    };
    let accepting = tokio::spawn(listener.serve(Arc::clone(&book), Arc::clone(&site), stopped()));
    let administering = admin_listener
        .map(|listener| tokio::spawn(Listener::Unix(listener).serve(Arc::clone(&desk), admin, stopped())));
    let is_to_end = tokio::select! {
        () = plugins.server_started(server) => false,
        () = signals.next() => true,
    };
    if !is_to_end {
        site.api.tell_hidden_apps();
        tracing::info!(listen = %origin.shown, bun = %bun.version, env = %config.env, "serving");
        let started = ServerEvent::Started { listen: origin.shown.clone(), bun: bun.version.to_string() };
        hub.publish(Event::Server(started));
        signals.next().await;
    }
    tracing::info!(within = ?config.shutdown_timeout, "shutting down");
    hub.publish(Event::Server(ServerEvent::Draining));
    // While it still listens: whoever finds the name without a listener may take it.
    drop(admin_name);
    drain.send_replace(true);
    // They fail only if they panicked: then the listener is closed too.
    let _ = accepting.await;
    if let Some(administering) = administering {
        let _ = administering.await;
    }
    book.drain(GRACE);
    desk.drain(GRACE);
    let deadline = tokio::time::Instant::now() + config.shutdown_timeout;
    let finish = async {
        // Requests that are there may still need a worker: connections first, then the pool.
        let emptied = async { tokio::join!(book.emptied(), desk.emptied()) };
        let _ = tokio::time::timeout_at(deadline, emptied).await;
        plugins.shut_down(deadline.max(tokio::time::Instant::now() + PLUGINS_LEAST)).await;
        pool.shut_down(deadline.saturating_duration_since(tokio::time::Instant::now())).await;
    };
    tokio::select! {
        () = finish => {}
        () = signals.next() => {
            tracing::warn!("ending at once");
            pool.kill_all();
            let _ = tokio::time::timeout(KILL_LIMIT, pool.shut_down(Duration::ZERO)).await;
        }
    }
    leave(&dirs, &config.listen);
    tracing::info!("ended");
    Ok(())
}

/// Takes away what is of no use without the process.
fn leave(dirs: &Dirs, listen: &Listen) {
    dirs.clean();
    if let Listen::Unix(path) = listen {
        let _ = std::fs::remove_file(path);
    }
}

fn about(config: &Config, bun: &Bun, origin: &Address) -> api::About {
    api::About {
        bun: bun.version.to_string(),
        environment: config.env.as_str(),
        started: Instant::now(),
        url: origin.url.clone(),
        base: config.api_base(),
    }
}

/// Aliases and disabled versions, as they were set.
fn decisions(store: &Store) -> Result<Decisions> {
    let routes = store.aliases()?.into_iter().map(|alias| (alias.app, alias.name, alias.route)).collect();
    Ok(Decisions { routes, disabled: store.disabled()? })
}

fn settings(
    config: &Config,
    bun: &Bun,
    dirs: &Dirs,
    shim: Shim,
    isolation: Isolation,
    origin: &Address,
) -> Settings {
    let mut env = BTreeMap::from([("NODE_ENV".to_owned(), config.env.as_str().to_owned())]);
    for name in ["PATH", "LANG", "TZ"] {
        if let Some(value) = config.environment.get(name).and_then(|value| value.to_str()) {
            env.insert(name.to_owned(), value.to_owned());
        }
    }
    Settings {
        limits: Limits {
            pool_size: config.pool_size,
            spares: config.spares,
            spare_starts: SPARE_STARTS,
            seed: RandomState::new().build_hasher().finish(),
        },
        bun: bun.path.clone(),
        shim: Arc::new(shim),
        isolation: Arc::new(isolation),
        env,
        empty_dir: dirs.run.join("empty"),
        private_dir: dirs.run.join("workers"),
        data_dir: dirs.state.join("data"),
        api_url: origin.url.as_ref().map(|url| format!("{url}{}", config.api_base())),
        origin: origin.url.clone().unwrap_or_default(),
        dev: config.env.is_development(),
    }
}

/// What asks the process to end.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn register() -> Result<Signals> {
        Ok(Signals { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.int.recv() => {}
        }
    }
}
