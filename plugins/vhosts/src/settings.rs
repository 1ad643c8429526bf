//! Reads the settings: hosts with what answers there, every key checked.

use crate::fault::{Fault, Faults};
use crate::pattern::{self, Pattern};
use crate::redirect::Redirect;
use crate::rule::{Action, Entry, Rule, TENANT};
use crate::table::{Table, Taken};
use buntime_plugin::http::StatusCode;
use buntime_plugin::name;
use buntime_plugin::settings::nearest;
use serde_json::{Map, Value};
use std::collections::HashMap;

const KEYS: [&str; 5] = ["app", "pathPrefix", "stripPrefix", "redirect", "tls"];
const REDIRECT_KEYS: [&str; 2] = ["to", "status"];
/// Longest prefix, in bytes.
const MAX_PREFIX: usize = 255;
/// Longest version or range, in bytes.
const MAX_VERSION: usize = 256;

/// Compiles the setting `hosts`.
///
/// # Errors
/// All that is wrong with it.
pub fn compile(hosts: &Value) -> Result<Table, Faults> {
    let mut reader = Reader::default();
    match hosts {
        Value::Null => {}
        Value::Object(hosts) => hosts.iter().for_each(|(key, value)| reader.host(key, value)),
        other => {
            let hint = "write `shop.example.com: {app: shop}`";
            reader.fault("hosts_type", "hosts", format!("{} is no map of hosts", kind(other)), hint);
        }
    }
    if !reader.faults.is_empty() {
        return Err(Faults(reader.faults));
    }
    reader.table.shrink();
    Ok(reader.table)
}

#[derive(Default)]
struct Reader {
    table: Table,
    /// The keys by their patterns, to name the first one where two mean the same.
    keys: HashMap<Pattern, String>,
    faults: Vec<Fault>,
}

impl Reader {
    fn fault(&mut self, code: &'static str, place: &str, cause: impl Into<String>, hint: impl Into<String>) {
        let (cause, hint) = (cause.into(), Some(hint.into()));
        self.faults.push(Fault { code, place: place.to_owned(), cause, hint });
    }

    fn host(&mut self, key: &str, value: &Value) {
        let place = format!("hosts[{key:?}]");
        let pattern = match Pattern::parse(key) {
            Ok(pattern) => pattern,
            Err(error) => return self.fault("host_invalid", &place, error.to_string(), error.hint()),
        };
        if let Some(first) = self.keys.get(&pattern) {
            let cause = format!("`{first}` is the same host");
            return self.fault("host_twice", &place, cause, "make one list of both");
        }
        self.keys.insert(pattern.clone(), key.to_owned());
        let mut rules: Vec<Rule> = Vec::new();
        let list = match value {
            Value::Array(list) if list.is_empty() => {
                return self.fault(
                    "rule_missing",
                    &place,
                    "the list is empty",
                    "give it an `app` or a `redirect`",
                );
            }
            Value::Array(list) => &list[..],
            one => std::slice::from_ref(one),
        };
        for (at, rule) in list.iter().enumerate() {
            let place = if value.is_array() { format!("{place}[{at}]") } else { place.clone() };
            let Some(rule) = self.rule(&pattern, &place, rule) else { continue };
            if rules.iter().any(|other| other.prefix == rule.prefix) {
                let cause = match &*rule.prefix {
                    "" => "two of the host have no `pathPrefix`".to_owned(),
                    prefix => format!("`{prefix}` is there twice"),
                };
                self.fault("prefix_twice", &format!("{place}.pathPrefix"), cause, "leave one of them out");
                continue;
            }
            rules.push(rule);
        }
        if let Err(Taken) = self.table.insert(pattern, Entry::new(rules)) {
            self.fault("host_twice", &place, "there are too many hosts", "use wildcards");
        }
    }

    fn rule(&mut self, pattern: &Pattern, place: &str, value: &Value) -> Option<Rule> {
        let Value::Object(keys) = value else {
            let cause = format!("{} is nothing that answers", kind(value));
            self.fault("rule_type", place, cause, "write `{app: shop}` or `{redirect: www.example.com}`");
            return None;
        };
        let before = self.faults.len();
        self.unknown(keys, &KEYS, place);
        if keys.contains_key("tls") {
            let cause = "`tls` is not in this version of Buntime";
            self.fault("tls_missing", &format!("{place}.tls"), cause, "remove it");
        }
        let prefix = keys.get("pathPrefix").and_then(|prefix| self.prefix(place, prefix)).unwrap_or_default();
        let strips = match keys.get("stripPrefix") {
            None => false,
            Some(Value::Bool(strips)) => *strips,
            Some(other) => {
                let cause = format!("{} is neither true nor false", kind(other));
                self.fault(
                    "strip_invalid",
                    &format!("{place}.stripPrefix"),
                    cause,
                    "write `true` or leave it out",
                );
                false
            }
        };
        if strips && !keys.contains_key("pathPrefix") {
            let cause = "there is no `pathPrefix` to take off";
            self.fault(
                "strip_invalid",
                &format!("{place}.stripPrefix"),
                cause,
                "remove it, or add `pathPrefix`",
            );
        }
        let action = match (keys.get("app"), keys.get("redirect")) {
            (Some(_), Some(_)) => {
                let cause = "`app` and `redirect` are both there";
                self.fault("rule_both", place, cause, "leave one of them out");
                None
            }
            (None, None) => {
                self.fault("rule_missing", place, "nothing answers", "give it an `app` or a `redirect`");
                None
            }
            (Some(app), None) => self.app(pattern, place, app, strips),
            (None, Some(redirect)) => {
                if strips {
                    let cause = "a redirect keeps the path";
                    self.fault("strip_invalid", &format!("{place}.stripPrefix"), cause, "remove it");
                }
                self.redirect(pattern, place, redirect)
            }
        };
        let action = action.filter(|_| self.faults.len() == before)?;
        Some(Rule { prefix, action })
    }

    fn unknown(&mut self, keys: &Map<String, Value>, known: &[&str], place: &str) {
        for key in keys.keys().filter(|key| !known.contains(&key.as_str())) {
            let hint = match nearest(key, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("these are known: `{}`", known.join("`, `")),
            };
            self.fault("unknown_key", &format!("{place}.{key}"), "unknown key", hint);
        }
    }

    fn prefix(&mut self, place: &str, value: &Value) -> Option<Box<str>> {
        let place = format!("{place}.pathPrefix");
        let Value::String(prefix) = value else {
            let cause = format!("{} is no path", kind(value));
            self.fault("prefix_invalid", &place, cause, "write a path, such as `/shop`");
            return None;
        };
        let segments = prefix.strip_prefix('/').filter(|inside| !inside.is_empty());
        // Nothing that somebody could read as something else.
        let fits = |segment: &str| {
            !matches!(segment, "" | "." | "..")
                && segment
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte))
        };
        match segments {
            Some(segments) if prefix.len() <= MAX_PREFIX && segments.split('/').all(fits) => {
                Some(prefix.as_str().into())
            }
            _ => {
                let hint = match prefix.as_str() {
                    "" | "/" => "leave it out for all paths",
                    _ => {
                        "begin with `/`, end without one, and use neither empty nor dot segments nor encoded characters: `/shop`"
                    }
                };
                self.fault("prefix_invalid", &place, format!("{prefix:?} is no prefix"), hint);
                None
            }
        }
    }

    fn app(&mut self, pattern: &Pattern, place: &str, value: &Value, strips: bool) -> Option<Action> {
        let place = format!("{place}.app");
        let Value::String(request) = value else {
            self.fault("app_invalid", &place, format!("{} is no app", kind(value)), "write its name");
            return None;
        };
        let is_template = request.contains(TENANT);
        if is_template && matches!(pattern, Pattern::Exact(_) | Pattern::Default) {
            let hint = "use a host such as `*.apps.example.com`, or name the app";
            self.fault("tenant_without_wildcard", &place, format!("`{TENANT}` needs a wildcard"), hint);
            return None;
        }
        // A label can stand wherever this one can.
        if let Err(cause) = check_request(&request.replace(TENANT, "a")) {
            let hint = match request.contains(['{', '}']) && !is_template {
                true => format!("the labels of the wildcard are `{TENANT}`"),
                false => "write a version request: `shop`, `shop@1`, `@team/shop@latest`".to_owned(),
            };
            self.fault("app_invalid", &place, cause, hint);
            return None;
        }
        Some(Action::App { request: request.as_str().into(), is_template, strips })
    }

    fn redirect(&mut self, pattern: &Pattern, place: &str, value: &Value) -> Option<Action> {
        let place = format!("{place}.redirect");
        let (to, status) = match value {
            Value::String(to) => (to, StatusCode::PERMANENT_REDIRECT),
            Value::Object(keys) => {
                self.unknown(keys, &REDIRECT_KEYS, &place);
                let status = match keys.get("status").map_or(Some(308), Value::as_u64) {
                    Some(301) => StatusCode::MOVED_PERMANENTLY,
                    Some(308) => StatusCode::PERMANENT_REDIRECT,
                    _ => {
                        let hint = "write 308, which keeps the method, or 301";
                        self.fault(
                            "redirect_status",
                            &format!("{place}.status"),
                            "neither 301 nor 308",
                            hint,
                        );
                        return None;
                    }
                };
                let Some(Value::String(to)) = keys.get("to") else {
                    let hint = "write `to: www.example.com`";
                    self.fault("redirect_invalid", &format!("{place}.to"), "there is no host", hint);
                    return None;
                };
                (to, status)
            }
            other => {
                let cause = format!("{} is no host", kind(other));
                self.fault("redirect_invalid", &place, cause, "write a host, such as `www.example.com`");
                return None;
            }
        };
        let (name, port) = match to.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') && !name.ends_with(':') => {
                let number = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse::<u16>().ok());
                match number.flatten().filter(|&port| port > 0) {
                    Some(port) => (name, Some(port)),
                    // Its own words are better: what stands behind the colon is a path, or the rest of an address.
                    None => (to.as_str(), None),
                }
            }
            _ => (to.as_str(), None),
        };
        let host = match pattern::host(name) {
            Ok(host) => host,
            Err(error) => {
                let hint = "write a host with or without a port: `www.example.com`; path and query are kept";
                self.fault("redirect_invalid", &place, format!("{to:?}: {error}"), hint);
                return None;
            }
        };
        if port.is_none() && matches!(pattern, Pattern::Exact(own) if *own == host) {
            self.fault("redirect_loop", &place, "it leads to the same host", "name another one");
            return None;
        }
        Some(Action::Redirect(Box::new(Redirect { host, port, status })))
    }
}

/// Whether a text asks for an app: a name, and perhaps a version behind an `@`. What the version means is known when it is asked for.
pub fn check_request(text: &str) -> Result<(), String> {
    let (name, version) = name::split_request(text);
    name::check(name).map_err(|error| format!("{name:?}: {error}"))?;
    match version {
        Some("") => Err("no version stands behind the `@`".to_owned()),
        Some(version)
            if version.len() > MAX_VERSION
                || !version
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._~^+*".contains(&byte)) =>
        {
            Err(format!("{version:?} is no version and no alias"))
        }
        _ => Ok(()),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
