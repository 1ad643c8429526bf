//! Reads moments: RFC 3339, and what people type instead.

use buntime_plugin::rfc3339::date;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: i64 = 86_400;

/// Reads RFC 3339 (`2026-01-31T12:00:00Z`, `…+01:00`), milliseconds since 1970, or how long ago (`90s`, `15m`, `2h`, `7d`).
pub fn parse(text: &str, now: SystemTime) -> Option<SystemTime> {
    if let Ok(millis) = text.parse::<u64>() {
        return UNIX_EPOCH.checked_add(Duration::from_millis(millis));
    }
    let ago = text.char_indices().next_back().and_then(|(at, unit)| {
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        text[..at].parse::<u64>().ok()?.checked_mul(seconds)
    });
    match ago {
        Some(seconds) => Some(now.checked_sub(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)),
        None => rfc3339(text),
    }
}

fn rfc3339(text: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    if !text.is_ascii()
        || bytes.len() < 20
        || marks.iter().any(|&(at, mark)| bytes[at] != mark)
        || !matches!(bytes[10], b'T' | b't' | b' ')
    {
        return None;
    }
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = &text[from..to];
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let days = days(year, month, day);
    // 60 is a leap second.
    if hour > 23
        || minute > 59
        || second > 60
        || !(1..=12).contains(&month)
        || date(days) != (year, month, day)
    {
        return None;
    }
    let mut rest = &text[19..];
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let length = fraction.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            return None;
        }
        nanos = format!("{:0<9.9}", &fraction[..length]).parse().ok()?;
        rest = &fraction[length..];
    }
    let offset = match rest.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 5;
            let (hours, minutes) = (number(at, at + 2)?, number(at + 3, at + 5)?);
            let offset = (hours <= 23 && minutes <= 59).then_some(hours * 3600 + minutes * 60)?;
            if *sign == b'+' { offset } else { -offset }
        }
        _ => return None,
    };
    let seconds = days * DAY + hour * 3600 + minute * 60 + second - offset;
    UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds).ok()?, nanos))
}

/// The day of a date, counted from 1970-01-01: [`date`] the other way round.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use buntime_plugin::rfc3339::Rfc3339;

    #[test]
    fn moments_are_shown_and_read_back() {
        for (millis, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_123, "2000-02-29T00:00:00.123Z"),
            (1_798_761_599_999, "2026-12-31T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            let moment = UNIX_EPOCH + Duration::from_millis(millis);
            assert_eq!(Rfc3339(moment).to_string(), text);
            assert_eq!(parse(text, UNIX_EPOCH), Some(moment));
            assert_eq!(parse(&millis.to_string(), UNIX_EPOCH), Some(moment));
        }
        for day in -800_000..800_000 {
            let (year, month, of_month) = date(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[test]
    fn each_way_to_say_a_moment_is_read() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (text, seconds) in [
            ("90s", 999_910),
            ("2h", 992_800),
            ("1d", 913_600),
            ("1970-01-02T00:00:00Z", 86_400),
            ("1970-01-02T01:30:00+01:30", 86_400),
            ("1970-01-01T23:00:00.5-01:00", 86_400),
        ] {
            let read = parse(text, now).unwrap();
            assert_eq!(read.duration_since(UNIX_EPOCH).unwrap().as_secs(), seconds, "{text}");
        }
        for text in [
            "",
            "x",
            "-1",
            "1w",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00+0100",
            "é026-01-01T00:00:00Z",
            "99999999999999999999999d",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(parse(text, now), None, "{text}");
        }
    }
}
