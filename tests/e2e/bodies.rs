//! Request bodies: whole, streamed, too large, asked for first.

use super::harness::{Apps, Server};
use serde_json::json;

async fn limited() -> Server {
    Apps::new().with("mirror").file("mirror/manifest.yaml", "maxBodySize: 1000\n").lean().start().await
}

fn post(path: &str, framing: &str) -> String {
    format!("POST /mirror{path} HTTP/1.1\r\nHost: test\r\n{framing}\r\n")
}

#[tokio::test]
async fn an_announced_body_over_the_limit_is_refused_before_the_app_hears_of_it() {
    let server = limited().await;
    for length in ["1001", "10000000000", "18446744073709551613"] {
        let mut raw = server.raw().await;
        raw.write(post("/large", &format!("Content-Length: {length}\r\n"))).await;
        let answer = raw.answer().await;
        assert_eq!(
            (answer.status(), answer.json()["code"].as_str()),
            (413, Some("body_too_large")),
            "{length}"
        );
        // Also for one that asks first: it is told at once.
        let mut raw = server.raw().await;
        raw.write(post("/large", &format!("Content-Length: {length}\r\nExpect: 100-continue\r\n"))).await;
        assert_eq!(raw.answer().await.status(), 413, "{length}");
    }
    assert_eq!(server.get("/mirror/seen").await.json(), json!([]));
    let exact = server.post("/mirror/", vec![b'x'; 1000]).await;
    assert_eq!(exact.json()["body"].as_str().map(str::len), Some(1000));
}

#[tokio::test]
async fn a_chunked_body_that_grows_over_the_limit_is_refused_and_fails_in_the_app() {
    let server = limited().await;
    let chunk = |size: usize| format!("{size:x}\r\n{}\r\n", "x".repeat(size));
    // At once: it is over before the app was asked.
    let mut raw = server.raw().await;
    raw.write(post("/read", "Transfer-Encoding: chunked\r\n") + &chunk(600) + &chunk(600)).await;
    assert_eq!(raw.answer().await.status(), 413);
    // While the app reads.
    let mut raw = server.raw().await;
    raw.write(post("/read", "Transfer-Encoding: chunked\r\n") + &chunk(999)).await;
    server.logged(|line| line["message"] == "read 999").await;
    raw.write(chunk(2)).await;
    assert_eq!(raw.answer().await.status(), 413);
    assert_eq!(server.get("/mirror/failure").await.text(), "AbortError");
    // Up to the limit all is well.
    let exact = server.raw_answer(
        post("/read", "Transfer-Encoding: chunked\r\n") + &chunk(500) + &chunk(500) + "0\r\n\r\n",
    );
    assert_eq!(exact.await.json(), json!({ "size": 1000 }));
}

#[tokio::test]
async fn the_operators_ceiling_holds_for_every_app() {
    let server = Apps::new().with("mirror").lean().env("RUNTIME_MAX_BODY_SIZE", "100").start().await;
    assert_eq!(server.post("/mirror/", vec![b'x'; 100]).await.status(), 200);
    assert_eq!(server.post("/mirror/", vec![b'x'; 101]).await.status(), 413);
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_continue() {
    let server = limited().await;
    let mut raw = server.raw().await;
    raw.write(post("/asked", "Content-Length: 5\r\nExpect: 100-continue\r\n")).await;
    assert_eq!(raw.head().await.status, 100);
    raw.write("hello").await;
    assert_eq!(raw.answer().await.json()["body"], "hello");
    // The connection is in order afterwards.
    raw.write(post("/next", "Content-Length: 2\r\n") + "hi").await;
    assert_eq!(raw.answer().await.json()["body"], "hi");
}

#[tokio::test]
async fn bodies_reach_the_app_as_they_come_and_trailers_do_not() {
    let server = limited().await;
    let mut raw = server.raw().await;
    raw.write(post("/read", "Transfer-Encoding: chunked\r\nTrailer: x-secret\r\n")).await;
    for (piece, total) in [("1\r\na\r\n", 1), ("2;ext=1\r\nbc\r\n", 3), ("003\r\ndef\r\n", 6)] {
        raw.write(piece).await;
        server.logged(|line| line["message"] == format!("read {total}")).await;
    }
    raw.write("0\r\nX-Secret: y\r\nContent-Length: 3\r\n\r\n").await;
    assert_eq!(raw.answer().await.json(), json!({ "size": 6 }));
    let answer = server.raw_answer(
        post("/trailed", "Transfer-Encoding: chunked\r\n") + "1\r\na\r\n0\r\nX-Secret: y\r\n\r\n",
    );
    let said = answer.await.json();
    assert_eq!(said["body"], "a");
    assert!(!said.to_string().contains("secret"), "{said}");
}
