//! What an operator does loses no request: clients ask without a pause while versions come, move, are restarted and go.

use super::harness::{Answer, Apps, Client, PATIENCE, Server};
use super::operator::{Operator, tgz};
use super::probe::Gate;
use super::traffic::{Traffic, part, worker};
use http::{Method, Request};
use http_body_util::Full;
use serde_json::json;
use tokio::task::JoinHandle;

/// Requests that wait for the one worker that there may be, or each for its own, wait however slow the machine is.
const PATIENT: &str = "queue: { size: 1000, timeout: 60s }";

/// A supervisor whose `shop@1.0.0`, with this manifest, was deployed and is asked.
async fn busy(env: &[(&str, &str)], manifest: &str) -> (Server, Operator, Traffic) {
    let launch = env.iter().fold(Apps::new().operated(), |launch, (name, value)| launch.env(name, *value));
    let server = launch.start().await;
    let operator = server.operator();
    operator.deploy("shop", "1.0.0", package("1.0.0", manifest), "").await;
    let traffic = Traffic::start(&server, "shop", "1.0.0").await;
    (server, operator, traffic)
}

/// A worker that answers with `version`.
fn package(version: &str, manifest: &str) -> Vec<u8> {
    tgz(&[("index.ts", &worker(version)), ("part.ts", &part(version)), ("manifest.yaml", manifest)])
}

/// Asks, whatever else is done meanwhile.
fn ask(mut client: Client, path: String) -> JoinHandle<Answer> {
    let get = Request::get(path).body(Full::default()).unwrap();
    tokio::spawn(async move { client.send(get).await.unwrap() })
}

fn broken() -> Vec<u8> {
    tgz(&[("index.ts", "throw new Error('not today');")])
}

#[tokio::test]
async fn deploys_replacements_and_rollbacks_fail_no_request() {
    let (_server, operator, traffic) = busy(&[], "").await;
    let shop = |version: &str| package(version, "");
    let deploy = operator.deploy("shop", "2.0.0", shop("2.0.0"), "");
    traffic.moves("a deploy", &["1.0.0", "2.0.0"], deploy).await;
    let rollback = operator.post(200, "/apps/shop/rollback");
    traffic.moves("a rollback", &["2.0.0", "1.0.0"], rollback).await;
    let replace = operator.deploy("shop", "1.0.0", shop("again"), "&replace=true");
    let done = traffic.moves("a replacement", &["1.0.0", "again"], replace).await;
    assert_eq!((&done["replaced"], &done["drained"]), (&json!(true), &json!(true)));
    // Of what nobody is served: nothing moves until the alias does, which this deploy moves too.
    let replace = operator.deploy("shop", "2.0.0", shop("other"), "&replace=true");
    traffic.moves("a replacement of another version", &["again", "other"], replace).await;
    let mut before = "other".to_owned();
    for n in 1..=10 {
        let version = format!("3.0.{n}");
        let deploy = operator.deploy("shop", &version, shop(&version), "");
        traffic.moves("one of ten deploys", &[&before, &version], deploy).await;
        before = version;
    }
    let workers = operator.workers("shop").await;
    assert_eq!(workers.len(), 1, "{workers:?}");
    assert!(traffic.end().await > 300);
}

#[tokio::test]
async fn a_deploy_that_fails_changes_nothing_that_is_served() {
    let (server, operator, traffic) = busy(&[], "").await;
    for (version, rest) in [("2.0.0", ""), ("1.0.0", "&replace=true")] {
        let deploy = operator.fail("shop", version, broken(), rest);
        let failed = traffic.moves("a deploy that fails", &["1.0.0"], deploy).await;
        assert_eq!(failed["code"], "start_failed", "{failed}");
        traffic.each(20).await;
    }
    // What is off would leave nothing in the place of what is replaced.
    let off = operator.fail("shop", "1.0.0", package("1.0.0", "enabled: false"), "&replace=true");
    let failed = traffic.moves("one that is off", &["1.0.0"], off).await;
    assert_eq!(failed["code"], "package_disabled", "{failed}");
    server.caught_up().await;
    assert_eq!(operator.get("/apps/shop/versions").await["versions"].as_array().unwrap().len(), 1);
    traffic.end().await;
}

#[tokio::test]
async fn weights_that_shift_fail_no_request() {
    let (_server, operator, traffic) = busy(&[], "").await;
    let deploy = operator.deploy("shop", "2.0.0", package("2.0.0", ""), "&alias=beta");
    traffic.moves("a deploy beside", &["1.0.0"], deploy).await;
    for weight in [0, 5, 25, 50, 75] {
        let to = json!({ "weights": { "1.0.0": 100 - weight, "2.0.0": weight } });
        traffic.mixes("weights", &["1.0.0", "2.0.0"], operator.alias("shop", "latest", to)).await;
    }
    // What was drawn before still counts while it moves.
    let whole = operator.alias("shop", "latest", json!({ "weights": { "2.0.0": 100 } }));
    traffic.mixes("all of it", &["1.0.0", "2.0.0"], whole).await;
    traffic.moves("all of it", &["2.0.0"], async {}).await;
    traffic.end().await;
}

#[tokio::test]
async fn restarts_fail_no_request() {
    let ephemeral = &*format!("ttl: 0\n{PATIENT}");
    for manifest in ["", "maxRequests: 40", "instances: { min: 1, max: 2 }\nconcurrency: 2", ephemeral] {
        let (server, operator, traffic) = busy(&[], manifest).await;
        for path in ["/apps/shop/restart", "/apps/shop/versions/1.0.0/restart"] {
            let done = traffic.moves("a restart", &["1.0.0"], operator.post(202, path)).await;
            if manifest.is_empty() {
                assert_eq!(done["workers"], 1);
                server.transition("shop", "terminated", "restart").await;
            }
        }
        let workers = operator.workers("shop").await;
        for worker in workers {
            let path = format!("/workers/{}", worker["id"].as_str().unwrap());
            // Where workers go by themselves it may have gone.
            let restart = operator.ask(Method::POST, &format!("{path}/restart"), "");
            let done = traffic.moves("a worker's restart", &["1.0.0"], restart).await;
            assert!([202, 404].contains(&done.status()), "{done:?}");
            let end = operator.ask(Method::DELETE, &path, "");
            let done = traffic.moves("a worker's end", &["1.0.0"], end).await;
            assert!([202, 404].contains(&done.status()), "{done:?}");
        }
        traffic.end().await;
    }
}

#[tokio::test]
async fn every_kind_of_app_is_deployed_without_losing_a_request() {
    let ephemeral = &*format!("ttl: 0\n{PATIENT}");
    for manifest in
        [ephemeral, "instances: { min: 1 }", "maxRequests: 20", "concurrency: 1\ninstances: { max: 2 }"]
    {
        let (_server, operator, traffic) = busy(&[], manifest).await;
        let mut before = "1.0.0".to_owned();
        for n in 2..=3 {
            let version = format!("{n}.0.0");
            let deploy = operator.deploy("shop", &version, package(&version, manifest), "");
            traffic.moves(&format!("a deploy, {manifest}"), &[&before, &version], deploy).await;
            let new = format!("{n}.0.0 again");
            let replace = operator.deploy("shop", &version, package(&new, manifest), "&replace=true");
            traffic.moves(&format!("a replacement, {manifest}"), &[&version, &new], replace).await;
            before = new;
        }
        let failing = operator.fail("shop", "3.0.0", broken(), "&replace=true");
        traffic.moves(&format!("one that fails, {manifest}"), &[&before], failing).await;
        traffic.end().await;
    }
}

#[tokio::test]
async fn in_a_pool_that_is_full_deploys_end_and_fail_no_request() {
    for (size, manifest) in
        [("1", ""), ("2", ""), ("1", "instances: { min: 1 }"), ("1", "ttl: 0"), ("2", "ttl: 0")]
    {
        let manifest = &*format!("{manifest}\n{PATIENT}");
        let (_server, operator, traffic) = busy(&[("RUNTIME_POOL_SIZE", size)], manifest).await;
        let mut before = "1.0.0".to_owned();
        for n in 2..=4 {
            let version = format!("{n}.0.0");
            let deploy = operator.deploy("shop", &version, package(&version, manifest), "");
            traffic.moves(&format!("a deploy into {size}, {manifest}"), &[&before, &version], deploy).await;
            let new = format!("{n}.0.0 again");
            let replace = operator.deploy("shop", &version, package(&new, manifest), "&replace=true");
            traffic.moves(&format!("a replacement in {size}, {manifest}"), &[&version, &new], replace).await;
            before = new;
        }
        traffic.end().await;
    }
}

#[tokio::test]
async fn a_deploy_that_gets_no_room_says_so_and_changes_nothing() {
    let probe = std::fs::read_to_string("tests/apps/probe/index.ts").unwrap();
    let server = Apps::new().operated().env("RUNTIME_POOL_SIZE", "1").start().await;
    let operator = server.operator();
    operator.deploy("shop", "1.0.0", tgz(&[("index.ts", &probe)]), "").await;
    let gate = Gate::new();
    let held = ask(server.connect().await, gate.at("/shop/hold"));
    server.said("shop", "begun /hold").await;
    let manifest = "startTimeout: 200ms\nqueue: { timeout: 100ms }";
    for (version, rest) in [("2.0.0", ""), ("1.0.0", "&replace=true")] {
        let path = super::operator::upload("shop", version, rest);
        let refused = operator.must(503, Method::POST, &path, package("2.0.0", manifest)).await;
        assert_eq!(refused["code"], "pool_full", "{refused}");
        assert_eq!(server.get("/shop/").await.status(), 200);
    }
    gate.open();
    assert_eq!(held.await.unwrap().status(), 200);
    operator.deploy("shop", "2.0.0", package("2.0.0", ""), "").await;
    assert!(server.get("/shop/").await.text().starts_with("2.0.0:"));
}

#[tokio::test]
async fn a_name_without_an_alias_moves_without_losing_a_request() {
    let ephemeral = &*format!("ttl: 0\n{PATIENT}");
    for manifest in ["", ephemeral, "instances: { min: 1 }"] {
        let server = Apps::new().operated().start().await;
        let operator = server.operator();
        operator.deploy("shop", "1.0.0", package("1.0.0", manifest), "&alias=").await;
        let traffic = Traffic::start(&server, "shop", "1.0.0").await;
        let deploy = operator.deploy("shop", "2.0.0", package("2.0.0", manifest), "&alias=");
        traffic.moves("a higher version comes", &["1.0.0", "2.0.0"], deploy).await;
        for _ in 0..3 {
            let disable = operator.post(200, "/apps/shop/versions/2.0.0/disable");
            traffic.moves("it is disabled", &["2.0.0", "1.0.0"], disable).await;
            // It is as if it had just come, and proves itself without anybody waiting for it.
            let enable = operator.post(200, "/apps/shop/versions/2.0.0/enable");
            traffic.mixes("it is enabled", &["1.0.0", "2.0.0"], enable).await;
            let alias = operator.alias("shop", "latest", json!({ "version": "2.0.0" }));
            traffic.mixes("it is named", &["1.0.0", "2.0.0"], alias).await;
            let unset = operator.delete(204, "/apps/shop/aliases/latest");
            traffic.moves("it is highest", &["2.0.0"], unset).await;
        }
        let delete = operator.delete(200, "/apps/shop/versions/2.0.0");
        traffic.moves("it is deleted", &["2.0.0", "1.0.0"], delete).await;
        traffic.end().await;
    }
}

#[tokio::test]
async fn a_version_that_is_deleted_or_disabled_finishes_what_it_has_and_others_notice_nothing() {
    let (server, operator, traffic) = busy(&[], "").await;
    for (version, delete) in [("0.1.0", true), ("0.2.0", false)] {
        let probe = std::fs::read_to_string("tests/apps/probe/index.ts").unwrap();
        operator.deploy("shop", version, tgz(&[("index.ts", &probe)]), "&alias=").await;
        let gate = Gate::new();
        let mut held = Vec::new();
        for path in ["hold", "stream"] {
            let path = gate.at(&format!("/shop@{version}/{path}"));
            held.push(ask(server.connect().await, path));
            server
                .logged(|line| {
                    line["version"] == version
                        && line["message"].as_str().is_some_and(|text| text.starts_with("begun"))
                })
                .await;
        }
        traffic
            .moves("a version goes", &["1.0.0"], async {
                match delete {
                    true => operator.delete(200, &format!("/apps/shop/versions/{version}")).await,
                    false => operator.post(200, &format!("/apps/shop/versions/{version}/disable")).await,
                }
            })
            .await;
        let gone = server.get(&format!("/shop@{version}/")).await;
        assert_eq!(gone.problem(), (404, "unknown_version".to_owned()));
        gate.open();
        for held in held {
            let answer = held.await.unwrap();
            assert!(answer.status() == 200 && !answer.body.is_empty(), "{answer:?}");
        }
    }
    traffic.end().await;
}

#[tokio::test]
async fn no_worker_has_half_of_a_version_and_half_of_another() {
    let (_server, operator, traffic) = busy(&[], "ttl: 0").await;
    let mut before = "1.0.0".to_owned();
    for n in 0..20 {
        let new = format!("again {n}");
        let replace = operator.deploy("shop", "1.0.0", package(&new, "ttl: 0"), "&replace=true");
        traffic.moves("a replacement", &[&before, &new], replace).await;
        before = new;
    }
    traffic.end().await;
}

#[tokio::test]
async fn a_request_that_waits_for_a_worker_is_answered_by_the_site_that_replaces_it() {
    let server = Apps::new().with("probe").operated().env("RUNTIME_POOL_SIZE", "1").start().await;
    let operator = server.operator();
    operator.deploy("shop", "1.0.0", package("1.0.0", ""), "").await;
    let gate = Gate::new();
    let held = ask(server.connect().await, gate.at("/probe/hold"));
    server.said("probe", "begun /hold").await;
    let waits = ask(server.connect().await, "/shop/".into());
    let is_waiting = async { while operator.get("/runtime").await["waiting"] != 1 {} };
    tokio::time::timeout(PATIENCE, is_waiting).await.unwrap();
    operator.deploy("shop", "1.0.0", tgz(&[("index.html", "a page")]), "&replace=true").await;
    let answer = waits.await.unwrap();
    assert_eq!((answer.status(), answer.text()), (200, "a page"));
    gate.open();
    assert_eq!(held.await.unwrap().status(), 200);
}

#[tokio::test]
async fn workers_and_static_sites_replace_each_other_without_losing_a_request() {
    let server = Apps::new().operated().start().await;
    let operator = server.operator();
    let site = |text: &str| tgz(&[("index.html", &format!("{text}:page"))]);
    operator.deploy("shop", "1.0.0", package("worker", ""), "").await;
    let traffic = Traffic::start_reading(&server, "shop", "worker").await;
    let mut before = "worker".to_owned();
    for n in 0..4 {
        let new = format!("static {n}");
        let replace = operator.deploy("shop", "1.0.0", site(&new), "&replace=true");
        traffic.moves("a site replaces a worker", &[&before, &new], replace).await;
        let newer = format!("site {n}");
        let replace = operator.deploy("shop", "1.0.0", site(&newer), "&replace=true");
        traffic.moves("a site replaces a site", &[&new, &newer], replace).await;
        let failing = operator.fail("shop", "1.0.0", broken(), "&replace=true");
        traffic.moves("a worker that fails", &[&newer], failing).await;
        before = format!("worker {n}");
        let replace = operator.deploy("shop", "1.0.0", package(&before, ""), "&replace=true");
        traffic.moves("a worker replaces a site", &[&newer, &before], replace).await;
    }
    traffic.end().await;
}
