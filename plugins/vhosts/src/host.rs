//! Hosts as requests say them.

use std::io::Write;
use std::net::Ipv6Addr;

/// Longest name of a host, in bytes (RFC 1035 §2.3.4, without what its encoding adds).
pub const MAX_HOST: usize = 253;
const MAX_LABEL: usize = 63;

/// The name of a host in the one spelling that is compared: lower case, without a dot at its end; an IPv6 address in
/// brackets as RFC 5952 writes it.
pub struct Name {
    bytes: [u8; MAX_HOST],
    length: usize,
}

/// Host and port of a request.
pub struct Authority {
    pub name: Name,
    /// None where it is the scheme's.
    pub port: Option<u16>,
}

impl Authority {
    /// Reads `:authority` or `Host`; none = it names no host. Allocates nothing.
    pub fn parse(text: &[u8]) -> Option<Authority> {
        // The colons of an IPv6 address stand before its bracket.
        let colon = text.iter().rposition(|&byte| byte == b':').filter(|&at| !text[at..].contains(&b']'));
        let (host, port) = match colon {
            Some(at) => (&text[..at], parse_port(&text[at + 1..])?),
            None => (text, None),
        };
        Some(Authority { name: Name::parse(host)?, port })
    }
}

/// `None` in `Some`: it is left out behind its colon, as RFC 3986 §3.2.3 allows.
fn parse_port(text: &[u8]) -> Option<Option<u16>> {
    if text.is_empty() {
        return Some(None);
    }
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().map(Some)
}

impl Name {
    /// Reads a host without its port; none = it is none. No more than what the runtime lets pass: names beyond ASCII come in
    /// their encoded form (`xn--…`), as every browser sends them.
    pub fn parse(host: &[u8]) -> Option<Name> {
        let mut name = Name { bytes: [0; MAX_HOST], length: 0 };
        if let [b'[', address @ .., b']'] = host {
            let address: Ipv6Addr = std::str::from_utf8(address).ok()?.parse().ok()?;
            let mut rest = &mut name.bytes[..];
            write!(rest, "[{address}]").ok()?;
            name.length = MAX_HOST - rest.len();
            return Some(name);
        }
        let host = host.strip_suffix(b".").unwrap_or(host);
        let fits = |label: &[u8]| {
            (1..=MAX_LABEL).contains(&label.len())
                && label.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_~".contains(byte))
        };
        if host.len() > MAX_HOST || !host.split(|&byte| byte == b'.').all(fits) {
            return None;
        }
        name.length = host.len();
        name.bytes[..host.len()].copy_from_slice(host);
        name.bytes[..host.len()].make_ascii_lowercase();
        Some(name)
    }

    pub fn as_str(&self) -> &str {
        // Only ASCII gets in.
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Option<(String, Option<u16>)> {
        Authority::parse(text).map(|authority| (authority.name.as_str().to_owned(), authority.port))
    }

    #[test]
    fn one_host_has_one_spelling() {
        for (text, host, port) in [
            ("shop.example.com", "shop.example.com", None),
            ("SHOP.Example.COM:8080", "shop.example.com", Some(8080)),
            ("shop.example.com.", "shop.example.com", None),
            ("shop.example.com.:80", "shop.example.com", Some(80)),
            ("shop.example.com:", "shop.example.com", None),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example", None),
            ("a_b~c-", "a_b~c-", None),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[::1]", "[::1]", None),
            ("[0:0:0:0:0:0:0:1]:80", "[::1]", Some(80)),
            ("[2001:DB8::A]", "[2001:db8::a]", None),
        ] {
            assert_eq!(read(text.as_bytes()), Some((host.to_owned(), port)), "{text}");
        }
    }

    #[test]
    fn what_is_hostile_is_no_host() {
        let long = "a".repeat(10_000);
        let labels = "a.".repeat(5000);
        let label = format!("{}.example", "a".repeat(64));
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a..",
            "*.example.com",
            "a b",
            "a\0b",
            "a\nb",
            "a\tb",
            "\x7f",
            "a@b",
            "user:pass@a",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "a%2eb",
            "%00",
            "a,b",
            "a:b",
            "a:65536",
            "a:-1",
            "a:+1",
            "a:80:80",
            "a: 80",
            ":80",
            ":",
            "[::1",
            "::1",
            "[::1]x",
            "[::1]:x",
            "[]",
            "[x]",
            "[fe80::1%25eth0]",
            "[[::1]]",
            "b\u{fc}cher.example",
            "\u{ff0e}",
            "{tenant}",
            "<a>",
            &long,
            &labels,
            &label,
        ] {
            assert_eq!(read(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(read(b"caf\xe9.example"), None);
        assert_eq!(read(&[b'['; 300]), None);
    }

    #[test]
    fn names_of_the_greatest_length_are_names() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(longest.len(), MAX_HOST);
        assert!(read(longest.as_bytes()).is_some() && read(format!("{longest}.:1").as_bytes()).is_some());
        assert!(read(format!("{longest}a").as_bytes()).is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_read_reads_back(text in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some((host, _)) = read(&text) {
                prop_assert_eq!(read(host.as_bytes()), Some((host, None)));
            }
        }
    }
}
