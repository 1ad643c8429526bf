//! The states of workers, and how many there are.

use super::harness::{Apps, Server, eventually};
use super::load::{Load, assert_all_well};
use super::probe::Gate;
use http::Request;
use http_body_util::{BodyExt, Full};
use std::collections::BTreeSet;

/// The changes of the app's workers from their being ready on: what comes before differs between spare and fresh.
async fn life(server: &Server) -> Vec<(String, String)> {
    let changes = server.transitions("probe").await.into_iter().filter(|found| found.to != "creating");
    changes.map(|found| (found.to, found.reason)).collect()
}

#[tokio::test]
async fn a_worker_without_requests_becomes_idle_and_is_terminated_after_its_ttl() {
    let server = Apps::new()
        .with("probe")
        .file("probe/manifest.yaml", "ttl: 600ms\ntimeout: 600ms\nidleTimeout: 100ms")
        .serve()
        .await;
    let first = server.get("/probe/").await.pid();
    server.transition("probe", "terminated", "idle-ttl").await;
    let expected = [("ready", "loaded"), ("active", "request"), ("idle", "idle"), ("terminated", "idle-ttl")];
    assert_eq!(life(&server).await, expected.map(|(to, reason)| (to.to_owned(), reason.to_owned())));
    assert_eq!((server.times_said("probe", "onIdle"), server.times_said("probe", "onTerminate")), (1, 1));
    assert_ne!(server.get("/probe/").await.pid(), first);
}

#[tokio::test]
async fn a_worker_that_is_kept_runs_its_idle_hook_once_for_each_rest() {
    let server = Apps::new()
        .with("probe")
        .file("probe/manifest.yaml", "idleTimeout: 100ms\ninstances: { min: 1 }")
        .serve()
        .await;
    // Started without a request, and idle without one.
    let kept = server.transition("probe", "idle", "idle").await.worker;
    server.said("probe", "onIdle").await;
    assert_eq!(server.get("/probe/").await.json()["worker"], kept);
    let rests = || server.known_count("probe", "idle") == 2 && server.times_said("probe", "onIdle") == 2;
    eventually("a second rest with its hook", rests).await;
    let expected = [("ready", "loaded"), ("idle", "idle"), ("active", "request"), ("idle", "idle")];
    assert_eq!(life(&server).await, expected.map(|(to, reason)| (to.to_owned(), reason.to_owned())));
}

#[tokio::test]
async fn an_ephemeral_app_has_a_fresh_process_for_every_request() {
    let server = Apps::new()
        .with("probe")
        .file("probe/manifest.yaml", "ttl: 0")
        .launch()
        .env("RUNTIME_POOL_SIZE", "3")
        .env("RUNTIME_SPARE_WORKERS", "2")
        .start()
        .await;
    let load = Load::start(&server, 4, &["/probe/"]).await;
    load.answers(16).await;
    let outcomes = load.end().await;
    assert_all_well(&outcomes);
    let workers: BTreeSet<String> = outcomes
        .iter()
        .map(|outcome| outcome.answer.as_ref().unwrap().json()["worker"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(workers.len(), outcomes.len());
    let ended = || server.known_count("probe", "terminated") == outcomes.len();
    eventually("all of them are terminated", ended).await;
    let changes = server.transitions("probe").await;
    assert!(changes.iter().filter(|found| found.to == "terminated").all(|found| found.reason == "ephemeral"));
}

#[tokio::test]
async fn a_second_instance_is_started_when_the_first_is_full_and_goes_when_it_is_not_needed() {
    let server = Apps::new()
        .with("probe")
        .file(
            "probe/manifest.yaml",
            "concurrency: 1\ninstances: { min: 1, max: 2 }\nttl: 1500ms\ntimeout: 1500ms\nidleTimeout: 100ms",
        )
        .serve()
        .await;
    let (stream_gate, hold_gate) = (Gate::new(), Gate::new());
    let first = server.get("/probe/").await.pid();
    // What streams no longer counts, what has no head yet does.
    let mut streaming = server.connect().await;
    let stream = Request::get(stream_gate.at("/probe/stream")).body(Full::default()).unwrap();
    let stream = streaming.begin(stream).await.unwrap();
    assert_eq!(server.get("/probe/").await.pid(), first);
    let mut holding = server.connect().await;
    let held = Request::get(hold_gate.at("/probe/hold")).body(Full::default()).unwrap();
    let held = tokio::spawn(async move { holding.send(held).await.unwrap() });
    server.said("probe", "begun /hold").await;
    let second = server.get("/probe/").await.pid();
    assert_ne!(second, first);

    hold_gate.open();
    stream_gate.open();

    assert_eq!(held.await.unwrap().pid(), first);
    assert_eq!(stream.into_body().collect().await.unwrap().to_bytes(), "first,last");
    server.transition("probe", "terminated", "scale-down").await;
    assert!([first, second].contains(&server.get("/probe/").await.pid()));
    assert_eq!((server.count("probe", "ready").await, server.count("probe", "terminated").await), (2, 1));
}

#[tokio::test]
async fn a_worker_that_holds_too_much_memory_is_replaced_and_no_request_fails() {
    let server = Apps::new().with("probe").file("probe/manifest.yaml", "maxMemory: 200mb").serve().await;
    let first = server.get("/probe/").await.pid();
    let load = Load::start(&server, 2, &["/probe/"]).await;
    assert_eq!(server.get("/probe/grow?mib=250").await.pid(), first);
    server.transition("probe", "terminated", "memory").await;
    load.answers(20).await;
    let outcomes = load.end().await;
    assert_all_well(&outcomes);
    assert_ne!(outcomes.last().unwrap().answer.as_ref().unwrap().pid(), first);
    assert_eq!(server.times_said("probe", "onTerminate"), 1);
}
