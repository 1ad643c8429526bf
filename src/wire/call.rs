//! CALL and RESULT: what a script plugin's worker asks of the supervisor, and the answer.

use super::pack::{self, Reader};
use super::{MAX_CALL, MAX_DEPTH, MAX_VALUES, WireError};
use bytes::{BufMut, BytesMut};
use rmpv::Value;

/// Longest name of a service or a method, in bytes.
const MAX_NAME: usize = 256;

/// A CALL as it came.
#[derive(Debug, PartialEq)]
pub struct CallFrame {
    pub id: u32,
    pub service: String,
    pub method: String,
    pub args: Vec<Value>,
}

/// Why a value cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    #[error("the value has more than {MAX_CALL} bytes")]
    TooLarge,
    #[error("the value is nested too deeply, has too many parts, or has something that is no plain value")]
    NotPlain,
}

/// Reads a CALL payload.
pub fn read_call(payload: &[u8]) -> Result<CallFrame, WireError> {
    let mut reader = Reader::new(payload);
    if reader.array()? != 4 {
        return Err(WireError::WrongType("a call of four fields"));
    }
    let id = u32::try_from(reader.uint()?).map_err(|_| WireError::OutOfRange("the id of a call"))?;
    let (service, method) = (name(&mut reader)?, name(&mut reader)?);
    let args = &payload[reader.position()..];
    if pack::measure(args, MAX_DEPTH, MAX_VALUES)? != args.len() {
        return Err(WireError::Unexpected("bytes after a call"));
    }
    match rmpv::decode::read_value(&mut &*args) {
        Ok(Value::Array(args)) => Ok(CallFrame { id, service, method, args }),
        _ => Err(WireError::WrongType("an array of arguments")),
    }
}

fn name(reader: &mut Reader<'_>) -> Result<String, WireError> {
    let text = reader.text()?;
    match text.len() <= MAX_NAME {
        true => Ok(text.to_owned()),
        false => Err(WireError::OutOfRange("the name of a service or method")),
    }
}

/// A RESULT payload with a value.
///
/// # Errors
/// The value would break the protocol at the worker.
pub fn result(id: u32, value: &Value) -> Result<BytesMut, Unsendable> {
    let mut out = BytesMut::with_capacity(64);
    pack::put_array(&mut out, 3);
    pack::put_uint(&mut out, id);
    out.put_u8(0xc0);
    let value_at = out.len();
    put_value(&mut out, value, MAX_DEPTH)?;
    match pack::measure(&out[value_at..], MAX_DEPTH, MAX_VALUES) {
        Ok(_) if out.len() <= MAX_CALL => Ok(out),
        Ok(_) => Err(Unsendable::TooLarge),
        Err(_) => Err(Unsendable::NotPlain),
    }
}

/// A RESULT payload with an error.
pub fn error(id: u32, name: &str, message: &str) -> BytesMut {
    let mut out = BytesMut::new();
    let cut = |text: &str, limit| text[..text.floor_char_boundary(limit)].to_owned();
    pack::put_array(&mut out, 3);
    pack::put_uint(&mut out, id);
    pack::put_array(&mut out, 2);
    pack::put_str(&mut out, cut(name, MAX_NAME).as_bytes());
    pack::put_str(&mut out, cut(message, MAX_CALL / 16).as_bytes());
    out.put_u8(0xc0);
    out
}

fn put_value(out: &mut BytesMut, value: &Value, depth: usize) -> Result<(), Unsendable> {
    // The encoder recurses: what is deep must not reach it.
    if !is_flat(value, depth) {
        return Err(Unsendable::NotPlain);
    }
    rmpv::encode::write_value(&mut out.writer(), value).map_err(|_| Unsendable::NotPlain)
}

fn is_flat(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(values) => depth > 0 && values.iter().all(|value| is_flat(value, depth - 1)),
        Value::Map(pairs) => depth > 0 && pairs.iter().all(|(_, value)| is_flat(value, depth - 1)),
        _ => true,
    }
}
