//! Changes a manifest as a careful person would: comments, order and style of all that is not meant stay as they are.
//!
//! The places come from a parser that knows where everything begins and ends; what was made of them is then read again by
//! the parser that reads manifests, and must say exactly what was wanted. So a style that is not understood here ends in an
//! error and never in a damaged file.

mod change;
mod emit;
mod tree;
mod write;

pub use write::{Reader, WriteError, private, write_atomically, write_for};

use self::tree::Document;
use serde_json::Value as Json;
use serde_yaml::{Mapping, Value};

/// Why a text cannot be changed. It was not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    #[error("it cannot be read: {0}")]
    Yaml(String),
    #[error("`{0}` is no map, so nothing can be set in it")]
    NotAMap(String),
    #[error("`{0}` is written in a way that only a person can change: use an editor")]
    Style(String),
}

/// Gives the value at the end of `path` (keys, from the top) another value, or adds it; maps on the way are made. Comment
/// lines all stay; those inside of what is replaced are put above it.
pub fn set(text: &str, path: &[&str], value: &Json) -> Result<String, EditError> {
    let old = read(text)?;
    let mut new = old.clone();
    // JSON has no value that YAML has not.
    let value = serde_yaml::to_value(value).map_err(|error| EditError::Yaml(error.to_string()))?;
    *slot(&mut new, path)? = value;
    edit(text, &old, new, path)
}

/// Gives several keys at the top their values, or takes away those that are to be none, all in one go.
pub fn set_all(
    text: &str,
    values: impl IntoIterator<Item = (String, Option<Value>)>,
) -> Result<String, EditError> {
    let old = read(text)?;
    let mut new = old.clone();
    let Value::Mapping(map) = &mut new else { return Err(EditError::NotAMap("the manifest".into())) };
    let mut keys = Vec::new();
    for (key, value) in values {
        match value {
            Some(value) => drop(map.insert(key.as_str().into(), value)),
            None => drop(map.shift_remove(key.as_str())),
        }
        keys.push(key);
    }
    match old == new {
        true => Ok(text.to_owned()),
        false => edit(text, &old, new, &[&keys.join(", ")]),
    }
}

/// Takes the key at the end of `path` away, with what stands behind it on its line. One that is not there is no error.
pub fn remove(text: &str, path: &[&str]) -> Result<String, EditError> {
    let old = read(text)?;
    let mut new = old.clone();
    let Some((last, above)) = path.split_last() else { return Ok(text.to_owned()) };
    let mut place = &mut new;
    for key in above {
        match place.as_mapping_mut().and_then(|map| map.get_mut(*key)) {
            Some(inner) => place = inner,
            None => return Ok(text.to_owned()),
        }
    }
    match place.as_mapping_mut().and_then(|map| map.shift_remove(*last)) {
        Some(_) => edit(text, &old, new, path),
        None => Ok(text.to_owned()),
    }
}

fn read(text: &str) -> Result<Value, EditError> {
    let value: Value = serde_yaml::from_str(text).map_err(|error| EditError::Yaml(error.to_string()))?;
    Ok(if value.is_null() { Value::Mapping(Mapping::new()) } else { value })
}

/// The place at the end of `path`; what is missing on the way is made.
fn slot<'v>(root: &'v mut Value, path: &[&str]) -> Result<&'v mut Value, EditError> {
    let mut place = root;
    for (depth, key) in path.iter().enumerate() {
        if place.is_null() {
            *place = Value::Mapping(Mapping::new());
        }
        let Value::Mapping(map) = place else { return Err(EditError::NotAMap(path[..depth].join("."))) };
        place = map.entry(Value::String((*key).to_owned())).or_insert(Value::Null);
    }
    Ok(place)
}

fn edit(text: &str, old: &Value, new: Value, path: &[&str]) -> Result<String, EditError> {
    let style = || EditError::Style(path.join("."));
    if !old.is_mapping() {
        return Err(EditError::NotAMap("the manifest".into()));
    }
    let (mark, body) = text.strip_prefix('\u{feff}').map_or(("", text), |body| ("\u{feff}", body));
    let document = Document::parse(body).ok_or_else(style)?;
    let changed = change::apply(&document, old, &new).ok_or_else(style)?;
    let changed = format!("{mark}{changed}");
    match read(&changed) {
        Ok(value) if value == new => Ok(changed),
        _ => Err(style()),
    }
}

#[cfg(test)]
mod tests;
