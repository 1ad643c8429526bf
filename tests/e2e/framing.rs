//! Where one request ends and the next begins: what cannot be told for certain is refused, and nothing is smuggled.

use super::harness::{Apps, Server};
use super::raw::RawAnswer;
use serde_json::{Value, json};

/// What a smuggler wants to reach the app.
const HIDDEN: &str = "GET /mirror/hidden HTTP/1.1\r\nHost: test\r\n\r\n";

async fn mirror() -> Server {
    Apps::new().with("mirror").lean().start().await
}

async fn seen(server: &Server) -> Value {
    server.get("/mirror/seen").await.json()
}

#[tokio::test]
async fn with_both_framings_chunked_wins_the_length_is_removed_and_the_connection_ends() {
    let server = mirror().await;
    for fields in [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        "Content-Length: 4096\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
        "Content-Length: 0\r\nContent-Length: 0\r\nTransfer-Encoding: Chunked\r\n",
    ] {
        let mut raw = server.raw().await;
        raw.write(format!(
            "POST /mirror/both HTTP/1.1\r\nHost: test\r\n{fields}\r\n2\r\nhi\r\n0\r\n\r\n{HIDDEN}"
        ))
        .await;
        let answer = raw.answer().await;
        assert_eq!(answer.status(), 200, "{fields}");
        assert_eq!(answer.json()["body"], "hi", "{fields}");
        let headers = answer.json()["headers"].to_string();
        assert!(!headers.contains("content-length") && !headers.contains("transfer-encoding"), "{headers}");
        raw.closed().await;
    }
    assert_eq!(seen(&server).await, json!(vec!["POST /both"; 4]));
}

#[tokio::test]
async fn framings_that_do_not_say_where_the_body_ends_are_refused_unseen_by_the_app() {
    let server = mirror().await;
    for fields in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3, 4\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 18446744073709551616\r\n",
        "Content-Length:\r\n",
        "Content-Length : 3\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding:\x0bchunked\r\n",
        "X: a\r\n Transfer-Encoding: chunked\r\n",
        "X: a\rTransfer-Encoding: chunked\r\n",
        "X\0: a\r\n",
        "X: a\0b\r\n",
        "X y: a\r\n",
        ": a\r\n",
    ] {
        let mut raw = server.raw().await;
        raw.write(format!("POST /mirror/unclear HTTP/1.1\r\nHost: test\r\n{fields}\r\n{HIDDEN}")).await;
        assert_eq!(raw.answer().await.status(), 400, "{fields:?}");
        raw.closed().await;
    }
    let mut raw = server.raw().await;
    raw.write(format!("POST /mirror/old HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{HIDDEN}"))
        .await;
    assert_eq!(raw.answer().await.status(), 400);
    raw.closed().await;
    assert_eq!(seen(&server).await, json!([]));
}

#[tokio::test]
async fn a_request_inside_a_body_stays_a_body() {
    let server = mirror().await;
    let mut raw = server.raw().await;
    let len = HIDDEN.len();
    raw.write(format!("POST /mirror/outer HTTP/1.1\r\nHost: test\r\nContent-Length: {len}\r\n\r\n{HIDDEN}"))
        .await;
    raw.write(format!("GET /mirror/next HTTP/1.1\r\nHost: test\r\nContent-Length: {len}\r\n\r\n{HIDDEN}"))
        .await;
    raw.write("GET /mirror/last HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(raw.answer().await.json()["body"], HIDDEN);
    // The body of a GET is not for the app, and is not the next request either.
    assert_eq!(raw.answer().await.status(), 200);
    assert_eq!(raw.answer().await.status(), 200);
    assert_eq!(seen(&server).await, json!(["POST /outer", "GET /next", "GET /last"]));
}

#[tokio::test]
async fn a_body_that_nobody_reads_is_not_taken_for_the_next_request() {
    let server = mirror().await;
    // Answers that the supervisor makes itself, before the body was read.
    for path in ["/nobody/", "/api/health", "/.well-known/buntime", "/api/nothing"] {
        let mut raw = server.raw().await;
        let len = HIDDEN.len();
        raw.write(format!("POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len}\r\n\r\n")).await;
        let status = raw.answer().await.status();
        assert!(matches!(status, 401 | 404 | 405), "{path}: {status}");
        raw.write(HIDDEN).await;
        raw.write("GET /nobody/ HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await;
        let rest = raw.rest().await;
        assert!(
            rest.is_empty() || rest.starts_with(b"HTTP/1.1 404"),
            "{path}: {}",
            String::from_utf8_lossy(&rest)
        );
    }
    assert_eq!(seen(&server).await, json!([]));
}

#[tokio::test]
async fn chunks_that_are_no_chunks_are_refused_and_the_apps_body_fails() {
    let server = mirror().await;
    let head = "POST /mirror/read HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n";
    for bad in [
        "x\r\n",
        "-1\r\n",
        "\r\n",
        "2\rhi",
        "2\r\nhix",
        "2\r\nhi\rx",
        "11111111111111111\r\n",
        "2;\nx\r\nhi\r\n0\r\n\r\n",
        "0\r\nX\0: a\r\n\r\n",
    ] {
        let mut raw = server.raw().await;
        raw.write(format!("{head}{bad}{HIDDEN}")).await;
        let RawAnswer { head, .. } = raw.answer().await;
        assert_eq!(head.status, 400, "{bad:?}");
        raw.closed().await;
    }
    // The app is already reading when the bad chunk comes.
    let mut raw = server.raw().await;
    raw.write(format!("{head}5\r\nhello\r\n")).await;
    server.logged(|line| line["message"] == "read 5").await;
    raw.write(format!("x\r\n{HIDDEN}")).await;
    assert_eq!(raw.answer().await.status(), 400);
    raw.closed().await;
    assert_eq!(server.get("/mirror/failure").await.text(), "AbortError");
    assert!(!seen(&server).await.to_string().contains("hidden"));
}

#[tokio::test]
async fn a_body_that_breaks_off_fails_in_the_app_and_is_never_taken_for_whole() {
    let server = mirror().await;
    for framing in ["Content-Length: 100\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let mut raw = server.raw().await;
        raw.write(format!("POST /mirror/read HTTP/1.1\r\nHost: test\r\n{framing}")).await;
        server.logged(|line| line["message"] == "read 5").await;
        raw.finish().await;
        assert_eq!(server.get("/mirror/failure").await.text(), "AbortError");
    }
}

#[tokio::test]
async fn requests_without_one_valid_host_are_refused() {
    let server = mirror().await;
    for fields in [
        "",
        "Host: a\r\nHost: b\r\n",
        "Host:\r\n",
        "Host: a b\r\n",
        "Host: a/b\r\n",
        "Host: a@b\r\n",
        "Host: a\\b\r\n",
        "Host: a:port\r\n",
        "Host: a,b\r\n",
        "Host: \u{e9}\r\n",
    ] {
        let answer = server.raw_answer(format!("GET /mirror/ HTTP/1.1\r\n{fields}\r\n")).await;
        assert_eq!(answer.status(), 400, "{fields:?}");
        assert_eq!(answer.json()["code"], "bad_request");
    }
    assert_eq!(seen(&server).await, json!([]));
    // The same twice is one; HTTP/1.0 need not send any.
    let twice = server.raw_answer("GET /mirror/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n").await;
    assert_eq!(twice.json()["url"], "http://a/");
    let mut raw = server.raw().await;
    raw.write("GET /mirror/ HTTP/1.0\r\n\r\n").await;
    let old = String::from_utf8(raw.rest().await).unwrap();
    assert!(old.starts_with("HTTP/1.0 200") && old.contains(&format!("http://{}/", server.address)), "{old}");
}

#[tokio::test]
async fn heads_over_their_limits_are_refused() {
    let server = mirror().await;
    let head = |count: usize, len: usize| {
        let field = format!("x: {}\r\n", "a".repeat(len));
        format!("GET /mirror/ HTTP/1.1\r\nHost: test\r\n{}\r\n", field.repeat(count))
    };
    for (what, head, status) in [
        ("1 MB in one header", head(1, 1 << 20), 431),
        ("1 MB in small headers", head(90, 12_000), 431),
        ("80 KiB", head(80, 1024), 431),
        ("60 KiB", head(60, 1000), 200),
        ("101 headers", head(100, 1), 431),
        ("100 headers", head(99, 1), 200),
        ("a long address", format!("GET /mirror/{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(70_000)), 414),
        (
            "10,000 bytes of address",
            format!("GET /mirror/{} HTTP/1.1\r\nHost: test\r\n\r\n", "a".repeat(10_000)),
            200,
        ),
    ] {
        assert_eq!(server.raw_answer(&head).await.status(), status, "{what}");
    }
    assert_eq!(server.get("/mirror/").await.status(), 200);
}

#[tokio::test]
async fn what_is_no_http_is_refused_and_the_connection_ends() {
    let server = mirror().await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /mirror/\r\n\r\n",
        b"GET /mirror/ HTTP/3.0\r\n\r\n",
        b"GET /mirror/ HTTP/1.1x\r\nHost: test\r\n\r\n",
        b"G\0T /mirror/ HTTP/1.1\r\nHost: test\r\n\r\n",
        b"PRI * HTTP/1.1\r\n\r\n",
        &[0; 200],
    ] {
        let mut raw = server.raw().await;
        raw.write(bytes).await;
        raw.finish().await;
        let rest = String::from_utf8_lossy(&raw.rest().await).into_owned();
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 400 "), "{bytes:?}: {rest}");
    }
    assert_eq!(seen(&server).await, json!([]));
}
