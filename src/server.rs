//! The house put together: from a configuration to a serving supervisor, and down again.

mod admin;

use crate::api::{self, Api};
use crate::apps::{self, Change, Decisions, Index};
use crate::config::{Bun, Config, Env, Environment, Listen};
use crate::events::{AppAction, AppEvent, Bounds, Event, Hub, ServerEvent};
use crate::http::connection::Book;
use crate::http::kept::Kept;
use crate::http::listener::Listener;
use crate::http::management::AdminSocket;
use crate::http::pipeline::Site;
use crate::model::{Kind, VersionKey};
use crate::package;
use crate::pool::core::types::Limits;
use crate::pool::{Observer, Pool, Settings, StartFailure};
use crate::shim::{self, Shim};
use crate::store::{self, Store};
use anyhow::{Context, Result};
use http::HeaderValue;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::DirBuilder;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Spares that may be starting at once: more would take the processors from requests.
const SPARE_STARTS: usize = 2;
const BACKLOG: u32 = 4096;
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
    let dirs = Dirs::prepare(&config.state_dir)?;
    let store = Arc::new(Store::open(&config.state_dir, store::Limits::default())?);
    let shim = shim::install(&config.cache_dir, &dirs.run, &bun)?;
    let index = Index::with(decisions(&store)?);
    let observer = Proofs { index: Arc::clone(&index) };
    let hub = Hub::new(Bounds::default());
    let settings = settings(&config, &bun, &dirs, shim, &origin);
    let pool = Pool::start(settings, Box::new(observer), Arc::clone(&hub))?;
    let (drain, draining) = watch::channel(false);
    let kept = Arc::new(Kept::default());
    let options = options(&config);
    let places = api::Places {
        worker_dirs: config.worker_dirs.clone(),
        state_dir: config.state_dir.clone(),
        reserved: options.reserved.clone(),
        ceilings: options.ceilings,
    };
    sweep(&config.worker_dirs);
    let watcher = watch(options, &index, &pool, &kept, &hub)?;
    let api = Api::new(api::Parts {
        store,
        index: Arc::clone(&index),
        lookout: watcher.lookout(),
        pool: Arc::clone(&pool),
        hub: Arc::clone(&hub),
        root_key: config.root_key.clone(),
        about: about(&config, &bun, &origin),
        places,
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
    });
    let book = Book::new(config.max_connections, config.keepalive_timeout, config.head_timeout);
    tokio::spawn(Arc::clone(&book).sweep());
    let admin = AdminSocket { api, pool: Arc::clone(&pool) };
    let admin_listener = Listener::Unix(admin::listen(&config.admin_socket)?);
    let stopped = || {
        let mut draining = site.draining.clone();
        async move { drop(draining.wait_for(|draining| *draining).await) }
    };
    let accepting = tokio::spawn(listener.serve(Arc::clone(&book), Arc::clone(&site), stopped()));
    let administering = tokio::spawn(admin_listener.serve(Arc::clone(&book), admin, stopped()));
    tracing::info!(listen = %origin.shown, bun = %bun.version, env = %config.env, "serving");
    let started = ServerEvent::Started { listen: origin.shown.clone(), bun: bun.version.to_string() };
    hub.publish(Event::Server(started));

    signals.next().await;
    tracing::info!(within = ?config.shutdown_timeout, "shutting down");
    hub.publish(Event::Server(ServerEvent::Draining));
    drain.send_replace(true);
    // They fail only if they panicked: then the listener is closed too.
    let _ = (accepting.await, administering.await);
    book.drain();
    let deadline = tokio::time::Instant::now() + config.shutdown_timeout;
    let finish = async {
        // Requests that are there may still need a worker: connections first, then the pool.
        let _ = tokio::time::timeout_at(deadline, book.emptied()).await;
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
    dirs.clean();
    let _ = std::fs::remove_file(&config.admin_socket);
    if let Listen::Unix(path) = &config.listen {
        let _ = std::fs::remove_file(path);
    }
    tracing::info!("ended");
    Ok(())
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

/// What the pool finds out about versions, passed on to the index.
struct Proofs {
    index: Arc<Index>,
}

impl Observer for Proofs {
    fn proven(&self, version: VersionKey) {
        self.index.prove(version);
    }

    fn unproven(&self, version: VersionKey, why: &StartFailure) {
        tracing::error!(failure = %why, "a new version does not start; the one before it stays");
        self.index.disprove(version);
    }

    fn forgotten(&self, version: VersionKey) {
        self.index.forget_old(version);
    }
}

/// What the index finds on disk, passed on to the pool.
fn watch(
    options: apps::Options,
    index: &Arc<Index>,
    pool: &Arc<Pool>,
    kept: &Arc<Kept>,
    hub: &Arc<Hub>,
) -> Result<apps::Watcher> {
    let runtime = tokio::runtime::Handle::current();
    let (pool, kept, hub) = (Arc::clone(pool), Arc::clone(kept), Arc::clone(hub));
    let tell = move |change: Change| {
        // The pool starts workers, which needs the runtime; this is the watcher's thread.
        let _inside = runtime.enter();
        log(&change);
        publish(&hub, &change);
        match change {
            Change::Added(app) => pool.add(&app),
            Change::Prove(app) => pool.prove(app.key),
            Change::Removed(app) => pool.remove(app.key, None),
            Change::Replaced { old, new } => {
                pool.add(&new);
                match new.kind {
                    Kind::Worker { .. } => pool.remove(old.key, Some(new.key)),
                    Kind::Static { .. } => pool.remove(old.key, None),
                    // What is broken takes over from nobody.
                    Kind::Broken { .. } => {}
                }
            }
        }
        kept.tidy();
    };
    Ok(apps::Watcher::start(Arc::clone(index), options, tell)?)
}

fn options(config: &Config) -> apps::Options {
    apps::Options {
        worker_dirs: config.worker_dirs.clone(),
        reserved: vec![config.reserved_segment().to_owned()],
        ceilings: apps::manifest::Ceilings {
            max_body_size: config.max_body_size,
            cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        },
        development: config.env.is_development(),
        production: config.env == Env::Production,
        environment: passable(&config.environment),
    }
}

/// Removes what uploads left behind whose process was killed. Nothing waits for it.
fn sweep(worker_dirs: &[PathBuf]) {
    let worker_dirs = worker_dirs.to_owned();
    tokio::task::spawn_blocking(move || {
        for dir in worker_dirs.iter().filter(|dir| dir.is_dir()) {
            match package::sweep(dir) {
                Ok(0) => {}
                Ok(count) => tracing::info!(dir = %dir.display(), count, "removed what broken uploads left"),
                Err(error) => tracing::warn!(%error, "what broken uploads left is still there"),
            }
        }
    });
}

fn log(change: &Change) {
    let (what, app) = match change {
        Change::Added(app) => return tracing::debug!(app = %app.name, version = %app.version, "added"),
        Change::Prove(app) => ("to be proven", app),
        Change::Removed(app) => ("removed", app),
        Change::Replaced { new, .. } => ("replaced", new),
    };
    tracing::info!(app = %app.name, version = %app.version, "{what}");
}

fn publish(hub: &Hub, change: &Change) {
    let (action, app) = match change {
        Change::Added(app) => (AppAction::Added, app),
        // It was added or replaced just before.
        Change::Prove(_) => return,
        Change::Removed(app) => (AppAction::Removed, app),
        Change::Replaced { new, .. } => (AppAction::Replaced, new),
    };
    let (app, version) = (app.name.clone(), app.version.clone());
    hub.publish(Event::App(AppEvent { action, app, version, failure: None }));
}

/// The supervisor's variables that an app may ask for: those that are text.
fn passable(environment: &Environment) -> BTreeMap<String, String> {
    let text =
        |(name, value): (&OsStr, &OsStr)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()));
    environment.iter().filter_map(text).collect()
}

fn settings(config: &Config, bun: &Bun, dirs: &Dirs, shim: Shim, origin: &Address) -> Settings {
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
        env,
        empty_dir: dirs.run.join("empty"),
        private_dir: dirs.run.join("workers"),
        data_dir: dirs.state.join("data"),
        api_url: origin.url.as_ref().map(|url| format!("{url}{}", config.api_base())),
        origin: origin.url.clone().unwrap_or_default(),
        dev: config.env.is_development(),
    }
}

/// Where this process keeps its files.
struct Dirs {
    state: PathBuf,
    /// For this process only; removed at the end.
    run: PathBuf,
}

impl Dirs {
    fn prepare(state: &Path) -> Result<Dirs> {
        let runs = state.join("run");
        remove_dead(&runs);
        let run = runs.join(std::process::id().to_string());
        // In a container every start has the same number: nothing of an earlier one may be found there.
        if run.exists() {
            std::fs::remove_dir_all(&run)
                .with_context(|| format!("the old directory {} cannot be removed", run.display()))?;
        }
        for dir in ["empty", "workers"] {
            make(&run.join(dir))?;
        }
        make(&state.join("data"))?;
        Ok(Dirs { state: state.to_owned(), run })
    }

    fn clean(&self) {
        if let Err(error) = std::fs::remove_dir_all(&self.run) {
            tracing::warn!(dir = %self.run.display(), %error, "the run directory could not be removed");
        }
    }
}

fn make(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("the directory {} cannot be made", dir.display()))
}

/// Removes what supervisors that were killed left behind.
fn remove_dead(runs: &Path) {
    let Ok(entries) = std::fs::read_dir(runs) else { return };
    for entry in entries.flatten() {
        let dead = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
            .is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if dead {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Where it is reached.
struct Address {
    shown: String,
    /// `http://127.0.0.1:8000`, where the listener is a TCP port.
    url: Option<String>,
    authority: String,
}

async fn listen(listen: &Listen) -> Result<(Listener, Address)> {
    match listen {
        Listen::Tcp { host, port } => {
            let address = SocketAddr::new(*host, *port);
            let socket = match host {
                IpAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
                IpAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
            }?;
            socket.set_reuseaddr(true)?;
            socket.bind(address).with_context(|| format!("cannot listen on {address}"))?;
            let listener = socket.listen(BACKLOG).with_context(|| format!("cannot listen on {address}"))?;
            let bound = listener.local_addr()?;
            // Workers reach a listener on all addresses by the loopback one.
            let reached = match bound.ip() {
                IpAddr::V4(ip) if ip.is_unspecified() => SocketAddr::new([127, 0, 0, 1].into(), bound.port()),
                IpAddr::V6(ip) if ip.is_unspecified() => {
                    SocketAddr::new(std::net::Ipv6Addr::LOCALHOST.into(), bound.port())
                }
                _ => bound,
            };
            let address = Address {
                shown: format!("http://{bound}"),
                url: Some(format!("http://{reached}")),
                authority: reached.to_string(),
            };
            Ok((Listener::Tcp(listener), address))
        }
        Listen::Unix(path) => {
            remove_stale(path)?;
            let listener = tokio::net::UnixListener::bind(path)
                .with_context(|| format!("cannot listen on {}", path.display()))?;
            let shown = format!("unix:{}", path.display());
            Ok((Listener::Unix(listener), Address { shown, url: None, authority: "localhost".into() }))
        }
    }
}

/// A socket that nobody listens on any more may be replaced; anything else at that path stays.
fn remove_stale(path: &Path) -> Result<()> {
    let Ok(meta) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !meta.file_type().is_socket() || std::os::unix::net::UnixStream::connect(path).is_ok() {
        anyhow::bail!("cannot listen on {}: it is in use", path.display());
    }
    std::fs::remove_file(path).with_context(|| format!("the old socket {} cannot be removed", path.display()))
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
