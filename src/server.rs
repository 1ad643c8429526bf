//! The house put together: from a configuration to a serving supervisor, and down again.

mod address;
mod admin;
mod control;
mod dirs;
mod doors;
mod handover;
mod house;
mod isolate;
pub mod limits;
mod manager;
mod name;
mod plugins;
mod reload;
mod secure;
mod watching;

use self::address::Address;
use self::control::{Control, End, Signals};
use self::dirs::Dirs;
use self::doors::Doors;
use self::handover::Program;
use self::house::{Ending, House};
use self::manager::Manager;
use crate::config::{Bun, Config, ConfigError, Loaded};
use crate::inherit::Inheritance;
use crate::pool::Settings;
use crate::pool::core::types::Limits;
use crate::shim::Shim;
use crate::telemetry::Logs;
use crate::worker::isolation::Isolation;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

/// Spares that may be starting at once: more would take the processors from requests.
const SPARE_STARTS: usize = 2;
/// How long a connection without a request may stay for one more when all ends: so a client that keeps connections and uses
/// them all the time learns of the end from an answer.
const GRACE: Duration = Duration::from_secs(1);
/// The same where another process serves, and nobody waits for the end of this one.
const REPLACED_GRACE: Duration = Duration::from_secs(10);
/// How long a process that was replaced may go on with streams, as workers that were replaced may by default.
const REPLACED_LIMIT: Duration = Duration::from_secs(600);
/// After a second signal.
const KILL_LIMIT: Duration = Duration::from_secs(2);
/// How long the first workers are waited for, before the service manager is told that all is ready.
const WARM_LIMIT: Duration = Duration::from_secs(10);

/// Reads the configuration again.
pub type Loader = Box<dyn Fn() -> Result<Loaded, ConfigError> + Send + Sync>;

/// What a supervisor has from its start beside its configuration.
pub struct Birth {
    pub inheritance: Inheritance,
    pub loader: Loader,
    pub logs: Arc<Logs>,
}

/// Serves until SIGTERM or SIGINT, then finishes what was begun.
///
/// # Errors
/// What keeps it from serving: an address that is taken, a directory that cannot be made.
pub fn serve(config: Config, bun: Bun, birth: Birth) -> Result<()> {
    let runtime = match config.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        threads => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
    };
    let runtime = runtime.context("the runtime could not be started")?;
    let result = runtime.block_on(run(config, bun, birth));
    // What is still under way on a thread of its own, nobody waits for.
    runtime.shutdown_timeout(KILL_LIMIT);
    result
}

async fn run(mut config: Config, bun: Bun, birth: Birth) -> Result<()> {
    limits::check(&config)?;
    let mut signals = Signals::register(config.dev.is_some() && crate::dev::terminal::ends_with_it())?;
    let program = Program::of_this_process()?;
    let Birth { inheritance: Inheritance { mut sockets, predecessor, watchdog }, loader, logs } = birth;
    let manager = Manager::start(predecessor.is_some())?;
    if let Some(predecessor) = &predecessor {
        let handed = predecessor.receive()?;
        sockets.extend(handed.sockets);
        config.root_key = config.root_key.or(handed.root_key);
    }
    // Before anything in the state directory is touched, which another supervisor may have.
    let doors = Doors::open(&config, sockets, &manager).await?;
    let Some((house, entrances)) = House::build(config, bun, doors, signals.end()).await? else {
        return Ok(());
    };
    let succeeds = predecessor.is_some();
    if let Some(predecessor) = predecessor {
        // All is there before the first request. Until then the other process answers.
        let is_warm = tokio::select! {
            () = house.site.pool.warmed(WARM_LIMIT) => true,
            () = signals.end() => false,
        };
        let taken = if is_warm { handover::take_over(predecessor).await } else { None };
        let Some(older) = taken else {
            tracing::info!("ending before anything was served");
            let ending =
                Ending { replaced: true, grace: Duration::ZERO, within: Duration::ZERO, hurried: None };
            house.end(ending, async || signals.end().await).await;
            return Ok(());
        };
        signals.older = older;
        manager.is_the_service();
    }
    house.own_sockets();
    house.open(entrances);
    // The one before has said it until now, and plugins may take their time.
    if let Some(limit) = watchdog {
        tokio::spawn(control::beat(Arc::clone(&house), manager.clone(), limit));
    }
    let begin = async {
        house.tell_plugins().await;
        house.announce();
        if !succeeds {
            house.site.pool.warmed(WARM_LIMIT).await;
        }
    };
    let is_to_end = tokio::select! {
        () = begin => false,
        () = signals.end() => true,
    };
    let mut end = End::Told;
    if !is_to_end {
        house.tend();
        manager.ready(&house.status());
        let control = Control {
            house: Arc::clone(&house),
            manager: manager.clone(),
            program,
            loader: Arc::new(loader),
            logs,
        };
        end = control.run(&mut signals).await;
    }
    let within = house.config.load().shutdown_timeout;
    let ending = match end {
        End::Told => {
            tracing::info!(?within, "shutting down");
            manager.stopping("Finishing what was begun");
            signals.pass_on_the_end();
            Ending { replaced: false, grace: GRACE, within, hurried: None }
        }
        End::Replaced => {
            Ending { replaced: true, grace: REPLACED_GRACE, within: REPLACED_LIMIT, hurried: Some(within) }
        }
    };
    let told = async || {
        signals.end().await;
        signals.pass_on_the_end();
    };
    house.end(ending, told).await;
    signals.outlast_the_older(ending.within).await;
    manager.flush();
    Ok(())
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
