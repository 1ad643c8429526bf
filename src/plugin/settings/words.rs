//! A text from the environment, read as what the schema wants of a plain value.

use super::quantity;
use super::schema::Kind;
use serde_json::{Number, Value};

/// An error says what is expected and never what was found, which may be a secret.
pub fn read(kind: &Kind, text: &str) -> Result<Value, &'static str> {
    let trimmed = text.trim();
    let yaml = || serde_yaml::Value::String(trimmed.to_owned());
    match kind {
        Kind::Number(_) => number(trimmed).ok_or("a number"),
        Kind::Boolean => trimmed.parse().map(Value::Bool).map_err(|_| "`true` or `false`"),
        Kind::Duration(_) => {
            quantity::duration(&yaml()).map(Value::from).map_err(|_| "a duration with a unit, as in `30s`")
        }
        Kind::Size(_) => quantity::size(&yaml()).map(Value::from).map_err(|_| "a size, as in `10mb`"),
        // Lists and objects are no plain values; whoever calls this has seen to them.
        _ => Ok(Value::String(text.to_owned())),
    }
}

fn number(text: &str) -> Option<Value> {
    let whole = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
    let number = whole.ok().or_else(|| text.parse().ok().and_then(Number::from_f64))?;
    Some(Value::Number(number))
}
