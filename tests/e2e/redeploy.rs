//! Versions that come, change and go while others serve.

use super::harness::{Answer, Apps, PATIENCE, Server, eventually};
use super::probe::Gate;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use std::path::Path;

fn says(word: &str) -> String {
    format!("export default {{ fetch: () => new Response('{word}') }};")
}

/// Puts an app where there may be one already, by rename: complete from the first moment.
fn put(server: &Server, name: &str, index: &str) {
    let dirs = server.apps().path();
    let (staged, live, old) = (dirs.join(".staged"), dirs.join(name), dirs.join(".old"));
    std::fs::create_dir(&staged).unwrap();
    std::fs::write(staged.join("index.ts"), index).unwrap();
    if live.exists() {
        std::fs::rename(&live, &old).unwrap();
    }
    std::fs::rename(&staged, &live).unwrap();
    let _ = std::fs::remove_dir_all(&old);
}

/// Asks until the answer is the one that is waited for.
async fn until(server: &Server, path: &str, is: impl Fn(&Answer) -> bool) {
    let asking = async { while !is(&server.get(path).await) {} };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} never changed"));
}

async fn begin(server: &Server, path: &str) -> Incoming {
    let mut client = server.connect().await;
    client.begin(Request::get(path).body(Full::default()).unwrap()).await.unwrap().into_body()
}

#[tokio::test]
async fn a_change_that_does_not_start_leaves_the_old_one_serving_until_one_does() {
    let server = Apps::new().file("shop/index.ts", says("old")).serve().await;
    assert_eq!(server.get("/shop/").await.text(), "old");
    put(&server, "shop", "throw new Error('not ready for this');");
    server
        .logged(|line| line["failure"].as_str().is_some_and(|failure| failure.contains("not ready for this")))
        .await;
    server.caught_up().await;
    for _ in 0..20 {
        assert_eq!(server.get("/shop/").await.text(), "old");
    }
    put(&server, "shop", &says("new"));
    until(&server, "/shop/", |answer| {
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer.text() == "new"
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_was_begun_goes_on_while_new_requests_reach_the_new_version() {
    let server = Apps::new().with("probe").serve().await;
    let gate = Gate::new();
    let old = server.get("/probe/").await.pid();
    let stream = begin(&server, &gate.at("/probe/stream")).await;
    put(&server, "probe", &says("new"));
    until(&server, "/probe/", |answer| answer.text() == "new").await;
    // Still there, and only for this.
    gate.open();
    assert_eq!(stream.collect().await.unwrap().to_bytes(), "first,last");
    server.transition("probe", "terminated", "deploy").await;
    server.said("probe", "onTerminate").await;
    assert!(!Path::new(&format!("/proc/{old}")).exists());
}

#[tokio::test]
async fn a_stream_that_outlasts_the_drain_timeout_is_ended() {
    let server = Apps::new().with("probe").file("probe/manifest.yaml", "drainTimeout: 200ms").serve().await;
    let never = Gate::new();
    let stream = begin(&server, &never.at("/probe/stream")).await;
    put(&server, "probe", &says("new"));
    assert!(stream.collect().await.is_err(), "it looks whole but is not");
    server.transition("probe", "terminated", "deploy").await;
    assert_eq!(server.get("/probe/").await.text(), "new");
}

#[tokio::test]
async fn versions_are_served_as_they_appear_and_no_longer_when_they_are_gone() {
    let server = Apps::new().with("probe").file("shop@1.0.0/index.ts", says("one")).serve().await;
    assert_eq!(server.get("/shop/").await.text(), "one");
    put(&server, "shop@1.1.0", &says("one point one"));
    until(&server, "/shop/", |answer| answer.text() == "one point one").await;
    assert_eq!(server.get("/shop@1.0.0/").await.text(), "one");
    std::fs::rename(server.apps().path().join("shop@1.1.0"), server.apps().path().join(".gone")).unwrap();
    until(&server, "/shop/", |answer| answer.text() == "one").await;
    assert_eq!(server.get("/shop@1.1.0/").await.problem(), (404, "unknown_version".to_owned()));

    let gate = Gate::new();
    let stream = begin(&server, &gate.at("/probe/stream")).await;
    std::fs::remove_dir_all(server.apps().path().join("probe")).unwrap();
    until(&server, "/probe/", |answer| answer.status() == 404).await;
    gate.open();
    assert_eq!(stream.collect().await.unwrap().to_bytes(), "first,last");
    server.transition("probe", "terminated", "removed").await;
}

#[tokio::test]
async fn a_request_for_a_version_that_never_loads_is_answered_by_the_one_that_replaces_it() {
    let loading = Gate::new();
    let hangs = format!(
        "require('node:fs').writeFileSync('{}', ''); await new Promise(() => setInterval(() => {{}}, 1000));",
        loading.path().join("open").display()
    );
    let server = Apps::new().file("shop/index.ts", hangs).serve().await;
    let mut client = server.connect().await;
    let asking = client.send(Request::get("/shop/").body(Full::default()).unwrap());
    let replacing = async {
        eventually("it loads", || loading.path().join("open").exists()).await;
        put(&server, "shop", &says("new"));
    };
    let (answer, ()) = tokio::join!(asking, replacing);
    assert_eq!(answer.unwrap().text(), "new");
}
