//! No descriptor is left: what is open is served, what would take one is refused for the moment and in words, and all is well
//! again when there are some.

use super::api::{Event, source};
use super::harness::{Answer, Apps, Client, PATIENCE, Server, eventually};
use super::probe::Gate;
use super::raw::Raw;
use http::Request;
use http_body_util::Full;
use nix::sys::signal::Signal;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Instant;

/// The limit that a supervisor had before.
struct Before(Rlimit);

/// Leaves the supervisor so many descriptors beyond those that it has open.
fn leave(server: &Server, more: usize) -> Before {
    let names = std::fs::read_dir(format!("/proc/{}/fd", server.pid)).unwrap();
    let open: BTreeSet<u64> =
        names.filter_map(|name| name.unwrap().file_name().to_str()?.parse().ok()).collect();
    let limit = (0..).filter(|number| !open.contains(number)).nth(more).unwrap();
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    set(server, Rlimit { current: Some(limit), maximum: hard });
    Before(Rlimit { current: hard, maximum: hard })
}

impl Before {
    fn restore(self, server: &Server) {
        set(server, self.0);
    }
}

fn set(server: &Server, limit: Rlimit) {
    prlimit(Pid::from_raw(server.pid as i32), Resource::Nofile, limit).unwrap();
}

async fn ask(client: &mut Client, path: &str) -> Answer {
    client.send(Request::get(path).body(Full::default()).unwrap()).await.unwrap()
}

fn assert_no_resources(answer: &Answer) {
    assert_eq!(answer.problem(), (503, "no_resources".to_owned()), "{answer:?}");
    assert_eq!(answer.header("retry-after"), "1");
}

async fn until_200(server: &Server, path: &str) -> Answer {
    let asking = async {
        loop {
            let answer = server.get(path).await;
            if answer.status() == 200 {
                return answer;
            }
            assert_no_resources(&answer);
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} never came back"))
}

#[tokio::test]
async fn without_descriptors_what_is_open_is_served_and_what_is_cold_is_refused_and_comes_back() {
    let server = Apps::new()
        .with("probe")
        .file("cold/index.ts", source("cold"))
        .file("other/index.ts", source("other"))
        .file("site/index.html", "a page")
        .lean()
        .managed()
        .env("NODE_ENV", "development")
        .start()
        .await;
    let mut client = server.connect().await;
    let mut events = server.api().events("").await;
    assert_eq!(ask(&mut client, "/probe/").await.status(), 200);
    let before = leave(&server, 0);
    assert_eq!(ask(&mut client, "/probe/").await.status(), 200);
    // Two of them do not make it back off.
    for _ in 0..3 {
        let refused = ask(&mut client, "/cold/").await;
        assert_no_resources(&refused);
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("Too many open files"), "{detail}");
    }
    assert_no_resources(&ask(&mut client, "/site/").await);
    let health = ask(&mut client, "/api/health").await;
    assert_eq!(
        (health.status(), &health.json()["status"], &health.json()["checks"]["workers"]),
        (200, &json!("degraded"), &json!("nothing is left to start a worker with"))
    );
    let line =
        server.logged(|line| line["message"] == "the machine has nothing left to start workers with").await;
    assert!(line["hint"].as_str().unwrap().contains("LimitNOFILE"), "{line}");
    // A change of what is in the database takes none.
    let set = Request::put("/api/apps/probe/aliases/beta").header("x-api-key", super::api::ROOT);
    let set =
        set.header("content-type", "application/json").body(Full::new(r#"{"version":"latest"}"#.into()));
    let set = client.send(set.unwrap()).await.unwrap();
    assert_eq!(set.status(), 200, "{set:?}");
    events.find(|event: &Event| event.kind == "alias").await;
    before.restore(&server);
    assert_eq!(until_200(&server, "/cold/").await.text(), "cold");
    assert_eq!(server.get("/site/").await.text(), "a page");
    assert_eq!(server.get("/other/").await.text(), "other");
    assert_eq!(server.get("/api/health").await.json()["status"], "ok");
    let blamed =
        server.log(|line| line["message"] == "an app failed to start" || line["reason"] == "start-failed");
    assert!(blamed.is_empty(), "{blamed:?}");
}

#[tokio::test]
async fn without_descriptors_connections_wait_without_a_flood_in_the_log_and_are_served_later() {
    let gate = Gate::new();
    let server = Apps::new().with("probe").lean().start().await;
    assert_eq!(server.get("/probe/").await.status(), 200);
    let mut busy = server.raw().await;
    let hold = gate.at("/probe/hold");
    busy.write(format!("GET {hold} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
    server.said("probe", "begun /hold").await;
    let before = leave(&server, 0);
    let began = Instant::now();
    let mut waiting: Vec<Raw> = Vec::new();
    for _ in 0..20 {
        let mut raw = server.raw().await;
        raw.write("GET /probe/ HTTP/1.1\r\nHost: test\r\n\r\n").await;
        waiting.push(raw);
    }
    let refused = |line: &serde_json::Value| {
        line["message"].as_str().is_some_and(|text| text.starts_with("no connection can be accepted"))
    };
    // The second line says how many were not written since the first.
    let mut lines = Vec::new();
    eventually("it is said twice", || {
        lines = server.log(refused);
        lines.len() >= 2
    })
    .await;
    let seconds = began.elapsed().as_secs_f64();
    assert!(lines.len() as f64 <= seconds + 1.0, "{} lines in {seconds} s", lines.len());
    let tries: f64 = lines.iter().map(|line| line["unsaid"].as_f64().unwrap() + 1.0).sum();
    assert!(tries <= seconds * 25.0 + 2.0, "{tries} tries to accept in {seconds} s");
    assert!(lines[0]["hint"].as_str().unwrap().contains("LimitNOFILE"), "{}", lines[0]);
    gate.open();
    assert_eq!(busy.answer().await.status(), 200, "what was open is answered");
    before.restore(&server);
    for raw in &mut waiting {
        assert_eq!(raw.answer().await.status(), 200);
    }
}

#[tokio::test]
async fn without_descriptors_an_idle_connection_gives_its_own_to_one_that_waits() {
    let server = Apps::new().with("probe").lean().start().await;
    let mut idle = server.raw().await;
    idle.write("GET /probe/ HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(idle.answer().await.status(), 200);
    let _before = leave(&server, 0);
    let mut waiting = server.raw().await;
    waiting.write("GET /probe/ HTTP/1.1\r\nHost: test\r\n\r\n").await;
    assert_eq!(waiting.answer().await.status(), 200);
    idle.closed().await;
}

#[tokio::test]
async fn without_descriptors_the_operator_waits_at_the_admin_socket_too_and_gets_in_later() {
    let gate = Gate::new();
    let server = Apps::new().with("probe").lean().start().await;
    let mut busy = server.raw().await;
    let hold = gate.at("/probe/hold");
    busy.write(format!("GET {hold} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
    server.said("probe", "begun /hold").await;
    let before = leave(&server, 0);
    let mut admin = server.admin().await;
    let me = async { ask(&mut admin, "/api/me").await.status() };
    let restored = async {
        server.logged(|line| line["socket"] == "Unix").await;
        before.restore(&server);
    };
    let (status, ()) = tokio::join!(me, restored);
    assert_eq!(status, 200);
    gate.open();
    assert_eq!(busy.answer().await.status(), 200);
}

#[tokio::test]
async fn a_worker_that_dies_without_descriptors_to_replace_it_is_replaced_when_there_are_some() {
    let server = Apps::new()
        .with("probe")
        .file("probe/manifest.yaml", "instances: { min: 1, max: 1 }")
        .lean()
        .start()
        .await;
    let mut client = server.connect().await;
    let pid = ask(&mut client, "/probe/").await.pid();
    // Of its own descriptors some may be gone already, but not enough for another one.
    let before = leave(&server, 0);
    let mut taken = Vec::new();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
    server.transition("probe", "terminated", "crash").await;
    // Connections take what it has given back.
    let refused = loop {
        let mut raw = server.raw().await;
        raw.write("GET /api/health/live HTTP/1.1\r\nHost: test\r\n").await;
        taken.push(raw);
        let answer = ask(&mut client, "/probe/").await;
        if answer.status() != 200 {
            break answer;
        }
        // It was faster.
        let pid = answer.pid();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), Signal::SIGKILL).unwrap();
        eventually("it has ended", || super::probe::Process::of(pid).is_none()).await;
    };
    assert!(matches!(refused.status(), 502 | 503), "{refused:?}");
    before.restore(&server);
    drop(taken);
    let asking = async { while server.get("/probe/").await.status() != 200 {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("it never came back");
}

#[tokio::test]
async fn a_version_that_cannot_be_read_for_want_of_descriptors_is_read_later() {
    let server = Apps::new().file("here/index.html", "here").lean().start().await;
    let mut client = server.connect().await;
    let before = leave(&server, 0);
    let dir = server.apps().path();
    std::fs::create_dir(dir.join("new")).unwrap();
    std::fs::write(dir.join("new/index.html"), "new").unwrap();
    std::fs::write(dir.join("new/manifest.yaml"), "injectBase: false").unwrap();
    // Once it is quiet it is looked at, and what was known before is not taken for gone.
    let looked = server.logged(|line| {
        line["target"] == "buntime::apps" && line["message"].as_str().unwrap().contains("Too many open files")
    });
    let asked = async {
        loop {
            let answer = ask(&mut client, "/here/").await;
            if answer.status() != 503 {
                assert_eq!(answer.status(), 200, "{answer:?}");
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::select! { _ = looked => {}, () = asked => {} }
    before.restore(&server);
    let known = async { while server.get("/new/").await.status() == 404 {} };
    tokio::time::timeout(PATIENCE, known).await.expect("it is never found");
    assert_eq!(server.get("/new/").await.text(), "new");
    assert_eq!(server.get("/here/").await.text(), "here");
}
