//! A plugin's settings: what its manifest says, checked against its own `config` schema.

use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;

/// The values, defaults filled in. A `duration` is its milliseconds, a `size` its bytes.
#[derive(Clone, Default, PartialEq)]
pub struct Settings(Value);

impl Settings {
    pub fn new(values: Value) -> Settings {
        Settings(values)
    }

    /// The settings as a type of the plugin's.
    ///
    /// # Errors
    /// The type wants what the schema does not promise: a fault of the plugin.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.0)
            .map_err(|error| Error::new("the settings do not fit the plugin").because(error))
    }

    pub fn value(&self) -> &Value {
        &self.0
    }
}

/// The known word that a mistyped one most likely means: at most a third of its letters differ.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase();
    let scored = known.into_iter().map(|known| (edit_distance(&word, &known.to_lowercase()), known));
    let (least, known) = scored.min_by_key(|(distance, _)| *distance)?;
    (least <= known.len().div_ceil(3)).then_some(known)
}

/// Levenshtein's: how many insertions, deletions and replacements turn `a` into `b`.
pub fn edit_distance(a: &str, b: &str) -> usize {
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

/// There may be secrets among them.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings(…)")
    }
}

/// `#[serde(with = "buntime_plugin::settings::millis")]` for a `duration`.
pub mod millis {
    use serde::{Deserialize, Deserializer};
    use std::time::Duration;

    /// # Errors
    /// It is no whole number.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_one_that_may_be_meant() {
        let known = ["app", "pathPrefix", "redirect"];
        for (word, near) in [
            ("ap", Some("app")),
            ("pathprefix", Some("pathPrefix")),
            ("redirekt", Some("redirect")),
            ("r\u{e9}direct", Some("redirect")),
            ("tls", None),
            (&"app".repeat(22), None),
        ] {
            assert_eq!(nearest(word, known), near, "{word}");
        }
        assert_eq!(nearest("app", []), None);
        assert_eq!((edit_distance("", "abc"), edit_distance("kitten", "sitting")), (3, 3));
    }
}
