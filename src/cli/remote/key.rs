//! An API key on its way to a runtime.

use super::Surroundings;
use crate::cli::failure::Failure;
use http::HeaderValue;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Longest key, in bytes: root keys may be as long.
const MAX: usize = 512;

/// A key: visible ASCII. Prints as stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(String);

/// A text that is no key. Says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no key: one has 1 to {MAX} visible characters without blanks")]
pub struct KeyError;

impl Key {
    /// White space around it is left out: a file ends with a line's end.
    pub fn parse(text: &str) -> Result<Key, KeyError> {
        let text = text.trim();
        let good = (1..=MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if good { Ok(Key(text.to_owned())) } else { Err(KeyError) }
    }

    pub fn of_file(path: &Path) -> Result<Key, Failure> {
        let mut text = String::new();
        let read = File::open(path).and_then(|file| file.take(MAX as u64 + 100).read_to_string(&mut text));
        read.map_err(|error| Failure::usage(format!("cannot read the key in {}: {error}", path.display())))?;
        Key::parse(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    }

    pub(super) fn of_environment(around: &Surroundings<'_>) -> Result<Option<Key>, Failure> {
        let text = around.variable("BUNTIME_KEY")?;
        text.map(|text| Key::parse(&text).map_err(|error| Failure::usage(format!("BUNTIME_KEY: {error}"))))
            .transpose()
    }

    /// The text for the file of contexts. Must go nowhere else.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    pub(super) fn header(&self) -> HeaderValue {
        // Visible ASCII is a header value.
        let mut value = HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }
}

/// Tells whether it is a key that a runtime made, and nothing of its secret.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.starts_with(crate::access::secret::PREFIX) {
            "btk_********"
        } else {
            "********"
        })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
