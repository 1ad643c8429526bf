//! Moments as whole seconds, which is what is stored and compared here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Seconds since 1970-01-01 00:00 UTC. A moment before that counts as 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The last moment that there is: what a database's signed integer can hold.
    pub const MAX: UnixTime = UnixTime(i64::MAX as u64);

    /// Anything later than [`UnixTime::MAX`] is that.
    pub fn new(seconds: u64) -> UnixTime {
        UnixTime(seconds.min(UnixTime::MAX.0))
    }

    pub fn seconds(self) -> u64 {
        self.0
    }

    pub fn minus(self, span: Duration) -> UnixTime {
        UnixTime(self.0.saturating_sub(span.as_secs()))
    }
}

impl From<SystemTime> for UnixTime {
    fn from(time: SystemTime) -> UnixTime {
        UnixTime::new(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_outside_the_range_is_its_nearest_end() {
        assert_eq!(UnixTime::from(UNIX_EPOCH - Duration::from_secs(5)), UnixTime::new(0));
        assert_eq!(UnixTime::from(UNIX_EPOCH + Duration::from_millis(1999)), UnixTime::new(1));
        assert_eq!(UnixTime::new(u64::MAX), UnixTime::MAX);
        assert_eq!(UnixTime::new(5).minus(Duration::from_secs(9)), UnixTime::new(0));
    }
}
