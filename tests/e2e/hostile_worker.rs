//! A worker that does not keep to the wire's protocol hurts itself and nobody else.

use super::harness::{Apps, Server};
use super::probe::peak_memory;

const HOSTILE: &str = include_str!("../apps/hostile/index.ts");

/// The name of each attack is also the name of an app, so that the crashes of one do not hold back another.
const ATTACKS: [&str; 28] = [
    "early",
    "garbage",
    "text",
    "unknown-type",
    "supervisors-type",
    "endless",
    "oversized",
    "never-used",
    "on-the-link",
    "control-on-a-stream",
    "two-heads",
    "body-first",
    "empty-body",
    "after-the-end",
    "error-after-head",
    "short-head",
    "map-for-a-head",
    "long-array",
    "string-for-a-status",
    "short-credit",
    "too-much-credit",
    "bad-cancel",
    "bad-hook-done",
    "bad-hello",
    "unasked-hook-done",
    "hello-again",
    "ready-again",
    "failed-late",
];

/// Those that send a good head first.
const BEGUN: [&str; 4] = ["two-heads", "empty-body", "after-the-end", "error-after-head"];

async fn serve(names: &[&str]) -> Server {
    let neighbour = "export default { fetch: () => new Response(`${process.pid}`) };";
    let apps = names.iter().fold(Apps::new().file("neighbour/index.ts", neighbour), |apps, name| {
        apps.file(&format!("{name}/index.ts"), HOSTILE)
    });
    apps.lean().env("RUNTIME_POOL_SIZE", "50").start().await
}

#[tokio::test]
async fn a_worker_that_breaks_the_protocol_ends_with_a_reason_and_the_others_go_on() {
    let server = serve(&ATTACKS).await;
    let neighbour = server.get("/neighbour/").await.text().to_owned();
    for attack in ATTACKS {
        let mut raw = server.raw().await;
        raw.write(format!("GET /{attack}/{attack} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
            .await;
        let answer = String::from_utf8(raw.rest().await).unwrap();
        if BEGUN.contains(&attack) {
            // What had begun breaks off.
            assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 200 "), "{attack}: {answer}");
            assert!(!answer.ends_with("0\r\n\r\n"), "{attack}: {answer}");
        } else {
            assert!(
                answer.starts_with("HTTP/1.1 502 ") && answer.contains("worker_died"),
                "{attack}: {answer}"
            );
        }
        assert_eq!(server.get("/neighbour/").await.text(), neighbour, "{attack}");
        // A new worker takes its place.
        assert_eq!(server.get(&format!("/{attack}/fine")).await.text(), "fine", "{attack}");
    }
    let broken = |line: &serde_json::Value| line["message"] == "a worker broke the protocol";
    assert_eq!(server.log(broken).len(), ATTACKS.len());
    assert!(
        server.log(broken).iter().all(|line| line["error"].as_str().is_some_and(|error| !error.is_empty()))
    );
}

#[tokio::test]
async fn a_worker_that_sends_more_than_it_has_credit_for_ends_and_memory_stays_bounded() {
    let server = serve(&["flood"]).await;
    let before = peak_memory(server.pid);
    let mut raw = server.raw().await;
    raw.write("GET /flood/beyond-credit HTTP/1.1\r\nHost: test\r\n\r\n").await;
    // Nobody reads the answer, so nobody gives credit.
    let why = server.logged(|line| line["message"] == "a worker broke the protocol").await;
    assert!(why["error"].as_str().unwrap().contains("credit"), "{why}");
    let grown = peak_memory(server.pid).saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
    let head = raw.head().await;
    assert!(raw.body(&head).await.is_err());
    assert_eq!(server.get("/neighbour/").await.status(), 200);
    assert_eq!(server.get("/flood/fine").await.text(), "fine");
}

#[tokio::test]
async fn a_worker_that_dies_in_the_middle_of_a_frame_fails_its_requests_at_once() {
    let server = serve(&["half"]).await;
    let answer = server.get("/half/half-a-frame").await;
    assert_eq!((answer.status(), answer.json()["code"].as_str()), (502, Some("worker_died")));
    assert_eq!(server.get("/half/fine").await.text(), "fine");
}

#[tokio::test]
async fn a_head_that_is_no_http_fails_its_request_and_nothing_else() {
    let server = serve(&["bad"]).await;
    for path in ["/bad/no-http", "/bad/header-injection"] {
        let answer = server.get(path).await;
        assert_eq!(
            (answer.status(), answer.json()["code"].as_str()),
            (502, Some("worker_protocol")),
            "{path}"
        );
    }
    assert_eq!(server.get("/bad/nothing").await.text(), "fine");
    assert!(server.log(|line| line["message"] == "a worker broke the protocol").is_empty());
    assert_eq!(server.get("/neighbour/").await.status(), 200);
}
