//! Moments as people and programs write them: `2026-11-25T23:47:48Z` (RFC 3339), always in UTC.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// In seconds.
const DAY: u64 = 86_400;

/// Shows itself to the millisecond: `2026-03-01T12:00:00.250Z`. A moment before 1970 counts as its beginning.
pub struct Rfc3339(pub SystemTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        write_seconds(f, since)?;
        write!(f, ".{:03}Z", since.subsec_millis())
    }
}

/// A number of seconds since 1970-01-01 00:00 UTC. Years have four digits up to 9999 and more after that.
pub fn from_seconds(seconds: u64) -> String {
    let mut text = String::new();
    // A text takes everything.
    let _ = write_seconds(&mut text, Duration::from_secs(seconds));
    text + "Z"
}

/// `2026-11-25T23:47:48`
fn write_seconds(out: &mut impl fmt::Write, since: Duration) -> fmt::Result {
    let (days, second) = (since.as_secs() / DAY, since.as_secs() % DAY);
    // No number of seconds has so many days that it does not fit.
    let (year, month, day) = date(days.cast_signed());
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

/// Year, month and day of a day that is counted from 1970-01-01, in the Gregorian calendar; one before that is negative.
pub fn date(days: i64) -> (i64, i64, i64) {
    // Years are counted from March, so that the leap day is the last of its year, and in eras of 400 years, each of which has as
    // many days.
    const ERA: i64 = 146_097;
    // From 0000-03-01 to 1970-01-01.
    let days = days.saturating_add(719_468);
    let (era, of_era) = (days.div_euclid(ERA), days.rem_euclid(ERA));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    // 153 days have the five months from March to July, and those from August to December.
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_as_date_does() {
        // Those of `date -u -d @N +%FT%TZ`.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_764_114_468, "2025-11-25T23:47:48Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(from_seconds(seconds), text);
        }
    }

    #[test]
    fn moments_are_shown_to_the_millisecond() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (1_772_368_496_250, "2026-03-01T12:34:56.250Z"),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Rfc3339(UNIX_EPOCH + Duration::from_millis(millis)).to_string(), text);
        }
        assert_eq!(Rfc3339(UNIX_EPOCH - Duration::from_secs(1)).to_string(), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn each_day_follows_the_one_before() {
        const DAYS: [i64; 13] = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let is_leap = |year: i64| year % 4 == 0 && year % 100 != 0 || year % 400 == 0;
        let mut expected = (1970, 1, 1);
        for day in 0..250_000 {
            assert_eq!(date(day), expected);
            let (year, month, of_month) = expected;
            let last = DAYS[month as usize] + i64::from(month == 2 && is_leap(year));
            expected = match (of_month < last, month < 12) {
                (true, _) => (year, month, of_month + 1),
                (false, true) => (year, month + 1, 1),
                (false, false) => (year + 1, 1, 1),
            };
        }
    }
}
