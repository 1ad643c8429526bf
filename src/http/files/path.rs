//! From the raw path of a request to names inside a static root. What this lets through cannot climb or hide.

use std::borrow::Cow;

/// A request path, decoded once and split. None of its names is empty, `.`, `..` or refused.
#[derive(Debug, PartialEq)]
pub struct FilePath {
    /// The names joined by `/`, without one at either end. Empty = the root itself.
    joined: Vec<u8>,
    /// The path ended with `/` and so means a directory.
    pub directory: bool,
}

/// Why a path names no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No honest client sends it.
    #[error("{0}")]
    Invalid(&'static str),
    /// It names what is never served (dot files, the manifest, `package.json`, `node_modules`) or nothing at all.
    #[error("not served")]
    Refused,
}

impl FilePath {
    /// Parses a path as it stands in the request line, from the slash after the mount on.
    pub fn parse(raw: &str) -> Result<FilePath, PathError> {
        let raw = raw.strip_prefix('/').unwrap_or(raw);
        let mut path = FilePath { joined: Vec::with_capacity(raw.len()), directory: true };
        if raw.is_empty() {
            return Ok(path);
        }
        let (names, directory) = match raw.strip_suffix('/') {
            Some(names) => (names, true),
            None => (raw, false),
        };
        path.directory = directory;
        for name in names.split('/') {
            let name = decode(name)?;
            if refused(&name) {
                return Err(PathError::Refused);
            }
            if !path.joined.is_empty() {
                path.joined.push(b'/');
            }
            path.joined.extend_from_slice(&name);
        }
        Ok(path)
    }

    /// Relative to the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.joined
    }

    /// The last name; empty for the root.
    pub fn last(&self) -> &[u8] {
        self.joined.rsplit(|b| *b == b'/').next().unwrap_or_default()
    }

    /// The address of this path as a directory, below `mount` (`/shop`; empty or `/` = the root of the host).
    /// Begins with exactly one slash, so it never names another host.
    pub fn directory_url(&self, mount: &str) -> String {
        use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
        const KEPT: &AsciiSet =
            &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'@');
        let mount = mount.trim_matches('/');
        let slash = if mount.is_empty() { "" } else { "/" };
        format!("/{mount}{slash}{}/", percent_encode(&self.joined, KEPT))
    }
}

/// True for names that are never served, whatever the directory: also for where a link leads.
pub fn refused(name: &[u8]) -> bool {
    matches!(name, [] | [b'.', ..] | b"manifest.yaml" | b"manifest.yml" | b"package.json" | b"node_modules")
}

/// Percent-decoding, exactly once (RFC 3986 §2.4).
fn decode(name: &str) -> Result<Cow<'_, [u8]>, PathError> {
    let bytes = name.as_bytes();
    let escapes = bytes.iter().enumerate().filter(|(_, b)| **b == b'%');
    for (at, _) in escapes {
        let digits = bytes.get(at + 1..at + 3).unwrap_or_default();
        if digits.len() < 2 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(PathError::Invalid("A % in the path is not followed by two hexadecimal digits."));
        }
    }
    let decoded: Cow<[u8]> = percent_encoding::percent_decode(bytes).into();
    if decoded.contains(&0) {
        return Err(PathError::Invalid("The path contains a NUL."));
    }
    if decoded.iter().any(|b| matches!(b, b'/' | b'\\')) {
        return Err(PathError::Invalid("The path contains an encoded slash or a backslash."));
    }
    if matches!(decoded.as_ref(), b"." | b"..") {
        return Err(PathError::Invalid("The path contains . or .. as a name."));
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid(raw: &str) -> bool {
        matches!(FilePath::parse(raw), Err(PathError::Invalid(_)))
    }

    #[test]
    fn paths_are_decoded_exactly_once() {
        for (raw, joined, directory) in [
            ("/", "", true),
            ("", "", true),
            ("/a", "a", false),
            ("/a/", "a", true),
            ("/a/b.js", "a/b.js", false),
            ("/caf%C3%A9%20au%20lait", "café au lait", false),
            ("/100%25", "100%", false),
            ("/%252e%252e", "%2e%2e", false),
            ("/a%252fb", "a%2fb", false),
            ("/a..b", "a..b", false),
        ] {
            let path = FilePath::parse(raw).unwrap_or_else(|e| panic!("{raw}: {e}"));
            assert_eq!((path.as_bytes(), path.directory), (joined.as_bytes(), directory), "{raw}");
        }
    }

    #[test]
    fn paths_that_climb_or_deceive_are_invalid() {
        for raw in [
            "/..",
            "/../etc/passwd",
            "/a/../../b",
            "/%2e%2e/etc/passwd",
            "/%2E%2e/",
            "/.%2e/x",
            "/..%2fetc%2fpasswd",
            "/..%2Fetc",
            "/a%2fb",
            "/..%5cetc",
            "/a\\..\\b",
            "/a%00.js",
            "/%00",
            "/./a",
            "/%2e/a",
            "/a%",
            "/a%2",
            "/a%zz",
            "/%",
        ] {
            assert!(invalid(raw), "{raw}: {:?}", FilePath::parse(raw));
        }
    }

    #[test]
    fn names_that_are_never_served_are_refused_at_any_depth() {
        for raw in [
            "/.env",
            "/..a/",
            "/%2eenv",
            "/.git/config",
            "/a/.htaccess",
            "/manifest.yaml",
            "/sub/manifest.yml",
            "/package.json",
            "/%70ackage.json",
            "/node_modules/x/index.js",
            "/node_modules/",
            "//evil/x",
            "/a//b",
            "//",
        ] {
            assert_eq!(FilePath::parse(raw), Err(PathError::Refused), "{raw}");
        }
    }

    #[test]
    fn the_address_of_a_directory_stays_on_the_host() {
        let url = |raw: &str, mount: &str| FilePath::parse(raw).unwrap().directory_url(mount);
        assert_eq!(url("/docs", "/shop"), "/shop/docs/");
        assert_eq!(url("/docs/a%20b", ""), "/docs/a%20b/");
        assert_eq!(url("/docs", "/"), "/docs/");
        assert_eq!(url("/docs", "//evil"), "/evil/docs/");
        assert_eq!(url("/a%0d%0ab%3c%22%c3%a9", "/shop@1"), "/shop@1/a%0D%0Ab%3C%22%C3%A9/");
    }
}
