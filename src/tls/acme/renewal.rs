//! When a certificate is wanted. Pure: the present and chance come from outside.

use crate::tls::x509::Facts;
use std::time::{Duration, SystemTime};

/// After the first failure. With twice that after each further one there are five attempts in an hour, which is what Let's Encrypt
/// allows to fail.
const FIRST_PAUSE: Duration = Duration::from_secs(120);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 60 * 60);

/// When the next certificate is to be got: after two thirds of its life, or up to a thirtieth of it earlier, as `chance` says (from 0 to
/// 1), so that those that were got together are not renewed together for ever.
pub fn due(facts: &Facts, chance: f64) -> SystemTime {
    let life = facts.not_after.duration_since(facts.not_before).unwrap_or_default();
    facts.not_before + life * 2 / 3 - (life / 30).mul_f64(chance.clamp(0.0, 1.0))
}

/// How long to wait at least after a certificate has come, whatever its times and the clock are.
pub fn rest(facts: &Facts) -> Duration {
    let life = facts.not_after.duration_since(facts.not_before).unwrap_or_default();
    (life / 10).max(Duration::from_secs(1))
}

/// How long to wait after so many failures in a row.
pub fn pause(failures: u32, chance: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let pause = (FIRST_PAUSE * (1 << doublings)).min(LONGEST_PAUSE);
    pause + (pause / 4).mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    const DAY: Duration = Duration::from_secs(86_400);

    fn lives(from: Duration, life: Duration) -> Facts {
        let not_before = UNIX_EPOCH + from;
        Facts { names: Vec::new(), not_before, not_after: not_before + life }
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life_or_a_little_before() {
        let facts = lives(DAY, DAY * 90);
        assert_eq!(due(&facts, 0.0), UNIX_EPOCH + DAY * 61);
        assert_eq!(due(&facts, 1.0), UNIX_EPOCH + DAY * 58);
        let short = lives(DAY, DAY * 6);
        assert_eq!(due(&short, 0.0), UNIX_EPOCH + DAY * 5);
        assert!(due(&short, 0.5) > UNIX_EPOCH + DAY * 4);
    }

    #[test]
    fn one_that_was_never_valid_is_due_at_once_and_the_next_after_it_is_not() {
        let mut facts = lives(DAY, DAY);
        facts.not_after = UNIX_EPOCH;
        assert!(due(&facts, 1.0) < UNIX_EPOCH + DAY * 10);
        assert_eq!(rest(&facts), Duration::from_secs(1));
        assert_eq!(rest(&lives(DAY, DAY * 5)), DAY / 2);
    }

    #[test]
    fn each_failure_doubles_the_wait_up_to_a_limit() {
        let waits = [1, 2, 3, 4, 5, 6].map(|failures| pause(failures, 0.0).as_secs() / 60);
        assert_eq!(waits, [2, 4, 8, 16, 32, 64]);
        for failures in [9, 10, 100, u32::MAX] {
            assert_eq!(pause(failures, 0.0), LONGEST_PAUSE);
        }
        assert_eq!(pause(1, 1.0), Duration::from_secs(150));
        assert_eq!(pause(0, 0.0), FIRST_PAUSE);
    }
}
