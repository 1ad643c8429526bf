//! A limit on how often something happens.

use std::time::Duration;

const ONE: u64 = 1_000_000_000;

/// A token bucket. The time is the caller's: that since any fixed point.
#[derive(Clone, Debug)]
pub struct Bucket {
    rate: u64,
    /// Thousand-millionths of one, so that nothing is lost in rounding.
    burst: u64,
    tokens: u64,
    last: Duration,
}

impl Bucket {
    /// A full one, which holds `burst` and earns `rate` a second.
    pub fn new(rate: u32, burst: u32, now: Duration) -> Bucket {
        let burst = u64::from(burst) * ONE;
        Bucket { rate: u64::from(rate), burst, tokens: burst, last: now }
    }

    /// Takes so many.
    ///
    /// # Errors
    /// There are fewer: after which time there will be as many.
    pub fn take(&mut self, count: u64, now: Duration) -> Result<(), Duration> {
        self.has(count, now).map(|()| self.charge(count, now))
    }

    /// Takes as many of so many as there are.
    pub fn charge(&mut self, count: u64, now: Duration) {
        self.fill(now);
        self.tokens = self.tokens.saturating_sub(count.saturating_mul(ONE));
    }

    /// Whether there are so many.
    ///
    /// # Errors
    /// There are fewer: after which time there will be as many.
    pub fn has(&mut self, count: u64, now: Duration) -> Result<(), Duration> {
        self.fill(now);
        let missing = count.saturating_mul(ONE).saturating_sub(self.tokens);
        if missing == 0 { Ok(()) } else { Err(Duration::from_nanos(missing.div_ceil(self.rate.max(1)))) }
    }

    pub fn is_full(&mut self, now: Duration) -> bool {
        self.fill(now);
        self.tokens == self.burst
    }

    fn fill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.last);
        self.last = self.last.max(now);
        // One a second is a thousand-millionth of one a nanosecond.
        let earned = u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX).saturating_mul(self.rate);
        self.tokens = self.tokens.saturating_add(earned).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_says_after_which_time_there_is_enough() {
        let mut bucket = Bucket::new(1000, 1000, SECOND);
        assert_eq!(bucket.take(900, SECOND), Ok(()));
        assert_eq!(bucket.take(200, SECOND), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(200, SECOND + Duration::from_millis(100)), Ok(()));
        bucket.charge(5000, 2 * SECOND);
        assert_eq!(bucket.has(10, 2 * SECOND), Err(Duration::from_millis(10)), "there are no debts");
        bucket.charge(5000, SECOND);
        assert_eq!(
            bucket.take(1, Duration::ZERO),
            Err(Duration::from_millis(1)),
            "time that goes backward earns nothing"
        );
    }
}
