//! One certificate from an authority: the account, the order, the proof that the name is ours, the key.

use super::http::Web;
use super::keeper::Keeper;
use super::{Files, Settings, aside};
use crate::tls::challenges::{Challenges, Shown};
use crate::tls::pair::{Pair, PairError, PairFiles};
use instant_acme::{
    Account, AccountCredentials, AuthorizationHandle, AuthorizationStatus, ChallengeType, Error, Identifier,
    Key, NewAccount, NewOrder, Order, OrderStatus, RetryPolicy,
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
    /// The authority knows nothing of the account that is kept.
    is_forgotten: bool,
    pub keeper: Keeper,
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
    #[error("the account cannot be read: {0}")]
    Account(io::Error),
    #[error("the authority cannot be asked: {0}")]
    Web(io::Error),
    #[error("a key cannot be made: {0}")]
    Key(#[from] rcgen::Error),
    #[error("what the authority has sent is of no use: {0}")]
    Useless(#[from] PairError),
    #[error("what the authority has sent is for other names")]
    OtherNames,
    #[error("it took too long")]
    Timeout,
}

impl Authority {
    /// `over_http`: there is a port without TLS, on which files can be shown.
    pub fn new(settings: Settings, files: Files, challenges: Arc<Challenges>, over_http: bool) -> Authority {
        let file = over_http.then_some(ChallengeType::Http01);
        let proofs = file.into_iter().chain([ChallengeType::TlsAlpn01]).collect();
        let keeper = Keeper::new(files.clone());
        Authority { settings, files, challenges, proofs, account: None, is_forgotten: false, keeper }
    }

    /// Gets a certificate for `domain` and keeps it with its key, now or [later](Keeper). `failures` is the number of attempts before this one that
    /// failed: another one tries another proof, if there is one.
    ///
    /// # Errors
    /// Whatever an authority can refuse and a network can do.
    pub async fn obtain(&mut self, domain: &str, failures: u32) -> Result<Pair, AcmeError> {
        let result = self.attempt(domain, failures).await;
        if let Err(AcmeError::Acme(Error::Api(problem))) = &result
            && problem.r#type.as_deref() == Some(NO_ACCOUNT)
        {
            // The next attempt makes another.
            self.account = None;
            self.is_forgotten = true;
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
            OrderStatus::Pending => {
                let polled = order.poll_ready(&policy).await;
                // An order whose proof was not taken says so by an error too.
                if order.state().status == OrderStatus::Invalid {
                    return Err(why(&mut order).await.unwrap_or_else(|| match polled {
                        Ok(status) => AcmeError::Order(status),
                        Err(error) => error.into(),
                    }));
                }
                polled?
            }
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
        self.keeper.keep(self.files.certificate(domain), pem.into_bytes()).await;
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
        let email = self.settings.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = email.iter().map(String::as_str).collect();
        let account = match self.kept_account()? {
            Some(credentials) => {
                let account = builder.from_credentials(credentials).await?;
                // It may have been made with another address.
                if !contact.is_empty()
                    && let Err(error) = account.update_contacts(&contact).await
                {
                    tracing::warn!(%error, "the ACME authority was not told the address of email");
                }
                self.account = Some(account.clone());
                account
            }
            None => {
                let new = NewAccount {
                    contact: &contact,
                    terms_of_service_agreed: true,
                    only_return_existing: false,
                };
                let (account, credentials) =
                    builder.create(&new, self.settings.directory.clone(), None).await?;
                self.account = Some(account.clone());
                self.is_forgotten = false;
                tracing::info!(
                    authority = self.settings.directory,
                    account = account.id(),
                    "an ACME account was made"
                );
                let json =
                    serde_json::to_vec(&credentials).map_err(|error| AcmeError::Account(error.into()))?;
                self.keeper.keep(self.files.account(), json).await;
                account
            }
        };
        Ok(account)
    }

    /// None = there is none that is of use.
    fn kept_account(&self) -> Result<Option<AccountCredentials>, AcmeError> {
        let kept = self.files.read_account().map_err(AcmeError::Account)?;
        let Some(json) = kept.filter(|_| !self.is_forgotten) else { return Ok(None) };
        let credentials =
            serde_json::from_slice::<AccountCredentials>(&json).map_err(|error| error.to_string());
        let usable = credentials.and_then(|credentials| {
            let key = Key::from_pkcs8_der(credentials.private_key().clone_key());
            key.map(|_| credentials).map_err(|error| chain(&error))
        });
        match usable {
            Ok(credentials) => Ok(Some(credentials)),
            Err(error) => {
                let file = self.files.account();
                tracing::warn!(file = %file.display(), error, "the kept ACME account is damaged; another one is made");
                Ok(None)
            }
        }
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

/// The pair in one of our files, which has the key before the chain.
pub fn parse(pem: &[u8], files: &Files, domain: &str) -> Result<Pair, AcmeError> {
    let path = files.certificate(domain);
    let pair = Pair::parse(pem, pem, &PairFiles { cert: path.clone(), key: path })?;
    if pair.facts.names.iter().any(|name| **name == *domain) { Ok(pair) } else { Err(AcmeError::OtherNames) }
}

/// What the authority says of the proofs that it did not take. None = it does not say.
async fn why(order: &mut Order) -> Option<AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref()) {
            let detail = problem.detail.clone().unwrap_or_else(|| problem.to_string());
            return Some(AcmeError::Unproved(detail));
        }
    }
    None
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
