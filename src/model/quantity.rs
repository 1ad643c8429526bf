//! Durations and sizes as people write them: a YAML number or a text with a unit.

use serde_yaml::Value;
use std::time::Duration;

/// Longest duration taken (ten years), in seconds. Keeps sums of times far from overflow.
const MAX_SECONDS: u64 = 3650 * 86400;
/// Digits taken before and after the point.
const MAX_DIGITS: usize = 18;
const MAX_FRACTION: usize = 9;

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1_000_000), ("s", NANOS), ("m", 60 * NANOS), ("h", 3600 * NANOS), ("d", 86400 * NANOS)];
const SIZE_UNITS: [(&str, u64); 5] =
    [("", 1), ("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30), ("t", 1 << 40)];
const NANOS: u64 = 1_000_000_000;

/// Why something is no duration or no size. Says what was found and what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("`{0}` has no unit: write `{0}s` for seconds (units: ms, s, m, h, d)")]
    NoUnit(String),
    #[error("`{0}` is not a duration: write a number and a unit, as in `500ms`, `30s`, `5m`, `1h` or `2d`")]
    Duration(String),
    #[error("`{0}` is not a size: write bytes, or a number and a unit, as in `512k`, `10mb` or `1GiB`")]
    Size(String),
    #[error("`{0}` is too long: ten years (3650d) is the limit")]
    TooLong(String),
    #[error("`{0}` is too large")]
    TooLarge(String),
    #[error("`{0}` must not be negative")]
    Negative(String),
    #[error("expected a duration (a number of seconds or a text such as `30s`), found {0}")]
    NotDuration(&'static str),
    #[error("expected a size (a number of bytes or a text such as `10mb`), found {0}")]
    NotSize(&'static str),
    #[error("`{0}` must be a whole number of bytes")]
    Fraction(String),
}

/// A decimal number, kept exactly: `whole + fraction / 10^places`.
struct Decimal {
    whole: u64,
    fraction: u64,
    places: u32,
}

impl Decimal {
    /// `12` or `12.5`. None = not a number, or more digits than anybody means.
    fn parse(text: &str) -> Option<Decimal> {
        let (whole, fraction) = text.split_once('.').map_or((text, None), |(w, f)| (w, Some(f)));
        let digits = |part: &str, most| {
            ((1..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())).then_some(())
        };
        digits(whole, MAX_DIGITS)?;
        if let Some(fraction) = fraction {
            digits(fraction, MAX_FRACTION)?;
        }
        let fraction = fraction.unwrap_or("0");
        let places = u32::try_from(fraction.len()).ok()?;
        Some(Decimal { whole: whole.parse().ok()?, fraction: fraction.parse().ok()?, places })
    }

    /// In units of `1 / unit`, rounded down.
    fn times(&self, unit: u64) -> u128 {
        let fraction = u128::from(self.fraction) * u128::from(unit) / 10u128.pow(self.places);
        u128::from(self.whole) * u128::from(unit) + fraction
    }
}

/// A duration from a flag, a variable or a YAML text: `500ms`, `30s`, `5m`, `1h`, `2d`, `1.5h`.
pub fn parse_duration_text(text: &str) -> Result<Duration, QuantityError> {
    let wrong = || QuantityError::Duration(shorten(text));
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    if number.starts_with('-') {
        return Err(QuantityError::Negative(shorten(text)));
    }
    let number_is_good = Decimal::parse(number);
    if unit.is_empty() {
        return Err(if number_is_good.is_some() { QuantityError::NoUnit(shorten(trimmed)) } else { wrong() });
    }
    let decimal = number_is_good.ok_or_else(wrong)?;
    let (_, nanos) = DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
    bounded(decimal.times(*nanos), text)
}

/// A size in bytes from a flag, a variable or a YAML text: `512k`, `10mb`, `10MiB`, `1gb`; any case, an optional
/// `b` or `ib`, all powers of 1024. Digits alone are bytes.
pub fn parse_size_text(text: &str) -> Result<u64, QuantityError> {
    let wrong = || QuantityError::Size(shorten(text));
    let trimmed = text.trim();
    let split = trimmed.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    if number.starts_with('-') {
        return Err(QuantityError::Negative(shorten(text)));
    }
    let decimal = Decimal::parse(number).ok_or_else(wrong)?;
    let unit = unit.to_ascii_lowercase();
    let prefix =
        unit.strip_suffix("ib").filter(|p| !p.is_empty()).or(unit.strip_suffix('b')).unwrap_or(&unit);
    let (_, bytes) = SIZE_UNITS.iter().find(|(name, _)| *name == prefix).ok_or_else(wrong)?;
    if *bytes == 1 && decimal.fraction != 0 {
        return Err(QuantityError::Fraction(shorten(text)));
    }
    let size = u64::try_from(decimal.times(*bytes)).ok().filter(|&size| i64::try_from(size).is_ok());
    size.ok_or_else(|| QuantityError::TooLarge(shorten(text)))
}

/// A duration in a YAML file: a number is seconds, a text needs a unit.
pub fn duration(value: &Value) -> Result<Duration, QuantityError> {
    match value {
        Value::String(text) => parse_duration_text(text),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(seconds), _) => bounded(u128::from(seconds) * u128::from(NANOS), &number.to_string()),
            (None, Some(seconds)) if seconds < 0.0 => Err(QuantityError::Negative(number.to_string())),
            (None, Some(seconds)) => match Duration::try_from_secs_f64(seconds) {
                Ok(duration) => bounded(duration.as_nanos(), &number.to_string()),
                Err(_) => Err(QuantityError::TooLong(number.to_string())),
            },
            (None, None) => Err(QuantityError::Duration(number.to_string())),
        },
        other => Err(QuantityError::NotDuration(kind_of(other))),
    }
}

/// A size in a YAML file: a number is bytes.
pub fn size(value: &Value) -> Result<u64, QuantityError> {
    match value {
        Value::String(text) => parse_size_text(text),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(bytes), _) if i64::try_from(bytes).is_ok() => Ok(bytes),
            (Some(_), _) => Err(QuantityError::TooLarge(number.to_string())),
            (None, Some(bytes)) if bytes < 0.0 => Err(QuantityError::Negative(number.to_string())),
            _ => Err(QuantityError::Fraction(number.to_string())),
        },
        other => Err(QuantityError::NotSize(kind_of(other))),
    }
}

/// What a YAML value is, in the words of an error.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "a map",
        Value::Tagged(_) => "a tagged value",
    }
}

/// A duration as a person would write it, exactly: `30s`, `1500ms`, `10m`.
pub fn show_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0".into();
    }
    let fits = DURATION_UNITS.iter().rev().find(|(_, unit)| nanos.is_multiple_of(u128::from(*unit)));
    fits.map_or_else(
        || format!("{duration:?}"),
        |(name, unit)| format!("{}{name}", nanos / u128::from(*unit)),
    )
}

/// A size as a person would write it, exactly: `10mb`, `1000 bytes`.
pub fn show_size(bytes: u64) -> String {
    let fits = SIZE_UNITS[1..].iter().rev().find(|(_, unit)| bytes != 0 && bytes.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{bytes} bytes"), |(name, unit)| format!("{}{name}b", bytes / unit))
}

fn bounded(nanos: u128, text: &str) -> Result<Duration, QuantityError> {
    if nanos > u128::from(MAX_SECONDS) * u128::from(NANOS) {
        return Err(QuantityError::TooLong(shorten(text)));
    }
    // Both parts fit: ten years are few seconds, and a remainder is below 10^9.
    Ok(Duration::new((nanos / u128::from(NANOS)) as u64, (nanos % u128::from(NANOS)) as u32))
}

/// Keeps what an error quotes short.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn yaml(text: &str) -> Value {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn a_duration_is_a_number_of_seconds_or_a_text_with_a_unit() {
        for (text, millis) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("2d", 172_800_000),
            ("1.5h", 5_400_000),
            ("0s", 0),
            ("30", 30_000),
            ("0", 0),
            ("0.25", 250),
        ] {
            assert_eq!(duration(&yaml(text)), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_bare_digit_text_is_no_duration() {
        let refusal = duration(&yaml("\"30\"")).unwrap_err();
        assert_eq!(refusal, QuantityError::NoUnit("30".into()));
        assert!(refusal.to_string().contains("`30s`"), "{refusal}");
        assert_eq!(parse_duration_text("0"), Err(QuantityError::NoUnit("0".into())));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in
            ["", " ", "s", "30 s", "30S", "5M", "1w", "1h30m", "-1s", "1..5s", ".5s", "1.s", "1e3s", "4000d"]
        {
            assert!(parse_duration_text(text).is_err(), "{text:?}");
        }
        for text in ["-1", "1e300", ".nan", ".inf", "-.inf", "true", "[1]", "{}", "~", "!x 1"] {
            assert!(duration(&yaml(text)).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_size_is_bytes_or_a_text_in_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("1000", 1000),
            ("\"1000\"", 1000),
            ("512b", 512),
            ("512k", 512 << 10),
            ("512KB", 512 << 10),
            ("10mb", 10 << 20),
            ("10MiB", 10 << 20),
            ("1gb", 1 << 30),
            ("1G", 1 << 30),
            ("2tib", 2 << 40),
            ("1.5k", 1536),
        ] {
            assert_eq!(size(&yaml(text)), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in
            ["", "mb", "ib", "1ib", "1kbb", "10 mb", "-1", "-1k", "1.5", "1p", "9999999999t", "0x10", "1e3"]
        {
            assert!(parse_size_text(text).is_err(), "{text:?}");
        }
        for text in ["-1", "1.5", "1e300", "true", "[]", "~", "18446744073709551615"] {
            assert!(size(&yaml(text)).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[0-9.a-zA-Z-]{0,30}") {
            let _ = parse_duration_text(&text);
            let _ = parse_size_text(&text);
            if let Ok(value) = serde_yaml::from_str::<Value>(&text) {
                let _ = duration(&value);
                let _ = size(&value);
            }
        }

        #[test]
        fn what_is_shown_reads_back_the_same(millis in 1..=3650u64 * 86_400_000, bytes in 1u64 << 10..1 << 50) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration_text(&show_duration(duration)), Ok(duration));
            let kib = bytes & !1023;
            prop_assert_eq!(parse_size_text(&show_size(kib)), Ok(kib));
        }
    }
}
