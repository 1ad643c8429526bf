//! Where in a YAML text a key or a value stands. Only errors ask, so the text is simply read again.
//!
//! `Value` keeps no positions, but the deserializer knows where it is: a visitor that fails on purpose at the wanted
//! place gets an error with that place in it. So positions are the parser's own, whatever the style of the file.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Key(String),
    Item(usize),
}

/// What is wanted at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Key,
    Value,
}

/// Line and column (both from 1) of the key or value at the end of `path`; the start of the file if the path does not
/// lead anywhere.
pub(super) fn locate(text: &str, path: &[Step], target: Target) -> (usize, usize) {
    let seek = Seek { path, target };
    let failure = seek.deserialize(serde_yaml::Deserializer::from_str(text)).err();
    let location = failure.and_then(|error| error.location());
    location.map_or((1, 1), |at| (at.line(), at.column()))
}

/// Goes down `path` and fails at its end.
#[derive(Clone, Copy)]
struct Seek<'p> {
    path: &'p [Step],
    target: Target,
}

impl<'de> DeserializeSeed<'de> for Seek<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another place")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let [Step::Key(wanted), rest @ ..] = self.path else { return Err(A::Error::custom("found")) };
        let fail = rest.is_empty() && self.target == Target::Key;
        while let Some(is_wanted) = map.next_key_seed(IsKey { wanted, fail })? {
            match is_wanted {
                true => map.next_value_seed(Seek { path: rest, target: self.target })?,
                false => map.next_value::<IgnoredAny>().map(drop)?,
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let [Step::Item(wanted), rest @ ..] = self.path else { return Err(A::Error::custom("found")) };
        for _ in 0..*wanted {
            seq.next_element::<IgnoredAny>()?;
        }
        seq.next_element_seed(Seek { path: rest, target: self.target }).map(drop)
    }
}

/// Whether a key is the wanted one; fails there if that is where the search ends.
struct IsKey<'p> {
    wanted: &'p str,
    fail: bool,
}

impl<'de> DeserializeSeed<'de> for IsKey<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for IsKey<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        match (key == self.wanted, self.fail) {
            (true, true) => Err(E::custom("found")),
            (is_wanted, _) => Ok(is_wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<Step> {
        let step = |part: &str| part.parse().map_or_else(|_| Step::Key(part.into()), Step::Item);
        text.split('.').filter(|part| !part.is_empty()).map(step).collect()
    }

    #[test]
    fn keys_and_values_are_found_in_every_style() {
        let text = "# note\nttl: 10m\nqueue:\n  size: 5\n  timeout:  9s\nenvPrefix: [A_, B_]\ninstances: {min: 1, max: 2}\nlist:\n  - a\n  - b\n\"q\": |\n  long\n";
        for (at, key, value) in [
            ("ttl", (2, 1), (2, 6)),
            ("queue", (3, 1), (4, 3)),
            ("queue.timeout", (5, 3), (5, 13)),
            ("instances.max", (7, 21), (7, 26)),
            ("q", (11, 1), (11, 6)),
        ] {
            assert_eq!(locate(text, &path(at), Target::Key), key, "{at}");
            assert_eq!(locate(text, &path(at), Target::Value), value, "{at}");
        }
        assert_eq!(locate(text, &path("envPrefix.1"), Target::Value), (6, 17));
        assert_eq!(locate(text, &path("list.1"), Target::Value), (10, 5));
    }

    #[test]
    fn a_path_that_leads_nowhere_is_the_start_of_the_file() {
        assert_eq!(locate("a: 1\n", &path("b.c"), Target::Value), (1, 1));
        assert_eq!(locate("", &path("b"), Target::Key), (1, 1));
    }
}
