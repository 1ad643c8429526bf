//! Request ids: a UUIDv7 (RFC 9562 §5.7), or what a trusted proxy already calls the request.

use http::HeaderValue;
use std::cell::Cell;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{SystemTime, UNIX_EPOCH};

/// Longest id that is taken over from a trusted proxy.
const MAX_LEN: usize = 128;

/// Makes a new id. Unique and sortable by time; not a secret.
pub fn generate() -> HeaderValue {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let (high, low) = (random(), random());
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&high.to_le_bytes()[..2]);
    bytes[2..].copy_from_slice(&low.to_le_bytes());
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    uuid::Builder::from_unix_timestamp_millis(millis, &bytes)
        .into_uuid()
        .hyphenated()
        .encode_lower(&mut text);
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("-")) // hex and hyphens always fit
}

/// An id given from outside, if it is well-formed: 1 to 128 visible ASCII characters.
pub fn accept(given: &HeaderValue) -> Option<HeaderValue> {
    let bytes = given.as_bytes();
    (!bytes.is_empty() && bytes.len() <= MAX_LEN && bytes.iter().all(u8::is_ascii_graphic))
        .then(|| given.clone())
}

/// xorshift64*, seeded for each thread from the hasher's keys (which the system's random source seeds).
fn random() -> u64 {
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().build_hasher().finish() | 1);
    }
    STATE.with(|state| {
        let mut next = state.get();
        next ^= next >> 12;
        next ^= next << 25;
        next ^= next >> 27;
        state.set(next);
        next.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn generated_ids_are_version_7_and_differ() {
        let ids: HashSet<_> = (0..10_000).map(|_| generate()).collect();
        assert_eq!(ids.len(), 10_000);
        for id in ids {
            let id = uuid::Uuid::try_parse(id.to_str().unwrap()).unwrap();
            assert_eq!(id.get_version_num(), 7);
        }
    }

    #[test]
    fn only_visible_ids_of_bounded_length_are_taken_over() {
        for good in ["a", "0193-x_y.z", &"x".repeat(128)] {
            assert!(accept(&HeaderValue::from_str(good).unwrap()).is_some(), "{good}");
        }
        for bad in ["", "a b", "a\tb", &"x".repeat(129)] {
            assert!(accept(&HeaderValue::from_str(bad).unwrap()).is_none(), "{bad}");
        }
        assert!(accept(&HeaderValue::from_bytes(b"caf\xc3\xa9").unwrap()).is_none());
    }
}
