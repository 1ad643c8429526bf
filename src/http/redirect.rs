//! The port without TLS: sends everybody to the one with it, and shows an ACME server what it asks for.

use super::connection::Conn;
use super::listener::Service;
use super::origin::Origin;
use crate::tls::Challenges;
use buntime_plugin::Body;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Answers what comes without TLS.
#[derive(Clone, Debug)]
pub struct Redirect {
    /// Of the listener with TLS.
    pub port: u16,
    pub challenges: Arc<Challenges>,
}

impl Service for Redirect {
    async fn call(self, request: Request<Incoming>, conn: Arc<Conn>) -> Response<Body> {
        let _in_flight = conn.begin();
        let path = request.uri().path();
        if let Some(answer) = self.challenges.file(path).filter(|_| request.method() == Method::GET) {
            let mut response = Response::new(Body::from(answer));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            return response;
        }
        let mut response = Response::new(Body::default());
        match target(request.version(), request.uri(), request.headers(), self.port) {
            Some(target) => {
                *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
                response.headers_mut().insert(LOCATION, target);
            }
            None => *response.status_mut() = StatusCode::BAD_REQUEST,
        }
        response
    }
}

/// Where a request belongs: its host, the port with TLS, its path and its query. None = it does not say, or says what no URL can be.
fn target(version: Version, uri: &Uri, headers: &HeaderMap, port: u16) -> Option<HeaderValue> {
    // What HTTP/1.0 means without a Host nobody knows: an empty one is refused.
    let nowhere = HeaderValue::from_static("");
    // Nobody is believed about the host here, so who asks does not matter.
    let peer = Some(Ipv4Addr::UNSPECIFIED.into());
    let host = Origin::of(version, uri, headers, peer, false, |_| false, &nowhere).ok()?.host;
    let host = host.to_str().ok()?;
    let bare = match host.rfind(':') {
        Some(colon) if !host[colon..].contains(']') => &host[..colon],
        _ => host,
    };
    // CONNECT has none, and `*` of OPTIONS would become a part of the host.
    let path =
        uri.path_and_query().map(http::uri::PathAndQuery::as_str).filter(|path| path.starts_with('/'))?;
    let port = if port == 443 { String::new() } else { format!(":{port}") };
    HeaderValue::try_from(format!("https://{bare}{port}{path}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent_to(uri: &str, host: Option<&str>, port: u16) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-host", HeaderValue::from_static("evil.test"));
        if let Some(host) = host {
            headers.insert("host", HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        let target = target(Version::HTTP_11, &uri.parse().unwrap(), &headers, port)?;
        Some(target.to_str().unwrap().to_owned())
    }

    #[test]
    fn host_path_and_query_are_kept_and_the_port_is_that_with_tls() {
        for (uri, host, port, target) in [
            ("/", "a.test", 443, "https://a.test/"),
            ("/a/b?c=d&e=%20f", "a.test:80", 443, "https://a.test/a/b?c=d&e=%20f"),
            ("/", "a.test", 8443, "https://a.test:8443/"),
            ("/", "a.test:8080", 8443, "https://a.test:8443/"),
            ("/", "127.0.0.1:8080", 443, "https://127.0.0.1/"),
            ("/x", "[::1]", 443, "https://[::1]/x"),
            ("/x", "[::1]:8080", 8443, "https://[::1]:8443/x"),
            ("/?", "a.test", 443, "https://a.test/?"),
            ("http://a.test/x", "a.test", 443, "https://a.test/x"),
        ] {
            assert_eq!(sent_to(uri, Some(host), port).as_deref(), Some(target));
        }
    }

    #[test]
    fn a_path_never_becomes_another_host() {
        for path in
            ["//evil.test", "//evil.test/x", "/\\evil.test", "/@evil.test", "/.evil.test", "/:80/", "///"]
        {
            let target = sent_to(path, Some("a.test"), 443).unwrap();
            assert_eq!(target, format!("https://a.test{path}"));
        }
    }

    #[test]
    fn what_names_no_host_or_no_path_goes_nowhere() {
        for host in [
            "",
            "a.test/",
            "a.test?x",
            "user@a.test",
            "a test",
            "a.test:x",
            "a.test:",
            "a.test,b.test",
            "\u{e4}.test",
        ] {
            assert_eq!(
                sent_to("/", Some(host), 443),
                None.or((host == "a.test:").then(|| "https://a.test/".into()))
            );
        }
        assert_eq!(sent_to("/", None, 443), None);
        assert_eq!(sent_to("*", Some("a.test"), 443), None);
        assert_eq!(sent_to("a.test:443", Some("a.test"), 443), None);
    }
}
