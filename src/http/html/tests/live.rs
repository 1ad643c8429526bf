//! Live reload in pages: where the script goes, and what becomes of policies that forbid it.

use super::*;
use crate::http::live::{Tag, policy::Needs};

const JS: &str = "http://host/.well-known/buntime/dev.js";
const SSE: &str = "http://host/.well-known/buntime/dev/events";

fn tag() -> Tag {
    Tag { app: Some("shop@latest".into()), change: 7, boot: "b".into(), fault: None, is_problem: false }
}

/// Of a browser that opens a page.
fn navigation() -> HeaderMap {
    HeaderMap::from_iter([(HeaderName::from_static("sec-fetch-dest"), HeaderValue::from_static("document"))])
}

fn live(mount: Option<&str>, headers: &mut HeaderMap) -> Exchange {
    let needs = Needs::at(false, &HeaderValue::from_static("host"));
    injection(&[("PUBLIC_A", "1")]).begin_live(mount, (tag(), needs), &Method::GET, headers)
}

fn page(mount: Option<&str>, document: &str, headers: &[(&str, &str)]) -> (HeaderMap, String) {
    let body = Body::from(Bytes::copy_from_slice(document.as_bytes()));
    let answer = live(mount, &mut navigation()).apply(response(headers, body));
    let (head, body) = answer.into_parts();
    (head.headers, String::from_utf8(collect(body).unwrap()).unwrap())
}

#[test]
fn the_script_goes_into_every_page_and_the_base_only_where_it_is_wanted() {
    let script = tag().element(None);
    let document = "<!doctype html><head><title>x</title></head>";
    assert_eq!(page(None, document, &[]).1, document.replace("<title>", &format!("{script}<title>")));
    let both = format!("{BASE}{SCRIPT}{script}<title>");
    assert_eq!(page(Some("/shop"), document, &[]).1, document.replace("<title>", &both));
    assert_eq!(page(None, "<h1>x</h1>", &[]).1, format!("{script}<h1>x</h1>"));
    for kept in ["text/plain", "application/json", "text/html; charset=utf-16"] {
        assert_eq!(page(None, document, &[("content-type", kept)]).1, document, "{kept}");
    }
}

#[test]
fn what_a_script_asks_for_stays_as_it_is() {
    let mut headers = HeaderMap::new();
    headers.insert("sec-fetch-dest", HeaderValue::from_static("empty"));
    let document = "<!doctype html><head></head>";
    assert_eq!(whole(live(None, &mut headers), document.as_bytes()), document.as_bytes());
    let with_base = whole(live(Some("/shop"), &mut headers), document.as_bytes());
    assert_eq!(
        String::from_utf8(with_base).unwrap(),
        expected("<!doctype html><head>|</head>", &format!("{BASE}{SCRIPT}"))
    );
}

/// It was taken for a page of its own, and the page that it was put into listened twice.
#[test]
fn what_may_be_fetched_without_saying_so_is_a_page_if_it_is_asked_for_and_begins_like_one() {
    let (document, fragment) = ("<!doctype html><head></head>", "<h1>x</h1>");
    let script = tag().element(None);
    let both = |accept: &'static str, mount| {
        let headers = || HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
        [document, fragment]
            .map(|text| String::from_utf8(whole(live(mount, &mut headers()), text.as_bytes())).unwrap())
    };
    let live_document = format!("<!doctype html><head>{script}</head>");
    assert_eq!(both("text/html,*/*;q=0.8", None), [live_document, fragment.to_owned()]);
    assert_eq!(both("*/*", None), [document, fragment]);
    // The base goes in as ever.
    let [with_base, in_fragment] = both("*/*", Some("/shop"));
    assert_eq!(with_base, format!("<!doctype html><head>{BASE}{SCRIPT}</head>"));
    assert_eq!(in_fragment, format!("{BASE}{SCRIPT}<h1>x</h1>"));
}

#[test]
fn a_nonce_of_the_head_is_used_and_a_policy_without_one_gets_the_address() {
    let policy = |text: &str| page(None, "<head></head>", &[("content-security-policy", text)]);
    let (headers, html) = policy("script-src 'nonce-abc' 'strict-dynamic'");
    assert_eq!(headers["content-security-policy"], "script-src 'nonce-abc' 'strict-dynamic'");
    assert_eq!(html, format!("<head>{}</head>", tag().element(Some("abc"))));
    let (headers, html) = policy("default-src 'none'");
    let expected = format!("default-src 'none'; script-src {JS}; connect-src {SSE}");
    assert_eq!(headers["content-security-policy"], expected.as_str());
    assert_eq!(html, format!("<head>{}</head>", tag().element(None)));
    // Neither has a nonce, nor does an address count.
    let (headers, html) = policy("script-src 'sha256-x' 'strict-dynamic'");
    let amended = headers["content-security-policy"].to_str().unwrap();
    let nonce = amended.split_once("'nonce-").unwrap().1.trim_end_matches('\'');
    assert!(nonce.len() == 32 && html.contains(&format!(" nonce=\"{nonce}\"")), "{amended} {html}");
}

#[test]
fn a_policy_in_the_document_is_amended_in_its_place_however_the_document_comes() {
    let before = "<!doctype html><head><META content=\"script-src &#39;self&#39;; connect-src x\" http-equiv='Content-Security-Policy'>\
                  <meta http-equiv=refresh content=9><meta content=script-src http-equiv=content-security-policy></head>x";
    let after = format!(
        "<!doctype html><head>{}<META content=\"script-src &#39;self&#39;; connect-src x {SSE}\" http-equiv='Content-Security-Policy'>\
         <meta http-equiv=refresh content=9><meta content=\"script-src {JS}\" http-equiv=content-security-policy></head>x",
        tag().element(None)
    );
    assert_eq!(page(None, before, &[]).1, after);
    for size in [1, 7, 40] {
        let cut = before.as_bytes().chunks(size).map(Bytes::copy_from_slice).collect();
        let pieces = pieces(live(None, &mut navigation()), cut);
        assert_eq!(String::from_utf8(pieces).unwrap(), after, "{size}");
    }
    let strict = "<head><meta http-equiv=Content-Security-Policy content=\"script-src 'nonce-own' 'strict-dynamic'\"></head>";
    let (_, html) = page(None, strict, &[]);
    assert!(html.starts_with(&format!("<head>{}", tag().element(Some("own")))), "{html}");
    assert!(html.ends_with(strict.trim_start_matches("<head>")), "{html}");
}

#[test]
fn a_page_from_before_a_change_counts_as_changed() {
    let sent = live(None, &mut navigation()).apply(response(&[("etag", "\"abc\"")], Body::from("<p>")));
    let tag_of_page = sent.headers()["etag"].clone();
    let asks = || {
        let mut headers = HeaderMap::new();
        headers.insert("accept", HeaderValue::from_static("text/html"));
        headers.insert("if-none-match", tag_of_page.clone());
        headers.insert("if-modified-since", HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        headers
    };
    let mut headers = asks();
    live(None, &mut headers);
    assert_eq!(headers["if-none-match"], "\"abc\"");
    assert!(!headers.contains_key("if-modified-since"));
    let mut headers = asks();
    let needs = Needs::at(false, &HeaderValue::from_static("host"));
    injection(&[]).begin_live(None, (Tag { change: 8, ..tag() }, needs), &Method::GET, &mut headers);
    assert!(!headers.contains_key("if-none-match"), "{headers:?}");
}
