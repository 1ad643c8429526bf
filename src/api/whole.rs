//! Whole numbers as JSON Schema has them: `60.0` is one, since some languages write every number so.

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// Above it not every whole number has a floating one of its own: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A number that was read as whole, and is not negative.
struct Whole(u64);

/// Of a field that may be null.
pub fn optional<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<Whole>::deserialize(from)?.map(|Whole(number)| number))
}

/// Of a map that may be null, each of whose values fits in a byte.
pub fn optional_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeMap<String, u8>>, D::Error> {
    let Some(map) = Option::<BTreeMap<String, Whole>>::deserialize(from)? else { return Ok(None) };
    let small = |(key, Whole(number))| match u8::try_from(number) {
        Ok(number) => Ok((key, number)),
        Err(_) => Err(Error::invalid_value(Unexpected::Unsigned(number), &"a number up to 255")),
    };
    map.into_iter().map(small).collect::<Result<_, _>>().map(Some)
}

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Whole, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number that is not negative")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
                match number.fract() == 0.0 && (0.0..=EXACT).contains(&number) {
                    true => Ok(Whole(number as u64)), // exact within these bounds
                    false => Err(E::invalid_value(Unexpected::Float(number), &self)),
                }
            }
        }
        from.deserialize_u64(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{CreateKey, SetAlias};

    #[test]
    fn a_whole_number_may_have_a_fraction_of_nothing() {
        let expiry = |number: &str| {
            let json = format!(r#"{{"name": "a", "role": "viewer", "expiresIn": {number}}}"#);
            serde_json::from_str::<CreateKey>(&json)
                .map(|key| key.expires_in)
                .map_err(|error| error.to_string())
        };
        for (text, number) in [("60", Some(60)), ("60.0", Some(60)), ("6e1", Some(60)), ("null", None)] {
            assert_eq!(expiry(text), Ok(number), "{text}");
        }
        for text in ["-1", "60.5", "1e300", "\"60\"", "-0.5", "true"] {
            let why = expiry(text).unwrap_err();
            assert!(why.contains("a whole number that is not negative"), "{why}");
        }
        let weights = |number: &str| {
            serde_json::from_str::<SetAlias>(&format!(r#"{{"weights": {{"1.0.0": {number}}}}}"#))
                .map(|alias| alias.weights.unwrap()["1.0.0"])
        };
        assert_eq!((weights("90").unwrap(), weights("90.0").unwrap()), (90, 90));
        assert!(weights("256").is_err() && weights("1.5").is_err());
    }
}
