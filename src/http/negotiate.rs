//! Weighted lists of request headers: `Accept` and `Accept-Encoding` (RFC 9110 §12.5).

use http::{HeaderMap, HeaderName, HeaderValue};

/// A weight in thousandths: 0 = not acceptable, 1000 = `q=1`.
pub type Quality = u16;

/// Splits a header value into its members and their weights. A member with a weight that is none is left out.
pub fn members(value: &str) -> impl Iterator<Item = (&str, Quality)> {
    value.split(',').filter_map(|member| {
        let mut parts = member.split(';');
        let name = parts.next()?.trim();
        if name.is_empty() {
            return None;
        }
        let weight = parts.find_map(|parameter| {
            let (key, value) = parameter.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| value.trim())
        });
        Some((name, weight.map_or(Some(1000), quality)?))
    })
}

/// True if the client would rather have a page than JSON. A tie is JSON's: programs send `*/*`, browsers name HTML.
pub fn prefers_html(accept: Option<&HeaderValue>) -> bool {
    let Some(accept) = accept.and_then(|value| value.to_str().ok()) else { return false };
    let html = media_quality(accept, "text/", &["text/html"]);
    let json = media_quality(accept, "application/", &["application/json", "application/problem+json"]);
    html > json
}

/// True if the client names HTML (a wildcard is not enough), as a browser does when it navigates.
pub fn names_html(accept: Option<&HeaderValue>) -> bool {
    accept.and_then(|value| value.to_str().ok()).is_some_and(|accept| {
        members(accept).any(|(name, q)| q > 0 && name.eq_ignore_ascii_case("text/html"))
    })
}

/// The weight of a content coding by its name, over all lines of the header. A coding that is not named has that
/// of `*`, else 0. Without the header nothing but `identity` is to be sent.
pub fn coding_quality(headers: &HeaderMap, header: HeaderName, coding: &str) -> Quality {
    let mut wildcard = 0;
    for line in headers.get_all(header) {
        for (name, q) in line.to_str().map(members).into_iter().flatten() {
            if name.eq_ignore_ascii_case(coding) {
                return q;
            }
            if name == "*" {
                wildcard = q;
            }
        }
    }
    wildcard
}

/// The most specific match decides, whatever its place: a type, else its family, else `*/*`.
fn media_quality(accept: &str, family: &str, types: &[&str]) -> Quality {
    let (mut exact, mut ranged, mut any) = (None, None, None);
    for (name, q) in members(accept) {
        if types.iter().any(|t| name.eq_ignore_ascii_case(t)) {
            exact = exact.max(Some(q));
        } else if name.len() == family.len() + 1
            && name.ends_with('*')
            && name[..family.len()].eq_ignore_ascii_case(family)
        {
            ranged = Some(q);
        } else if name == "*/*" {
            any = Some(q);
        }
    }
    exact.or(ranged).or(any).unwrap_or(0)
}

/// `0`, `1`, `0.5`, `0.333`, `1.000` (RFC 9110 §12.4.2).
fn quality(text: &str) -> Option<Quality> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction.bytes().chain(std::iter::repeat(b'0')).take(3);
    let fraction = thousandths.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::ACCEPT_ENCODING;

    #[test]
    fn a_page_goes_only_to_who_prefers_it() {
        let table = [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("text/html", true),
            ("TEXT/HTML;q=0.2", true),
            ("text/*", true),
            ("application/json;q=0.5, text/html;q=0.9", true),
            ("text/html;q=0.5, */*;q=0.1", true),
            ("*/*", false),
            ("", false),
            ("application/json", false),
            ("application/json, text/html", false),
            ("text/html;q=0", false),
            ("text/html;q=0, */*", false),
            ("text/html;q=0.5, application/problem+json", false),
            ("text/html;q=2", false),
            ("text/html;q=high", false),
            (",;,=;q", false),
        ];
        for (accept, html) in table {
            assert_eq!(prefers_html(Some(&HeaderValue::from_static(accept))), html, "{accept}");
        }
        assert!(!prefers_html(None));
        assert!(!prefers_html(Some(&HeaderValue::from_bytes(b"text/html\xff").unwrap())));
    }

    #[test]
    fn a_wildcard_does_not_name_html() {
        assert!(names_html(Some(&HeaderValue::from_static("application/json, text/html;q=0.1"))));
        assert!(!names_html(Some(&HeaderValue::from_static("*/*"))));
        assert!(!names_html(Some(&HeaderValue::from_static("text/html;q=0"))));
        assert!(!names_html(None));
    }

    #[test]
    fn a_coding_has_its_own_weight_or_that_of_the_wildcard() {
        let of = |lines: &[&'static str], coding: &str| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_static(line));
            }
            coding_quality(&headers, ACCEPT_ENCODING, coding)
        };
        assert_eq!(of(&["gzip, br;q=0.5"], "br"), 500);
        assert_eq!(of(&["gzip", "br;q=0.25"], "br"), 250);
        assert_eq!(of(&["*;q=0.1, br;q=0"], "br"), 0);
        assert_eq!(of(&["br;q=0, *;q=0.1"], "gzip"), 100);
        assert_eq!(of(&["GZIP"], "gzip"), 1000);
        assert_eq!(of(&["deflate"], "gzip"), 0);
        assert_eq!(of(&[], "gzip"), 0);
    }
}
