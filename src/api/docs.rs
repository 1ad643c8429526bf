//! `{prefix}/api/docs`: the OpenAPI document as pages, shown by Scalar, which is in the binary.
//!
//! Needs no key: it tells nothing of this runtime. It asks nobody but this server, which its policy makes the browser
//! see to.

use super::error::Result;
use super::no_such_method;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use std::io::Read;

/// `scripts/vendor-scalar` makes it.
const SCALAR: &[u8] = include_bytes!("docs/scalar.js.gz");
const PAGE: &str = include_str!("docs/page.html");
const START: &str = include_str!("docs/start.js");
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// Scalar makes `style` elements and attributes, and most of them without a nonce. What styles could load is refused all
/// the same.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; \
                      img-src data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Bytes that are unpacked at a time.
const CHUNK: usize = 64 * 1024;

/// What answers a path of these pages; none = it is not one of them.
pub fn respond(path: &str, method: &Method, headers: &HeaderMap) -> Option<Result<Response>> {
    let answer: fn(&HeaderMap) -> Response = match path {
        "/docs" => |_| page(),
        // What the page links to is relative to the path without the slash.
        "/docs/" => |_| (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, "../docs")]).into_response(),
        "/docs/start.js" => |_| ([(header::CONTENT_TYPE, JAVASCRIPT)], START).into_response(),
        "/docs/scalar.js" => scalar,
        _ => return None,
    };
    Some(match *method {
        Method::GET | Method::HEAD => Ok(answer(headers)),
        _ => Err(no_such_method().header(header::ALLOW, HeaderValue::from_static("GET, HEAD"))),
    })
}

fn page() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, PAGE.replace("{tag}", &tag())).into_response()
}

fn scalar(asked: &HeaderMap) -> Response {
    let gzip = accepts_gzip(asked);
    let etag = format!("\"{}{}\"", tag(), if gzip { "-gzip" } else { "" });
    let mut response = Response::new(Body::empty());
    if has_already(asked, &etag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = if gzip { Body::from(SCALAR) } else { unpacked() };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JAVASCRIPT));
        match gzip {
            true => headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip")),
            false => headers.insert(header::CONTENT_LENGTH, trailer()[1].into()),
        };
    }
    let headers = response.headers_mut();
    // The page names it together with its tag, so another one has another address.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(etag) = HeaderValue::try_from(etag) {
        headers.insert(header::ETAG, etag);
    }
    response
}

/// Piece by piece, as the client takes it.
fn unpacked() -> Body {
    let mut reader = GzDecoder::new(SCALAR);
    let pieces = std::iter::from_fn(move || {
        let mut piece = Vec::with_capacity(CHUNK);
        match reader.by_ref().take(CHUNK as u64).read_to_end(&mut piece) {
            Ok(0) => None,
            Ok(_) => Some(Ok(Bytes::from(piece))),
            Err(error) => Some(Err(error)),
        }
    });
    Body::from_stream(futures_util::stream::iter(pieces))
}

/// What tells one Scalar from another.
fn tag() -> String {
    let [crc, length] = trailer();
    format!("{crc:08x}{length:x}")
}

/// The checksum of the script and its length in bytes, which end a gzip member (RFC 1952 §2.3.1).
fn trailer() -> [u32; 2] {
    let (_, [a, b, c, d, e, f, g, h]) = SCALAR.split_last_chunk().unwrap_or((&[], &[0; 8]));
    [u32::from_le_bytes([*a, *b, *c, *d]), u32::from_le_bytes([*e, *f, *g, *h])]
}

/// Whether gzip is named and not refused (RFC 9110 §12.5.3). Who sends no such header gets the script as it is.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let weight = |wanted: &str| {
        let lines = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
        lines.flat_map(|line| line.split(',')).find_map(|member| {
            let (coding, weight) = member.split_once(';').unwrap_or((member, "q=1"));
            let named = coding.trim().eq_ignore_ascii_case(wanted);
            named.then(|| !matches!(weight.trim().trim_end_matches('0'), "q=" | "q=0." | "Q=" | "Q=0."))
        })
    };
    weight("gzip").or_else(|| weight("*")).unwrap_or(false)
}

fn has_already(headers: &HeaderMap, etag: &str) -> bool {
    let lines = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|line| line.to_str().ok());
    lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .any(|member| member == "*" || member.strip_prefix("W/").unwrap_or(member) == etag)
}

#[cfg(test)]
mod tests {
    use super::super::openapi;
    use super::*;

    fn ask(path: &str, headers: &[(header::HeaderName, &'static str)]) -> Response {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value)));
        respond(path, &Method::GET, &headers.collect()).unwrap().unwrap()
    }

    async fn text(response: Response) -> String {
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_page_is_all_by_itself_and_links_the_document() {
        let page = ask("/docs", &[]);
        assert_eq!(page.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
        assert_eq!(page.headers()[header::REFERRER_POLICY], "no-referrer");
        let policy = page.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'; connect-src 'self';"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'; base-uri 'none'; form-action 'none'"), "{policy}");
        assert!(!policy.contains("unsafe-eval") && !policy.contains("http"), "{policy}");
        let html = text(page).await;
        assert!(html.contains(&format!("src=\"docs/scalar.js?{}\"", tag())), "{html}");
        assert!(html.contains("<noscript>") && html.contains("href=\"openapi.json\""), "{html}");
        assert!(!html.contains("//") && !html.contains("=\"/"), "a link that leaves {{prefix}}/api: {html}");
        assert!(!text(ask("/docs/start.js", &[])).await.contains("http"));
    }

    #[tokio::test]
    async fn the_script_is_the_same_packed_and_unpacked() {
        let packed = ask("/docs/scalar.js", &[(header::ACCEPT_ENCODING, "br, gzip")]);
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
        let plain = ask("/docs/scalar.js", &[]);
        assert!(!plain.headers().contains_key(header::CONTENT_ENCODING));
        for response in [&packed, &plain] {
            assert_eq!(response.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
            assert_eq!(response.headers()[header::VARY], "accept-encoding");
        }
        assert_ne!(packed.headers()[header::ETAG], plain.headers()[header::ETAG]);
        let length = plain.headers()[header::CONTENT_LENGTH].to_str().unwrap().to_owned();
        let body = axum::body::to_bytes(packed.into_body(), usize::MAX).await.unwrap();
        let mut script = String::new();
        GzDecoder::new(&body[..]).read_to_string(&mut script).unwrap();
        assert_eq!(script.len().to_string(), length);
        assert!(script == text(plain).await);
        let pins = include_str!("../../scripts/scalar.pins");
        let version = pins.lines().find_map(|line| line.strip_prefix("version ")).unwrap();
        assert!(script.contains(&format!("`{version}`")), "another version than scripts/scalar.pins has");
    }

    #[test]
    fn a_script_that_the_client_has_is_not_sent_again() {
        let first = ask("/docs/scalar.js", &[(header::ACCEPT_ENCODING, "gzip")]);
        let etag: &'static str = first.headers()[header::ETAG].to_str().unwrap().to_owned().leak();
        let again = |etag, coding| {
            ask("/docs/scalar.js", &[(header::IF_NONE_MATCH, etag), (header::ACCEPT_ENCODING, coding)])
        };
        let response = again(etag, "gzip");
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(response.headers()[header::ETAG], etag);
        assert_eq!(again(etag, "identity").status(), StatusCode::OK);
        assert_eq!(again("\"other\"", "gzip").status(), StatusCode::OK);
    }

    #[test]
    fn gzip_goes_only_to_who_takes_it() {
        let takes = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            accepts_gzip(&headers)
        };
        for value in ["gzip", "deflate, GZIP;q=0.5", "*", "gzip;q=0.001", "gzip; q=1.0", "*;q=0, gzip"] {
            assert!(takes(value), "{value}");
        }
        for value in ["", "br", "gzip;q=0", "gzip; q=0.000", "*;q=0", "*, gzip;q=0", "identity"] {
            assert!(!takes(value), "{value}");
        }
        assert!(!accepts_gzip(&HeaderMap::new()));
    }

    #[test]
    fn only_these_paths_are_pages_and_they_can_only_be_read() {
        let redirect = ask("/docs/", &[]);
        assert_eq!(
            (redirect.status(), redirect.headers()[header::LOCATION].to_str().unwrap()),
            (StatusCode::PERMANENT_REDIRECT, "../docs")
        );
        for path in ["/docsx", "/docs/page.html", "/docs/scalar.js/", "/docs/LICENSE", "/Docs", "/"] {
            assert!(respond(path, &Method::GET, &HeaderMap::new()).is_none(), "{path}");
        }
        for path in ["/docs", "/docs/", "/docs/start.js", "/docs/scalar.js"] {
            for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
                let error = respond(path, &method, &HeaderMap::new()).unwrap().unwrap_err();
                assert_eq!(error.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
                assert_eq!(error.headers, [(header::ALLOW, HeaderValue::from_static("GET, HEAD"))]);
            }
        }
        let (_, document) = openapi::routes("/api");
        assert!(!String::from_utf8_lossy(&document).contains("\"/docs"), "an operation has a page's path");
    }
}
