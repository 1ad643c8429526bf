//! Requests that take too long, and clients that do not stay.

use super::harness::Apps;
use super::load::{Load, assert_all_well};
use super::probe::Gate;
use http::Request;
use http_body_util::{BodyExt, Full};

#[tokio::test]
async fn one_slow_request_gets_504_and_its_signal_aborts_while_its_neighbours_finish() {
    let server = Apps::new().with("probe").file("probe/manifest.yaml", "timeout: 1s").serve().await;
    let (never, later) = (Gate::new(), Gate::new());
    let worker = server.get("/probe/").await.pid();
    let mut neighbour = server.connect().await;
    let stream = Request::get(later.at("/probe/stream")).body(Full::default()).unwrap();
    let stream = neighbour.begin(stream).await.unwrap();
    let load = Load::start(&server, 2, &["/probe/"]).await;

    let slow = server.get(&never.at("/probe/hold")).await;

    assert_eq!(slow.problem(), (504, "app_timeout".to_owned()));
    server.said("probe", "aborted /hold").await;
    load.answers(10).await;
    let outcomes = load.end().await;
    assert_all_well(&outcomes);
    assert!(outcomes.iter().all(|outcome| outcome.answer.as_ref().unwrap().pid() == worker));
    later.open();
    assert_eq!(stream.into_body().collect().await.unwrap().to_bytes(), "first,last");
    assert_eq!(server.times_said("probe", "aborted /stream"), 0);
    assert_eq!(server.get("/probe/").await.pid(), worker);
}

#[tokio::test]
async fn a_client_that_leaves_aborts_the_signal_of_its_request() {
    let server = Apps::new().with("probe").serve().await;
    let gate = Gate::new();
    let mut staying = server.connect().await;
    let stays = Request::get(gate.at("/probe/hold?stays=1")).body(Full::default()).unwrap();
    let stays = tokio::spawn(async move { staying.send(stays).await.unwrap().status() });
    server.said("probe", "begun /hold?stays").await;
    let mut leaving = server.connect().await;
    let leaves = Request::get(gate.at("/probe/hold?leaves=1")).body(Full::default()).unwrap();
    let leaves = tokio::spawn(async move { leaving.send(leaves).await });
    server.said("probe", "begun /hold?leaves").await;

    leaves.abort();

    server.said("probe", "aborted /hold?leaves").await;
    gate.open();
    assert_eq!(stays.await.unwrap(), 200);
    assert_eq!(server.times_said("probe", "aborted /hold?stays"), 0);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_body_aborts_the_signal_and_cancels_the_stream() {
    let server = Apps::new().with("probe").serve().await;
    let never = Gate::new();
    for (path, line) in [
        (never.at("/probe/stream"), "aborted /stream"),
        ("/probe/download?mib=1000".to_owned(), "cancelled /download"),
    ] {
        let mut client = server.connect().await;
        let answer = client.begin(Request::get(&path).body(Full::default()).unwrap()).await.unwrap();
        let mut body = answer.into_body();
        assert!(body.frame().await.unwrap().is_ok());
        drop((client, body));
        server.said("probe", line).await;
    }
}
