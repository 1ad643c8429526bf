//! Who is asking, and under which public name: the peer and the `Host`, or what trusted proxies say of them
//! (RFC 7239, and the older `X-Forwarded-*`).

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};
use std::net::IpAddr;

pub const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const MAX_HOST: usize = 255 + 6;

/// What the outside world calls us in this request, and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub https: bool,
    /// Host and port as the client wrote them, checked for characters that a host cannot have.
    pub host: HeaderValue,
    /// The client as far as trusted proxies vouch for it.
    pub client: Option<IpAddr>,
    /// The peer is a trusted proxy.
    pub trusted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("the request has no Host")]
    Missing,
    #[error("the request has several Hosts")]
    Several,
    #[error("the Host is not a host name with an optional port")]
    Malformed,
}

impl Origin {
    /// `trusts` tells whether an address is a trusted proxy. `local` stands in where HTTP/1.0 sends no Host.
    ///
    /// # Errors
    /// No `Host`, several that differ, or one that cannot be a host (RFC 9112 §3.2: 400).
    pub fn of(
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        trusts: impl Fn(IpAddr) -> bool,
        local: &HeaderValue,
    ) -> Result<Origin, OriginError> {
        let mut host = own_host(version, uri, headers, local)?;
        let mut origin =
            Origin { https: false, host: HeaderValue::from_static(""), client: peer, trusted: false };
        // On a Unix socket the peer passed the socket's file permission; it is a proxy of this machine.
        if peer.is_none_or(&trusts) {
            origin.trusted = peer.is_some();
        }
        if origin.trusted {
            let said = Forwarded::read(headers, &trusts);
            origin.client = said.client.or(peer);
            origin.https = said.https;
            if let Some(said) = said.host {
                host = said;
            }
        }
        check_host(&host)?;
        origin.host = host;
        Ok(origin)
    }

    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }
}

/// What the chain of proxies says.
#[derive(Default)]
struct Forwarded {
    client: Option<IpAddr>,
    https: bool,
    host: Option<HeaderValue>,
}

impl Forwarded {
    fn read(headers: &HeaderMap, trusts: &impl Fn(IpAddr) -> bool) -> Forwarded {
        if headers.contains_key(FORWARDED) {
            return Self::read_standard(headers, trusts);
        }
        let chain = items(headers, &FORWARDED_FOR).map(parse_node).collect::<Vec<_>>();
        Forwarded {
            client: nearest_untrusted(&chain, trusts),
            https: items(headers, &FORWARDED_PROTO)
                .last()
                .is_some_and(|proto| proto.eq_ignore_ascii_case("https")),
            host: items(headers, &FORWARDED_HOST).last().and_then(|host| HeaderValue::from_str(host).ok()),
        }
    }

    fn read_standard(headers: &HeaderMap, trusts: &impl Fn(IpAddr) -> bool) -> Forwarded {
        let mut said = Forwarded::default();
        let mut chain = Vec::new();
        for element in items(headers, &FORWARDED) {
            let mut node = None;
            for pair in element.split(';') {
                let Some((name, value)) = pair.split_once('=') else { continue };
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "for" => node = parse_node(value),
                    "proto" => said.https = value.eq_ignore_ascii_case("https"),
                    "host" => said.host = HeaderValue::from_str(value).ok(),
                    _ => {}
                }
            }
            chain.push(node);
        }
        said.client = nearest_untrusted(&chain, trusts);
        said
    }
}

/// The last address in the chain that is no trusted proxy; the first one if all are. An entry that is no address
/// (`unknown`, an obfuscated name) ends the search: what stands before it was vouched for by nobody we know.
fn nearest_untrusted(chain: &[Option<IpAddr>], trusts: &impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let mut client = None;
    for node in chain.iter().rev() {
        client = Some((*node)?);
        if !client.is_some_and(trusts) {
            break;
        }
    }
    client
}

fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

/// An address with or without port, IPv6 with or without brackets.
fn parse_node(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']').and_then(|(address, _)| address.parse().ok());
    }
    text.split_once(':').and_then(|(address, _)| address.parse().ok())
}

fn own_host(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    local: &HeaderValue,
) -> Result<HeaderValue, OriginError> {
    let mut hosts = headers.get_all(HOST).into_iter();
    let first = hosts.next();
    if let Some(first) = first
        && hosts.any(|other| other != first)
    {
        return Err(OriginError::Several);
    }
    // RFC 9112 §3.2.2: the authority of an absolute target outranks Host. RFC 9113 §8.3.1: HTTP/2 has `:authority`, and a
    // Host beside it must say the same.
    if let Some(authority) = uri.authority() {
        if version == Version::HTTP_2
            && first.is_some_and(|host| host.as_bytes() != authority.as_str().as_bytes())
        {
            return Err(OriginError::Several);
        }
        if authority.as_str().contains('@') {
            return Err(OriginError::Malformed);
        }
        return HeaderValue::from_str(authority.as_str()).map_err(|_| OriginError::Malformed);
    }
    match first {
        Some(host) => Ok(host.clone()),
        None if version < Version::HTTP_11 => Ok(local.clone()),
        None => Err(OriginError::Missing),
    }
}

/// A host name, an IPv4 address or a bracketed IPv6 address, then perhaps a port (RFC 3986 §3.2.2, letters, digits and
/// `-._~` only: no percent-encoding, no sub-delimiters).
fn check_host(host: &HeaderValue) -> Result<(), OriginError> {
    let bytes = host.as_bytes();
    if bytes.is_empty() || bytes.len() > MAX_HOST {
        return Err(OriginError::Malformed);
    }
    let (name, port) = match bytes.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !bytes[colon..].contains(&b']') => (&bytes[..colon], &bytes[colon + 1..]),
        _ => (bytes, &b""[..]),
    };
    let name_fits = match name {
        [b'[', address @ .., b']'] => {
            std::str::from_utf8(address).is_ok_and(|address| address.parse::<std::net::Ipv6Addr>().is_ok())
        }
        _ => {
            !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte))
        }
    };
    let port_fits = port.len() <= 5 && port.iter().all(u8::is_ascii_digit);
    if name_fits && port_fits { Ok(()) } else { Err(OriginError::Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(headers: &[(&str, &str)], peer: &str) -> Result<Origin, OriginError> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let trusts = |address: IpAddr| address.to_string().starts_with("10.");
        let peer = Some(peer.parse().unwrap());
        Origin::of(
            Version::HTTP_11,
            &Uri::from_static("/"),
            &map,
            peer,
            trusts,
            &HeaderValue::from_static("local"),
        )
    }

    #[test]
    fn hosts_that_are_no_hosts_are_refused() {
        for good in ["a", "a.b", "localhost:8000", "127.0.0.1:1", "[::1]", "[::1]:8000", "xn--a_b~c"] {
            assert!(origin(&[("host", good)], "1.1.1.1").is_ok(), "{good}");
        }
        for bad in [
            "", "a b", "a/b", "a@b", "a\\b", "a?b", "a#b", ":80", "a:b", "a:123456", "[::1", "[x]", "a%2fb",
            "a,b",
        ] {
            assert_eq!(origin(&[("host", bad)], "1.1.1.1"), Err(OriginError::Malformed), "{bad}");
        }
        assert_eq!(origin(&[("host", "a"), ("host", "b")], "1.1.1.1"), Err(OriginError::Several));
        assert_eq!(origin(&[], "1.1.1.1"), Err(OriginError::Missing));
    }

    #[test]
    fn forwarded_headers_count_only_from_trusted_proxies() {
        let said = [
            ("host", "in"),
            ("x-forwarded-for", "9.9.9.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "out"),
        ];
        let stranger = origin(&said, "1.1.1.1").unwrap();
        assert_eq!(
            (stranger.client, stranger.https, stranger.host.to_str().unwrap()),
            (Some([1, 1, 1, 1].into()), false, "in")
        );
        let proxy = origin(&said, "10.0.0.1").unwrap();
        assert_eq!(
            (proxy.client, proxy.https, proxy.host.to_str().unwrap()),
            (Some([9, 9, 9, 9].into()), true, "out")
        );
    }

    #[test]
    fn the_client_is_the_last_address_that_no_proxy_of_ours_has() {
        let table = [
            ("6.6.6.6, 9.9.9.9", Some("9.9.9.9")),
            ("6.6.6.6, 9.9.9.9, 10.1.1.1", Some("9.9.9.9")),
            ("10.2.2.2, 10.1.1.1", Some("10.2.2.2")),
            ("6.6.6.6, unknown, 10.1.1.1", None),
            ("[2001:db8::1]:99", Some("2001:db8::1")),
            ("9.9.9.9:1234", Some("9.9.9.9")),
        ];
        for (chain, client) in table {
            let client =
                client.map_or([10, 0, 0, 1].into(), |client: &str| client.parse::<IpAddr>().unwrap());
            let found = origin(&[("host", "h"), ("x-forwarded-for", chain)], "10.0.0.1").unwrap();
            assert_eq!(found.client, Some(client), "{chain}");
        }
        let standard =
            [("host", "h"), ("forwarded", "for=6.6.6.6, for=\"[2001:db8::2]:4711\";proto=https;host=pub")];
        let found = origin(&standard, "10.0.0.1").unwrap();
        assert_eq!(found.client, Some("2001:db8::2".parse().unwrap()));
        assert_eq!((found.https, found.host.to_str().unwrap()), (true, "pub"));
    }
}
