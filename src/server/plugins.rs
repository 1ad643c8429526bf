//! The host of plugins, with what it needs of the rest.

use super::dirs::Dirs;
use super::watching::options;
use crate::api::{Gate, RuntimeCore};
use crate::apps::Alone;
use crate::config::Config;
use crate::events::Hub;
use crate::plugin::script::Maker;
use crate::plugin::{self, ChangeError, Host, Workshop};
use crate::pool::Pool;
use crate::telemetry::metrics::Metrics;
use anyhow::{Result, anyhow};
use std::sync::{Arc, Weak};

/// Loads the plugins, before any app is.
pub async fn start(
    config: &Config,
    dirs: &Dirs,
    gate: &Arc<Gate>,
    core: Arc<RuntimeCore>,
    pool: &Arc<Pool>,
    hub: &Arc<Hub>,
    metrics: &Arc<Metrics>,
) -> Result<Arc<Host>> {
    let options = options(config);
    let keys = Arc::clone(gate);
    let workshop = Workshop {
        dirs: config.plugin_dirs.clone(),
        state_dir: dirs.state.clone(),
        reserved: vec![config.reserved_segment().to_owned(), ".well-known".to_owned()],
        ceilings: options.ceilings,
        environment: options.environment.clone(),
        secrets: core.known_secrets(),
        core,
        metrics: Arc::clone(metrics),
        natives: plugin::native::ALL,
        scripts: Some(Maker {
            pool: Arc::clone(pool),
            loader: Arc::new(Alone::new(options.ceilings, options.production, options.environment)),
            keep_keys: Arc::new(move |headers| keys.keep_keys(headers)),
        }),
    };
    let host = Host::start(workshop).await.map_err(|error| match error {
        ChangeError::Unreadable(why) => {
            anyhow!("the plugins that there are cannot be told: {why}\n\nhint: guards may be among them")
        }
        error => {
            anyhow!("{error}\n\nhint: mend it, or set `enabled: false` or `required: false` in its manifest")
        }
    })?;
    let current: Weak<plugin::Current> = Arc::downgrade(&host.current);
    pool.set_extra_env(Box::new(move |app, worker| match current.upgrade() {
        Some(current) => {
            current.load().worker_env(app.name.as_str(), &app.version.to_string(), &worker.to_string())
        }
        None => Vec::new(),
    }));
    tokio::spawn(plugin::follow(Arc::clone(hub), Arc::clone(&host.current)));
    Ok(host)
}
