//! The keys of a manifest: what each may hold, and what they demand of each other.

use super::Ceilings;
use super::error::Finding;
use super::position::{Step, Target};
use crate::model::manifest::{Instances, Manifest, Queue};
use crate::model::quantity::{self, kind_of, show_duration, show_size};
use crate::model::{AppName, version};
use serde_yaml::{Mapping, Value};
use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::time::Duration;

const KEYS: [&str; 21] = [
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
];

/// Keys of the manifest's format that this version does not act on. Refused: a security setting that is silently
/// ignored is worse than an error.
const LATER: [&str; 7] =
    ["csrf", "autoInstall", "publicRoutes", "visibility", "permissions", "healthCheck", "cron"];

/// The supervisor's own settings, keys among them: no app may ask for one.
const OWN_VARIABLES: &str = "RUNTIME_";

const MAX_COUNT: u64 = 1_000_000;
const MAX_INSTANCES: u64 = 10_000;

/// Reads all keys and checks them against each other.
pub(super) fn read(value: &Value, ceilings: &Ceilings) -> Result<Manifest, Vec<Finding>> {
    let mut reader = Reader { path: Vec::new(), findings: Vec::new() };
    let mut manifest = Manifest::default();
    manifest.max_body_size = manifest.max_body_size.min(ceilings.max_body_size);
    match value {
        Value::Null => {}
        Value::Mapping(map) => {
            for (key, value) in map {
                reader.field(key, |reader, key| read_field(reader, &mut manifest, key, value, ceilings));
            }
            check_together(&mut reader, &manifest, map);
        }
        other => reader.wrong(format!("a manifest is a map of keys to values, this is {}", kind_of(other))),
    }
    if reader.findings.is_empty() { Ok(manifest) } else { Err(reader.findings) }
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

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// Turns values into typed ones, and collects what is wrong with them.
struct Reader {
    /// Where the value in hand stands.
    path: Vec<Step>,
    findings: Vec<Finding>,
}

impl Reader {
    fn wrong(&mut self, message: String) {
        self.find(Target::Value, message, None);
    }

    fn wrong_hint(&mut self, message: String, hint: &str) {
        self.find(Target::Value, message, Some(hint.into()));
    }

    fn unknown(&mut self, message: String, hint: Option<String>) {
        self.find(Target::Key, message, hint);
    }

    fn find(&mut self, target: Target, message: String, hint: Option<String>) {
        self.findings.push(Finding { path: self.path.clone(), target, message, hint });
    }

    fn conflict(&mut self, key: &str, message: String, hint: &str) {
        let path = vec![Step::Key(key.into())];
        self.findings.push(Finding { path, target: Target::Value, message, hint: Some(hint.into()) });
    }

    fn unknown_key(&mut self, key: &str, known: &[&str]) {
        let hint = nearest(key, known).map(|near| format!("did you mean `{near}`?"));
        self.unknown(format!("unknown key `{}`", shorten(key)), hint);
    }

    fn expected(&mut self, what: &str, found: &Value) {
        self.wrong(format!("expected {what}, found {}", kind_of(found)));
    }

    /// Reads one entry of a map, with its key on the path.
    fn field<T>(&mut self, key: &Value, read: impl FnOnce(&mut Reader, &str) -> T) -> Option<T> {
        let Value::String(name) = key else {
            self.wrong(format!("a key must be a text, this map has {} as one", kind_of(key)));
            return None;
        };
        self.path.push(Step::Key(name.clone()));
        let value = read(self, name);
        self.path.pop();
        Some(value)
    }

    fn map<'v>(&mut self, value: &'v Value) -> Option<&'v Mapping> {
        let map = value.as_mapping();
        if map.is_none() {
            self.expected("a map", value);
        }
        map
    }

    fn text<'v>(&mut self, value: &'v Value) -> Option<&'v str> {
        match value {
            Value::String(text) if text.contains('\0') => {
                self.wrong("a text must not hold a NUL character".into())
            }
            Value::String(text) => return Some(text),
            Value::Number(_) | Value::Bool(_) => {
                let found = scalar(value);
                self.wrong_hint(
                    format!("expected a text, found {}", kind_of(value)),
                    &format!("put it in quotes: \"{found}\""),
                );
            }
            other => self.expected("a text", other),
        }
        None
    }

    fn boolean(&mut self, value: &Value) -> Option<bool> {
        match value {
            Value::Bool(yes) => return Some(*yes),
            Value::String(text) => {
                self.wrong(format!("expected `true` or `false`, found `{}`", shorten(text)));
            }
            other => self.expected("`true` or `false`", other),
        }
        None
    }

    fn list(
        &mut self,
        value: &Value,
        item: fn(&mut Reader, &Value) -> Option<String>,
    ) -> Option<Vec<String>> {
        let Value::Sequence(values) = value else {
            self.expected("a list", value);
            return None;
        };
        let read = |(index, value)| {
            self.path.push(Step::Item(index));
            let read = item(self, value);
            self.path.pop();
            read
        };
        values.iter().enumerate().map(read).collect()
    }

    fn duration(&mut self, value: &Value) -> Option<Duration> {
        quantity::duration(value).map_err(|error| self.wrong(error.to_string())).ok()
    }

    /// A duration that must not be zero.
    fn some_time(&mut self, value: &Value) -> Option<Duration> {
        let duration = self.duration(value)?;
        if duration.is_zero() {
            self.wrong("this limit must be longer than zero".into());
        }
        Some(duration)
    }

    fn size(&mut self, value: &Value) -> Option<u64> {
        quantity::size(value).map_err(|error| self.wrong(error.to_string())).ok()
    }

    fn some_size(&mut self, value: &Value) -> Option<u64> {
        let size = self.size(value)?;
        if size == 0 {
            self.wrong_hint("this limit must be larger than zero".into(), "leave the key out for no limit");
        }
        Some(size)
    }

    fn body_size(&mut self, value: &Value, ceiling: u64) -> Option<u64> {
        let size = self.size(value)?;
        if size > ceiling {
            self.wrong_hint(
                format!("{} is more than the operator allows ({})", show_size(size), show_size(ceiling)),
                "the ceiling is the runtime's `--max-body-size`",
            );
        }
        Some(size)
    }

    fn count(&mut self, value: &Value, least: u64, most: u64) -> Option<u64> {
        match value.as_u64() {
            Some(count) if (least..=most).contains(&count) => Some(count),
            _ => {
                let most = if most == u64::MAX { String::new() } else { format!(", at most {most}") };
                let found = if value.is_number() { scalar(value) } else { kind_of(value).into() };
                self.wrong(format!("expected a whole number, at least {least}{most}; found {found}"));
                None
            }
        }
    }

    /// A count that is at most `most`, which fits.
    fn small(&mut self, value: &Value, least: u64, most: u64) -> Option<u32> {
        self.count(value, least, most).and_then(|count| u32::try_from(count).ok())
    }

    fn name(&mut self, value: &Value) -> Option<String> {
        let text = self.text(value)?;
        AppName::parse(text).map_err(|error| self.wrong(error.to_string())).ok()?;
        Some(text.into())
    }

    fn version(&mut self, value: &Value) -> Option<String> {
        let text = self.text(value)?;
        let wrong =
            |error: version::VersionError| self.wrong_hint(error.to_string(), "write it as in `1.4.2`");
        version::parse_version(text).map_err(wrong).ok()?;
        Some(text.into())
    }

    fn entrypoint(&mut self, value: &Value) -> Option<String> {
        let text = self.text(value)?;
        let mut parts = Path::new(text).components();
        if text.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            self.wrong_hint(
                "the entrypoint must be a relative path that stays inside the app".into(),
                "write it as in `src/index.ts`, without a leading `/` and without `..`",
            );
            return None;
        }
        Some(text.into())
    }

    fn env(&mut self, value: &Value) -> Option<BTreeMap<String, String>> {
        let mut env = BTreeMap::new();
        for (key, value) in self.map(value)? {
            self.field(key, |reader, name| {
                if !is_variable(name) {
                    reader.unknown(
                        format!("`{}` is no name of a variable", shorten(name)),
                        Some(VARIABLE_HINT.into()),
                    );
                }
                if let Some(text) = reader.text(value) {
                    env.insert(name.to_owned(), text.to_owned());
                }
            });
        }
        Some(env)
    }

    fn prefix(&mut self, value: &Value) -> Option<String> {
        let text = self.text(value)?;
        if !is_variable(text) {
            self.wrong_hint(
                format!("`{}` is no prefix of variables", shorten(text)),
                "write it as in `PUBLIC_`; `[]` publishes none",
            );
        }
        Some(text.into())
    }

    fn passthrough(&mut self, value: &Value) -> Option<String> {
        let text = self.text(value)?;
        if !is_variable(text) {
            self.wrong_hint(format!("`{}` is no name of a variable", shorten(text)), VARIABLE_HINT);
        } else if text.starts_with(OWN_VARIABLES) {
            self.wrong(format!("`{}` is the runtime's own: no app may see it", shorten(text)));
        }
        Some(text.into())
    }

    fn instances(&mut self, value: &Value, cores: u32) -> Option<Instances> {
        let mut instances = Manifest::default().instances;
        let mut max_is_stated = false;
        for (key, value) in self.map(value)? {
            self.field(key, |reader, key| match key {
                "min" => set(&mut instances.min, reader.small(value, 0, MAX_INSTANCES)),
                "max" => {
                    max_is_stated = true;
                    match value.as_str() {
                        Some("auto") => instances.max = cores,
                        Some(_) => reader.wrong("expected a whole number or `auto` (one a core)".into()),
                        None => set(&mut instances.max, reader.small(value, 1, MAX_INSTANCES)),
                    }
                }
                unknown => reader.unknown_key(unknown, &["min", "max"]),
            });
        }
        if self.findings.is_empty() && instances.min > instances.max {
            let Instances { min, max } = instances;
            let why = if max_is_stated { "" } else { ", its default" };
            self.wrong(format!("`min` ({min}) is more than `max` ({max}{why})"));
        }
        Some(instances)
    }

    fn queue(&mut self, value: &Value) -> Option<Queue> {
        let mut queue = Manifest::default().queue;
        for (key, value) in self.map(value)? {
            self.field(key, |reader, key| match key {
                "size" => set(&mut queue.size, reader.small(value, 0, MAX_COUNT)),
                "timeout" => set(&mut queue.timeout, reader.duration(value)),
                unknown => reader.unknown_key(unknown, &["size", "timeout"]),
            });
        }
        Some(queue)
    }
}

const VARIABLE_HINT: &str = "letters, digits and `_`, not starting with a digit";

fn is_variable(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// A number or a boolean as it may be put in quotes.
fn scalar(value: &Value) -> String {
    match value {
        Value::Number(number) => number.to_string(),
        Value::Bool(yes) => yes.to_string(),
        _ => String::new(),
    }
}

/// Keeps what an error quotes short.
fn shorten(text: &str) -> &str {
    text.char_indices().nth(60).map_or(text, |(end, _)| &text[..end])
}

/// The known key that somebody who typed `key` most likely meant.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let key = shorten(key).to_ascii_lowercase();
    let flat = key.replace(['_', '-'], "");
    let distance = |near: &&str| edit_distance(&flat, &near.to_ascii_lowercase());
    let near = known.iter().copied().min_by_key(distance)?;
    (distance(&near) <= 1 + near.len() / 4).then_some(near)
}

/// Levenshtein's: how many insertions, deletions and replacements turn `a` into `b`.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, left) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, right) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(left != *right);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
