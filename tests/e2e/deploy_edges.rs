//! Deployments at the edges: without an alias, beside versions that went by hand, and of packages that are tried first.

use super::api::{packed, says, source};
use super::harness::{Apps, eventually};
use buntime::package::Kind;
use serde_json::{Value, json};

/// Fails to start after a while.
const SLOW_TO_FAIL: &str = "console.log('tried'); await Bun.sleep(300); throw new Error('not today');";

fn versions(app: &Value) -> Vec<&str> {
    app["versions"].as_array().into_iter().flatten().filter_map(|known| known["version"].as_str()).collect()
}

#[tokio::test]
async fn a_version_whose_directory_was_missing_gets_its_share_of_a_split_only_when_it_starts() {
    let server = Apps::new().manage().await;
    let api = server.api();
    for version in ["1.0.0", "1.1.0"] {
        let deployed = api.deploy(&format!("name=shop&version={version}"), says("works")).await;
        assert_eq!(deployed.status(), 201, "{deployed:?}");
    }
    let split = json!({ "weights": { "1.0.0": 50, "1.1.0": 50 } });
    assert_eq!(api.put("/apps/shop/aliases/latest", split).await.status(), 200);
    std::fs::remove_dir_all(server.apps().path().join("shop@1.1.0")).unwrap();
    api.until("/apps/shop", |app| versions(app) == ["1.0.0"]).await;
    let broken = packed(Kind::TarGz, &[("index.ts", SLOW_TO_FAIL)]);
    let mut deploying = std::pin::pin!(api.deploy("name=shop&version=1.1.0&alias=", broken));
    let refused = loop {
        tokio::select! {
            refused = &mut deploying => break refused,
            answer = server.get("/shop/") => assert_eq!(answer.text(), "works", "{answer:?}"),
        }
    };
    assert_eq!(refused.problem(), (422, "start_failed".to_owned()));
}

#[tokio::test]
async fn workers_of_what_a_name_meant_end_when_a_deployment_moves_it_without_an_alias() {
    let server = Apps::new().file("shop@1.0.0/index.ts", source("one")).manage().await;
    let api = server.api();
    assert_eq!(server.get("/shop/").await.text(), "one");
    let deployed = api.deploy("name=shop&version=2.0.0&alias=", says("two")).await;
    assert_eq!((deployed.status(), &deployed.json()["drained"]), (201, &json!(true)));
    assert_eq!(server.get("/shop/").await.text(), "two");
    server.transition("shop", "terminated", "retired").await;
    let workers = api.get("/workers").await.json();
    assert!(workers["workers"].as_array().unwrap().iter().all(|one| one["version"] == "2.0.0"), "{workers}");
}

#[tokio::test]
async fn a_trial_starts_one_worker_whatever_the_manifest_asks_for() {
    let server = Apps::new().file("shop@1.0.0/index.html", "one").manage().await;
    let manifest = "instances: { min: 3, max: 3 }";
    let broken = packed(Kind::TarGz, &[("index.ts", SLOW_TO_FAIL), ("manifest.yaml", manifest)]);
    let refused = server.api().deploy("name=shop&version=2.0.0", broken).await;
    assert_eq!(refused.problem(), (422, "start_failed".to_owned()));
    server.api().until("/workers", |said| said["workers"] == json!([])).await;
    eventually("it was tried", || server.times_said("shop", "tried") > 0).await;
    server.caught_up().await;
    assert_eq!(server.times_said("shop", "tried"), 1);
}
