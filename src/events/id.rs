//! Names of events: `<boot>-<n>`.

use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

/// Longest text of an id, in bytes: 16 digits of the boot, a hyphen, 20 digits of the number.
const MAX_ID: usize = 37;

/// This process, among all that ever were.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Boot(u64);

/// One event. The numbers of a boot count from 1 without gaps; 0 is the place before the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EventId {
    pub boot: Boot,
    pub number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event's id is 16 hexadecimal digits, a hyphen and a number")]
pub struct EventIdError;

impl Boot {
    /// One that no other process has.
    pub fn new() -> Boot {
        // Without a source of randomness the time must do: two boots are never at the same nanosecond.
        let by_time = || SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
        Boot(getrandom::u64().unwrap_or_else(|_| by_time()))
    }
}

impl Default for Boot {
    fn default() -> Boot {
        Boot::new()
    }
}

impl fmt::Display for Boot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.boot, self.number)
    }
}

impl FromStr for EventId {
    type Err = EventIdError;

    fn from_str(text: &str) -> Result<EventId, EventIdError> {
        let (boot, number) = text.split_once('-').filter(|_| text.len() <= MAX_ID).ok_or(EventIdError)?;
        let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        // One spelling only: `from_str_radix` takes a sign, and `parse` leading zeros as well.
        let plain = number.chars().all(|c| c.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
        if boot.len() != 16 || !boot.chars().all(is_hex) || !plain {
            return Err(EventIdError);
        }
        let boot = Boot(u64::from_str_radix(boot, 16).map_err(|_| EventIdError)?);
        Ok(EventId { boot, number: number.parse().map_err(|_| EventIdError)? })
    }
}

impl Serialize for EventId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn boots_differ_and_ids_name_them() {
        let (one, two) = (Boot::new(), Boot::new());
        assert_ne!(one, two);
        let id = EventId { boot: one, number: 7 };
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_ne!(id, EventId { boot: two, number: 7 });
    }

    #[test]
    fn an_id_has_one_spelling() {
        let good = "00000000000000ff-12";
        assert_eq!(good.parse::<EventId>().unwrap().to_string(), good);
        for bad in [
            "",
            "-",
            "00000000000000ff",
            "00000000000000ff-",
            "00000000000000ff-012",
            "00000000000000ff-+1",
            "00000000000000FF-1",
            "+0000000000000ff-1",
            "ff-1",
            "00000000000000ff-18446744073709551616",
        ] {
            assert_eq!(bad.parse::<EventId>(), Err(EventIdError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9a-f]{14,17}-[0-9]{0,22}") {
            if let Ok(id) = text.parse::<EventId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
