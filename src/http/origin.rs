//! Who is asking, and under which public name: the peer and the `Host`, or what trusted proxies say of them
//! (RFC 7239, and the older `X-Forwarded-*`).

use buntime_plugin::host::ends_in_a_number;
use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Uri, Version};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    #[error("the request has no Host")]
    Missing,
    #[error("the request names several Hosts")]
    Several,
    #[error("the Host is not a host name with an optional port")]
    Malformed,
}

impl Origin {
    /// `peer` is `None` on a Unix socket. `secure`: it came over TLS, which counts where no proxy says what the client used. `trusts` tells whether an address is a trusted proxy. `local` stands in where HTTP/1.0 sends no Host.
    ///
    /// # Errors
    /// No `Host`, several that differ, or one that cannot be a host (RFC 9112 §3.2: 400).
    pub fn of(
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        secure: bool,
        trusts: impl Fn(IpAddr) -> bool,
        local: &HeaderValue,
    ) -> Result<Origin, OriginError> {
        let mut host = own_host(version, uri, headers, local)?;
        let (mut client, mut https) = (peer, secure);
        if is_believed(peer, &trusts) {
            let said = Forwarded::read(headers, &trusts);
            client = said.client.or(peer);
            https = said.https.unwrap_or(secure);
            host = said.host.unwrap_or(host);
        }
        check_host(&host)?;
        Ok(Origin { https, host, client })
    }

    pub fn scheme(&self) -> &'static str {
        if self.https { "https" } else { "http" }
    }
}

/// Whether a peer's word on the client and the request's id counts: it is a trusted proxy, or passed the permissions of the
/// Unix socket's file.
pub fn is_believed(peer: Option<IpAddr>, trusts: impl Fn(IpAddr) -> bool) -> bool {
    peer.is_none_or(trusts)
}

/// What the chain of proxies says.
#[derive(Default)]
struct Forwarded {
    client: Option<IpAddr>,
    https: Option<bool>,
    host: Option<HeaderValue>,
}

impl Forwarded {
    fn read(headers: &HeaderMap, trusts: &impl Fn(IpAddr) -> bool) -> Forwarded {
        // A proxy writes one kind and may pass the other on as the client sent it. Most write the older one.
        if headers.contains_key(FORWARDED) && !headers.keys().any(is_older_kind) {
            return Self::read_standard(headers, trusts);
        }
        let chain = items(headers, &FORWARDED_FOR).map(parse_node).collect::<Vec<_>>();
        Forwarded {
            client: nearest_untrusted(&chain, trusts),
            https: items(headers, &FORWARDED_PROTO).last().map(|proto| proto.eq_ignore_ascii_case(b"https")),
            host: items(headers, &FORWARDED_HOST).last().and_then(|host| HeaderValue::from_bytes(host).ok()),
        }
    }

    fn read_standard(headers: &HeaderMap, trusts: &impl Fn(IpAddr) -> bool) -> Forwarded {
        let mut said = Forwarded::default();
        let mut chain = Vec::new();
        for element in items(headers, &FORWARDED) {
            let mut node = None;
            for pair in element.split(|byte| *byte == b';') {
                let Some(equals) = memchr::memchr(b'=', pair) else { continue };
                let (name, value) = (pair[..equals].trim_ascii(), unquoted(pair[equals + 1..].trim_ascii()));
                if name.eq_ignore_ascii_case(b"for") {
                    node = parse_node(value);
                } else if name.eq_ignore_ascii_case(b"proto") {
                    said.https = Some(value.eq_ignore_ascii_case(b"https"));
                } else if name.eq_ignore_ascii_case(b"host") {
                    said.host = HeaderValue::from_bytes(value).ok();
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

fn is_older_kind(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded-")
}

/// The items of a list that may be spread over several lines (RFC 9110 §5.6.1). Bytes: one bad item must not hide others.
fn items<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|item| !item.is_empty())
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value)
}

/// An address with or without port, IPv6 with or without brackets.
fn parse_node(item: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(unquoted(item)).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split_once(']').and_then(|(address, _)| address.parse().ok());
    }
    text.split_once(':').and_then(|(address, _)| address.parse().ok())
}

/// As the request itself has it, whatever proxies say.
pub fn own_host(
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
            && first.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()))
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
/// `-._~` only: no percent-encoding, no sub-delimiters). What URL parsers take for an IPv4 address must be one
/// (WHATWG URL, "ends in a number"): apps parse the URL that is made of it.
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
            std::str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
        }
        _ => {
            !name.is_empty()
                && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(byte))
                && (!ends_in_a_number(name) || is_ipv4(name))
        }
    };
    let port_fits = port.iter().all(u8::is_ascii_digit)
        && (port.is_empty() || std::str::from_utf8(port).is_ok_and(|port| port.parse::<u16>().is_ok()));
    if name_fits && port_fits { Ok(()) } else { Err(OriginError::Malformed) }
}

fn is_ipv4(name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| name.parse::<Ipv4Addr>().is_ok())
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
            false,
            trusts,
            &HeaderValue::from_static("local"),
        )
    }

    #[test]
    fn hosts_that_are_no_hosts_are_refused() {
        for good in [
            "a",
            "a.b",
            "localhost:8000",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8000",
            "a_b~c",
            "a.",
            "a:",
            "a:65535",
            "1.a",
        ] {
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

    #[test]
    fn hosts_that_url_parsers_refuse_never_reach_an_app() {
        for bad in [
            "1.2.3.256",
            "1.2.3",
            "1.2.3.4.",
            "a:65536",
            "a:99999",
            "foo.0x",
            "a.0X1f",
            "foo.1",
            "foo.1.",
            "7",
        ] {
            assert_eq!(origin(&[("host", bad)], "1.1.1.1"), Err(OriginError::Malformed), "{bad}");
        }
        for good in ["1.2.3.4", "1.2.3.4:80", "foo.0xg", "1a", "0.a"] {
            assert!(origin(&[("host", good)], "1.1.1.1").is_ok(), "{good}");
        }
    }

    #[test]
    fn forwarded_of_the_client_does_not_outrank_what_the_proxy_wrote() {
        let smuggled = ("forwarded", "for=6.6.6.6;proto=https;host=evil");
        let said = [("host", "in"), smuggled, ("x-forwarded-for", "9.9.9.9"), ("x-forwarded-proto", "http")];
        let found = origin(&said, "10.0.0.1").unwrap();
        assert_eq!(found.client, Some([9, 9, 9, 9].into()));
        assert_eq!((found.https, found.host.to_str().unwrap()), (false, "in"));
        // One of the older kind is enough to tell what the proxy writes.
        let found = origin(&[("host", "in"), smuggled, ("x-forwarded-port", "80")], "10.0.0.1").unwrap();
        assert_eq!((found.client, found.https), (Some([10, 0, 0, 1].into()), false));
    }

    #[test]
    fn an_item_that_is_not_ascii_does_not_hide_those_behind_it() {
        let client = |line: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("h"));
            headers.insert(FORWARDED_FOR, HeaderValue::from_bytes(line).unwrap());
            let trusts = |address: IpAddr| address.to_string().starts_with("10.");
            let (uri, local) = (Uri::from_static("/"), HeaderValue::from_static("local"));
            let peer = Some([10, 0, 0, 1].into());
            Origin::of(Version::HTTP_11, &uri, &headers, peer, false, trusts, &local).unwrap().client
        };
        assert_eq!(client(b"caf\xe9, 9.9.9.9"), Some([9, 9, 9, 9].into()));
        assert_eq!(client(b"9.9.9.9, caf\xe9, 10.1.1.1"), Some([10, 0, 0, 1].into()));
    }

    #[test]
    fn the_peer_on_a_unix_socket_is_believed() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("in"));
        headers.insert(FORWARDED_FOR, HeaderValue::from_static("9.9.9.9"));
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
        headers.insert(FORWARDED_HOST, HeaderValue::from_static("out"));
        let (uri, local) = (Uri::from_static("/"), HeaderValue::from_static("local"));
        let found = Origin::of(Version::HTTP_11, &uri, &headers, None, false, |_| false, &local).unwrap();
        assert_eq!(found.client, Some([9, 9, 9, 9].into()));
        assert_eq!((found.https, found.host.to_str().unwrap()), (true, "out"));
    }

    #[test]
    fn an_http2_host_that_is_not_the_authority_is_refused() {
        let of = |version, host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            let (uri, local) = (Uri::from_static("http://Shop.example/"), HeaderValue::from_static("local"));
            Origin::of(version, &uri, &headers, None, false, |_| false, &local).map(|origin| origin.host)
        };
        assert_eq!(of(Version::HTTP_2, "evil.example"), Err(OriginError::Several));
        assert_eq!(of(Version::HTTP_2, "shop.EXAMPLE"), Ok(HeaderValue::from_static("Shop.example")));
        // HTTP/1.1: the absolute target wins (RFC 9112 §3.2.2).
        assert_eq!(of(Version::HTTP_11, "evil.example"), Ok(HeaderValue::from_static("Shop.example")));
    }

    #[test]
    fn over_tls_it_is_https_unless_a_trusted_proxy_says_what_the_client_used() {
        let https = |secure: bool, headers: &[(&'static str, &'static str)], peer: &str| {
            let mut map = HeaderMap::from_iter([(HOST, HeaderValue::from_static("a"))]);
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_static(value));
            }
            let (uri, local) = (Uri::from_static("/"), HeaderValue::from_static("local"));
            let trusts = |address: IpAddr| address.to_string().starts_with("10.");
            let peer = Some(peer.parse().unwrap());
            Origin::of(Version::HTTP_11, &uri, &map, peer, secure, trusts, &local).unwrap().https
        };
        for (said, means) in [
            (&[][..], None),
            (&[("x-forwarded-proto", "http")], Some(false)),
            (&[("x-forwarded-proto", "https")], Some(true)),
            (&[("forwarded", "for=1.1.1.1")], None),
            (&[("forwarded", "proto=http")], Some(false)),
        ] {
            for secure in [false, true] {
                assert_eq!(https(secure, said, "10.0.0.1"), means.unwrap_or(secure), "{said:?}");
                assert_eq!(https(secure, said, "1.1.1.1"), secure, "{said:?}");
            }
        }
    }
}
