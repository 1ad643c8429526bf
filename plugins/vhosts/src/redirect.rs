//! Redirects to another host: path and query stay, so do the scheme and the port unless another one is said.

use crate::host::Authority;
use buntime_plugin::http::{HeaderValue, StatusCode};
use percent_encoding::{CONTROLS, utf8_percent_encode};

pub struct Redirect {
    /// In the spelling that is compared.
    pub host: Box<str>,
    pub port: Option<u16>,
    /// 301 or 308.
    pub status: StatusCode,
}

/// It leads to where the request came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loop;

impl Redirect {
    /// `Location` for a request; `target` is its path and query.
    ///
    /// # Errors
    /// It is the request's own address.
    pub fn location(&self, https: bool, from: &Authority, target: &str) -> Result<HeaderValue, Loop> {
        let (scheme, usual) = if https { ("https", 443) } else { ("http", 80) };
        let port = self.port.or(from.port).unwrap_or(usual);
        if *self.host == *from.name.as_str() && port == from.port.unwrap_or(usual) {
            return Err(Loop);
        }
        // The authority ends at the slash that every path begins with, so that no path changes the host.
        let slash = if target.starts_with('/') { "" } else { "/" };
        let path = utf8_percent_encode(target, CONTROLS);
        let host = &self.host;
        let location = match port == usual {
            true => format!("{scheme}://{host}{slash}{path}"),
            false => format!("{scheme}://{host}:{port}{slash}{path}"),
        };
        // Hosts are ASCII, and so is the rest by now.
        Ok(HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(to: (&str, Option<u16>), https: bool, from: &str, target: &str) -> Result<String, Loop> {
        let redirect = Redirect { host: to.0.into(), port: to.1, status: StatusCode::PERMANENT_REDIRECT };
        let from = Authority::parse(from.as_bytes()).unwrap();
        redirect.location(https, &from, target).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn scheme_port_path_and_query_stay() {
        let to = ("new.example", None);
        for (https, from, target, wanted) in [
            (false, "old.example", "/", "http://new.example/"),
            (true, "old.example", "/a?b=c&d", "https://new.example/a?b=c&d"),
            (false, "old.example:8000", "/a%20b", "http://new.example:8000/a%20b"),
            (false, "old.example:80", "/", "http://new.example/"),
            (true, "old.example:443", "/", "https://new.example/"),
            (true, "old.example:80", "/", "https://new.example:80/"),
            (false, "old.example", "/caf\u{e9}", "http://new.example/caf%C3%A9"),
        ] {
            assert_eq!(location(to, https, from, target).as_deref(), Ok(wanted));
        }
        let other = location(("new.example", Some(443)), true, "old.example:8443", "/");
        assert_eq!(other.as_deref(), Ok("https://new.example/"));
        assert_eq!(
            location(("[::1]", Some(81)), false, "old.example", "/").as_deref(),
            Ok("http://[::1]:81/")
        );
    }

    #[test]
    fn no_path_changes_the_host() {
        for target in
            ["//evil.example/x", "/\\evil.example", "/@evil.example", "/.evil.example", "?@evil", "*"]
        {
            let found = location(("new.example", None), false, "old.example", target).unwrap();
            assert!(found.starts_with("http://new.example/"), "{target}: {found}");
        }
    }

    #[test]
    fn what_leads_back_is_a_loop() {
        let to = ("a.example", None);
        assert_eq!(location(to, false, "a.example:8000", "/"), Err(Loop));
        assert_eq!(location(("a.example", Some(80)), false, "a.example", "/"), Err(Loop));
        assert!(location(("a.example", Some(81)), false, "a.example", "/").is_ok());
    }
}
