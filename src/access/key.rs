//! A key as it is kept: everything but its secret.

use super::{Actor, Denied, Grant, GrantError, Namespaces, Role, UnixTime};
use std::fmt;

/// Longest name of a key, in characters.
pub const MAX_KEY_NAME: usize = 100;

const ID_PREFIX: &str = "key_";
/// Hexadecimal digits behind the prefix.
const ID_DIGITS: usize = 16;

/// The public name of a key: `key_` and 16 hexadecimal digits. It opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(u64);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a key: one is `{ID_PREFIX}` and {ID_DIGITS} hexadecimal digits in lower case")]
pub struct KeyIdError;

/// What its owner calls a key. Need not be unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyName(String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key's name has 1 to {MAX_KEY_NAME} characters, begins and ends with a visible one, and has no control characters"
)]
pub struct KeyNameError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub id: KeyId,
    pub name: KeyName,
    pub role: Role,
    pub grant: Grant,
    pub created: UnixTime,
    pub created_by: Actor,
    /// True to within a minute; none = never used.
    pub last_used: Option<UnixTime>,
    pub revoked: Option<UnixTime>,
}

/// A key that is to be made: it has neither an id nor a secret yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    name: KeyName,
    role: Role,
    grant: Grant,
}

impl NewKey {
    /// # Errors
    /// There can be no such [`Grant`].
    pub fn new(
        name: KeyName,
        role: Role,
        namespaces: Namespaces,
        expires: Option<UnixTime>,
    ) -> Result<NewKey, GrantError> {
        Ok(NewKey { name, role, grant: Grant::new(role, namespaces, expires)? })
    }

    pub fn name(&self) -> &KeyName {
        &self.name
    }

    pub fn role(&self) -> Role {
        self.role
    }

    /// What whoever makes it must [cover](Grant::covers).
    pub fn grant(&self) -> &Grant {
        &self.grant
    }
}

impl Key {
    /// What it opens now.
    ///
    /// # Errors
    /// It has been revoked, or has expired.
    pub fn admit(&self, now: UnixTime) -> Result<&Grant, Denied> {
        match self.revoked {
            Some(_) => Err(Denied::Revoked),
            None if self.grant.is_over(now) => Err(Denied::Expired),
            None => Ok(&self.grant),
        }
    }

    /// Since when it opens nothing any more, if that is so.
    pub fn dead_since(&self, now: UnixTime) -> Option<UnixTime> {
        let expired = self.grant.expires().filter(|_| self.grant.is_over(now));
        match (self.revoked, expired) {
            (Some(revoked), Some(expired)) => Some(revoked.min(expired)),
            (revoked, expired) => revoked.or(expired),
        }
    }
}

impl KeyId {
    /// `random` decides whether it is unique.
    pub fn new(random: [u8; 8]) -> KeyId {
        KeyId(u64::from_be_bytes(random))
    }

    pub fn parse(text: &str) -> Result<KeyId, KeyIdError> {
        let digits = text.strip_prefix(ID_PREFIX).ok_or(KeyIdError)?;
        let sound =
            digits.len() == ID_DIGITS && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match u64::from_str_radix(digits, 16) {
            Ok(id) if sound => Ok(KeyId(id)),
            _ => Err(KeyIdError),
        }
    }
}

impl KeyName {
    pub fn parse(text: &str) -> Result<KeyName, KeyNameError> {
        let sound = (1..=MAX_KEY_NAME).contains(&text.chars().count())
            && text.trim() == text
            && !text.chars().any(char::is_control);
        sound.then(|| KeyName(text.to_owned())).ok_or(KeyNameError)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ID_PREFIX}{:016x}", self.0)
    }
}

impl std::str::FromStr for KeyId {
    type Err = KeyIdError;

    fn from_str(text: &str) -> Result<KeyId, KeyIdError> {
        KeyId::parse(text)
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for KeyName {
    type Err = KeyNameError;

    fn from_str(text: &str) -> Result<KeyName, KeyNameError> {
        KeyName::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(expires: Option<u64>, revoked: Option<u64>) -> Key {
        Key {
            id: KeyId::new([0; 8]),
            name: "ci".parse().unwrap(),
            role: Role::Viewer,
            grant: Grant::new(Role::Viewer, Namespaces::All, expires.map(UnixTime::new)).unwrap(),
            created: UnixTime::new(0),
            created_by: Actor::RootKey,
            last_used: None,
            revoked: revoked.map(UnixTime::new),
        }
    }

    #[test]
    fn a_key_admits_until_it_is_revoked_or_expires() {
        let admit = |key: Key, now| key.admit(UnixTime::new(now)).map(|_| ());
        assert_eq!(admit(key(None, None), u64::MAX), Ok(()));
        assert_eq!(admit(key(Some(10), None), 9), Ok(()));
        assert_eq!(admit(key(Some(10), None), 10), Err(Denied::Expired));
        assert_eq!(admit(key(None, Some(5)), 4), Err(Denied::Revoked), "also where a clock was set back");
        assert_eq!(admit(key(Some(10), Some(5)), 20), Err(Denied::Revoked));
    }

    #[test]
    fn a_key_is_dead_since_the_first_of_both_ends() {
        let dead = |key: Key| key.dead_since(UnixTime::new(20)).map(UnixTime::seconds);
        assert_eq!(dead(key(None, None)), None);
        assert_eq!(dead(key(Some(21), None)), None);
        assert_eq!(dead(key(Some(10), None)), Some(10));
        assert_eq!(dead(key(Some(21), Some(5))), Some(5));
        assert_eq!(dead(key(Some(10), Some(15))), Some(10));
    }

    #[test]
    fn an_id_is_read_back_from_its_text_alone() {
        let id = KeyId::new([0, 1, 2, 3, 0xfc, 0xfd, 0xfe, 0xff]);
        assert_eq!(id.to_string(), "key_00010203fcfdfeff");
        assert_eq!(KeyId::parse("key_00010203fcfdfeff"), Ok(id));
        for text in ["", "key_", "00010203fcfdfeff", "key_00010203FCFDFEFF", "key_+0010203fcfdfeff", "key_0"]
        {
            assert!(KeyId::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_something_that_can_be_seen() {
        for text in ["ci", "Mia's laptop", "d\u{e9}ploiement", &"x".repeat(MAX_KEY_NAME)] {
            assert_eq!(KeyName::parse(text).unwrap().as_str(), text);
        }
        for text in ["", " ", " ci", "ci\n", "a\0b", "a\x1b[2Jb", &"x".repeat(MAX_KEY_NAME + 1)] {
            assert!(KeyName::parse(text).is_err(), "{text:?}");
        }
    }
}
