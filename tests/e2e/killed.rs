//! A worker that is killed or ends by itself takes down only what it had begun.

use super::harness::{Apps, eventually};
use super::load::{Load, tally};
use super::probe::{Gate, kill};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use nix::sys::signal::Signal;
use serde_json::Value;

/// Longer than any test waits: a 502 that came only at this limit would never be seen.
const PATIENT: &str = "timeout: 5m";

#[tokio::test]
async fn a_worker_killed_under_load_hurts_only_requests_begun_on_it_and_they_get_502_at_once() {
    const CONNECTIONS: usize = 8;
    let server = Apps::new().with("probe").file("probe/manifest.yaml", PATIENT).serve().await;
    let never = Gate::new();
    let first = server.get("/probe/").await;
    let path = never.at("/probe/hold");
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    let held = tokio::spawn(async move {
        let get = || Request::get(&path).body(Full::default()).unwrap();
        let (one, two) = tokio::join!(one.send(get()), two.send(get()));
        [one.unwrap().problem(), two.unwrap().problem()]
    });
    server.said("probe", "begun /hold").await;
    let load = Load::start(&server, CONNECTIONS, &["/probe/"]).await;
    load.answers(200).await;
    while server.times_said("probe", "begun /hold") < 2 {
        load.answers(1).await;
    }

    kill(first.pid(), Signal::SIGKILL);

    let died = (502, "worker_died".to_owned());
    assert_eq!(held.await.unwrap(), [died.clone(), died]);
    load.answers(200).await;
    let outcomes = load.end().await;
    let mut tally = tally(&outcomes);
    let hurt = tally.remove("502 worker_died").unwrap_or(0);
    assert!(hurt <= CONNECTIONS, "{hurt} requests were hurt, but only {CONNECTIONS} can have begun");
    assert_eq!(tally.into_keys().collect::<Vec<_>>(), ["200"]);
    let last = outcomes.last().unwrap().answer.as_ref().unwrap();
    assert_ne!(last.pid(), first.pid());
    server.transition("probe", "terminated", "crash").await;
}

#[tokio::test]
async fn requests_that_no_app_had_seen_when_their_worker_died_are_answered_by_another_one() {
    let server = Apps::new()
        .with("probe")
        .file("other/index.ts", "export default { fetch: () => new Response('other') };")
        .serve()
        .await;
    let first = server.get("/probe/").await.pid();
    assert_eq!(server.get("/other/").await.status(), 200);
    let mut client = server.connect().await;
    let spin = tokio::spawn(async move {
        client.send(Request::get("/probe/spin").body(Full::default()).unwrap()).await.unwrap().problem()
    });
    server.said("probe", "begun /spin").await;
    // Its event loop turns no more: what is sent to it now waits in its socket, unseen.
    let mut waiting = Vec::new();
    for body in [Bytes::new(), Bytes::from(vec![7; 1000]), Bytes::from(vec![7; 700_000])] {
        let mut client = server.connect().await;
        let length = body.len();
        waiting.push(tokio::spawn(async move {
            let request = Request::post("/probe/upload").body(Full::new(body)).unwrap();
            (client.send(request).await.unwrap(), length)
        }));
    }
    // The supervisor has dealt with many later requests by then, so surely with those.
    for _ in 0..50 {
        assert_eq!(server.get("/other/").await.status(), 200);
    }

    kill(first, Signal::SIGKILL);

    assert_eq!(spin.await.unwrap(), (502, "worker_died".to_owned()));
    for answer in waiting {
        let (answer, length) = answer.await.unwrap();
        assert_eq!(answer.status(), 200, "{answer:?}");
        assert_eq!(answer.text().split_once(' ').unwrap().1, length.to_string());
        assert_ne!(answer.pid(), first);
    }
}

#[tokio::test]
async fn a_request_that_ends_its_process_gets_502_and_ends_no_second_one() {
    let server = Apps::new().with("probe").serve().await;
    assert_eq!(server.get("/probe/").await.status(), 200);
    assert_eq!(server.get("/probe/exit").await.problem(), (502, "worker_died".to_owned()));
    assert_eq!(server.get("/probe/").await.status(), 200);
    let changes = server.transitions("probe").await;
    let ready = changes.iter().filter(|found| found.to == "ready").count();
    let crashes = changes.iter().filter(|found| found.reason == "crash").count();
    assert_eq!((ready, crashes), (2, 1), "{changes:#?}");
}

#[tokio::test]
async fn a_request_that_throws_costs_no_worker() {
    let server = Apps::new().with("probe").serve().await;
    let first = server.get("/probe/").await.pid();
    for _ in 0..3 {
        assert_eq!(server.get("/probe/throw").await.problem(), (500, "app_error".to_owned()));
    }
    assert_eq!(server.get("/probe/").await.pid(), first);
}

#[tokio::test]
async fn the_body_of_a_worker_that_dies_breaks_off_and_never_looks_whole() {
    let server = Apps::new().with("probe").serve().await;
    let never = Gate::new();
    let first = server.get("/probe/").await.pid();
    let mut client = server.connect().await;
    let stream = Request::get(never.at("/probe/stream")).body(Full::default()).unwrap();
    let stream = client.begin(stream).await.unwrap();
    kill(first, Signal::SIGKILL);
    assert!(stream.into_body().collect().await.is_err());
}

#[tokio::test]
async fn spares_that_die_are_replaced() {
    let server = Apps::new()
        .with("probe")
        .file("probe/manifest.yaml", "ttl: 0")
        .launch()
        .env("RUNTIME_SPARE_WORKERS", "2")
        .start()
        .await;
    let ended = || {
        let is_end =
            |line: &Value| line["app"].is_null() && line["message"] == "worker" && line["to"] == "terminated";
        server.log(is_end).len()
    };
    for round in 1..=3 {
        eventually("two spares are there", || server.children().len() == 2).await;
        for process in server.children() {
            kill(process.pid, Signal::SIGKILL);
        }
        eventually("both were found dead", || ended() == 2 * round).await;
        assert_eq!(server.get("/probe/").await.status(), 200);
        eventually("its worker is gone", || server.known_count("probe", "terminated") == round).await;
    }
}

#[tokio::test]
async fn a_worker_that_the_very_first_request_ends_was_no_failed_start() {
    let ends = ["process.exit(3)", "process.kill(process.pid, 'SIGKILL')"];
    for (end, ttl) in ends.into_iter().flat_map(|end| [(end, "10m"), (end, "0")]) {
        let app = format!("export default {{ fetch() {{ {end}; }} }};");
        let server = Apps::new()
            .file("ill/index.ts", app)
            .file("ill/manifest.yaml", format!("ttl: {ttl}"))
            .serve()
            .await;
        assert_eq!(server.get("/ill/").await.problem(), (502, "worker_died".to_owned()));
        server.transition("ill", "terminated", "crash").await;
        assert_eq!((server.count("ill", "ready").await, server.count("ill", "terminated").await), (1, 1));
    }
}
