//! The values inside frames.

use super::frame::{HEADER, Kind, put_header};
use super::pack::{self, Reader};
use super::{MAX_HEAD, MAX_HEADERS, WireError};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;

const FIN: u32 = 1;

/// Why an exchange is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Cancel {
    ClientGone = 1,
    Timeout = 2,
    BodyFailed = 3,
    ShuttingDown = 4,
    NotWanted = 5,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Idle = 1,
    Terminate = 2,
}

/// What the shim says first.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    pub build: String,
    pub bun: String,
    pub mapped: bool,
}

/// The app a worker is to load.
#[derive(Debug, Serialize)]
pub struct Assign<'a> {
    pub dir: &'a str,
    pub entry: &'a str,
    pub name: &'a str,
    pub version: &'a str,
    #[serde(rename = "workerId")]
    pub worker_id: &'a str,
    pub mount: &'a str,
    pub origin: &'a str,
    pub dev: bool,
    pub env: &'a BTreeMap<String, String>,
    /// Makes the app a script plugin. One value in bytes of its own, for the shim reads the rest of the map with a reader that
    /// knows only texts.
    #[serde(serialize_with = "packed", skip_serializing_if = "Option::is_none")]
    pub plugin: Option<Seat<'a>>,
}

/// What a script plugin is told of itself.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Seat<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub base: Option<&'a str>,
    pub config: &'a serde_json::Value,
    #[serde(rename = "stateDir")]
    pub state_dir: &'a str,
    /// The public URL, once the listener is bound.
    pub server: Option<&'a str>,
    /// Where the API is, once the listener is bound.
    #[serde(rename = "apiBase")]
    pub api_base: Option<&'a str>,
}

/// The app is loaded.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Ready {
    pub hooks: u32,
    pub max_request_body_size: Option<u64>,
}

/// What an app threw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AppError {
    pub name: String,
    pub message: String,
    pub stack: String,
    pub inspect: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct HookDone {
    pub kind: u32,
    pub error: Option<String>,
}

#[derive(Debug)]
pub struct ResponseHead {
    pub status: StatusCode,
    /// Where the app chose its own reason phrase.
    pub reason: Option<Bytes>,
    pub headers: HeaderMap,
    /// The body bytes that came with the head.
    pub body: Bytes,
    /// The body ends with them.
    pub fin: bool,
}

impl Ready {
    pub fn has(&self, hook: Hook) -> bool {
        let bit = match hook {
            Hook::Idle => 1,
            Hook::Terminate => 2,
        };
        self.hooks & bit != 0
    }
}

fn packed<S: Serializer>(seat: &Option<Seat<'_>>, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes = rmp_serde::to_vec_named(seat).map_err(serde::ser::Error::custom)?;
    serializer.serialize_bytes(&bytes)
}

/// Appends a REQUEST frame without its body: the caller appends the `body_len` bytes.
///
/// `headers` yields lower-case names with their values; `url` is given in pieces.
#[allow(clippy::too_many_arguments)] // the fields of the frame, in their order
pub fn put_request<'a>(
    out: &mut BytesMut,
    stream: u32,
    fin: bool,
    method: &str,
    url: &[&[u8]],
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    peer: (&str, u16),
    body_len: usize,
) {
    let start = out.len();
    out.reserve(512);
    put_header(out, Kind::Request, stream, 0);
    pack::put_array(out, 6);
    pack::put_uint(out, if fin { FIN } else { 0 });
    pack::put_str(out, method.as_bytes());
    pack::put_str_parts(out, url);
    let count_at = pack::reserve_array(out);
    let mut count = 0;
    for (name, value) in headers {
        pack::put_str(out, name.as_bytes());
        pack::put_bin(out, value);
        count += 2;
    }
    pack::fill_array(out, count_at, count);
    pack::put_str(out, peer.0.as_bytes());
    pack::put_uint(out, u32::from(peer.1));
    let len = (out.len() - start - HEADER + body_len) as u32;
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

/// Reads a RESPONSE payload.
pub fn read_response(payload: &Bytes) -> Result<ResponseHead, WireError> {
    let mut reader = Reader::new(&payload[..payload.len().min(MAX_HEAD)]);
    if reader.array()? != 4 {
        return Err(WireError::WrongType("a response head of four fields"));
    }
    let flags = reader.uint()?;
    let status = reader.uint()?;
    if !(200..=599).contains(&status) {
        return Err(WireError::OutOfRange("status"));
    }
    let status = StatusCode::from_u16(status as u16).map_err(|_| WireError::OutOfRange("status"))?;
    let reason = reader.str_or_nil()?.map(|range| payload.slice(range));
    let pairs = reader.array()?;
    if pairs % 2 != 0 || pairs > 2 * MAX_HEADERS {
        return Err(WireError::Unexpected("a response head whose headers are no pairs or more than allowed"));
    }
    let mut headers = HeaderMap::with_capacity(pairs / 2 + 2);
    for _ in 0..pairs / 2 {
        let name = reader.str()?;
        let name =
            HeaderName::from_bytes(&payload[name]).map_err(|_| WireError::OutOfRange("header name"))?;
        let value = reader.bin()?;
        let value = HeaderValue::from_maybe_shared(payload.slice(value))
            .map_err(|_| WireError::OutOfRange("header value"))?;
        headers.append(name, value);
    }
    let body = payload.slice(reader.position()..);
    Ok(ResponseHead { status, reason, headers, body, fin: flags as u32 & FIN != 0 })
}

/// Reads a CANCEL payload.
pub fn read_cancel(payload: &[u8]) -> Result<Cancel, WireError> {
    let mut reader = Reader::new(payload);
    if reader.array()? != 1 {
        return Err(WireError::WrongType("an array of one"));
    }
    Ok(match reader.uint()? {
        1 => Cancel::ClientGone,
        2 => Cancel::Timeout,
        3 => Cancel::BodyFailed,
        4 => Cancel::ShuttingDown,
        5 => Cancel::NotWanted,
        _ => return Err(WireError::OutOfRange("reason of a CANCEL")),
    })
}

/// Reads a control message (`Hello`, `Ready`, `AppError`, `HookDone`).
pub fn read_control<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, WireError> {
    rmp_serde::from_slice(payload).map_err(|_| WireError::WrongType("a control message"))
}
