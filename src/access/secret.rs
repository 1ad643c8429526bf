//! Secrets: what a request presents, and the hashes that it is compared with.
//!
//! The secret of a key is `btk_` and 32 random bytes in base64url (RFC 4648 §5) without padding: 256 bits, so that one
//! round of SHA-256 is enough to keep it. Only hashes are kept and compared, in a time that does not depend on them.

use super::Denied;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

pub const PREFIX: &str = "btk_";
/// Random bytes in a secret.
pub const SECRET_BYTES: usize = 32;
/// What they are in base64url.
const ENCODED: usize = 43;
/// Shortest and longest root key, in bytes.
pub const ROOT_KEY_LENGTH: std::ops::RangeInclusive<usize> = 32..=512;

/// The secret of one key. It is shown once, when the key is made.
pub struct KeySecret([u8; SECRET_BYTES]);

/// A text that cannot be the secret of a key. Says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key: one is `btk_` and {ENCODED} characters of base64url")]
pub struct MalformedSecret;

/// The SHA-256 of a secret. Equality takes the same time whatever is compared.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

/// The operator's key, as its hash: it may do everything, is stored nowhere, and ends with the process.
#[derive(Clone, Debug)]
pub struct RootKey(SecretHash);

/// A root key that is not taken. Says nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the root key must be {} to {} visible ASCII characters\n\nhint: make one with `openssl rand -hex 32`",
    ROOT_KEY_LENGTH.start(), ROOT_KEY_LENGTH.end()
)]
pub struct RootKeyError;

/// What a request presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    RootKey,
    /// Whether there is such a key, the store knows.
    Key(SecretHash),
}

impl KeySecret {
    /// `random` must come from the system's source and be used for nothing else.
    pub fn new(random: [u8; SECRET_BYTES]) -> KeySecret {
        KeySecret(random)
    }

    /// Takes the one text that [`KeySecret::reveal`] gives, and no other spelling of it.
    pub fn parse(text: &str) -> Result<KeySecret, MalformedSecret> {
        let encoded =
            text.strip_prefix(PREFIX).filter(|rest| rest.len() == ENCODED).ok_or(MalformedSecret)?;
        // One byte more than needed: the decoder's own estimate is rounded up.
        let mut buffer = [0; SECRET_BYTES + 1];
        match URL_SAFE_NO_PAD.decode_slice(encoded, &mut buffer) {
            Ok(SECRET_BYTES) => {
                let mut secret = [0; SECRET_BYTES];
                secret.copy_from_slice(&buffer[..SECRET_BYTES]);
                Ok(KeySecret(secret))
            }
            _ => Err(MalformedSecret),
        }
    }

    /// The text for its owner. Must go nowhere else.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(self.0))
    }

    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.reveal())
    }
}

impl fmt::Debug for KeySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeySecret(hidden)")
    }
}

impl SecretHash {
    fn of(text: &str) -> SecretHash {
        SecretHash(Sha256::digest(text).into())
    }

    /// A hash that was stored.
    pub fn from_bytes(bytes: [u8; 32]) -> SecretHash {
        SecretHash(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for SecretHash {
    fn eq(&self, other: &SecretHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for SecretHash {}

/// The hash of a root key that somebody thought of could be searched for, so it is not shown either.
impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(hidden)")
    }
}

impl RootKey {
    /// Any text that can be sent in a header and is long enough not to be guessed.
    pub fn parse(text: &str) -> Result<RootKey, RootKeyError> {
        let sound = ROOT_KEY_LENGTH.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        sound.then(|| RootKey(SecretHash::of(text))).ok_or(RootKeyError)
    }

    /// Its hash, for a process of ours that takes this one's place. Must go nowhere else.
    pub fn to_hex(&self) -> String {
        self.0.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// None = no hash.
    pub fn from_hex(hex: &str) -> Option<RootKey> {
        let mut hash = [0; 32];
        let digits = hex.as_bytes();
        if digits.len() != 2 * hash.len() || !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(RootKey(SecretHash(hash)))
    }
}

impl Presented {
    /// Reads the value of `X-API-Key`, or what follows `Bearer`.
    ///
    /// # Errors
    /// Nothing is presented, or what can be neither the root key nor any other.
    pub fn read(text: Option<&str>, root: Option<&RootKey>) -> Result<Presented, Denied> {
        let text = text.filter(|text| !text.is_empty()).ok_or(Denied::NoKey)?;
        if text.len() > *ROOT_KEY_LENGTH.end() {
            return Err(Denied::Malformed);
        }
        if root.is_some_and(|RootKey(hash)| *hash == SecretHash::of(text)) {
            return Ok(Presented::RootKey);
        }
        match KeySecret::parse(text) {
            Ok(secret) => Ok(Presented::Key(secret.hash())),
            Err(MalformedSecret) => Err(Denied::Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROOT: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn a_secret_is_the_prefix_and_43_characters() {
        assert_eq!(KeySecret::new([0; 32]).reveal(), format!("btk_{}", "A".repeat(43)));
        assert_eq!(KeySecret::new([255; 32]).reveal(), format!("btk_{}8", "_".repeat(42)));
    }

    #[test]
    fn the_hash_of_a_secret_is_the_sha_256_of_its_text() {
        // printf %s btk_AAA… | sha256sum
        let hash: String =
            KeySecret::new([0; 32]).hash().as_bytes().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hash, "5cd8bdce98cae44e932bcf6b0fc41aac2afa9de3d1e111f8f1db498ba2669610");
    }

    #[test]
    fn another_spelling_of_a_secret_is_refused() {
        let text = KeySecret::new([7; 32]).reveal();
        assert!(KeySecret::parse(&text).is_ok());
        let rest = text.strip_prefix(PREFIX).unwrap();
        // The last character holds two bits that must be 0: `c` holds the same four as `d`.
        assert!(rest.ends_with('c'));
        for wrong in [
            rest.to_owned(),
            format!("BTK_{rest}"),
            format!("btk-{rest}"),
            format!("{text}="),
            format!("{text}\n"),
            format!(" {text}"),
            text[..text.len() - 1].to_owned(),
            format!("{}d", &text[..text.len() - 1]),
            format!("{}=", &text[..text.len() - 1]),
            format!("{}+", &text[..text.len() - 1]),
            format!("btk_{}\u{e9}", &rest[..41]),
            String::new(),
            "btk_".to_owned(),
        ] {
            assert!(KeySecret::parse(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn debug_shows_nothing_of_a_secret() {
        let secret = KeySecret::new([7; 32]);
        assert_eq!(format!("{secret:?} {:?}", secret.hash()), "KeySecret(hidden) SecretHash(hidden)");
        assert_eq!(format!("{:?}", RootKey::parse(ROOT).unwrap()), "RootKey(SecretHash(hidden))");
        assert_eq!(format!("{:?}", RootKey::parse("short")), "Err(RootKeyError)");
        assert_eq!(format!("{:?}", KeySecret::parse("btk_x").map(|_| ())), "Err(MalformedSecret)");
    }

    #[test]
    fn the_root_key_is_told_from_other_keys() {
        let root = RootKey::parse(ROOT).unwrap();
        let secret = KeySecret::new([1; 32]);
        let read = |text: Option<&str>| Presented::read(text, Some(&root));
        assert_eq!(read(Some(ROOT)), Ok(Presented::RootKey));
        assert_eq!(read(Some(&secret.reveal())), Ok(Presented::Key(secret.hash())));
        assert_eq!(read(Some(&ROOT.to_uppercase())), Err(Denied::Malformed));
        assert_eq!(read(Some(&"x".repeat(10_000))), Err(Denied::Malformed));
        assert_eq!(read(None), Err(Denied::NoKey));
        assert_eq!(read(Some("")), Err(Denied::NoKey));
        assert_eq!(Presented::read(Some(ROOT), None), Err(Denied::Malformed));
    }

    #[test]
    fn a_root_key_may_look_like_any_other_key() {
        let secret = KeySecret::new([1; 32]).reveal();
        let root = RootKey::parse(&secret).unwrap();
        assert_eq!(Presented::read(Some(&secret), Some(&root)), Ok(Presented::RootKey));
    }

    #[test]
    fn a_root_key_that_could_be_guessed_or_not_be_sent_is_refused() {
        let inner_space = format!("{} {}", &ROOT[..16], &ROOT[16..]);
        for text in ["", "secret", &ROOT[1..], &inner_space, &format!("{ROOT}\n"), &"x".repeat(513)] {
            assert!(RootKey::parse(text).is_err(), "{text:?}");
        }
        assert!(RootKey::parse(&"x".repeat(512)).is_ok());
    }

    proptest! {
        #[test]
        fn a_secret_is_read_back_from_its_text(random: [u8; 32]) {
            let secret = KeySecret::new(random);
            let read = KeySecret::parse(&secret.reveal()).unwrap();
            prop_assert_eq!(read.0, random);
            prop_assert_eq!(read.hash(), secret.hash());
        }

        #[test]
        fn what_is_taken_is_spelled_as_it_is_revealed(text in "btk_[A-Za-z0-9_-]{42,44}|\\PC{0,60}") {
            if let Ok(secret) = KeySecret::parse(&text) {
                prop_assert_eq!(secret.reveal(), text);
            }
        }
    }
}
