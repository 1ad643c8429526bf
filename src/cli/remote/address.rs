//! The address of a runtime on the network.

use http::Uri;
use std::fmt;
use std::net::IpAddr;

/// `https://apps.example.com/behind/a/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Scheme and authority.
    pub origin: String,
    /// Empty, or begins with a slash and does not end with one.
    pub path: String,
    private: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address of a runtime: {why}")]
pub struct AddressError {
    text: String,
    why: &'static str,
}

impl Address {
    pub fn parse(text: &str) -> Result<Address, AddressError> {
        let wrong = |why| AddressError { text: crate::cli::text::escape(text).into_owned(), why };
        let uri: Uri = text.trim().parse().map_err(|_| wrong("it is no URL"))?;
        let scheme = uri.scheme_str().unwrap_or_default();
        if !matches!(scheme, "http" | "https") {
            return Err(wrong("it does not begin with https:// or http://"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it has no host"))?;
        if authority.as_str().contains('@') {
            // Not shown: it may be a password.
            return Err(AddressError {
                text: "…@…".into(),
                why: "it has a user name in it; keys go in BUNTIME_KEY",
            });
        }
        if authority.host().is_empty() {
            return Err(wrong("it has no host"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(wrong("it has something behind the path"));
        }
        let private = scheme == "https" || is_loopback(authority.host());
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Address { origin: format!("{scheme}://{authority}"), path, private })
    }

    /// Nobody else can read what goes there.
    pub fn is_private(&self) -> bool {
        self.private
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

/// `localhost` never leaves the machine (RFC 6761 §6.3). What ends so should not either, but some resolvers ask others.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// What stands before `/api`: empty, or a path without a slash at its end.
pub fn prefix(text: &str) -> Result<String, String> {
    let prefix = text.trim_end_matches('/');
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    if prefix.is_empty() || prefix.starts_with('/') && prefix.chars().all(plain) {
        Ok(prefix.to_owned())
    } else {
        Err(format!(
            "`{}` is no prefix of the API: it is a path such as /_ops",
            crate::cli::text::escape(text)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_an_origin_and_perhaps_a_path() {
        for (text, origin, path, private) in [
            ("https://apps.example.com", "https://apps.example.com", "", true),
            ("https://apps.example.com:8443/a/b/", "https://apps.example.com:8443", "/a/b", true),
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000", "", true),
            ("http://[::1]:8000", "http://[::1]:8000", "", true),
            ("http://localhost", "http://localhost", "", true),
            ("http://10.0.0.1", "http://10.0.0.1", "", false),
            ("http://app.localhost", "http://app.localhost", "", false),
            ("http://localhost.example.com", "http://localhost.example.com", "", false),
            ("http://127.0.0.1.example.com", "http://127.0.0.1.example.com", "", false),
        ] {
            let address = Address { origin: origin.into(), path: path.into(), private };
            assert_eq!(Address::parse(text), Ok(address), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_and_a_password_not_repeated() {
        for text in [
            "",
            "apps.example.com",
            "ftp://a",
            "unix:/a",
            "http://",
            "https://a?b",
            "https://a#b",
            "https://a b",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        let error = Address::parse("https://me:secret@a").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_prefix_is_a_path() {
        assert_eq!(["", "/", "/_ops", "/a/b/"].map(|text| prefix(text).unwrap()), ["", "", "/_ops", "/a/b"]);
        assert!(prefix("ops").is_err() && prefix("/a b").is_err() && prefix("/a?b").is_err());
    }
}
