//! An event loop that turns no more.

use super::harness::Apps;
use super::load::{Load, assert_all_well};
use super::probe::Gate;
use http::Request;
use http_body_util::Full;

#[tokio::test]
async fn a_blocked_event_loop_is_killed_and_the_others_go_on() {
    let server = Apps::new()
        .with("probe")
        .file("probe/manifest.yaml", "timeout: 5m\nconcurrency: 2\ninstances: { max: 2 }")
        .file("other/index.ts", "export default { fetch: () => new Response('other') };")
        .serve()
        .await;
    let blocked = server.get("/probe/").await.pid();
    // Two requests fill the first worker, so that others are served by a second one.
    let never = Gate::new();
    let mut begun = Vec::new();
    for path in [never.at("/probe/hold"), "/probe/spin".to_owned()] {
        let mut client = server.connect().await;
        begun.push(tokio::spawn(async move {
            client.send(Request::get(path).body(Full::default()).unwrap()).await.unwrap().problem()
        }));
        server.said("probe", ["begun /hold", "begun /spin"][begun.len() - 1]).await;
    }
    let load = Load::start(&server, 2, &["/probe/", "/other/"]).await;
    load.answers(1).await;

    let ended = server.transition("probe", "terminated", "unresponsive").await;
    for request in begun {
        assert_eq!(request.await.unwrap(), (502, "worker_died".to_owned()));
    }
    load.answers(20).await;
    let outcomes = load.end().await;
    assert_all_well(&outcomes);
    let of_probe = outcomes.iter().filter(|outcome| outcome.path == "/probe/");
    assert!(of_probe.map(|outcome| outcome.answer.as_ref().unwrap().pid()).all(|pid| pid != blocked));
    let terminated: Vec<_> =
        server.transitions("probe").await.into_iter().filter(|found| found.to == "terminated").collect();
    assert_eq!(terminated, [ended]);
}

#[tokio::test]
async fn an_event_loop_that_the_very_first_request_blocks_is_killed_and_was_no_failed_start() {
    let server = Apps::new()
        .file("stuck/index.ts", "export default { fetch() { for (;;); } };")
        .file("stuck/manifest.yaml", "timeout: 5m")
        .serve()
        .await;
    assert_eq!(server.get("/stuck/").await.problem(), (502, "worker_died".to_owned()));
    server.transition("stuck", "terminated", "unresponsive").await;
    assert_eq!(server.count("stuck", "ready").await, 1);
}
