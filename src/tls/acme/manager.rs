//! Sees to it that there is a valid certificate for every name, one order at a time. Each name has its own: one that leads elsewhere
//! keeps no other from its certificate.

use super::authority::{AcmeError, Authority, parse};
use super::{Files, Settings, renewal};
use crate::events::{Event, Hub, ServerEvent};
use crate::model::mix::{mix, step};
use crate::model::rfc3339::Rfc3339;
use crate::tls::certificates::Certificates;
use crate::tls::pair::Pair;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(300);
/// How long to sleep before the time is looked at again: the clock may be set, and the machine may sleep.
const NAP: Duration = Duration::from_secs(15 * 60);

/// All names with their plans.
pub struct Manager {
    authority: Authority,
    plans: Plans,
    certificates: Arc<Certificates>,
}

/// When which name is next.
#[derive(Debug)]
pub struct Plans {
    plans: Vec<Plan>,
    /// What chance comes from.
    seed: u64,
}

#[derive(Debug)]
struct Plan {
    domain: String,
    due: SystemTime,
    /// In a row.
    failures: u32,
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
        let now = SystemTime::now();
        let mut plans = Plans { plans: Vec::new(), seed };
        for domain in &settings.domains {
            let due = match kept(&files, domain) {
                Some(pair) if !pair.is_expired(now) => {
                    let due = renewal::due(&pair.facts, plans.chance());
                    certificates.issued(domain, pair);
                    due
                }
                _ => {
                    tracing::warn!(
                        domain,
                        "there is no certificate yet; handshakes for this name fail until there is"
                    );
                    certificates.awaits(domain);
                    now
                }
            };
            plans.plans.push(Plan { domain: domain.clone(), due, failures: 0 });
        }
        let challenges = Arc::clone(certificates.challenges());
        let authority = Authority::new(settings.clone(), files, challenges, over_http);
        Manager { authority, plans, certificates: Arc::clone(certificates) }
    }

    /// Gets what is missing and renews what is due, for ever.
    pub async fn run(mut self, hub: Arc<Hub>) {
        loop {
            let now = SystemTime::now();
            let Some(wait) = self.plans.wait(now) else { return };
            if !wait.is_zero() {
                tokio::time::sleep(wait.min(NAP)).await;
                continue;
            }
            let Some((domain, failures)) = self.plans.first() else { return };
            tracing::info!(domain, "getting a certificate");
            let attempt = self.authority.obtain(&domain, failures);
            let result = tokio::time::timeout(ATTEMPT, attempt).await.unwrap_or(Err(AcmeError::Timeout));
            let now = SystemTime::now();
            match result {
                Ok(pair) => {
                    let until = pair.facts.not_after;
                    let next = self.plans.succeeded(now, &pair);
                    self.certificates.issued(&domain, pair);
                    tracing::info!(domain, until = %Rfc3339(until), next = %Rfc3339(next), "a certificate was issued");
                    hub.publish(Event::Server(ServerEvent::CertificateIssued { domain, until }));
                }
                Err(error) => {
                    let next = self.plans.failed(now);
                    tracing::error!(domain, %error, next = %Rfc3339(next), "no certificate was issued");
                    let error = error.to_string();
                    hub.publish(Event::Server(ServerEvent::CertificateFailed { domain, error }));
                }
            }
        }
    }
}

impl Plans {
    /// How long nothing is due. None = there are no names.
    fn wait(&self, now: SystemTime) -> Option<Duration> {
        Some(self.earliest()?.due.duration_since(now).unwrap_or_default())
    }

    /// The name that is due first, and how often it failed.
    fn first(&self) -> Option<(String, u32)> {
        self.earliest().map(|plan| (plan.domain.clone(), plan.failures))
    }

    /// The first got its certificate. Returns when it is due again.
    fn succeeded(&mut self, now: SystemTime, pair: &Pair) -> SystemTime {
        let next = renewal::next(&pair.facts, now, self.chance());
        self.put_off(next, |_| 0)
    }

    fn failed(&mut self, now: SystemTime) -> SystemTime {
        let failures = self.earliest().map_or(0, |plan| plan.failures) + 1;
        let next = now + renewal::pause(failures, self.chance());
        self.put_off(next, |failures| failures + 1)
    }

    fn put_off(&mut self, next: SystemTime, failures: impl FnOnce(u32) -> u32) -> SystemTime {
        if let Some(plan) = self.plans.iter_mut().min_by_key(|plan| plan.due) {
            plan.due = next;
            plan.failures = failures(plan.failures);
        }
        next
    }

    fn earliest(&self) -> Option<&Plan> {
        self.plans.iter().min_by_key(|plan| plan.due)
    }

    /// From 0 to 1.
    fn chance(&mut self) -> f64 {
        self.seed = step(self.seed);
        f64::from((mix(self.seed) >> 32) as u32) / f64::from(u32::MAX)
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
    use crate::tls::pair::PairFiles;
    use crate::tls::testing::made;
    use std::time::UNIX_EPOCH;

    const HOUR: Duration = Duration::from_secs(3600);

    fn plans(now: SystemTime, domains: &[&str]) -> Plans {
        let plan = |domain: &&str| Plan { domain: (*domain).into(), due: now, failures: 0 };
        Plans { plans: domains.iter().map(plan).collect(), seed: 1 }
    }

    fn pair(domain: &str, from: (i32, u8, u8), to: (i32, u8, u8)) -> Pair {
        let made = made(&[domain], |params| {
            params.not_before = rcgen::date_time_ymd(from.0, from.1, from.2);
            params.not_after = rcgen::date_time_ymd(to.0, to.1, to.2);
        });
        let files = PairFiles { cert: "cert".into(), key: "key".into() };
        Pair::parse(made.cert.pem().as_bytes(), made.key.serialize_pem().as_bytes(), &files).unwrap()
    }

    #[test]
    fn a_name_that_fails_keeps_no_other_from_its_certificate() {
        let now: SystemTime = rcgen::date_time_ymd(2026, 1, 1).into();
        let mut plans = plans(now, &["bad.test", "good.test"]);
        assert_eq!(plans.wait(now), Some(Duration::ZERO));
        assert_eq!(plans.first(), Some(("bad.test".into(), 0)));
        let retry = plans.failed(now);
        assert_eq!(plans.first(), Some(("good.test".into(), 0)));
        assert_eq!(plans.wait(now), Some(Duration::ZERO));
        let renewed = plans.succeeded(now, &pair("good.test", (2026, 1, 1), (2026, 4, 1)));
        assert!(renewed > now + HOUR * 24 * 56 && renewed <= now + HOUR * 24 * 60, "{renewed:?}");
        // The one that failed is next, after its pause, and again later each time.
        assert_eq!(plans.first(), Some(("bad.test".into(), 1)));
        assert_eq!(plans.wait(now), Some(retry.duration_since(now).unwrap()));
        let mut last = retry.duration_since(now).unwrap();
        let mut at = retry;
        for failures in 2..8 {
            let next = plans.failed(at);
            let pause = next.duration_since(at).unwrap();
            assert!(pause > last, "{failures}");
            assert_eq!(plans.first(), Some(("bad.test".into(), failures)));
            (last, at) = (pause, next);
        }
        plans.succeeded(at, &pair("bad.test", (2026, 1, 1), (2026, 4, 1)));
        assert!(plans.plans.iter().all(|plan| plan.failures == 0));
    }

    #[test]
    fn nothing_is_due_where_there_are_no_names() {
        assert_eq!(plans(UNIX_EPOCH, &[]).wait(UNIX_EPOCH), None);
    }

    #[test]
    fn kept_certificates_are_served_at_once_and_what_is_of_no_use_is_got_anew() {
        let dir = tempfile::tempdir().unwrap();
        let certificates = Certificates::load(crate::tls::Sources::default()).unwrap();
        let domains = ["good.test", "expired.test", "broken.test", "other.test", "none.test"];
        let settings = Settings {
            domains: domains.map(String::from).to_vec(),
            email: None,
            directory: "https://ca.test/dir".into(),
            ca: None,
        };
        let files = Files::new(dir.path(), &settings.directory);
        let write = |domain: &str, name: &str, until: i32| {
            let made = made(&[name], |params| params.not_after = rcgen::date_time_ymd(until, 1, 1));
            let pem = made.key.serialize_pem() + &made.cert.pem();
            files.write_certificate(domain, pem.as_bytes()).unwrap();
        };
        write("good.test", "good.test", 2200);
        write("expired.test", "expired.test", 2001);
        write("other.test", "elsewhere.test", 2200);
        files.write_certificate("broken.test", b"nonsense").unwrap();
        let manager = Manager::new(&settings, dir.path(), &certificates, false, 1);
        let now = SystemTime::now();
        for plan in &manager.plans.plans {
            assert_eq!(plan.due > now, plan.domain == "good.test", "{plan:?}");
        }
        assert_eq!(certificates.first_name().as_deref(), Some("good.test"));
        for domain in domains {
            assert_eq!(certificates.has(Some(domain)), domain == "good.test", "{domain}");
        }
    }
}
