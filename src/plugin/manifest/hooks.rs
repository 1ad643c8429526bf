//! What a script plugin says of its hooks, so that the supervisor need not ask it. A native one says it in its code.

use crate::manifest::{Reader, set, shorten};
use buntime_plugin::{Filter, Glob, GlobError, Phase};
use http::Method;
use serde_yaml::Value;

pub(super) const NAMES: [&str; 7] =
    ["onRequest", "onResponse", "onWorkerSpawn", "onWorkerTerminate", "onServerStart", "fetch", "websocket"];
/// Other exports of a plugin's module, which it has or has not.
const UNLISTED: [&str; 4] = ["onInit", "onShutdown", "routes", "services"];

/// A hook that answers of apps and plugins pass, or that sees requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hook {
    pub filter: Filter,
    /// Whether it wants the body; one that does not never waits for it.
    pub body: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHook {
    pub phase: Phase,
    pub hook: Hook,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// One a phase at most, in the order of phases.
    pub on_request: Vec<RequestHook>,
    pub on_response: Option<Hook>,
    /// Which workers it hears of: the filter has apps alone.
    pub on_worker_spawn: Option<Filter>,
    pub on_worker_terminate: Option<Filter>,
    pub on_server_start: bool,
    /// `server.fetch`.
    pub fetch: Option<Filter>,
    pub websocket: bool,
}

/// Which keys the map of a hook may have.
#[derive(Clone, Copy)]
struct Keys(&'static [&'static str]);

const OF_REQUEST: Keys = Keys(&["phase", "methods", "paths", "apps", "body"]);
const OF_RESPONSE: Keys = Keys(&["methods", "paths", "apps", "body"]);
const OF_FETCH: Keys = Keys(&["methods", "paths"]);
const OF_WORKER: Keys = Keys(&["apps"]);

impl Hooks {
    pub(super) fn read(reader: &mut Reader, value: &Value) -> Option<Hooks> {
        let mut hooks = Hooks::default();
        for (key, value) in reader.map(value)? {
            reader.field(key, |reader, key| hooks.read_one(reader, key, value));
        }
        Some(hooks)
    }

    fn read_one(&mut self, reader: &mut Reader, key: &str, value: &Value) {
        let plain = |reader: &mut Reader, keys| Some(read_hook(reader, value, keys)?.map(|read| read.hook));
        let filter =
            |reader: &mut Reader, keys| Some(read_hook(reader, value, keys)?.map(|read| read.hook.filter));
        match key {
            "onRequest" => set(&mut self.on_request, read_request_hooks(reader, value)),
            "onResponse" => set(&mut self.on_response, plain(reader, OF_RESPONSE)),
            "onWorkerSpawn" => set(&mut self.on_worker_spawn, filter(reader, OF_WORKER)),
            "onWorkerTerminate" => set(&mut self.on_worker_terminate, filter(reader, OF_WORKER)),
            "fetch" => set(&mut self.fetch, filter(reader, OF_FETCH)),
            "onServerStart" => set(&mut self.on_server_start, reader.boolean(value)),
            "websocket" => set(&mut self.websocket, reader.boolean(value)),
            unlisted if UNLISTED.contains(&unlisted) => {
                let hint = "take it out: the module's own export is enough".into();
                reader.unknown(format!("`{unlisted}` needs no entry here"), Some(hint));
            }
            unknown => reader.unknown_key(unknown, &NAMES),
        }
    }
}

/// `true`, a map, or a list of maps with a phase each.
fn read_request_hooks(reader: &mut Reader, value: &Value) -> Option<Vec<RequestHook>> {
    let mut hooks: Vec<RequestHook> = match value {
        Value::Sequence(_) => {
            let read = reader.list(value, |reader, value| read_hook(reader, value, OF_REQUEST))?;
            read.into_iter().flatten().collect()
        }
        _ => read_hook(reader, value, OF_REQUEST)?.into_iter().collect(),
    };
    // Stable, so the second of two is the later in the file.
    hooks.sort_by_key(|hook| hook.phase);
    if let Some(pair) = hooks.windows(2).find(|pair| pair[0].phase == pair[1].phase) {
        let message = format!("there are two hooks in the phase `{}`", pair[0].phase);
        reader.wrong_hint(message, "a plugin has one a phase: make one of them, or give it another `phase`");
        return None;
    }
    Some(hooks)
}

/// `true`, `false` or a map. `Some(None)` = it has no such hook.
fn read_hook(reader: &mut Reader, value: &Value, keys: Keys) -> Option<Option<RequestHook>> {
    let mut read = RequestHook { phase: Phase::Permit, hook: Hook::default() };
    let map = match value {
        Value::Bool(there) => return Some(there.then_some(read)),
        Value::Mapping(map) => map,
        other => {
            reader.expected("`true` or a map", other);
            return None;
        }
    };
    let RequestHook { phase, hook: Hook { filter, body } } = &mut read;
    for (key, value) in map {
        reader.field(key, |reader, key| match key {
            unknown if !keys.0.contains(&unknown) => reader.unknown_key(unknown, keys.0),
            "phase" => set(phase, read_phase(reader, value)),
            "methods" => add(filter, reader.some_list(value, read_method), Filter::methods),
            "paths" => add(filter, reader.some_list(value, read_path), Filter::paths),
            "apps" => add(filter, reader.some_list(value, read_app), Filter::apps),
            _ => set(body, reader.boolean(value)),
        });
    }
    if read.phase == Phase::Resolve && map.contains_key("apps") {
        let message = "in the phase `resolve` no app is known yet, so `apps` would let nothing pass";
        reader.wrong_hint(message.into(), "leave `apps` out, or take a later phase");
        return None;
    }
    Some(Some(read))
}

fn read_phase(reader: &mut Reader, value: &Value) -> Option<Phase> {
    let text = reader.text(value)?;
    let phase = text.parse().ok();
    if phase.is_none() {
        let all = Phase::ALL.map(Phase::as_str).join(", ");
        reader.wrong_hint(format!("`{}` is no phase", shorten(text)), &format!("the phases are {all}"));
    }
    phase
}

fn read_method(reader: &mut Reader, value: &Value) -> Option<Method> {
    let text = reader.text(value)?;
    let method = Method::from_bytes(text.as_bytes()).ok();
    if text.bytes().any(|b| b.is_ascii_lowercase()) {
        let hint = format!("methods are in capitals: `{}`", shorten(&text.to_ascii_uppercase()));
        reader.wrong_hint(format!("`{}` is no method", shorten(text)), &hint);
        return None;
    }
    if method.is_none() {
        reader.wrong(format!("`{}` is no method", shorten(text)));
    }
    method
}

fn read_path(reader: &mut Reader, value: &Value) -> Option<Glob> {
    let text = reader.text(value)?;
    if !text.starts_with('/') && text != "**" {
        reader.wrong_hint(format!("`{}` is no pattern of paths", shorten(text)), "begin it with `/`");
        return None;
    }
    glob(reader, text)
}

fn read_app(reader: &mut Reader, value: &Value) -> Option<Glob> {
    let text = reader.text(value)?;
    let fits = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '-' | '.' | '_' | '~' | '@' | '/' | '*');
    if let Some(odd) = text.chars().find(|c| !fits(*c)) {
        reader.wrong(format!("`{odd}` cannot stand in the name of an app"));
        return None;
    }
    glob(reader, text)
}

fn glob(reader: &mut Reader, text: &str) -> Option<Glob> {
    text.parse().map_err(|error: GlobError| reader.wrong(error.to_string())).ok()
}

fn add<T>(filter: &mut Filter, read: Option<Vec<T>>, part: fn(Filter, Vec<T>) -> Filter) {
    if let Some(read) = read {
        *filter = part(std::mem::take(filter), read);
    }
}

impl Reader {
    /// A list with something in it: an empty filter would let nothing pass, and nobody means that.
    fn some_list<T>(
        &mut self,
        value: &Value,
        item: impl FnMut(&mut Reader, &Value) -> Option<T>,
    ) -> Option<Vec<T>> {
        let list = self.list(value, item)?;
        if list.is_empty() {
            self.wrong_hint(
                "this list is empty: the hook would see nothing".into(),
                "leave the key out for all",
            );
            return None;
        }
        Some(list)
    }
}
