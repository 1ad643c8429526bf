//! What an app answers is what the client gets.

use super::harness::{Apps, Server};
use super::raw::{Raw, RawAnswer};

async fn answers() -> Server {
    Apps::new().with("answers").lean().start().await
}

async fn get(server: &Server, path: &str) -> RawAnswer {
    server.raw_answer(format!("GET /answers{path} HTTP/1.1\r\nHost: test\r\n\r\n")).await
}

/// Asks, and leaves the answer to be read.
async fn begin(server: &Server, path: &str) -> Raw {
    let mut raw = server.raw().await;
    raw.write(format!("GET /answers{path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
    raw
}

#[tokio::test]
async fn bodies_of_every_kind_arrive_whole_with_their_type() {
    let server = answers().await;
    let numbers: String = (1..=1000).map(|n| format!("{n}\n")).collect();
    let bytes: Vec<u8> = (0..=255).collect();
    for (path, content_type, body) in [
        ("/text", "text/plain;charset=utf-8", &b"hello"[..]),
        ("/empty", "", b""),
        ("/json", "application/json;charset=utf-8", br#"{"a":1}"#),
        ("/file", "text/plain;charset=utf-8", b"hello world, this is a file\n"),
        ("/file-slice", "text/plain;charset=utf-8", b"world"),
        ("/blob", "text/x-blob", b"a blob"),
        ("/bytes", "application/octet-stream", &bytes),
        ("/params", "application/x-www-form-urlencoded;charset=UTF-8", b"a=1+2&b=%26"),
        ("/stream", "", numbers.as_bytes()),
        ("/generator", "", b"one two three"),
        ("/empty-stream", "", b""),
        ("/large", "text/plain;charset=utf-8", &[b'x'; 3_000_000]),
    ] {
        let answer = get(&server, path).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert_eq!(answer.head.text("content-type"), content_type, "{path}");
        assert!(answer.body == body, "{path}: {} bytes", answer.body.len());
    }
    let form = get(&server, "/form").await;
    let boundary = form.head.text("content-type").strip_prefix("multipart/form-data; boundary=").unwrap();
    let body = String::from_utf8(form.body.clone()).unwrap();
    assert!(body.contains(boundary.trim_matches('"')), "{body}");
    assert!(body.contains("name=\"field\"\r\n\r\nvalue\r\n"), "{body}");
    assert!(body.contains("filename=\"name.txt\"") && body.contains("\r\n\r\ncontent\r\n"), "{body}");
}

#[tokio::test]
async fn repeated_cookies_and_bytes_in_headers_survive() {
    let server = answers().await;
    let answer = get(&server, "/cookies").await;
    let cookies = answer.head.all("set-cookie");
    assert_eq!(cookies, [&b"a=1; Path=/"[..], b"b=2, with a comma", b"a=3"]);
    assert_eq!(answer.head.text("x-one"), "1");
    assert_eq!(get(&server, "/latin1").await.head.all("x-bytes"), [b"caf\xe9 \xff"]);
}

#[tokio::test]
async fn statuses_and_their_words_survive() {
    let server = answers().await;
    for (path, status, reason) in [
        ("/text", 200, "OK"),
        ("/own-words", 200, "Fine"),
        ("/status-text", 299, "Quite All Right"),
        ("/teapot", 418, "I'm a teapot"),
        ("/redirect", 302, "Found"),
        ("/unknown", 404, "Not Found"),
    ] {
        let head = get(&server, path).await.head;
        assert_eq!((head.status, head.reason.as_str()), (status, reason), "{path}");
    }
    assert_eq!(get(&server, "/redirect").await.head.text("location"), "/elsewhere");
    assert_eq!(get(&server, "/away").await.head.text("location"), "https://other.example/a?b#c");
}

#[tokio::test]
async fn answers_without_a_body_leave_the_connection_in_order() {
    let server = answers().await;
    let mut raw = server.raw().await;
    for (method, path, status, length) in [
        ("GET", "/no-content", 204, ""),
        ("GET", "/not-modified", 304, ""),
        ("HEAD", "/text", 200, "5"),
        ("HEAD", "/file", 200, "28"),
        ("HEAD", "/large", 200, "3000000"),
        ("HEAD", "/stream", 200, ""),
        ("HEAD", "/no-content", 204, ""),
    ] {
        raw.write(format!("{method} /answers{path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        let head = raw.head().await;
        assert_eq!(head.status, status, "{method} {path}");
        assert_eq!(head.text("content-length"), length, "{method} {path}");
        assert!(!head.text("x-request-id").is_empty());
    }
    // Had any of them sent a body, this would not be an answer.
    raw.write("HEAD /nobody/ HTTP/1.1\r\nHost: test\r\n\r\n").await;
    let head = raw.head().await;
    assert_eq!((head.status, head.text("content-type")), (404, "application/problem+json"));
    raw.write("GET /answers/text HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(raw.answer().await.body, b"hello");
}

#[tokio::test]
async fn an_event_is_read_before_the_next_one_is_made() {
    let server = answers().await;
    let mut raw = begin(&server, "/events").await;
    let head = raw.head().await;
    assert_eq!(head.text("content-type"), "text/event-stream");
    for id in 1..=5 {
        assert_eq!(raw.chunk().await.unwrap().unwrap(), format!("id: {id}\n\n").as_bytes());
        assert_eq!(server.get("/answers/next").await.text(), "opened");
    }
}

#[tokio::test]
async fn a_body_that_fails_on_its_way_breaks_off_and_never_looks_whole() {
    let server = answers().await;
    for path in ["/broken-stream", "/broken-generator"] {
        let mut raw = begin(&server, path).await;
        let head = raw.head().await;
        assert_eq!((head.status, head.text("transfer-encoding")), (200, "chunked"));
        assert_eq!(raw.chunk().await.unwrap().unwrap(), b"one", "{path}");
        assert_eq!(server.get("/answers/next").await.text(), "opened");
        assert!(raw.chunk().await.is_err(), "{path} ended as if it was whole");
    }
    // An app that announces more or less than it sends.
    for path in ["/short-stream", "/long-stream"] {
        let mut raw = server.raw().await;
        raw.write(format!("GET /answers{path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")).await;
        let rest = String::from_utf8(raw.rest().await).unwrap();
        let body = rest.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!("one".starts_with(body), "{path}: {rest}");
    }
    assert_eq!(get(&server, "/text").await.body, b"hello");
}

#[tokio::test]
async fn the_framing_is_ours_whatever_the_app_says_of_it() {
    let server = answers().await;
    for (path, body) in [("/wrong-length", "hello"), ("/own-framing", "hello")] {
        let mut raw = begin(&server, path).await;
        let answer = raw.answer().await;
        assert_eq!(String::from_utf8(answer.body).unwrap(), body, "{path}");
        for name in ["connection", "keep-alive", "upgrade", "trailer"] {
            assert_eq!(answer.head.text(name), "", "{path} {name}");
        }
        let framings = answer.head.all("content-length").len() + answer.head.all("transfer-encoding").len();
        assert_eq!(framings, 1, "{path}");
        // The connection lives on: the app has no say in that either.
        raw.write("GET /answers/text HTTP/1.1\r\nHost: test\r\n\r\n").await;
        assert_eq!(raw.answer().await.body, b"hello", "{path}");
    }
    let id = get(&server, "/own-id").await;
    assert_ne!(id.head.text("x-request-id"), "of the app");
}

#[tokio::test]
async fn large_and_many_headers_of_an_app_arrive_and_too_large_ones_are_its_error() {
    let server = answers().await;
    assert_eq!(get(&server, "/large-headers").await.head.text("x-large").len(), 100_000);
    let many = get(&server, "/many-headers").await;
    assert_eq!((many.head.text("x-0"), many.head.text("x-299")), ("0", "299"));
    assert_eq!(get(&server, "/too-large-headers").await.status(), 500);
    assert_eq!(get(&server, "/text").await.status(), 200);
}

#[tokio::test]
async fn what_is_no_response_is_no_content_and_the_log_says_why() {
    let server = answers().await;
    for path in ["/string", "/nothing"] {
        assert_eq!(get(&server, path).await.status(), 204, "{path}");
    }
    server
        .logged(|line| {
            line["message"].as_str().is_some_and(|text| text.contains("Expected a Response object"))
        })
        .await;
}

#[tokio::test]
async fn what_an_app_throws_is_a_500_and_outside_of_development_nothing_of_it_is_shown() {
    for environment in ["production", "staging", "test"] {
        let server = Apps::new()
            .with("answers")
            .lean()
            .env("NODE_ENV", environment)
            .env("HOST", "127.0.0.1")
            .start()
            .await;
        for path in ["/throw", "/reject", "/throw-string", "/used", "/missing-file"] {
            for accept in ["*/*", "text/html"] {
                let answer = server
                    .raw_answer(format!(
                        "GET /answers{path} HTTP/1.1\r\nHost: test\r\nAccept: {accept}\r\n\r\n"
                    ))
                    .await;
                let body = String::from_utf8(answer.body).unwrap();
                assert_eq!(answer.head.status, 500, "{path}: {body}");
                let named = if accept == "text/html" { "text/html" } else { "application/problem+json" };
                assert!(answer.head.text("content-type").starts_with(named), "{path}");
                assert!(body.contains("app_error"), "{body}");
                for inside in ["secret", "index.ts", "at fetch", "TypeError", "page.txt"] {
                    assert!(!body.contains(inside), "{path}: {body}");
                }
            }
        }
    }
}

#[tokio::test]
async fn in_development_the_error_page_shows_the_mapped_stack() {
    let server = Apps::new().with("answers").lean().env("NODE_ENV", "development").start().await;
    let page =
        server.raw_answer("GET /answers/throw HTTP/1.1\r\nHost: test\r\nAccept: text/html\r\n\r\n").await;
    let body = String::from_utf8(page.body).unwrap();
    let source = include_str!("../apps/answers/index.ts");
    let line =
        1 + source.lines().position(|line| line.contains("throw new Error(\"secret inside\")")).unwrap();
    assert!(page.head.text("content-type").starts_with("text/html"));
    assert!(body.contains("secret inside"), "{body}");
    // The second one in the file throws; the first one is in the generator above.
    let second = line
        + 1
        + source
            .lines()
            .skip(line)
            .position(|line| line.contains("throw new Error(\"secret inside\")"))
            .unwrap();
    assert!(body.contains(&format!("index.ts:{second}:")), "no line {second} in {body}");
    let json = get(&server, "/throw").await.json();
    assert_eq!(
        (json["error"]["name"].as_str(), json["error"]["message"].as_str()),
        (Some("Error"), Some("secret inside"))
    );
}
