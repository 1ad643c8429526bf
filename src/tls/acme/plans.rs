//! When which name is next.

use super::renewal;
use crate::model::mix::{mix, step};
use crate::tls::x509::Facts;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// Of all names. Each has its place.
#[derive(Debug)]
pub struct Plans {
    plans: Vec<Plan>,
    /// What chance comes from.
    seed: u64,
}

#[derive(Debug)]
pub struct Plan {
    pub domain: String,
    /// When its certificate is to be renewed, by the clock that certificates go by.
    due: SystemTime,
    /// The next attempt comes no earlier. Not by the clock, which may be set: a pause from the year before would be one of a year.
    rest: Instant,
    /// In a row.
    pub failures: u32,
    /// The end of the certificate that is served. None = there is none.
    pub until: Option<SystemTime>,
}

/// The present, by the clock and by what runs on whatever the clock is set to.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub clock: SystemTime,
    instant: Instant,
}

impl Now {
    pub fn read() -> Now {
        Now { clock: SystemTime::now(), instant: Instant::now() }
    }
}

impl Plan {
    /// At once.
    fn new(domain: &str, now: Now) -> Plan {
        Plan { domain: domain.to_owned(), due: UNIX_EPOCH, rest: now.instant, failures: 0, until: None }
    }

    pub fn wait(&self, now: Now) -> Duration {
        let due = self.due.duration_since(now.clock).unwrap_or_default();
        due.max(self.rest.saturating_duration_since(now.instant))
    }
}

impl Plans {
    /// All at once. `seed` is what chance comes from.
    pub fn new(domains: &[String], seed: u64, now: Now) -> Plans {
        Plans { plans: domains.iter().map(|domain| Plan::new(domain, now)).collect(), seed }
    }

    pub fn get(&self, place: usize) -> Option<&Plan> {
        self.plans.get(place)
    }

    pub fn len(&self) -> usize {
        self.plans.len()
    }

    /// Which name is next, and how long nothing is due. Of several that are due, the one that has waited the longest. None = there are
    /// no names.
    pub fn first(&self, now: Now) -> Option<(usize, Duration)> {
        let waits = self.plans.iter().enumerate().map(|(place, plan)| (place, plan.wait(now), plan.rest));
        waits.min_by_key(|(_, wait, rest)| (*wait, *rest)).map(|(place, wait, _)| (place, wait))
    }

    /// It has this certificate.
    pub fn has(&mut self, place: usize, facts: &Facts) {
        let due = renewal::due(facts, self.chance());
        if let Some(plan) = self.plans.get_mut(place) {
            (plan.due, plan.until, plan.failures) = (due, Some(facts.not_after), 0);
        }
    }

    /// It got this certificate. Returns when it is due again.
    pub fn succeeded(&mut self, place: usize, now: Now, facts: &Facts) -> SystemTime {
        self.has(place, facts);
        self.put_off(place, now, renewal::rest(facts))
    }

    pub fn failed(&mut self, place: usize, now: Now) -> SystemTime {
        let failures = self.plans.get(place).map_or(0, |plan| plan.failures) + 1;
        if let Some(plan) = self.plans.get_mut(place) {
            plan.failures = failures;
        }
        let pause = renewal::pause(failures, self.chance());
        self.put_off(place, now, pause)
    }

    fn put_off(&mut self, place: usize, now: Now, rest: Duration) -> SystemTime {
        let Some(plan) = self.plans.get_mut(place) else { return now.clock };
        plan.rest = now.instant + rest;
        now.clock + plan.wait(now)
    }

    /// From 0 to 1.
    fn chance(&mut self) -> f64 {
        self.seed = step(self.seed);
        f64::from((mix(self.seed) >> 32) as u32) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

    fn at(year: i32, month: u8) -> Now {
        Now { clock: rcgen::date_time_ymd(year, month, 1).into(), instant: Instant::now() }
    }

    impl Now {
        fn after(self, time: Duration) -> Now {
            Now { clock: self.clock + time, instant: self.instant + time }
        }
    }

    fn plans(now: Now, domains: &[&str]) -> Plans {
        Plans::new(&domains.iter().map(|domain| (*domain).to_owned()).collect::<Vec<_>>(), 1, now)
    }

    /// Valid for three months.
    fn from(year: i32, month: u8) -> Facts {
        let [not_before, not_after] = [month, month + 3].map(|month| at(year, month).clock);
        Facts { names: Vec::new(), not_before, not_after }
    }

    #[test]
    fn a_name_that_fails_keeps_no_other_from_its_certificate() {
        let now = at(2026, 1);
        let mut plans = plans(now, &["bad.test", "good.test"]);
        assert_eq!(plans.first(now), Some((0, Duration::ZERO)));
        // The attempt took longer than the pause after it: who is due as well has waited longer.
        let now = now.after(HOUR);
        let mut retry = plans.failed(0, now).duration_since(now.clock).unwrap();
        assert_eq!(plans.first(now.after(HOUR)), Some((1, Duration::ZERO)));
        assert_eq!(plans.first(now), Some((1, Duration::ZERO)));
        let renewed = plans.succeeded(1, now, &from(2026, 1));
        assert!(renewed > now.clock + HOUR * 24 * 56 && renewed <= now.clock + HOUR * 24 * 60, "{renewed:?}");
        // The one that failed is next, after its pause, and again later each time.
        assert_eq!(plans.first(now), Some((0, retry)));
        let mut now = now.after(retry);
        for failures in 2..8 {
            assert_eq!(plans.first(now), Some((0, Duration::ZERO)));
            let pause = plans.failed(0, now).duration_since(now.clock).unwrap();
            assert!(pause > retry, "{failures}");
            assert_eq!(plans.first(now), Some((0, pause)));
            (retry, now) = (pause, now.after(pause));
        }
        plans.succeeded(0, now, &from(2026, 1));
        assert!(plans.plans.iter().all(|plan| plan.failures == 0));
    }

    /// The pause was until a time of the clock, which was years away when the clock was set right.
    #[test]
    fn a_clock_that_was_ahead_lets_no_name_wait_for_years() {
        let now = at(2026, 2);
        let ahead = Now { clock: now.clock + YEAR * 3, ..now };
        let mut plans = plans(ahead, &["failed.test", "got.test", "kept.test", "new.test"]);
        plans.has(2, &from(2026, 1));
        plans.failed(0, ahead);
        plans.failed(2, ahead);
        plans.succeeded(1, ahead, &from(2026, 1));
        let wait = |plans: &Plans, place: usize| plans.plans[place].wait(now);
        assert!(wait(&plans, 0) <= Duration::from_secs(150));
        assert!(wait(&plans, 1) < HOUR * 24 * 31, "it is renewed in time");
        assert!(
            wait(&plans, 2) < HOUR * 24 * 31 && wait(&plans, 2) > HOUR * 24,
            "it need not be renewed yet"
        );
        assert_eq!(wait(&plans, 3), Duration::ZERO);
        // It was behind: the certificate seems to come from the future.
        let behind = Now { clock: UNIX_EPOCH, ..now };
        plans.succeeded(3, behind, &from(2026, 1));
        assert!(wait(&plans, 3) < HOUR * 24 * 31);
    }

    #[test]
    fn one_that_has_come_is_not_got_again_at_once_whatever_the_clock_says() {
        let now = at(2030, 1);
        let mut plans = plans(now, &["a.test"]);
        let next = plans.succeeded(0, now, &from(2026, 1));
        assert_eq!(plans.first(now), Some((0, HOUR * 24 * 9)));
        assert_eq!(next, now.clock + HOUR * 24 * 9);
    }

    #[test]
    fn nothing_is_due_where_there_are_no_names() {
        assert_eq!(plans(at(2026, 1), &[]).first(at(2026, 1)), None);
    }
}
