//! Turns the values of a manifest into typed ones.

use super::error::Finding;
use super::position::{Step, Target};
use crate::model::quantity::{self, kind_of};
use crate::model::{AppName, version};
use buntime_plugin::settings::edit_distance;
use serde_yaml::{Mapping, Value};
use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::time::Duration;

/// Turns values into typed ones, and collects what is wrong with them.
#[derive(Default)]
pub(crate) struct Reader {
    /// Where the value in hand stands.
    path: Vec<Step>,
    pub findings: Vec<Finding>,
}

impl Reader {
    pub fn wrong(&mut self, message: String) {
        self.find(Target::Value, message, None);
    }

    pub fn wrong_hint(&mut self, message: String, hint: &str) {
        self.find(Target::Value, message, Some(hint.into()));
    }

    pub fn unknown(&mut self, message: String, hint: Option<String>) {
        self.find(Target::Key, message, hint);
    }

    fn find(&mut self, target: Target, message: String, hint: Option<String>) {
        self.findings.push(Finding { path: self.path.clone(), target, message, hint });
    }

    pub fn conflict(&mut self, key: &str, message: String, hint: &str) {
        let path = vec![Step::Key(key.into())];
        self.findings.push(Finding { path, target: Target::Value, message, hint: Some(hint.into()) });
    }

    pub fn unknown_key(&mut self, key: &str, known: &[&str]) {
        let hint = nearest(key, known).map(|near| format!("did you mean `{near}`?"));
        self.unknown(format!("unknown key `{}`", shorten(key)), hint);
    }

    pub fn expected(&mut self, what: &str, found: &Value) {
        self.wrong(format!("expected {what}, found {}", kind_of(found)));
    }

    /// Reads one entry of a map, with its key on the path.
    pub fn field<T>(&mut self, key: &Value, read: impl FnOnce(&mut Reader, &str) -> T) -> Option<T> {
        let Value::String(name) = key else {
            self.wrong(format!("a key must be a text, this map has {} as one", kind_of(key)));
            return None;
        };
        self.path.push(Step::Key(name.clone()));
        let value = read(self, name);
        self.path.pop();
        Some(value)
    }

    pub fn map<'v>(&mut self, value: &'v Value) -> Option<&'v Mapping> {
        let map = value.as_mapping();
        if map.is_none() {
            self.expected("a map", value);
        }
        map
    }

    pub fn text<'v>(&mut self, value: &'v Value) -> Option<&'v str> {
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

    pub fn boolean(&mut self, value: &Value) -> Option<bool> {
        match value {
            Value::Bool(yes) => return Some(*yes),
            Value::String(text) => {
                self.wrong(format!("expected `true` or `false`, found `{}`", shorten(text)));
            }
            other => self.expected("`true` or `false`", other),
        }
        None
    }

    /// Reads one item of a list, with its place on the path.
    pub fn item<T>(&mut self, index: usize, read: impl FnOnce(&mut Reader) -> T) -> T {
        self.path.push(Step::Item(index));
        let value = read(self);
        self.path.pop();
        value
    }

    /// Reads all items, also those behind one that is wrong.
    pub fn list<T>(
        &mut self,
        value: &Value,
        mut item: impl FnMut(&mut Reader, &Value) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Sequence(values) = value else {
            self.expected("a list", value);
            return None;
        };
        let read = |(index, value)| self.item(index, |reader| item(reader, value));
        let items: Vec<_> = values.iter().enumerate().map(read).collect();
        items.into_iter().collect()
    }

    pub fn duration(&mut self, value: &Value) -> Option<Duration> {
        quantity::duration(value).map_err(|error| self.wrong(error.to_string())).ok()
    }

    /// A duration that must not be zero.
    pub fn some_time(&mut self, value: &Value) -> Option<Duration> {
        let duration = self.duration(value)?;
        if duration.is_zero() {
            self.wrong("this limit must be longer than zero".into());
        }
        Some(duration)
    }

    pub fn size(&mut self, value: &Value) -> Option<u64> {
        quantity::size(value).map_err(|error| self.wrong(error.to_string())).ok()
    }

    pub fn some_size(&mut self, value: &Value) -> Option<u64> {
        let size = self.size(value)?;
        if size == 0 {
            self.wrong_hint("this limit must be larger than zero".into(), "leave the key out for no limit");
        }
        Some(size)
    }

    pub fn count(&mut self, value: &Value, least: u64, most: u64) -> Option<u64> {
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
    pub fn small(&mut self, value: &Value, least: u64, most: u64) -> Option<u32> {
        self.count(value, least, most).and_then(|count| u32::try_from(count).ok())
    }

    pub fn name(&mut self, value: &Value) -> Option<String> {
        let text = self.text(value)?;
        AppName::parse(text).map_err(|error| self.wrong(error.to_string())).ok()?;
        Some(text.into())
    }

    pub fn version(&mut self, value: &Value) -> Option<String> {
        let text = self.text(value)?;
        let wrong =
            |error: version::VersionError| self.wrong_hint(error.to_string(), "write it as in `1.4.2`");
        version::parse_version(text).map_err(wrong).ok()?;
        Some(text.into())
    }

    /// A relative path. `what` is what it is of, and `whole` what it may not leave.
    pub fn path_inside(&mut self, value: &Value, what: &str, whole: &str) -> Option<String> {
        let text = self.text(value)?;
        let mut parts = Path::new(text).components();
        if text.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            self.wrong_hint(
                format!("{what} must be a relative path that stays inside the {whole}"),
                "write it as in `src/index.ts`, without a leading `/` and without `..`",
            );
            return None;
        }
        Some(text.into())
    }

    pub fn env(&mut self, value: &Value) -> Option<BTreeMap<String, String>> {
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
}

/// Puts what could be read into a field.
pub(crate) fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

pub(crate) const VARIABLE_HINT: &str = "letters, digits and `_`, not starting with a digit";

pub(crate) fn is_variable(text: &str) -> bool {
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
pub(crate) fn shorten(text: &str) -> &str {
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
