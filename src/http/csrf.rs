//! Requests that another site makes a browser send (cross-site request forgery).
//!
//! A browser says where a request comes from: in `Sec-Fetch-Site` (Fetch Metadata), else in `Origin` (RFC 6454 §7). Who says
//! neither is no browser of this decade, and cannot be used by a page against its user, unless it sends a cookie all
//! the same.

use super::origin::Origin;
use crate::apps::SPLIT_COOKIE;
use http::header::{COOKIE, HeaderMap, HeaderName, ORIGIN};
use http::{HeaderValue, Method};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Which requests have to come from the site itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Whatever a browser may have sent: it shows a cookie, `Origin` or `Sec-Fetch-Site`.
    Browsers,
    /// What a browser sent with a cookie, which is what a forged request lives on.
    Cookies,
}

/// Whether a request would change something and does not come from the site itself.
pub fn is_forged(guard: Guard, method: &Method, headers: &HeaderMap, own: &Origin) -> bool {
    // RFC 9110 §9.2.1.
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE) {
        return false;
    }
    let has_cookie = has_cookie(headers);
    if guard == Guard::Cookies && !has_cookie {
        return false;
    }
    let (site, origin) = (headers.get(SEC_FETCH_SITE), headers.get(ORIGIN));
    match (site, origin) {
        // `none`: typed into the address bar, or sent by an extension.
        (Some(site), _) => !matches!(site.as_bytes(), b"same-origin" | b"none"),
        (None, Some(origin)) => !is_own(origin, own),
        (None, None) => guard == Guard::Browsers && has_cookie,
    }
}

/// Whether a page of another site opens this connection: browsers send cookies with a WebSocket's handshake, and let any page have what
/// comes. All of them say `Origin` then (RFC 6455 §4.1).
pub fn is_foreign_upgrade(headers: &HeaderMap, own: &Origin) -> bool {
    match (headers.get(ORIGIN), headers.get(SEC_FETCH_SITE)) {
        (Some(origin), _) => !is_own(origin, own),
        (None, Some(site)) => !matches!(site.as_bytes(), b"same-origin" | b"none"),
        (None, None) => false,
    }
}

/// Whether there is a cookie that could tell who somebody is: one that keeps a client in its part of a split cannot.
fn has_cookie(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes);
    let mut cookies = lines.flat_map(|line| line.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    cookies.any(|cookie| !cookie.is_empty() && !cookie.starts_with(SPLIT_COOKIE.as_bytes()))
}

/// Whether an `Origin` names the public host. Where that is known to be reached over TLS, a page that came without is another's: whoever
/// is on the way may have made it. Otherwise the scheme is not compared: a proxy that ends TLS need not say so.
fn is_own(origin: &HeaderValue, own: &Origin) -> bool {
    let parts = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    let Some((scheme, authority)) = parts else { return false };
    let port = match scheme {
        "https" => ":443",
        "http" if !own.https => ":80",
        _ => return false,
    };
    let bare = |host: &str| host.strip_suffix(port).unwrap_or(host).to_ascii_lowercase();
    own.host.to_str().is_ok_and(|host| bare(host) == bare(authority))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forged(guard: Guard, method: &str, host: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let own = Origin { https: false, host: host.parse().unwrap(), client: None };
        is_forged(guard, &Method::from_bytes(method.as_bytes()).unwrap(), &map, &own)
    }

    #[test]
    fn what_another_site_sends_is_forged() {
        for headers in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "cross-site"), ("origin", "http://shop.test")],
            &[("sec-fetch-site", "nonsense")],
            &[("origin", "http://evil.test")],
            &[("origin", "null")],
            &[("origin", "http://shop.test.evil.test")],
            &[("origin", "http://shop.test:8080")],
            &[("origin", "file://shop.test")],
            &[("cookie", "a=b")],
        ] {
            for method in ["POST", "PUT", "DELETE", "PATCH", "PURGE"] {
                assert!(forged(Guard::Browsers, method, "shop.test", headers), "{method} {headers:?}");
            }
            for method in ["GET", "HEAD", "OPTIONS"] {
                assert!(!forged(Guard::Browsers, method, "shop.test", headers), "{method} {headers:?}");
            }
        }
    }

    #[test]
    fn what_the_site_itself_or_no_browser_sends_is_not() {
        for headers in [
            &[][..],
            &[("sec-fetch-site", "same-origin"), ("cookie", "a=b")],
            &[("sec-fetch-site", "none")],
            &[("origin", "http://shop.test"), ("cookie", "a=b")],
            &[("origin", "https://shop.test")],
            &[("origin", "https://SHOP.test:443")],
        ] {
            assert!(!forged(Guard::Browsers, "POST", "shop.test", headers), "{headers:?}");
        }
        assert!(!forged(Guard::Browsers, "POST", "shop.test:80", &[("origin", "http://shop.test")]));
        assert!(!forged(Guard::Browsers, "POST", "[::1]:8000", &[("origin", "http://[::1]:8000")]));
    }

    #[test]
    fn over_tls_a_page_that_came_without_is_another_sites() {
        let own = |https| Origin { https, host: "shop.test".parse().unwrap(), client: None };
        for (origin, https, forged) in [
            ("http://shop.test", true, true),
            ("http://shop.test", false, false),
            ("https://shop.test", true, false),
            ("https://shop.test", false, false),
        ] {
            let headers = HeaderMap::from_iter([(ORIGIN, HeaderValue::from_static(origin))]);
            assert_eq!(
                is_forged(Guard::Browsers, &Method::POST, &headers, &own(https)),
                forged,
                "{origin} {https}"
            );
            assert_eq!(is_foreign_upgrade(&headers, &own(https)), forged, "{origin} {https}");
        }
    }

    #[test]
    fn a_connection_that_another_site_s_page_opens_is_foreign() {
        let foreign = |headers: &[(&'static str, &str)]| {
            let map = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let own = Origin { https: false, host: "shop.test:8000".parse().unwrap(), client: None };
            is_foreign_upgrade(&map.collect(), &own)
        };
        for headers in [
            &[("origin", "http://evil.test")][..],
            &[("origin", "null")],
            &[("origin", "http://shop.test")],
            &[("origin", "http://evil.test"), ("sec-fetch-site", "same-origin")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
        ] {
            assert!(foreign(headers), "{headers:?}");
        }
        for headers in [
            &[][..],
            &[("cookie", "a=b")],
            &[("origin", "http://shop.test:8000"), ("cookie", "a=b")],
            // What some browsers say of their own site, as its scheme is another.
            &[("origin", "https://shop.test:8000"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(!foreign(headers), "{headers:?}");
        }
    }

    #[test]
    fn an_app_that_says_nothing_is_guarded_where_a_cookie_is_at_stake() {
        let cross = ("sec-fetch-site", "cross-site");
        assert!(forged(Guard::Cookies, "POST", "shop.test", &[cross, ("cookie", "a=b")]));
        assert!(forged(
            Guard::Cookies,
            "POST",
            "shop.test",
            &[("origin", "http://e.test"), ("cookie", "a=b")]
        ));
        assert!(!forged(Guard::Cookies, "POST", "shop.test", &[cross]), "an API for other sites");
        assert!(!forged(Guard::Cookies, "POST", "shop.test", &[("cookie", "a=b")]), "a script with a cookie");
    }

    #[test]
    fn a_cookie_that_keeps_a_client_in_its_part_of_a_split_is_none_that_a_forgery_could_use() {
        let site = ("sec-fetch-site", "same-site");
        for (cookie, counts) in [
            ("buntime-split-2cb2dc74=7", false),
            ("buntime-split-2cb2dc74=7; buntime-split-9=1;", false),
            ("buntime-split-2cb2dc74=7; session=x", true),
            ("session=x", true),
        ] {
            assert_eq!(forged(Guard::Cookies, "POST", "shop.test", &[site, ("cookie", cookie)]), counts);
            // A program that keeps cookies, and says nothing of where it is.
            assert_eq!(forged(Guard::Browsers, "POST", "shop.test", &[("cookie", cookie)]), counts);
        }
    }
}
