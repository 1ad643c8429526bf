//! Base injection as a client sees it, on whole and on streamed bodies.

mod coding;
mod live;

use super::*;
use buntime_plugin::BodyError;
use http::header::HeaderValue;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;

const BASE: &str = "<base href=\"/shop/\">";
const SCRIPT: &str = "<script>window.__env__={\"PUBLIC_A\":\"1\"}</script>";

/// What the table's `|` stands for.
fn expected(marked: &str, snippet: &str) -> String {
    marked.replacen('|', snippet, 1)
}

fn injection(env: &[(&str, &str)]) -> Arc<Injection> {
    let env = env.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Arc::new(Injection::new(&env, &["PUBLIC_".into(), "".into()]))
}

fn exchange(env: &[(&str, &str)]) -> Exchange {
    injection(env).begin("/shop", &Method::GET, &mut HeaderMap::new())
}

fn response(headers: &[(&str, &str)], body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    for (name, value) in [("content-type", "text/html; charset=utf-8")].iter().chain(headers) {
        let name = HeaderName::try_from(*name).unwrap();
        if name == header::CONTENT_TYPE {
            response.headers_mut().remove(&name);
        }
        response.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
    }
    response
}

fn stream(pieces: Vec<Bytes>) -> Body {
    let frames = pieces.into_iter().map(|piece| Ok::<_, BodyError>(Frame::data(piece)));
    Body::stream(StreamBody::new(futures_util::stream::iter(frames)))
}

/// Bodies of these tests are always ready: nothing is waited for.
fn collect(body: Body) -> Result<Vec<u8>, BodyError> {
    let collected = futures_util::FutureExt::now_or_never(body.collect()).expect("the body is ready");
    collected.map(|body| body.to_bytes().to_vec())
}

fn whole(exchange: Exchange, document: &[u8]) -> Vec<u8> {
    let body = Body::from(Bytes::copy_from_slice(document));
    collect(exchange.apply(response(&[], body)).into_body()).unwrap()
}

fn pieces(exchange: Exchange, pieces: Vec<Bytes>) -> Vec<u8> {
    collect(exchange.apply(response(&[], stream(pieces))).into_body()).unwrap()
}

/// The documents of the tables: `|` is where the base belongs; without one nothing changes.
const DOCUMENTS: &[&str] = &[
    "<!doctype html><html><head>|<title>x</title></head><body></body></html>",
    "<head>|</head>",
    "<HTML><HEAD>|<TITLE>x</TITLE></HEAD>",
    "<hEaD\n class='a>b' data-x=\"<head>\" >|<meta>",
    "<head/>|<title>",
    "\u{feff}<!doctype html><head>|</head>",
    // One that is there already.
    "<head><base href=\"/own/\"></head>",
    "<head><title>x</title><link rel=x><BASE target=_top HREF=/own/></head>",
    "<base href=/>",
    "<head><script>1<2</script><style>a>b{}</style><noscript><p></noscript><base href=/></head>",
    // What looks like one.
    "<head>|<base target=_top></head>",
    "<head>|<!-- <base href=/> --></head>",
    "<head>|<script>'<base href=/>'</script></head>",
    "<head>|<title><base href=/></title></head>",
    "<head>|<noscript><base href=/></noscript></head>",
    "<head>|<template><base href=/><p></head></template></head>",
    "<head>|<template><template></template><base href=/></template></head>",
    "<head>|<meta content='<base href=/>'></head>",
    "<head>|</head><body><base href=/></body>",
    "<head>|<div><base href=/></div></head>",
    "<head>|<basefont href=/></head>",
    // What looks like a head.
    "<!-- <head> --><html><!-- <head> --><head>|",
    "<!--> <head>|<!-- -->",
    "<html data-x='<head>'><head>|",
    "<?xml <head ?><head>|",
    "|<header><head></header>",
    "|<script>\"<head>\"</script><head>",
    // No head.
    "<!doctype html><html>|<body>x</body></html>",
    "<!doctype html><html lang=en>|<title>x</title><p>",
    "<!doctype html>\n|<title>x</title>",
    "|<p>hello",
    "|hello",
    " \n|hello <head>",
    "</p></div>|<p>",
    "|</head><p>",
    "<html>|</body>",
    "|< head>",
    "|<frameset>",
    // Nothing that needs a base.
    " \n",
    "<!doctype html><!-- nothing -->",
    "<!-- never ends <head>",
    "<html",
    "<head",
    "<head class='",
    // Replacement patterns of other languages mean nothing here.
    "<head>|$& $1 $` \\1 \\0 {} %s</head>",
];

#[test]
fn the_base_goes_in_as_first_child_of_the_head() {
    for marked in DOCUMENTS {
        let document = marked.replacen('|', "", 1);
        let got = whole(exchange(&[]), document.as_bytes());
        assert_eq!(String::from_utf8(got).unwrap(), expected(marked, BASE), "{marked}");
    }
}

#[test]
fn a_split_at_any_byte_changes_nothing() {
    for marked in DOCUMENTS {
        let document = Bytes::from(marked.replacen('|', "", 1));
        for at in 0..=document.len() {
            let halves = vec![document.slice(..at), document.slice(at..)];
            let got = pieces(exchange(&[]), halves);
            assert_eq!(String::from_utf8(got).unwrap(), expected(marked, BASE), "{marked} at {at}");
        }
        let bytes = (0..document.len()).map(|at| document.slice(at..=at)).collect();
        assert_eq!(pieces(exchange(&[]), bytes), expected(marked, BASE).as_bytes(), "{marked}");
    }
}

#[test]
fn the_environment_follows_the_base() {
    let env = [("PUBLIC_A", "1"), ("SECRET", "no")];
    for (marked, snippet) in [
        ("<head>|<title>x</title></head>", format!("{BASE}{SCRIPT}")),
        ("<head>|<base href=/></head>", SCRIPT.to_owned()),
        ("|<p>", format!("{BASE}{SCRIPT}")),
    ] {
        let document = marked.replacen('|', "", 1);
        assert_eq!(whole(exchange(&env), document.as_bytes()), expected(marked, &snippet).as_bytes());
    }
}

#[test]
fn a_leading_charset_stays_before_the_environment() {
    let env = [("PUBLIC_A", "1")];
    for (document, html) in [
        ("<head><meta charset=utf-8><p>", format!("<head>{BASE}<meta charset=utf-8>{SCRIPT}<p>")),
        (
            "<title>x</title><meta name=a><meta charset=x></head>",
            format!("{BASE}<title>x</title><meta name=a><meta charset=x>{SCRIPT}</head>"),
        ),
        (
            "<head><script>a</script><meta charset=x><p>",
            format!("<head>{BASE}{SCRIPT}<script>a</script><meta charset=x><p>"),
        ),
        ("<head><base href=/><meta charset=x><p>", format!("<head><base href=/><meta charset=x>{SCRIPT}<p>")),
    ] {
        assert_eq!(String::from_utf8(whole(exchange(&env), document.as_bytes())).unwrap(), html);
    }
}

#[test]
fn only_variables_with_a_prefix_are_published() {
    assert!(injection(&[("SECRET", "x"), ("XPUBLIC_A", "x")]).env.is_none());
    let env =
        injection(&[("PUBLIC_A", "</script>$&\u{2028}"), ("SECRET", "x"), ("PUBLIC_B", "é")]).env.clone();
    assert_eq!(
        env.unwrap(),
        "window.__env__={\"PUBLIC_A\":\"\\u003c/script\\u003e$\\u0026\\u2028\",\"PUBLIC_B\":\"\\u00e9\"}"
    );
}

#[test]
fn the_nonce_of_the_content_policy_is_honoured() {
    let policy =
        ("content-security-policy", "default-src 'self'; script-src 'nonce-r4nd0m' 'strict-dynamic'");
    let response = response(&[policy], Body::from("<head></head>"));
    let html = collect(exchange(&[("PUBLIC_A", "1")]).apply(response).into_body()).unwrap();
    let html = String::from_utf8(html).unwrap();
    assert!(html.contains("<script nonce=\"r4nd0m\">window.__env__"), "{html}");
}

#[test]
fn a_document_is_held_back_no_further_than_the_limit() {
    let filler = "<meta name=a content=b>".repeat(placement::LIMIT / 23 + 10);
    let late = format!("<head>{filler}<base href=/></head>");
    let html = String::from_utf8(whole(exchange(&[]), late.as_bytes())).unwrap();
    assert_eq!(html, late.replacen("<head>", &format!("<head>{BASE}"), 1), "nothing is looked for behind it");

    // Without a head so far the base goes before what is unfinished, where a browser reads it as the head's.
    let comment = format!("<!doctype html><!--{}--><head>", "x".repeat(placement::LIMIT));
    let html = String::from_utf8(whole(exchange(&[]), comment.as_bytes())).unwrap();
    assert_eq!(html, comment.replacen("<!--", &format!("{BASE}<!--"), 1));
    for size in [1, 1000, placement::LIMIT - 1, placement::LIMIT, placement::LIMIT + 1] {
        let chunks = Bytes::from(comment.clone());
        let chunks =
            (0..chunks.len()).step_by(size).map(|at| chunks.slice(at..(at + size).min(chunks.len())));
        assert_eq!(pieces(exchange(&[]), chunks.collect()), html.as_bytes(), "pieces of {size}");
    }
}

#[tokio::test]
async fn what_follows_the_head_is_passed_on_as_it_comes() {
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let frames = futures_util::stream::poll_fn(move |context| receiver.poll_recv(context));
    let body = Body::stream(StreamBody::new(frames));
    let mut body = exchange(&[]).apply(response(&[], body)).into_body();
    let send = |html: &'static str| sender.send(Ok(Frame::data(Bytes::from(html)))).unwrap();
    send("<head></head><p>one");
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), format!("<head>{BASE}"));
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "</head><p>one");
    send("<head>two");
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "<head>two");
    drop(sender);
    assert!(body.frame().await.is_none());
}

#[test]
fn what_is_no_page_passes_untouched() {
    let cases: &[(u16, &[(&str, &str)])] = &[
        (200, &[("content-type", "application/json")]),
        (200, &[("content-type", "application/xhtml+xml")]),
        (200, &[("content-type", "text/htmlx")]),
        (200, &[("content-type", "text/html; charset=UTF-16LE")]),
        (200, &[("content-type", "text/html; charset=\"utf-16\"")]),
        (200, &[("content-encoding", "gzip, br")]),
        (200, &[("content-encoding", "unheard-of")]),
        (200, &[("content-disposition", "attachment; filename=a.html")]),
        (206, &[("content-range", "bytes 0-5/10")]),
    ];
    for (status, headers) in cases {
        let mut response = response(headers, Body::from("<head>"));
        *response.status_mut() = StatusCode::from_u16(*status).unwrap();
        response.headers_mut().insert(header::ETAG, HeaderValue::from_static("\"a\""));
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("6"));
        let before = response.headers().clone();
        let after = exchange(&[("PUBLIC_A", "1")]).apply(response);
        assert_eq!(*after.headers(), before, "{headers:?}");
        assert_eq!(collect(after.into_body()).unwrap(), b"<head>", "{headers:?}");
    }
    let none = exchange(&[]).apply(response(&[("content-length", "0")], Body::Empty));
    assert_eq!(none.headers()[header::CONTENT_LENGTH], "0");
    let mut untyped = response(&[], Body::from("<head>"));
    untyped.headers_mut().remove(header::CONTENT_TYPE);
    assert_eq!(collect(exchange(&[]).apply(untyped).into_body()).unwrap(), b"<head>");
}

#[test]
fn a_wide_document_is_known_by_its_byte_order_mark() {
    for mark in [b"\xff\xfe", b"\xfe\xff"] {
        let wide: Vec<u8> =
            mark.iter().copied().chain("<head>".encode_utf16().flat_map(u16::to_le_bytes)).collect();
        assert_eq!(whole(exchange(&[]), &wide), wide);
        let bytes = wide.iter().map(|byte| Bytes::copy_from_slice(&[*byte])).collect();
        assert_eq!(pieces(exchange(&[]), bytes), wide);
    }
}

#[test]
fn headers_that_speak_of_the_old_bytes_are_corrected() {
    let headers = [
        ("content-length", "13"),
        ("etag", "\"abc\""),
        ("accept-ranges", "bytes"),
        ("content-md5", "x"),
        ("content-digest", "x"),
        ("repr-digest", "x"),
        ("digest", "x"),
        ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("vary", "cookie"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
    ];
    let after = exchange(&[]).apply(response(&headers, Body::from("<head></head>")));
    let mut names: Vec<_> = after.headers().keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-type", "etag", "last-modified", "set-cookie", "vary"]);
    assert_eq!(after.headers().get_all(header::SET_COOKIE).iter().count(), 2);
    assert!(after.headers()[header::ETAG].to_str().unwrap().starts_with("W/\"abc;"));
    assert_eq!(http_body::Body::size_hint(after.body()).exact(), Some(13 + BASE.len() as u64));
}

#[test]
fn a_page_is_revalidated_by_the_tag_that_the_app_made() {
    let tag = |env: &[(&str, &str)]| {
        let sent = exchange(env).apply(response(&[("etag", "\"abc\"")], Body::from("<head>")));
        sent.headers()[header::ETAG].clone()
    };
    let mut headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag(&[]))]);
    let exchange = injection(&[]).begin("/shop", &Method::GET, &mut headers);
    assert_eq!(headers[header::IF_NONE_MATCH], "\"abc\"");
    let mut unchanged = Response::new(Body::Empty);
    *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
    unchanged.headers_mut().insert(header::ETAG, HeaderValue::from_static("\"abc\""));
    assert_eq!(exchange.apply(unchanged).headers()[header::ETAG], tag(&[]));

    for (mount, env) in [("/shop@1", &[][..]), ("/shop", &[("PUBLIC_A", "1")][..])] {
        let mut headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, tag(&[]))]);
        injection(env).begin(mount, &Method::GET, &mut headers);
        assert!(!headers.contains_key(header::IF_NONE_MATCH), "{mount}");
    }
}

#[test]
fn an_answer_to_head_has_the_headers_of_the_page_and_no_body() {
    let exchange = injection(&[]).begin("/shop", &Method::HEAD, &mut HeaderMap::new());
    let headers = [("content-length", "100"), ("etag", "\"abc\""), ("content-encoding", "gzip")];
    let after = exchange.apply(response(&headers, Body::Empty));
    assert!(!after.headers().contains_key(header::CONTENT_LENGTH));
    assert!(!after.headers().contains_key(header::CONTENT_ENCODING));
    assert!(after.headers()[header::ETAG].to_str().unwrap().starts_with("W/"));
    assert!(matches!(after.into_body(), Body::Empty));
}

#[test]
fn a_piece_of_a_page_that_a_script_asked_for_has_no_head() {
    let by_script = || {
        let mut headers = HeaderMap::from_iter([(
            HeaderName::from_static("sec-fetch-dest"),
            HeaderValue::from_static("empty"),
        )]);
        injection(&[]).begin("/shop", &Method::GET, &mut headers)
    };
    assert_eq!(whole(by_script(), b"<li>one"), b"<li>one");
    let page = "<!doctype html>|<title>x";
    assert_eq!(whole(by_script(), page.replace('|', "").as_bytes()), expected(page, BASE).as_bytes());
}

#[test]
fn an_error_of_the_app_s_body_reaches_the_client() {
    let frames = [Ok(Frame::data(Bytes::from("<head>"))), Err(BodyError::from("gone"))];
    let body = Body::stream(StreamBody::new(futures_util::stream::iter(frames)));
    assert!(collect(exchange(&[]).apply(response(&[], body)).into_body()).is_err());
}

/// Pieces of HTML that say something to the scanner, and halves of them.
fn soup() -> impl Strategy<Value = Vec<u8>> {
    let words = prop::sample::select(vec![
        "<head>",
        "<HEAD a='>'>",
        "</head>",
        "<html>",
        "<!doctype html>",
        "<body>",
        "<base href=x>",
        "<base>",
        "<",
        ">",
        "/",
        "!",
        "-",
        "--",
        "<!--",
        "-->",
        "--!>",
        "'",
        "\"",
        "=",
        " ",
        "\n",
        "x",
        "<p>",
        "</p>",
        "<script>",
        "</script>",
        "<script",
        "</script",
        "<title>",
        "</title>",
        "<style>",
        "</style>",
        "<template>",
        "</template>",
        "<noscript>",
        "</noscript>",
        "<meta charset=x>",
        "<link>",
        "<?",
        "</",
        "<a b",
        "href",
        "é",
        "\u{feff}",
        "\0",
        "$&",
        "<textarea>",
        "</textarea>",
        "<header>",
    ]);
    let word =
        prop_oneof![9 => words.prop_map(|w| w.as_bytes().to_vec()), 1 => any::<u8>().prop_map(|b| vec![b])];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_cut_gives_the_same_and_without_the_snippets_it_is_the_document(
        document in soup(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        env in any::<bool>(),
    ) {
        let env: &[(&str, &str)] = if env { &[("PUBLIC_A", "1")] } else { &[] };
        let at_once = whole(exchange(env), &document);
        let bytes = Bytes::from(document.clone());
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(document.len() + 1)).collect();
        cuts.extend([0, document.len()]);
        cuts.sort_unstable();
        let chunks = cuts.windows(2).map(|pair| bytes.slice(pair[0]..pair[1])).collect();
        prop_assert_eq!(&pieces(exchange(env), chunks), &at_once);

        let mut without = at_once;
        for snippet in [BASE, SCRIPT] {
            if let Some(at) = memchr::memmem::find(&without, snippet.as_bytes()) {
                without.drain(at..at + snippet.len());
            }
        }
        prop_assert_eq!(without, document);
    }
}
