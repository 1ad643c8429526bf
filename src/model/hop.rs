//! Headers that are between two ends of one connection (RFC 9110 §7.6.1).

use http::header::{self, HeaderMap, HeaderName};

pub const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
pub const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What `Connection` lists (RFC 9110 §7.6.1), over all its lines.
pub fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(header::CONNECTION).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TRANSFER_ENCODING
        || *name == header::UPGRADE
        || *name == header::TE
        || *name == header::TRAILER
        || *name == header::PROXY_AUTHORIZATION
        || *name == header::PROXY_AUTHENTICATE
        || *name == KEEP_ALIVE
        || *name == PROXY_CONNECTION
}

/// Drops what `Connection` names, save what a message cannot do without.
pub fn drop_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(headers)
        .filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::SET_COOKIE)
        .collect();
    for name in &named {
        headers.remove(name);
    }
}

/// Drops all of them.
pub fn drop_hop_by_hop(headers: &mut HeaderMap) {
    drop_named(headers);
    let known: Vec<HeaderName> = headers.keys().filter(|name| is_hop_by_hop(name)).cloned().collect();
    for name in &known {
        headers.remove(name);
    }
}
