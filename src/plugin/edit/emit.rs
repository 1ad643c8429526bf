//! Writes values as YAML: lists and maps on lines of their own or in brackets, texts plain where nothing else can be meant.

use serde_yaml::{Mapping, Value};
use std::fmt::Write;

/// Words that some reader of YAML takes for something else than a text.
const OTHER: [&str; 11] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"];

/// On one line.
pub fn flow(value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => "null".into(),
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => scalar(text),
        Value::Sequence(values) => {
            let items: Option<Vec<_>> = values.iter().map(flow).collect();
            format!("[{}]", items?.join(", "))
        }
        Value::Mapping(map) => {
            let entry = |(key, value): (&Value, &Value)| Some(format!("{}: {}", key_of(key)?, flow(value)?));
            let entries: Option<Vec<_>> = map.iter().map(entry).collect();
            format!("{{{}}}", entries?.join(", "))
        }
        Value::Tagged(_) => return None,
    })
}

/// Whether it takes lines of its own where it may.
pub fn is_tall(value: &Value) -> bool {
    match value {
        Value::Sequence(values) => !values.is_empty(),
        Value::Mapping(map) => !map.is_empty(),
        _ => false,
    }
}

/// `key: value`, without a line's end behind it. Lines after the first are indented.
pub fn entry(key: &str, value: &Value, indent: usize, newline: &str) -> Option<String> {
    Some(format!("{}:{}", scalar(key), behind_colon(value, indent, newline)?))
}

/// What stands behind a key's colon. `indent` is the key's.
pub fn behind_colon(value: &Value, indent: usize, newline: &str) -> Option<String> {
    if !is_tall(value) {
        return Some(format!(" {}", flow(value)?));
    }
    let lines = tall(value, indent + 2, newline)?;
    Some(format!("{newline}{}{lines}", " ".repeat(indent + 2)))
}

/// A list or a map that is not empty; its first line is not indented.
fn tall(value: &Value, indent: usize, newline: &str) -> Option<String> {
    let between = format!("{newline}{}", " ".repeat(indent));
    let lines: Option<Vec<_>> = match value {
        Value::Sequence(values) => {
            let item = |value: &Value| match is_tall(value) {
                true => Some(format!("- {}", tall(value, indent + 2, newline)?)),
                false => Some(format!("- {}", flow(value)?)),
            };
            values.iter().map(item).collect()
        }
        Value::Mapping(map) => entries(map, indent, newline),
        _ => None,
    };
    Some(lines?.join(&between))
}

fn entries(map: &Mapping, indent: usize, newline: &str) -> Option<Vec<String>> {
    map.iter().map(|(key, value)| entry(key.as_str()?, value, indent, newline)).collect()
}

fn key_of(key: &Value) -> Option<String> {
    key.as_str().map(scalar)
}

/// A text, plain where it is a word or a path, else in quotes.
pub fn scalar(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let begins = text.starts_with(|c: char| c.is_ascii_alphabetic() || matches!(c, '_' | '/'));
    let other = OTHER.iter().any(|other| text.eq_ignore_ascii_case(other));
    if begins && !other && text.chars().all(word) { text.to_owned() } else { quoted(text) }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        // Writing to a `String` cannot fail.
        let _ = match c {
            '"' | '\\' => write!(out, "\\{c}"),
            '\n' => write!(out, "\\n"),
            '\t' => write!(out, "\\t"),
            // Not printable in YAML, or a break of lines to it.
            '\0'..='\u{1f}' | '\u{7f}'..='\u{a0}' => write!(out, "\\x{:02x}", u32::from(c)),
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                write!(out, "\\u{:04x}", u32::from(c))
            }
            c => write!(out, "{c}"),
        };
    }
    out.push('"');
    out
}
