//! A reload: the configuration with the certificates, then manifests of apps, then plugins, each as a whole, while requests are served.

use super::house::House;
use super::{Loader, isolate, limits, watching};
use crate::config::{Config, Loaded};
use crate::telemetry::Logs;
use anyhow::{Context, Result};
use std::sync::Arc;

/// Reads everything again. A configuration that is not valid changes nothing at all, nor does a certificate that cannot be used. What
/// takes a new process is named and stays.
///
/// # Errors
/// What could not be reloaded; it is as before.
pub async fn reload(house: &House, loader: Arc<Loader>, logs: &Logs) -> Result<()> {
    tracing::info!("reloading");
    let loaded = tokio::task::spawn_blocking(move || loader()).await?;
    let Loaded { mut config, warnings, .. } = loaded.context("the configuration stays as it was")?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    limits::check(&config).context("the configuration stays as it was")?;
    let before = house.config.load_full();
    // It is set in the environment, of which only a hash was kept.
    if config.root_key.is_none() && before.root_key_file.is_none() {
        config.root_key.clone_from(&before.root_key);
    }
    let fixed = fixed(&house.first, &config);
    if !fixed.is_empty() {
        tracing::warn!(
            settings = fixed.join(", "),
            hint =
                "SIGUSR2 or a restart puts them into effect; another host on the same port takes a restart",
            "some settings have changed that take a new process"
        );
    }
    // Before anything is changed: what is wrong with them leaves all as it was.
    house.reload_certificates(&config).await.context("all stays as it was")?;
    let (pool, old, new) = (Arc::clone(&house.site.pool), before.tls.clone(), config.tls.clone());
    let telling = move || isolate::tell_open_keys(old.as_ref(), new.as_ref(), pool.isolation());
    tokio::task::spawn_blocking(telling).await?;
    logs.set_level(config.log.level);
    let ceilings = watching::options(&config).ceilings;
    house.hold(config);
    if let Some(lookout) = house.lookout() {
        lookout.reread(ceilings).await.context("manifests of apps stay as they were")?;
    }
    house.plugins.reload().await.context("plugins stay as they were")?;
    house.site.api.tell_hidden_apps();
    tracing::info!("reloaded");
    Ok(())
}

fn acme(config: &Config) -> Option<&crate::tls::acme::Settings> {
    config.tls.as_ref().and_then(|tls| tls.acme.as_ref())
}

/// Settings that differ from those of the start, and cannot be changed in a process that serves.
fn fixed(before: &Config, after: &Config) -> Vec<&'static str> {
    let differs = [
        ("env", before.env != after.env),
        ("host or port", before.listen != after.listen),
        ("worker-dirs", before.worker_dirs != after.worker_dirs),
        ("plugin-dirs", before.plugin_dirs != after.plugin_dirs),
        ("state-dir", before.state_dir != after.state_dir),
        ("cache-dir", before.cache_dir != after.cache_dir),
        ("bun", before.bun != after.bun),
        ("threads", before.threads != after.threads),
        ("api-prefix", before.api_prefix != after.api_prefix),
        ("admin-socket", before.admin_socket != after.admin_socket),
        ("log-format", before.log.format != after.log.format),
        ("whether there is TLS", before.tls.is_some() != after.tls.is_some()),
        ("http-port", before.http_port() != after.http_port()),
        ("acme-domains and what belongs to them", acme(before) != acme(after)),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
