//! Hosts: as requests say them, and as the settings do.

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

/// A host as a key of the settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// `shop.example.com`
    Exact(Box<str>),
    /// `*.example.com`: one label before this.
    One(Box<str>),
    /// `**.example.com`: one label or more.
    Any(Box<str>),
    /// `default`: all that no other pattern has.
    Default,
}

/// A key that is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("it is empty")]
    Empty,
    #[error("a wildcard stands alone at the front and before a name")]
    Wildcard,
    #[error("it has a port")]
    Port,
    #[error("it is an address with a scheme or a path")]
    Url,
    #[error("an IPv6 address stands in brackets")]
    Brackets,
    #[error("it is no name of a host")]
    Name,
}

impl PatternError {
    pub fn hint(self) -> &'static str {
        match self {
            PatternError::Empty => "write a host, such as `shop.example.com`",
            PatternError::Wildcard => {
                "write `*.example.com` (one label), `**.example.com` (one or more), or `default` for all other hosts"
            }
            PatternError::Port => "leave the port out: a host is the same on all ports",
            PatternError::Url => "write the host alone; a path goes into `pathPrefix`",
            PatternError::Brackets => "write it as in `[::1]`",
            PatternError::Name => {
                "labels of letters, digits, `-` and `_`, each of 1 to 63 bytes, 253 bytes in all"
            }
        }
    }
}

impl Pattern {
    /// # Errors
    /// It is no host and no pattern of one.
    pub fn parse(text: &str) -> Result<Pattern, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text == "default" {
            return Ok(Pattern::Default);
        }
        if let Some(suffix) = text.strip_prefix("**.") {
            return suffix_of(suffix).map(Pattern::Any);
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            return suffix_of(suffix).map(Pattern::One);
        }
        host(text).map(Pattern::Exact)
    }
}

/// What stands behind a wildcard: a name, for an address has no labels.
fn suffix_of(text: &str) -> Result<Box<str>, PatternError> {
    let suffix = host(text)?;
    let last = suffix.rsplit('.').next().unwrap_or_default();
    match suffix.starts_with('[') || last.bytes().all(|byte| byte.is_ascii_digit()) {
        true => Err(PatternError::Wildcard),
        false => Ok(suffix),
    }
}

/// A host without port, in the spelling that is compared; names beyond ASCII by UTS #46, as browsers do it.
///
/// # Errors
/// It is none.
pub fn host(text: &str) -> Result<Box<str>, PatternError> {
    if text.is_empty() {
        return Err(PatternError::Empty);
    }
    if text.contains('*') {
        return Err(PatternError::Wildcard);
    }
    if text.contains(['/', '?', '#', '@']) {
        return Err(PatternError::Url);
    }
    if !text.starts_with('[') && text.matches(':').count() > 1 {
        return Err(PatternError::Brackets);
    }
    if text.rfind(':').is_some_and(|at| !text[at..].contains(']')) {
        return Err(PatternError::Port);
    }
    // What is plain ASCII is the same before and after, but for what claims to be encoded already.
    let is_plain = text.is_ascii() && !text.to_ascii_lowercase().contains("xn--");
    let name = if is_plain || text.starts_with('[') {
        Name::parse(text.as_bytes())
    } else {
        let ascii = idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::EMPTY);
        ascii.ok().and_then(|ascii| Name::parse(ascii.as_bytes()))
    };
    let name = name.ok_or(PatternError::Name)?;
    // "Ends in a number" (WHATWG URL): a browser takes it for an IPv4 address, or for nothing.
    let last = name.as_str().rsplit('.').next().unwrap_or_default();
    let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && name.as_str().contains('.') && name.as_str().parse::<std::net::Ipv4Addr>().is_err() {
        return Err(PatternError::Name);
    }
    Ok(name.as_str().into())
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

    #[test]
    fn keys_of_the_settings_are_hosts_or_patterns() {
        for (text, pattern) in [
            ("Shop.Example.com.", Pattern::Exact("shop.example.com".into())),
            ("localhost", Pattern::Exact("localhost".into())),
            ("a_b.example", Pattern::Exact("a_b.example".into())),
            ("B\u{fc}cher.example", Pattern::Exact("xn--bcher-kva.example".into())),
            ("b\u{75}\u{308}cher\u{3002}example", Pattern::Exact("xn--bcher-kva.example".into())),
            ("xn--bcher-kva.example", Pattern::Exact("xn--bcher-kva.example".into())),
            ("127.0.0.1", Pattern::Exact("127.0.0.1".into())),
            ("[0::1]", Pattern::Exact("[::1]".into())),
            ("*.example.com", Pattern::One("example.com".into())),
            ("**.B\u{fc}cher.example", Pattern::Any("xn--bcher-kva.example".into())),
            ("*.localhost", Pattern::One("localhost".into())),
            ("default", Pattern::Default),
        ] {
            assert_eq!(Pattern::parse(text), Ok(pattern), "{text}");
        }
    }

    #[test]
    fn keys_that_are_no_hosts_are_refused() {
        for (text, error) in [
            ("", PatternError::Empty),
            ("*.", PatternError::Empty),
            ("*", PatternError::Wildcard),
            ("**", PatternError::Wildcard),
            ("***.example.com", PatternError::Wildcard),
            ("*.*.example.com", PatternError::Wildcard),
            ("shop.*.com", PatternError::Wildcard),
            ("shop*.example.com", PatternError::Wildcard),
            ("*.0.0.1", PatternError::Name),
            ("*.1", PatternError::Wildcard),
            ("*.[::1]", PatternError::Wildcard),
            ("example.com:80", PatternError::Port),
            ("[::1]:80", PatternError::Port),
            ("https://example.com", PatternError::Url),
            ("example.com/shop", PatternError::Url),
            ("me@example.com", PatternError::Url),
            ("::1", PatternError::Brackets),
            ("a..b", PatternError::Name),
            ("a b", PatternError::Name),
            ("1.2.3.256", PatternError::Name),
            ("xn--a\u{fc}", PatternError::Name),
            ("xn--zzzzzzz99999999.example", PatternError::Name),
            ("b\u{fc}\u{0}.example", PatternError::Name),
        ] {
            assert_eq!(Pattern::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_read_reads_back(text in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some((host, _)) = read(&text) {
                prop_assert_eq!(read(host.as_bytes()), Some((host, None)));
            }
        }

        #[test]
        fn no_key_panics_and_what_is_read_is_a_host(text in "\\PC{0,40}|[a-zA-Z*.\u{fc}\\[\\]:0-9_-]{0,40}") {
            if let Ok(Pattern::Exact(host) | Pattern::One(host) | Pattern::Any(host)) = Pattern::parse(&text) {
                prop_assert_eq!(read(host.as_bytes()), Some((host.to_string(), None)));
            }
        }
    }
}
