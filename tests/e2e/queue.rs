//! Requests that find every worker busy.

use super::harness::Apps;
use super::probe::Gate;
use http::Request;
use http_body_util::Full;

#[tokio::test]
async fn a_full_queue_is_503_with_retry_after_and_those_in_it_are_served() {
    let server = Apps::new()
        .with("probe")
        .file("probe/manifest.yaml", "concurrency: 1\nqueue: { size: 1, timeout: 5m }")
        .serve()
        .await;
    let gate = Gate::new();
    let (done, mut answers) = tokio::sync::mpsc::unbounded_channel();
    // One is served, one waits, one is too many.
    for n in 0..3 {
        let mut client = server.connect().await;
        let path = gate.at(&format!("/probe/hold?n={n}"));
        let done = done.clone();
        tokio::spawn(async move {
            let answer = client.send(Request::get(path).body(Full::default()).unwrap()).await.unwrap();
            done.send(answer).unwrap();
        });
        if n == 0 {
            server.said("probe", "begun /hold").await;
        }
    }
    let refused = answers.recv().await.unwrap();
    assert_eq!(refused.problem(), (503, "queue_full".to_owned()));
    assert_eq!(refused.header("retry-after"), "1");
    gate.open();
    for _ in 0..2 {
        assert_eq!(answers.recv().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_request_that_waits_too_long_is_503_with_retry_after() {
    let server = Apps::new()
        .with("probe")
        .file("probe/manifest.yaml", "concurrency: 1\nqueue: { timeout: 200ms }")
        .serve()
        .await;
    let gate = Gate::new();
    let mut client = server.connect().await;
    let held = Request::get(gate.at("/probe/hold")).body(Full::default()).unwrap();
    let held = tokio::spawn(async move { client.send(held).await.unwrap().status() });
    server.said("probe", "begun /hold").await;
    let refused = server.get("/probe/").await;
    assert_eq!(refused.problem(), (503, "queue_timeout".to_owned()));
    assert_eq!(refused.header("retry-after"), "1");
    gate.open();
    assert_eq!(held.await.unwrap(), 200);
    assert_eq!(server.get("/probe/").await.status(), 200);
}

#[tokio::test]
async fn a_full_pool_whose_workers_are_all_busy_evicts_none_of_them() {
    let server = Apps::new()
        .with("probe")
        .file("other/index.ts", "export default { fetch: () => new Response('other') };")
        .file("other/manifest.yaml", "queue: { timeout: 200ms }")
        .launch()
        .env("RUNTIME_POOL_SIZE", "1")
        .start()
        .await;
    let gate = Gate::new();
    let mut client = server.connect().await;
    let stream = Request::get(gate.at("/probe/stream")).body(Full::default()).unwrap();
    let stream = client.begin(stream).await.unwrap();
    assert_eq!(server.get("/other/").await.problem(), (503, "queue_timeout".to_owned()));
    gate.open();
    let body = http_body_util::BodyExt::collect(stream.into_body()).await.unwrap().to_bytes();
    assert_eq!(body, "first,last");
    assert_eq!(server.get("/other/").await.text(), "other");
    server.transition("probe", "terminated", "evicted").await;
}
