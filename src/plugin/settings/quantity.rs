//! Durations and sizes as settings hold them: whole milliseconds and bytes.

use crate::model::quantity::{self, QuantityError};
use serde_yaml::Value;
use std::time::Duration;

/// A duration in milliseconds. None = it has a fraction of one.
pub fn millis(duration: Duration) -> Option<u64> {
    let whole = duration.subsec_nanos().is_multiple_of(1_000_000);
    u64::try_from(duration.as_millis()).ok().filter(|_| whole)
}

pub fn duration(value: &Value) -> Result<u64, String> {
    let duration = quantity::duration(value).map_err(|error: QuantityError| error.to_string())?;
    millis(duration).ok_or_else(|| "a duration is a whole number of milliseconds".to_owned())
}

pub fn size(value: &Value) -> Result<u64, String> {
    quantity::size(value).map_err(|error| error.to_string())
}
