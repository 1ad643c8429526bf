//! What plugins must not have to think of: paths that different readers take for different ones, and headers by which a client
//! speaks for the proxy or the runtime.

use super::super::problem::{Code, Problem};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What a client cannot have left out by naming it in `Connection`.
const KEPT: [HeaderName; 4] =
    [header::CONTENT_LENGTH, header::AUTHORIZATION, header::COOKIE, header::UPGRADE];
const BASE: HeaderName = HeaderName::from_static("x-base");

/// Refuses a path that is another one for an app than for a guard.
///
/// An app's `URL` takes dot segments away, also in percent-encoding, and reads backslashes as slashes (WHATWG URL, section 4.4); what
/// stands before them in the path would count here and not there. No client that parses its own URLs sends one.
pub(super) fn check_path(path: &str) -> Result<(), Problem> {
    let is_dots = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == "." || plain == ".."
    };
    let suspicious = path.contains(['.', '\\', '%']);
    if suspicious && (path.contains('\\') || path.split('/').any(is_dots)) {
        return Err(Problem::new(Code::InvalidPath)
            .detail("The path has dot segments or backslashes.")
            .hint("Send the path as it is after they are resolved."));
    }
    Ok(())
}

/// Takes out what is about the connection (RFC 9110 §7.6.1), so that what a plugin sets later is not taken for it, and what only
/// the runtime says. `upgrades` = the connection may become one of another protocol.
pub(super) fn clean_headers(headers: &mut HeaderMap, upgrades: bool) {
    let lines = headers.get_all(header::CONNECTION).into_iter().filter_map(|line| line.to_str().ok());
    let named: Vec<HeaderName> = lines
        .flat_map(|line| line.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        .filter(|name| !KEPT.contains(name))
        .collect();
    let is_ours = |name: &HeaderName| {
        let text = name.as_str();
        text.starts_with("x-buntime-")
            || text.starts_with("x-forwarded-")
            || *name == BASE
            || *name == header::FORWARDED
    };
    let ours: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name)).cloned().collect();
    for name in named.iter().chain(&ours).chain([&header::CONNECTION]) {
        headers.remove(name);
    }
    if upgrades {
        // Whoever takes the connection looks for it.
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_an_app_would_resolve_is_refused() {
        for path in
            ["/shop/../admin", "/shop/./x", "/shop/%2e%2E/x", "/shop/.%2e", "/x//../y", "/a\\b", "/.."]
        {
            assert!(check_path(path).is_err(), "{path}");
        }
        for path in ["/", "/a.b/c..d/...", "/.well-known/x", "/a%2fb", "/x%2e.y", "/a//b"] {
            assert!(check_path(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn a_client_cannot_have_a_header_removed_that_a_plugin_sets() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "x-vhost-tenant, close"),
            ("x-vhost-tenant", "forged"),
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-base", "/evil"),
            ("x-buntime-hook", "request"),
            ("accept", "*/*"),
        ] {
            headers.append(HeaderName::from_static(name), value.parse().unwrap());
        }
        clean_headers(&mut headers, false);
        assert_eq!(headers.len(), 1);
        assert!(headers.contains_key("accept"));
    }
}
