//! One certificate from an authority: the account, the order, the proof that the name is ours, the key.

use super::http::Web;
use super::{Files, Settings};
use crate::tls::challenges::{Challenges, Shown};
use crate::tls::pair::{Pair, PairError, PairFiles};
use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long an authority may take for a step that is asked after again and again.
const STEP: Duration = Duration::from_secs(120);
const NO_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// Where certificates come from.
pub struct Authority {
    settings: Settings,
    files: Files,
    challenges: Arc<Challenges>,
    /// How a name can be proved to be ours, the best first.
    proofs: Vec<ChallengeType>,
    account: Option<Account>,
}

#[derive(Debug, thiserror::Error)]
pub enum AcmeError {
    /// With what it says in its causes.
    #[error("{}", chain(.0))]
    Acme(#[from] Error),
    #[error("the authority did not believe that the name leads here: {0}")]
    Unproved(String),
    #[error("the authority offers no proof that can be given here")]
    NoProof,
    #[error("the order is {0:?}")]
    Order(OrderStatus),
    #[error("the account cannot be kept: {0}")]
    Account(io::Error),
    #[error("the authority cannot be asked: {0}")]
    Web(io::Error),
    #[error("a key cannot be made: {0}")]
    Key(#[from] rcgen::Error),
    #[error("what the authority has sent is of no use: {0}")]
    Useless(#[from] PairError),
    #[error("what the authority has sent is for other names")]
    OtherNames,
    #[error("it cannot be kept: {0}")]
    Keep(io::Error),
    #[error("it took too long")]
    Timeout,
}

impl Authority {
    /// `over_http`: there is a port without TLS, on which files can be shown.
    pub fn new(settings: Settings, files: Files, challenges: Arc<Challenges>, over_http: bool) -> Authority {
        let file = over_http.then_some(ChallengeType::Http01);
        let proofs = file.into_iter().chain([ChallengeType::TlsAlpn01]).collect();
        Authority { settings, files, challenges, proofs, account: None }
    }

    /// Gets a certificate for `domain` and keeps it with its key. `failures` is the number of attempts before this one that
    /// failed: another one tries another proof, if there is one.
    ///
    /// # Errors
    /// Whatever an authority can refuse and a network can do.
    pub async fn obtain(&mut self, domain: &str, failures: u32) -> Result<Pair, AcmeError> {
        let result = self.attempt(domain, failures).await;
        if let Err(AcmeError::Acme(Error::Api(problem))) = &result
            && problem.r#type.as_deref() == Some(NO_ACCOUNT)
        {
            // The authority has forgotten it; the next attempt makes another.
            self.account = None;
            self.files.remove_account().map_err(AcmeError::Account)?;
        }
        result
    }

    async fn attempt(&mut self, domain: &str, failures: u32) -> Result<Pair, AcmeError> {
        let account = self.account().await?;
        let names = [Identifier::Dns(domain.to_owned())];
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        let shown = self.prove(&mut order, domain, failures).await?;
        let policy = RetryPolicy::new().backoff(1.5).timeout(STEP);
        // It is ready at once where the authority remembers an earlier proof.
        let status = match order.state().status {
            OrderStatus::Pending => match order.poll_ready(&policy).await {
                Ok(OrderStatus::Invalid) | Err(Error::Api(_)) => return Err(why(&mut order).await),
                status => status?,
            },
            status => status,
        };
        drop(shown);
        if status != OrderStatus::Ready {
            return Err(AcmeError::Order(status));
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new([domain.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        order.finalize_csr(params.serialize_request(&key)?.der()).await?;
        let chain = order.poll_certificate(&policy).await?;
        let pem = format!("{}{chain}", key.serialize_pem());
        let pair = parse(pem.as_bytes(), &self.files, domain)?;
        let (files, domain) = (self.files.clone(), domain.to_owned());
        aside(move || files.write_certificate(&domain, pem.as_bytes())).await.map_err(AcmeError::Keep)?;
        Ok(pair)
    }

    /// The one that is kept, else a new one.
    async fn account(&mut self) -> Result<Account, AcmeError> {
        if let Some(account) = &self.account {
            return Ok(account.clone());
        }
        let settings = self.settings.clone();
        let web = aside(move || Web::new(&settings)).await.map_err(AcmeError::Web)?;
        let builder = Account::builder_with_http(Box::new(web));
        let account = match self.files.read_account().map_err(AcmeError::Account)? {
            Some(json) => {
                let credentials =
                    serde_json::from_slice(&json).map_err(|error| AcmeError::Account(error.into()))?;
                builder.from_credentials(credentials).await?
            }
            None => {
                let email = self.settings.email.as_ref().map(|email| format!("mailto:{email}"));
                let new = NewAccount {
                    contact: &email.iter().map(String::as_str).collect::<Vec<_>>(),
                    terms_of_service_agreed: true,
                    only_return_existing: false,
                };
                let (account, credentials) =
                    builder.create(&new, self.settings.directory.clone(), None).await?;
                let json =
                    serde_json::to_vec(&credentials).map_err(|error| AcmeError::Account(error.into()))?;
                let files = self.files.clone();
                aside(move || files.write_account(&json)).await.map_err(AcmeError::Account)?;
                tracing::info!(
                    authority = self.settings.directory,
                    account = account.id(),
                    "an ACME account was made"
                );
                account
            }
        };
        self.account = Some(account.clone());
        Ok(account)
    }

    /// Shows what the authority wants to see, for as long as the result is there, and tells it to look.
    async fn prove(&self, order: &mut Order, domain: &str, failures: u32) -> Result<Vec<Shown>, AcmeError> {
        let mut shown = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let kind = self.choose(&authorization, failures).ok_or(AcmeError::NoProof)?;
            let mut challenge = authorization.challenge(kind.clone()).ok_or(AcmeError::NoProof)?;
            let answer = challenge.key_authorization();
            shown.push(match kind {
                ChallengeType::Http01 => self.challenges.show_file(&challenge.token, answer.as_str()),
                _ => {
                    let digest = answer.digest();
                    let digest = digest.as_ref().first_chunk().ok_or(AcmeError::NoProof)?;
                    self.challenges.show_certificate(domain, digest)?
                }
            });
            challenge.set_ready().await?;
        }
        Ok(shown)
    }

    fn choose(&self, authorization: &AuthorizationHandle<'_>, failures: u32) -> Option<ChallengeType> {
        let is_offered =
            |kind: &&ChallengeType| authorization.challenges.iter().any(|one| one.r#type == **kind);
        let offered: Vec<_> = self.proofs.iter().filter(is_offered).collect();
        offered.get(usize::try_from(failures).ok()? % offered.len().max(1)).map(|kind| (*kind).clone())
    }
}

/// Does what waits for a disk where nothing waits for it.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The pair in one of our files, which has the key before the chain.
pub fn parse(pem: &[u8], files: &Files, domain: &str) -> Result<Pair, AcmeError> {
    let path = files.certificate(domain);
    let pair = Pair::parse(pem, pem, &PairFiles { cert: path.clone(), key: path })?;
    if pair.facts.names.iter().any(|name| **name == *domain) { Ok(pair) } else { Err(AcmeError::OtherNames) }
}

/// What the authority says of the proofs that it did not take.
async fn why(order: &mut Order) -> AcmeError {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            return AcmeError::Unproved(problem.detail.clone().unwrap_or_else(|| problem.to_string()));
        }
    }
    AcmeError::Order(OrderStatus::Invalid)
}

fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
