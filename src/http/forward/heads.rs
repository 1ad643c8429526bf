//! Heads between HTTP and the link: what of them goes on, and what of it we say ourselves.

use super::Outgoing;
use crate::model::hop::{KEEP_ALIVE, PROXY_CONNECTION, connection_options, drop_named, is_hop_by_hop};
use crate::wire::message;
use bytes::BytesMut;
use http::header::{self, HeaderMap, HeaderName};
use std::fmt::Write;

const BASE: HeaderName = HeaderName::from_static("x-base");
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVICE_WORKER_ALLOWED: HeaderName = HeaderName::from_static("service-worker-allowed");
/// Headers of this prefix are ours alone.
const INTERNAL: &str = "x-buntime-";

/// Appends the REQUEST frame for stream number `stream`, but for the `inline` bytes of body that belong to it.
pub(super) fn encode(out: &mut BytesMut, stream: u32, fin: bool, inline: usize, outgoing: &Outgoing<'_>) {
    let origin = outgoing.origin;
    let mut client = Text::<48>::default();
    if let Some(address) = origin.client {
        // An address always fits.
        let _ = write!(client, "{address}");
    }
    let head = outgoing.head;
    let scheme = origin.scheme();
    let dropped = Dropped::of(&head.headers);
    let cookies = joined_cookies(&head.headers);
    let passed = head.headers.iter().filter(|(name, _)| !dropped.has(name, cookies.is_some()));
    let own = [
        ("host", origin.host.as_bytes()),
        ("x-request-id", outgoing.request_id.as_bytes()),
        ("x-forwarded-for", client.as_str().as_bytes()),
        ("x-forwarded-proto", scheme.as_bytes()),
        ("x-forwarded-host", origin.host.as_bytes()),
        ("x-forwarded-prefix", outgoing.mount.as_bytes()),
        ("x-base", outgoing.base.as_bytes()),
    ];
    let headers = own
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .chain(cookies.iter().map(|cookies| (header::COOKIE.as_str(), cookies.as_slice())))
        .chain(passed.map(|(name, value)| (name.as_str(), value.as_bytes())));
    let path = ascii(outgoing.path);
    message::put_request(
        out,
        stream,
        fin,
        head.method.as_str(),
        &[scheme.as_bytes(), b"://", origin.host.as_bytes(), path.as_bytes()],
        headers,
        (client.as_str(), outgoing.peer_port),
        inline,
    );
}

/// Headers of a request that do not go on to the app: those of the hop (RFC 9110 §7.6.1), those that we say ourselves,
/// and those that nobody outside may say.
struct Dropped<'a> {
    headers: &'a HeaderMap,
    /// `Connection` names more than what is dropped anyway.
    names_others: bool,
}

impl<'a> Dropped<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let names_others = connection_options(headers)
            .any(|option| !["keep-alive", "close"].iter().any(|usual| option.eq_ignore_ascii_case(usual)));
        Dropped { headers, names_others }
    }

    fn has(&self, name: &HeaderName, cookies_joined: bool) -> bool {
        if is_hop_by_hop(name) || *name == header::HOST || *name == header::EXPECT {
            return true;
        }
        if *name == header::COOKIE {
            return cookies_joined;
        }
        let text = name.as_str();
        if *name == header::FORWARDED
            || text.starts_with("x-")
                && (text.starts_with(INTERNAL)
                    || text.starts_with("x-forwarded-")
                    || *name == REQUEST_ID
                    || *name == BASE)
        {
            return true;
        }
        self.names_others
            && ![header::CONTENT_LENGTH, header::AUTHORIZATION].contains(name)
            && connection_options(self.headers).any(|option| option.eq_ignore_ascii_case(text))
    }
}

/// HTTP/2 may split cookies into several fields (RFC 9113 §8.2.3): they go on as one.
fn joined_cookies(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut cookies = headers.get_all(header::COOKIE).into_iter();
    let (first, second) = (cookies.next()?, cookies.next()?);
    let mut joined = first.as_bytes().to_vec();
    for cookie in std::iter::once(second).chain(cookies) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    Some(joined)
}

/// URLs on the wire are ASCII: other bytes are percent-encoded.
fn ascii(path: &str) -> std::borrow::Cow<'_, str> {
    if path.is_ascii() {
        return path.into();
    }
    let mut encoded = String::with_capacity(path.len() * 2);
    for byte in path.bytes() {
        if byte.is_ascii() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}"); // writing to a String cannot fail
        }
    }
    encoded.into()
}

/// Takes out of an answer what is about the hop (RFC 9110 §7.6.1).
pub(super) fn strip_response(headers: &mut HeaderMap) {
    drop_named(headers);
    for name in [
        header::CONNECTION,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::TRAILER,
        KEEP_ALIVE,
        PROXY_CONNECTION,
    ] {
        if headers.contains_key(&name) {
            headers.remove(&name);
        }
    }
}

/// Apps share one origin: a service worker of one must not get to see what goes to another, or to the management API (Service
/// Workers, "Service-Worker-Allowed"). Within its mount path an app may say what it likes.
pub(super) fn narrow_scope(headers: &mut HeaderMap, mount: &str) {
    if mount.is_empty() {
        return; // the home app's script at `/` has this scope without a header
    }
    let inside = |value: &http::HeaderValue| {
        let path = value.to_str().ok().and_then(|path| path.strip_prefix(mount));
        // Where it climbs, the browser decides what it means.
        path.is_some_and(|rest| rest.starts_with('/') && !rest.contains("..") && !rest.contains(['%', '\\']))
    };
    if let Some(value) = headers.get(SERVICE_WORKER_ALLOWED)
        && !inside(value)
    {
        headers.remove(SERVICE_WORKER_ALLOWED);
    }
}

/// The length that the app announced for a body it streams goes on only if it is one number: hyper holds the body to it.
pub(super) fn check_length(headers: &mut HeaderMap) {
    let mut values = headers.get_all(header::CONTENT_LENGTH).into_iter();
    let good = match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => value.to_str().is_ok_and(|text| text.parse::<u64>().is_ok()),
        (Some(_), Some(_)) => false,
    };
    if !good {
        headers.remove(header::CONTENT_LENGTH);
    }
}

/// A short text on the stack.
struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Text { bytes: [0; N], len: 0 }
    }
}

impl<const N: usize> Text<N> {
    fn as_str(&self) -> &str {
        // Only whole strs were copied in.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
