//! Who sends entries: each worker has a token of its own in its environment, and whoever presents it is that worker of that app.
//! Only hashes are kept, and only for as long as the worker lives.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

/// How each token begins. [`crate::redact`] knows it by that.
const PREFIX: &str = "btl_";

/// The worker that a token belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    pub app: Arc<str>,
    pub version: Arc<str>,
    pub worker: Arc<str>,
}

/// 256 random bits need one round of SHA-256, and looking a hash up tells nobody anything of it.
type Hash = [u8; 32];

#[derive(Default)]
pub struct Tokens {
    senders: HashMap<Hash, Sender>,
    workers: HashMap<Arc<str>, Hash>,
}

impl Tokens {
    /// Makes a token for a worker. One that it had before is nothing any more. None: the system has no random bytes.
    pub fn issue(&mut self, sender: Sender) -> Option<String> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).ok()?;
        let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        self.revoke(&sender.worker);
        let hash = hash(&token);
        self.workers.insert(Arc::clone(&sender.worker), hash);
        self.senders.insert(hash, sender);
        Some(token)
    }

    /// Whose token that is.
    pub fn sender(&self, token: &str) -> Option<Sender> {
        self.senders.get(&hash(token)).cloned()
    }

    /// The worker has ended.
    pub fn revoke(&mut self, worker: &str) {
        if let Some(hash) = self.workers.remove(worker) {
            self.senders.remove(&hash);
        }
    }

    pub fn workers(&self) -> Vec<Arc<str>> {
        self.workers.keys().cloned().collect()
    }
}

fn hash(token: &str) -> Hash {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(worker: &str) -> Sender {
        Sender { app: "shop".into(), version: "1.0.0".into(), worker: worker.into() }
    }

    #[test]
    fn a_token_is_its_workers_for_as_long_as_that_lives() {
        let mut tokens = Tokens::default();
        let (one, two) = (tokens.issue(sender("w1")).unwrap(), tokens.issue(sender("w2")).unwrap());
        assert_ne!(one, two);
        assert_eq!((tokens.sender(&one), tokens.sender(&two)), (Some(sender("w1")), Some(sender("w2"))));
        assert_eq!(tokens.sender(&one[..one.len() - 1]), None);
        let other = tokens.issue(sender("w1")).unwrap();
        assert_eq!(tokens.sender(&one), None, "it has another one now");
        tokens.revoke("w1");
        assert_eq!((tokens.sender(&other), tokens.sender(&two)), (None, Some(sender("w2"))));
        assert_eq!((tokens.workers(), tokens.senders.len()), (vec!["w2".into()], 1));
    }

    #[test]
    fn a_token_in_a_log_is_redacted() {
        let token = Tokens::default().issue(sender("w1")).unwrap();
        let redactor = crate::redact::Redactor::default();
        assert_eq!(redactor.text(&format!("LOGS_TOKEN is {token}.")), "LOGS_TOKEN is [redacted].");
    }
}
