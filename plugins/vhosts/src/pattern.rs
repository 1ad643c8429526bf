//! Hosts as the settings say them: names and patterns.

use crate::host::Name;
use buntime_plugin::host::ends_in_a_number;
use std::net::Ipv4Addr;

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
                "labels of letters, digits, `-` and `_`, each of 1 to 63 bytes, 253 bytes in all; the last one is no number"
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
    match suffix.starts_with('[') || ends_in_a_number(suffix.as_bytes()) {
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
    // A browser takes it for an IPv4 address, or for nothing.
    if ends_in_a_number(name.as_str().as_bytes()) && name.as_str().parse::<Ipv4Addr>().is_err() {
        return Err(PatternError::Name);
    }
    Ok(name.as_str().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            ("*.1", PatternError::Name),
            ("*.127.0.0.1", PatternError::Wildcard),
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
            ("1.2.3", PatternError::Name),
            ("123", PatternError::Name),
            ("a.7.", PatternError::Name),
            ("a.0x1", PatternError::Name),
            ("a.0X", PatternError::Name),
            ("*.a.0x1", PatternError::Name),
            ("xn--a\u{fc}", PatternError::Name),
            ("xn--zzzzzzz99999999.example", PatternError::Name),
            ("b\u{fc}\u{0}.example", PatternError::Name),
        ] {
            assert_eq!(Pattern::parse(text), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_key_panics_and_what_is_read_is_a_host(text in "\\PC{0,40}|[a-zA-Z*.\u{fc}\\[\\]:0-9_-]{0,40}") {
            if let Ok(Pattern::Exact(host) | Pattern::One(host) | Pattern::Any(host)) = Pattern::parse(&text) {
                let name = Name::parse(host.as_bytes());
                prop_assert_eq!(name.map(|name| name.as_str().to_owned()), Some(host.to_string()));
            }
        }
    }
}
