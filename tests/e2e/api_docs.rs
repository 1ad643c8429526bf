//! The pages of the management API, in a real browser.

use super::browser::Browser;
use super::harness::{Apps, Server, tool};
use serde_json::Value;
use std::net::TcpListener;

const CHROMIUM: &str = "chromium is missing; Debian: apt-get install chromium";

/// What people read first of every operation.
async fn summaries(server: &Server, base: &str) -> Vec<String> {
    let document = server.get(&format!("{base}/openapi.json")).await.json();
    let operations =
        document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    let summaries: Vec<_> =
        operations.filter_map(|operation| operation["summary"].as_str()).map(str::to_owned).collect();
    assert!(summaries.len() > 5, "{document}");
    summaries
}

/// The page shows every operation, without a complaint, and nobody but the server was asked for anything.
async fn shows_all_operations(server: &Server, base: &str, page: &str) {
    let Some(chromium) = tool("chromium", CHROMIUM) else { return };
    let mut browser = Browser::start(&chromium).await;
    let origin = format!("http://{}", server.address);
    browser.open(&format!("{origin}{base}{page}")).await;
    browser.shows(&summaries(server, base).await).await;
    assert_eq!(browser.evaluate("location.pathname").await, format!("{base}/docs"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
    let sent = browser.close().await;
    let by_pages: Vec<_> = sent.iter().filter(|sent| sent.initiator.is_some()).collect();
    assert!(by_pages.iter().any(|sent| sent.url == format!("{origin}{base}/openapi.json")), "{sent:#?}");
    for sent in by_pages {
        assert!(sent.url.starts_with(&format!("{origin}{base}/")), "{sent:?}");
    }
}

#[tokio::test]
async fn the_pages_show_every_operation_and_ask_nobody_else() {
    let server = Apps::new().lean().start().await;
    shows_all_operations(&server, "/api", "/docs").await;
}

#[tokio::test]
async fn the_pages_move_with_the_prefix_and_stand_a_slash() {
    let server = Apps::new().lean().env("RUNTIME_API_PREFIX", "/_ops").start().await;
    assert_eq!(server.get("/api/docs").await.status(), 404);
    shows_all_operations(&server, "/_ops/api", "/docs/").await;
}

#[tokio::test]
async fn the_policy_of_the_pages_stops_what_would_ask_somebody_else() {
    let Some(chromium) = tool("chromium", CHROMIUM) else { return };
    let elsewhere = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let server = Apps::new().lean().start().await;
    let mut browser = Browser::start(&chromium).await;
    browser.open(&format!("http://{}/api/docs", server.address)).await;
    browser.shows(&summaries(&server, "/api").await).await;
    let ask =
        format!("fetch('http://{}/').then(() => 'asked', () => 'refused')", elsewhere.local_addr().unwrap());
    assert_eq!(browser.evaluate(&ask).await, "refused");
    let refused = |event: &Value| {
        event["params"]["entry"]["source"] == "security" && event.to_string().contains("connect-src")
    };
    while !browser.events.iter().any(refused) {
        browser.told("Log.entryAdded").await;
    }
    assert!(elsewhere.accept().is_err(), "somebody was asked");
}

#[tokio::test]
async fn the_pages_need_no_key_and_say_what_may_be_done_with_them() {
    let server = Apps::new().lean().start().await;
    let page = server.get("/api/docs").await;
    assert_eq!((page.status(), page.header("x-content-type-options")), (200, "nosniff"));
    let length = page.header("content-length").to_owned();
    assert_eq!(length, page.body.len().to_string());
    for (path, status) in [("/api/docs", 405), ("/api/docs/scalar.js", 405), ("/api/docs/other", 401)] {
        let answer = server.post(path, "").await;
        assert_eq!(answer.status(), status, "{path}");
    }
    let script = server.get("/api/docs/scalar.js").await;
    assert_eq!(script.header("content-length"), script.body.len().to_string());
    assert_eq!(script.header("content-encoding"), "");
    assert!(script.body.len() > 2_000_000);
}
