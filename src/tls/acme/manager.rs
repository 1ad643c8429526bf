//! Sees to it that there is a valid certificate for every name, one order at a time. Each name has its own: one that leads elsewhere
//! keeps no other from its certificate.

use super::authority::{AcmeError, Authority, parse};
use super::plans::{Now, Plans};
use super::{Files, Settings};
use crate::events::{Event, Hub, ServerEvent};
use crate::model::rfc3339::Rfc3339;
use crate::tls::certificates::Certificates;
use crate::tls::pair::Pair;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(300);
/// How long to sleep before the time is looked at again: the clock may be set, and the machine may sleep.
const NAP: Duration = Duration::from_secs(15 * 60);
/// The same while something is still to be written.
const SHORT_NAP: Duration = Duration::from_secs(10);

/// All names with their plans.
pub struct Manager {
    authority: Authority,
    files: Files,
    plans: Plans,
    certificates: Arc<Certificates>,
}

impl Manager {
    /// Serves with the certificates that are kept. `state` is the state directory, `over_http`: there is a port without TLS.
    pub fn new(
        settings: &Settings,
        state: &Path,
        certificates: &Arc<Certificates>,
        over_http: bool,
        seed: u64,
    ) -> Manager {
        let files = Files::new(state, &settings.directory);
        let now = Now::read();
        let challenges = Arc::clone(certificates.challenges());
        let authority = Authority::new(settings.clone(), files.clone(), challenges, over_http);
        let plans = Plans::new(&settings.domains, seed, now);
        let mut manager = Manager { authority, files, plans, certificates: Arc::clone(certificates) };
        for (place, domain) in settings.domains.iter().enumerate() {
            match kept(&manager.files, domain) {
                Some(pair) => {
                    // Expired or not: the clock may be wrong, and nobody is helped by none.
                    if pair.is_expired(now.clock) {
                        tracing::warn!(domain, "the certificate that is kept has expired");
                    }
                    manager.take(place, pair);
                }
                None => {
                    tracing::warn!(
                        domain,
                        "there is no certificate yet; handshakes for this name fail until there is"
                    );
                    certificates.awaits(domain);
                }
            }
        }
        manager
    }

    /// Gets what is missing and renews what is due, for ever.
    pub async fn run(mut self, hub: Arc<Hub>) {
        // The process in whose place this one is may have got some since.
        for place in 0..self.plans.len() {
            self.look(place).await;
        }
        loop {
            self.authority.keeper.settle().await;
            let Some((place, wait)) = self.plans.first(Now::read()) else { return };
            if !wait.is_zero() {
                let nap = if self.authority.keeper.owes() { SHORT_NAP } else { NAP };
                tokio::time::sleep(wait.min(nap)).await;
                continue;
            }
            if self.look(place).await {
                continue;
            }
            let Some(plan) = self.plans.get(place) else { return };
            let (domain, failures) = (plan.domain.clone(), plan.failures);
            tracing::info!(domain, "getting a certificate");
            let attempt = self.authority.obtain(&domain, failures);
            let result = tokio::time::timeout(ATTEMPT, attempt).await.unwrap_or(Err(AcmeError::Timeout));
            let now = Now::read();
            match result {
                Ok(pair) => {
                    let until = pair.facts.not_after;
                    let next = self.plans.succeeded(place, now, &pair.facts);
                    self.certificates.issued(&domain, pair);
                    tracing::info!(domain, until = %Rfc3339(until), next = %Rfc3339(next), "a certificate was issued");
                    hub.publish(Event::Server(ServerEvent::CertificateIssued { domain, until }));
                }
                Err(error) => {
                    let next = self.plans.failed(place, now);
                    tracing::error!(domain, %error, next = %Rfc3339(next), "no certificate was issued");
                    let error = error.to_string();
                    hub.publish(Event::Server(ServerEvent::CertificateFailed { domain, error }));
                }
            }
        }
    }

    /// Takes what is kept for a name, if it is better than what is served. Returns whether it was.
    async fn look(&mut self, place: usize) -> bool {
        let Some(plan) = self.plans.get(place) else { return false };
        let (files, domain, until) = (self.files.clone(), plan.domain.clone(), plan.until);
        let found = tokio::task::spawn_blocking(move || kept(&files, &domain)).await;
        let found =
            found.ok().flatten().filter(|pair| until.is_none_or(|until| pair.facts.not_after > until));
        let is_better = found.is_some();
        if let Some(pair) = found {
            self.take(place, pair);
        }
        is_better
    }

    fn take(&mut self, place: usize, pair: Pair) {
        self.plans.has(place, &pair.facts);
        if let Some(plan) = self.plans.get(place) {
            self.certificates.issued(&plan.domain, pair);
        }
    }
}

/// One that cannot be used is as good as none: it is got anew.
fn kept(files: &Files, domain: &str) -> Option<Pair> {
    let path = files.certificate(domain);
    let pair = match files.read_certificate(domain) {
        Ok(pem) => parse(&pem?, files, domain).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    pair.map_err(|error| tracing::warn!(file = %path.display(), error, "a kept certificate is of no use"))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::made;

    const DOMAINS: [&str; 5] = ["good.test", "expired.test", "broken.test", "other.test", "none.test"];

    fn settings() -> Settings {
        Settings {
            domains: DOMAINS.map(String::from).to_vec(),
            email: None,
            directory: "https://ca.test/dir".into(),
            ca: None,
        }
    }

    /// As an earlier process has kept it.
    fn keep(state: &Path, domain: &str, name: &str, until: i32) {
        let made = made(&[name], |params| params.not_after = rcgen::date_time_ymd(until, 1, 1));
        let pem = made.key.serialize_pem() + &made.cert.pem();
        let files = Files::new(state, &settings().directory);
        files.write(&files.certificate(domain), pem.as_bytes()).unwrap();
    }

    #[test]
    fn kept_certificates_are_served_at_once_and_what_is_of_no_use_is_got_anew() {
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates::load(crate::tls::Sources::default()).unwrap();
        keep(dir.path(), "good.test", "good.test", 2200);
        keep(dir.path(), "expired.test", "expired.test", 2001);
        keep(dir.path(), "other.test", "elsewhere.test", 2200);
        let files = Files::new(dir.path(), &settings().directory);
        files.write(&files.certificate("broken.test"), b"nonsense").unwrap();
        let manager = Manager::new(&settings(), dir.path(), &certificates, false, 1);
        for plan in (0..DOMAINS.len()).filter_map(|place| manager.plans.get(place)) {
            assert_eq!(!plan.wait(Now::read()).is_zero(), plan.domain == "good.test", "{plan:?}");
        }
        assert_eq!(certificates.first_name().as_deref(), Some("good.test"));
        for domain in DOMAINS {
            // One that has expired is better than none, and the clock may be wrong.
            let is_served = ["good.test", "expired.test"].contains(&domain);
            assert_eq!(certificates.has(Some(domain)), is_served, "{domain}");
        }
    }

    /// The process before this one got it between this one's start and its own end.
    #[tokio::test]
    async fn what_was_kept_since_the_start_is_taken_and_not_ordered_again() {
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates::load(crate::tls::Sources::default()).unwrap();
        keep(dir.path(), "expired.test", "expired.test", 2001);
        let mut manager = Manager::new(&settings(), dir.path(), &certificates, false, 1);
        assert!(!manager.look(0).await && !manager.look(1).await);
        for (place, domain) in DOMAINS.into_iter().enumerate() {
            keep(dir.path(), domain, domain, 2200);
            assert!(manager.look(place).await, "{domain}");
            assert!(!manager.look(place).await, "it is the same");
            assert!(certificates.has(Some(domain)));
        }
        let (_, wait) = manager.plans.first(Now::read()).unwrap();
        assert!(!wait.is_zero(), "nothing is to be ordered");
        // An older one takes the place of none.
        keep(dir.path(), "good.test", "good.test", 2100);
        assert!(!manager.look(0).await);
    }
}
