//! Who did something.

use super::key::{KeyId, KeyIdError};
use std::fmt;

/// Who did something, as the audit log names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Actor {
    /// Who may open the admin socket: the permissions of the file decide.
    AdminSocket,
    RootKey,
    Key(KeyId),
}

impl Actor {
    pub fn parse(text: &str) -> Result<Actor, KeyIdError> {
        match text {
            "admin socket" => Ok(Actor::AdminSocket),
            "root key" => Ok(Actor::RootKey),
            id => KeyId::parse(id).map(Actor::Key),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::AdminSocket => f.write_str("admin socket"),
            Actor::RootKey => f.write_str("root key"),
            Actor::Key(id) => id.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_actor_is_read_back_from_its_text() {
        for actor in [Actor::AdminSocket, Actor::RootKey, Actor::Key(KeyId::new([1; 8]))] {
            assert_eq!(Actor::parse(&actor.to_string()), Ok(actor));
        }
        assert!(Actor::parse("somebody").is_err());
    }
}
