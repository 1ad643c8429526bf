//! Everything that serves, put together from a configuration, and taken apart again.

use super::address::Address;
use super::dirs::Dirs;
use super::doors::{Doors, Heirlooms};
use super::secure::{self, Secured, Tending};
use super::watching::{Proofs, options, sweep, watch};
use super::{isolate, plugins, settings};
use crate::api::{self, Api, Gate, RuntimeCore};
use crate::apps::{self, Decisions, Index};
use crate::config::{Bun, Config};
use crate::dev::{self, Workbench};
use crate::events::{Bounds, Event, Hub, ServerEvent};
use crate::http::connection::Book;
use crate::http::kept::Kept;
use crate::http::listener::{Listener, Stop};
use crate::http::management::AdminSocket;
use crate::http::pipeline::{Rules, Site};
use crate::http::redirect::Redirect;
use crate::plugin::Host;
use crate::pool::Pool;
use crate::shim;
use crate::store::{self, Store};
use crate::telemetry::metrics::Metrics;
use anyhow::Result;
use arc_swap::ArcSwap;
use http::HeaderValue;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Connections to the admin socket. They are not among those that `max-connections` bounds: when clients hold all of those,
/// the operator still gets in.
const ADMIN_CONNECTIONS: usize = 128;
/// What plugins have to end in where connections took all the time that there was.
const PLUGINS_LEAST: Duration = Duration::from_secs(2);

/// A supervisor that serves, or is about to.
pub struct House {
    /// The one that holds; a reload changes it.
    pub config: ArcSwap<Config>,
    /// The one of the start.
    pub first: Arc<Config>,
    pub site: Arc<Site>,
    pub plugins: Arc<Host>,
    pub address: Address,
    /// For a process that takes over. Empty from the end on.
    pub heirlooms: Mutex<Heirlooms>,
    hub: Arc<Hub>,
    book: Arc<Book>,
    /// Of the admin socket.
    desk: Arc<Book>,
    watcher: Mutex<Option<apps::Watcher>>,
    dirs: Dirs,
    bun: Bun,
    server: buntime_plugin::Server,
    drain: watch::Sender<bool>,
    leave: watch::Sender<bool>,
    stop: watch::Sender<Option<Stop>>,
    accepting: Mutex<Vec<JoinHandle<()>>>,
    /// None = there is no TLS.
    tending: Option<Tending>,
    /// Somebody edits the apps.
    bench: Option<Arc<Workbench>>,
    editing: Mutex<Option<dev::Running>>,
}

/// How it ends.
#[derive(Clone, Copy, Debug)]
pub struct Ending {
    /// Another process has the sockets, and serves.
    pub replaced: bool,
    /// How long a connection without a request may stay for one more.
    pub grace: Duration,
    /// When what was begun is given up.
    pub within: Duration,
    /// What is left of that at most, once it is told to end. None = then it ends at once.
    pub hurried: Option<Duration>,
}

impl House {
    /// Puts it together. Nothing is served yet. None = `end` resolved first.
    ///
    /// # Errors
    /// What keeps it from serving: a directory that cannot be made, a plugin that does not start.
    pub async fn build(
        config: Config,
        bun: Bun,
        doors: Doors,
        end: impl Future<Output = ()>,
    ) -> Result<Option<(Arc<House>, Entrances)>> {
        let Doors { public, address, redirects, admin, mut heirlooms } = doors;
        let Secured { public, address, redirect, tending } =
            secure::secure(&config, public, address, redirects)?;
        let dirs = Dirs::prepare(&config.state_dir)?;
        let store = Arc::new(Store::open(&config.state_dir, store::Limits::default())?);
        tokio::spawn(store::watch(Arc::clone(&store)));
        let shim = shim::install(&config.cache_dir, &dirs.run, &bun)?;
        let index = Index::with(decisions(&store)?);
        let bench = Workbench::new(&config, &index);
        let observer = Proofs { index: Arc::clone(&index), bench: bench.clone() };
        let hub = Hub::new(Bounds::default());
        let metrics = Metrics::new(&bun.version.to_string());
        let isolation = isolate::establish(&config, &bun, &dirs, &shim)?;
        // No app runs yet that could have opened it.
        let admin = isolate::keeps_from(&isolation, &config.admin_socket).then_some(admin);
        if admin.is_none() {
            tracing::warn!(path = %config.admin_socket.display(), "there is no admin socket: apps could open it");
            heirlooms.close_admin();
        }
        let settings = settings(&config, &bun, &dirs, shim, isolation, &address);
        let pool = Pool::start(settings, Box::new(observer), Arc::clone(&hub), Arc::clone(&metrics))?;
        let (drain, draining) = watch::channel(false);
        let (leave, leaving) = watch::channel(false);
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
        let server = buntime_plugin::Server { url: address.url.clone(), api_base: config.api_base() };
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
            () = end => {
                tracing::info!("ending before anything was served");
                let _ = tokio::time::timeout(super::KILL_LIMIT, pool.shut_down(Duration::ZERO)).await;
                dirs.clean();
                return Ok(None);
            }
        };
        let watcher = watch(options, &index, &pool, &kept, &hub, bench.as_ref())?;
        let api = Api::new(api::Parts {
            store,
            index: Arc::clone(&index),
            lookout: watcher.lookout(),
            pool: Arc::clone(&pool),
            hub: Arc::clone(&hub),
            gate,
            about: about(&config, &bun, &address),
            places,
            plugins: Arc::clone(&plugins),
            draining,
            leaving: leaving.clone(),
        });
        let site = Arc::new(Site {
            index,
            pool,
            api,
            rules: ArcSwap::from_pointee(rules(&config)),
            dev: config.env.is_development(),
            api_base: config.api_base(),
            local_host: HeaderValue::from_str(&address.authority)
                .unwrap_or(HeaderValue::from_static("localhost")),
            leaving,
            kept,
            plugins: Arc::clone(&plugins.current),
            live: bench.as_ref().map(|bench| Arc::clone(&bench.live)),
            sole: config.dev.as_ref().is_some_and(|dev| dev.sole.is_some()),
        });
        let book = Book::new(config.max_connections, config.keepalive_timeout, config.head_timeout);
        let desk = Book::new(ADMIN_CONNECTIONS, config.keepalive_timeout, config.head_timeout);
        metrics.register(Arc::<Book>::clone(&book));
        let config = Arc::new(config);
        let house = Arc::new(House {
            first: Arc::clone(&config),
            config: ArcSwap::new(config),
            site,
            plugins,
            address,
            heirlooms: Mutex::new(heirlooms),
            hub,
            book,
            desk,
            watcher: Mutex::new(Some(watcher)),
            dirs,
            bun,
            server,
            drain,
            leave,
            stop: watch::Sender::new(None),
            accepting: Mutex::default(),
            tending,
            bench,
            editing: Mutex::default(),
        });
        Ok(Some((house, Entrances { public, redirect, admin })))
    }

    /// Begins to accept connections.
    pub fn open(&self, entrances: Entrances) {
        for book in [&self.book, &self.desk] {
            tokio::spawn(Arc::clone(book).sweep());
        }
        let mut accepting = locked(&self.accepting);
        for listener in entrances.public {
            let serving = listener.serve(Arc::clone(&self.book), Arc::clone(&self.site), self.stopped());
            accepting.push(tokio::spawn(serving));
        }
        for (listener, redirect) in entrances.redirect {
            let serving = listener.serve(Arc::clone(&self.book), redirect, self.stopped());
            accepting.push(tokio::spawn(serving));
        }
        if let Some(listener) = entrances.admin {
            let admin = AdminSocket {
                api: Arc::clone(&self.site.api),
                pool: Arc::clone(&self.site.pool),
                plugins: Arc::clone(&self.plugins.current),
                may_be_an_app: false,
                test_commands: self
                    .config
                    .load()
                    .environment
                    .get("BUNTIME_TEST_COMMANDS")
                    .is_some_and(|on| on == "1"),
            };
            let serving = Listener::Unix(listener).serve(Arc::clone(&self.desk), admin, self.stopped());
            accepting.push(tokio::spawn(serving));
        }
    }

    /// Tells plugins that requests are served.
    pub async fn tell_plugins(&self) {
        self.plugins.server_started(self.server.clone()).await;
    }

    /// Tells everybody else.
    pub fn announce(&self) {
        self.site.api.tell_hidden_apps();
        let (listen, env) = (&self.address.shown, self.config.load().env);
        tracing::info!(%listen, bun = %self.bun.version, %env, "serving");
        let started = ServerEvent::Started { listen: listen.clone(), bun: self.bun.version.to_string() };
        self.hub.publish(Event::Server(started));
        let config = self.config.load();
        let parts = dev::Parts {
            config: &config,
            bun: self.bun.version.to_string(),
            shown: &self.address.shown,
            url: self.address.url.clone(),
            pool: &self.site.pool,
            plugins: &self.plugins,
        };
        *locked(&self.editing) = self.bench.as_ref().map(|bench| bench.start(&parts));
    }

    /// The sockets are this process's from here on: their names end with it.
    pub fn own_sockets(&self) {
        locked(&self.heirlooms).take();
    }

    /// Begins to look after certificates, which takes that no other process does.
    pub fn tend(&self) {
        if let Some(tending) = &self.tending {
            tending.begin(&self.hub);
        }
    }

    /// Reads the certificates again, from where this configuration has them.
    ///
    /// # Errors
    /// One cannot be used; all stay as they are.
    pub async fn reload_certificates(&self, config: &Config) -> Result<()> {
        match (&self.tending, &config.tls) {
            (Some(tending), Some(tls)) => tending.reload(tls.sources.clone()).await,
            _ => Ok(()),
        }
    }

    /// What the service manager shows of it.
    pub fn status(&self) -> String {
        let apps = self.site.index.apps().len();
        format!("Serving {apps} app{} on {}", if apps == 1 { "" } else { "s" }, self.address.shown)
    }

    /// Holds what a new configuration says, as far as it can be changed while requests are served.
    pub fn hold(&self, config: Config) {
        self.site.rules.store(Arc::new(rules(&config)));
        self.site.api.gate.set_root_key(config.root_key.clone());
        self.site.pool.set_size(config.pool_size, config.spares);
        self.book.set_limits(config.max_connections, config.keepalive_timeout, config.head_timeout);
        self.desk.set_limits(ADMIN_CONNECTIONS, config.keepalive_timeout, config.head_timeout);
        self.config.store(Arc::new(config));
    }

    /// The way to the thread that reads the worker directories.
    pub fn lookout(&self) -> Option<apps::Lookout> {
        locked(&self.watcher).as_ref().map(apps::Watcher::lookout)
    }

    /// Ends in order: nothing new is accepted, what was begun is finished. `told` resolves each time it is told to end once more, which
    /// cuts it short.
    pub async fn end(&self, ending: Ending, mut told: impl AsyncFnMut()) {
        self.hub.publish(Event::Server(ServerEvent::Draining));
        if let Some(tending) = &self.tending {
            tending.end();
        }
        // Keys are heard to the end: a second `q` is the signal that cuts it short.
        let editing = locked(&self.editing).take().filter(|_| !ending.replaced).map(dev::Running::end);
        let heirlooms = std::mem::take(&mut *locked(&self.heirlooms));
        if ending.replaced {
            heirlooms.leave();
            // The other process sees to the apps.
            drop(locked(&self.watcher).take());
            self.site.pool.set_size(self.config.load().pool_size, 0);
        } else {
            // While it still listens: whoever finds the name without a listener may take it.
            drop(heirlooms);
            self.leave.send_replace(true);
        }
        self.drain.send_replace(true);
        self.stop.send_replace(Some(if ending.replaced { Stop::Leave } else { Stop::Close }));
        let accepting = std::mem::take(&mut *locked(&self.accepting));
        for accepting in accepting {
            // It fails only if it panicked: then the listener is closed too.
            let _ = accepting.await;
        }
        self.book.drain(ending.grace);
        self.desk.drain(ending.grace);
        let deadline = watch::Sender::new(tokio::time::Instant::now() + ending.within);
        let mut finish = std::pin::pin!(self.finish(deadline.subscribe()));
        let mut hurried = ending.hurried;
        loop {
            tokio::select! {
                () = &mut finish => break,
                () = told() => {}
            }
            let Some(hurried) = hurried.take() else {
                tracing::warn!("ending at once");
                self.site.pool.kill_all();
                let _ =
                    tokio::time::timeout(super::KILL_LIMIT, self.site.pool.shut_down(Duration::ZERO)).await;
                break;
            };
            tracing::info!(within = ?hurried, "told to end soon");
            let sooner = tokio::time::Instant::now() + hurried;
            deadline.send_modify(|deadline| *deadline = sooner.min(*deadline));
        }
        drop(editing);
        self.dirs.clean();
        tracing::info!("ended");
    }

    /// What was begun, until a deadline that may come nearer.
    async fn finish(&self, mut deadline: watch::Receiver<tokio::time::Instant>) {
        // Requests that are there may still need a worker: connections first, then the pool.
        let emptied = async { tokio::join!(self.book.emptied(), self.desk.emptied()) };
        tokio::select! {
            _ = emptied => {}
            () = passed(deadline.clone()) => {}
        }
        let least = tokio::time::Instant::now() + PLUGINS_LEAST;
        let until = (*deadline.borrow()).max(least);
        self.plugins.shut_down(until).await;
        loop {
            let left = deadline.borrow_and_update().saturating_duration_since(tokio::time::Instant::now());
            tokio::select! {
                () = self.site.pool.shut_down(left) => return,
                Ok(()) = deadline.changed() => {}
            }
        }
    }

    fn stopped(&self) -> impl Future<Output = Stop> + use<> {
        let mut stop = self.stop.subscribe();
        async move {
            match stop.wait_for(Option::is_some).await {
                Ok(stop) => stop.unwrap_or(Stop::Close),
                Err(_) => Stop::Close,
            }
        }
    }
}

/// Returns when a deadline has passed that may come nearer.
async fn passed(mut deadline: watch::Receiver<tokio::time::Instant>) {
    loop {
        let until = *deadline.borrow_and_update();
        tokio::select! {
            () = tokio::time::sleep_until(until) => return,
            Ok(()) = deadline.changed() => {}
        }
    }
}

/// What listens and is not yet served.
pub struct Entrances {
    public: Vec<Listener>,
    /// With who answers there.
    redirect: Vec<(Listener, Redirect)>,
    admin: Option<UnixListener>,
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn rules(config: &Config) -> Rules {
    Rules {
        trusted: config.trusted_proxies.clone(),
        home: config.home.clone(),
        max_body_size: config.max_body_size,
    }
}

fn about(config: &Config, bun: &Bun, address: &Address) -> api::About {
    api::About {
        bun: bun.version.to_string(),
        environment: config.env.as_str(),
        started: Instant::now(),
        url: address.url.clone(),
        base: config.api_base(),
    }
}

/// Aliases and disabled versions, as they were set.
fn decisions(store: &Store) -> Result<Decisions> {
    let routes = store.aliases()?.into_iter().map(|alias| (alias.app, alias.name, alias.route)).collect();
    Ok(Decisions { routes, disabled: store.disabled()? })
}
