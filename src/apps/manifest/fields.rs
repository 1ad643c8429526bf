//! The keys of a manifest: what each may hold, and what they demand of each other.

use super::Ceilings;
use crate::manifest::{Finding, Reader, set};
use crate::model::Manifest;
use crate::model::quantity::{kind_of, show_duration};
use serde_yaml::{Mapping, Value};

const KEYS: [&str; 22] = [
    "name",
    "version",
    "enabled",
    "entrypoint",
    "env",
    "envPrefix",
    "envPassthrough",
    "ttl",
    "idleTimeout",
    "startTimeout",
    "timeout",
    "streamTimeout",
    "drainTimeout",
    "maxRequests",
    "maxBodySize",
    "maxMemory",
    "concurrency",
    "instances",
    "queue",
    "lowMemory",
    "injectBase",
    "csrf",
];

/// Keys of the manifest's format that this version does not act on. Refused: a security setting that is silently
/// ignored is worse than an error.
const LATER: [&str; 6] = ["autoInstall", "publicRoutes", "visibility", "permissions", "healthCheck", "cron"];

const MAX_COUNT: u64 = 1_000_000;

/// The keys of an app, read one by one: a plugin's manifest has them among its own.
pub(crate) struct AppKeys {
    pub manifest: Manifest,
    ceilings: Ceilings,
}

impl AppKeys {
    pub fn new(ceilings: &Ceilings) -> AppKeys {
        let mut manifest = Manifest::default();
        manifest.max_body_size = manifest.max_body_size.min(ceilings.max_body_size);
        AppKeys { manifest, ceilings: *ceilings }
    }

    /// Whether an app's manifest gives this key a meaning, in this version or a later one.
    pub fn has(key: &str) -> bool {
        KEYS.contains(&key) || LATER.contains(&key)
    }

    pub fn read(&mut self, reader: &mut Reader, key: &str, value: &Value) {
        read_field(reader, &mut self.manifest, key, value, &self.ceilings);
    }

    /// To be called when all keys of `map` were read.
    pub fn check_together(&self, reader: &mut Reader, map: &Mapping) {
        check_together(reader, &self.manifest, map);
    }
}

/// Reads all keys and checks them against each other.
pub(super) fn read(value: &Value, ceilings: &Ceilings) -> Result<Manifest, Vec<Finding>> {
    let mut reader = Reader::default();
    let mut keys = AppKeys::new(ceilings);
    match value {
        Value::Null => {}
        Value::Mapping(map) => {
            for (key, value) in map {
                reader.field(key, |reader, key| keys.read(reader, key, value));
            }
            keys.check_together(&mut reader, map);
        }
        other => reader.wrong(format!("a manifest is a map of keys to values, this is {}", kind_of(other))),
    }
    if reader.findings.is_empty() { Ok(keys.manifest) } else { Err(reader.findings) }
}

fn read_field(reader: &mut Reader, manifest: &mut Manifest, key: &str, value: &Value, ceilings: &Ceilings) {
    match key {
        "name" => set(&mut manifest.name, reader.name(value).map(Some)),
        "version" => set(&mut manifest.version, reader.version(value).map(Some)),
        "enabled" => set(&mut manifest.enabled, reader.boolean(value)),
        "entrypoint" => set(&mut manifest.entrypoint, reader.entrypoint(value).map(Some)),
        "env" => set(&mut manifest.env, reader.env(value)),
        "envPrefix" => set(&mut manifest.env_prefix, reader.list(value, Reader::prefix)),
        "envPassthrough" => set(&mut manifest.env_passthrough, reader.list(value, Reader::passthrough)),
        "ttl" => set(&mut manifest.ttl, reader.duration(value)),
        "idleTimeout" => set(&mut manifest.idle_timeout, reader.some_time(value)),
        "startTimeout" => set(&mut manifest.start_timeout, reader.some_time(value)),
        "timeout" => set(&mut manifest.timeout, reader.some_time(value)),
        "streamTimeout" => set(&mut manifest.stream_timeout, reader.duration(value)),
        "drainTimeout" => set(&mut manifest.drain_timeout, reader.duration(value)),
        "maxRequests" => set(&mut manifest.max_requests, reader.count(value, 0, u64::MAX)),
        "maxBodySize" => set(&mut manifest.max_body_size, reader.body_size(value, ceilings.max_body_size)),
        "maxMemory" => set(&mut manifest.max_memory, reader.some_size(value).map(Some)),
        "concurrency" => set(&mut manifest.concurrency, reader.small(value, 1, MAX_COUNT)),
        "instances" => set(&mut manifest.instances, reader.instances(value, ceilings.cores)),
        "queue" => set(&mut manifest.queue, reader.queue(value)),
        "lowMemory" => set(&mut manifest.low_memory, reader.boolean(value)),
        "injectBase" => set(&mut manifest.inject_base, reader.boolean(value)),
        "csrf" => set(&mut manifest.csrf, reader.boolean(value).map(Some)),
        later if LATER.contains(&later) => {
            reader.unknown(format!("`{later}` is not in this version of Buntime"), None)
        }
        unknown => reader.unknown_key(unknown, &KEYS),
    }
}

/// Rules that hold between keys. Each is reported at a key that the file states.
fn check_together(reader: &mut Reader, manifest: &Manifest, map: &Mapping) {
    if !reader.findings.is_empty() {
        return;
    }
    let stated = |key: &str| map.contains_key(key);
    let (ttl, timeout, idle) = (manifest.ttl, manifest.timeout, manifest.idle_timeout);
    if !ttl.is_zero() && ttl < timeout {
        let default = |key: &str| if stated(key) { "" } else { ", its default" };
        reader.conflict(
            if stated("ttl") { "ttl" } else { "timeout" },
            format!(
                "`ttl` ({}{}) is shorter than `timeout` ({}{}): a worker could be terminated while it answers",
                show_duration(ttl),
                default("ttl"),
                show_duration(timeout),
                default("timeout"),
            ),
            "make `timeout` at most `ttl`; `ttl: 0` means a fresh worker for every request",
        );
    }
    if !ttl.is_zero() && stated("ttl") && stated("idleTimeout") && idle > ttl {
        reader.conflict(
            "idleTimeout",
            format!(
                "`idleTimeout` ({}) is longer than `ttl` ({}): the worker would end before it is idle",
                show_duration(idle),
                show_duration(ttl),
            ),
            "make `idleTimeout` at most `ttl`",
        );
    }
    if ttl.is_zero() && manifest.instances.min > 0 {
        reader.conflict(
            "instances",
            "`instances.min` keeps workers, `ttl: 0` (a fresh worker for every request) keeps none".into(),
            "leave one of them out",
        );
    }
}
