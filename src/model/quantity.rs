//! Durations and sizes as people write them.

use std::time::Duration;

/// Why a text is no duration or size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    #[error("not a number with a unit")]
    Malformed,
    #[error("`{0}` is not a unit")]
    Unit(String),
    #[error("too large")]
    TooLarge,
}

/// Parses `500ms`, `30s`, `5m`, `1h`, `2d`; a bare number is seconds.
pub fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    let (number, unit) = split(text)?;
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        other => return Err(QuantityError::Unit(other.to_owned())),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or(QuantityError::TooLarge)
}

/// Parses `512k`, `10mb`, `10MiB`, `1gb` in any case, powers of 1024; a bare number is bytes.
pub fn parse_size(text: &str) -> Result<u64, QuantityError> {
    let (number, unit) = split(text)?;
    let factor: u64 = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        _ => return Err(QuantityError::Unit(unit.to_owned())),
    };
    number.checked_mul(factor).ok_or(QuantityError::TooLarge)
}

fn split(text: &str) -> Result<(u64, &str), QuantityError> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    if number.is_empty() {
        return Err(QuantityError::Malformed);
    }
    Ok((number.parse().map_err(|_| QuantityError::TooLarge)?, unit))
}
