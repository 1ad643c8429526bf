//! What is made of apps that are there: aliases, rollbacks, disabling, deleting, downloading.

use super::api::{packed, page, says, snapshot, source};
use super::harness::{Apps, PATIENCE, Server, eventually};
use super::probe::Gate;
use buntime::package::{self, Kind};
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

/// Three static versions of `shop`.
fn shop() -> Apps {
    ["1.0.0", "2.0.0", "3.0.0"]
        .iter()
        .fold(Apps::new(), |apps, version| apps.file(&format!("shop@{version}/index.html"), version))
}

/// Asks until the answer has this status.
async fn until(server: &Server, path: &str, status: u16) {
    let asking = async { while server.get(path).await.status() != status {} };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} was never {status}"));
}

#[tokio::test]
async fn a_download_is_what_was_uploaded() {
    let server = Apps::new().manage().await;
    let api = server.api();
    let index = source("shop");
    let files =
        [("index.ts", &*index), ("lib/a.ts", "export {}"), (".env", "A=1"), ("node_modules/x/index.js", "1")];
    let package = packed(Kind::TarGz, &files);
    assert_eq!(api.deploy("name=@team/shop&version=1.0.0", package.clone()).await.status(), 201);
    assert_eq!(server.get("/@team/shop/").await.text(), "shop");
    let path = "/apps/@team/shop/versions/1.0.0/package";
    let answer = api.get(path).await;
    assert_eq!((answer.status(), answer.header("content-type")), (200, "application/gzip"));
    assert_eq!(answer.header("content-disposition"), "attachment; filename=\"team-shop-1.0.0.tgz\"");
    assert!(answer.body == package, "byte for byte");
    let zst = api.get(&format!("{path}?format=tar.zst")).await;
    assert_eq!(zst.header("content-type"), "application/zstd");
    assert!(zst.body == packed(Kind::TarZst, &files));
    // What was copied there by hand can be had as well, and deployed again.
    let dir = server.apps().path().join("@team/shop@1.0.0");
    let mut again = Vec::new();
    package::pack(&dir, Kind::TarGz, &mut again).unwrap();
    assert!(again == package);
    assert_eq!(api.deploy("name=copy&version=1.0.0", answer.body).await.status(), 201);
    assert_eq!(server.get("/copy/").await.text(), "shop");
}

/// Over the admin socket, whose buffers are small.
#[tokio::test]
async fn clients_that_do_not_take_their_downloads_hold_only_so_many_threads() {
    let mut state = 1u64;
    let incompressible = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    });
    let apps = Apps::new().file("shop@1.0.0/index.html", "shop");
    let server = apps.file("shop@1.0.0/large", Vec::from_iter(incompressible.take(4 << 20))).manage().await;
    let path = "/api/apps/shop/versions/1.0.0/package";
    let request = || Request::get(path).body(Full::default()).unwrap();
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut client = server.admin().await;
        let response = client.begin(request()).await.unwrap();
        assert_eq!(response.status(), 200);
        held.push((client, response));
    }
    let refused = server.admin().await.send(request()).await.unwrap();
    assert_eq!(refused.problem(), (503, "downloads_busy".to_owned()));
    assert_eq!(refused.header("retry-after"), "1");
    let (_client, taken) = held.pop().unwrap();
    let whole = taken.into_body().collect().await.unwrap().to_bytes();
    assert!(whole.len() > 4 << 20, "who takes it gets all of it");
    let asking = async { while server.admin().await.send(request()).await.unwrap().status() != 200 {} };
    tokio::time::timeout(PATIENCE, asking).await.expect("a place that was given back was not given on");
}

#[tokio::test]
async fn a_disabled_version_is_passed_over_until_it_is_enabled_also_after_a_restart() {
    let server = shop().manage().await;
    let api = server.api();
    assert_eq!(server.get("/shop/").await.text(), "3.0.0");
    for _ in 0..2 {
        let said = api.order("/apps/shop/versions/3.0.0/disable").await.json();
        assert_eq!((said["state"].as_str(), said["version"].as_str()), (Some("disabled"), Some("3.0.0")));
    }
    assert_eq!(server.get("/shop/").await.text(), "2.0.0");
    assert_eq!(server.get("/shop@3.0.0/").await.status(), 404);
    let refused = api.alias("shop", "latest", "3.0.0").await;
    assert_eq!(refused.problem(), (409, "version_disabled".to_owned()));
    let server = server.stop().await.managed().env("RUNTIME_SPARE_WORKERS", "0").start().await;
    let api = server.api();
    assert_eq!(server.get("/shop/").await.text(), "2.0.0");
    assert_eq!(api.order("/apps/shop/versions/3.0.0/enable").await.json()["state"], "enabled");
    assert_eq!(server.get("/shop/").await.text(), "3.0.0");
}

#[tokio::test]
async fn a_rollback_goes_back_and_forth_also_after_a_restart() {
    let server = shop().manage().await;
    let api = server.api();
    let none = api.order("/apps/shop/rollback").await;
    assert_eq!(none.problem(), (409, "nothing_to_go_back_to".to_owned()));
    for version in ["1.0.0", "2.0.0"] {
        assert_eq!(api.alias("shop", "latest", version).await.status(), 200);
    }
    assert_eq!(server.get("/shop/").await.text(), "2.0.0");
    let back = api.order("/apps/shop/rollback").await.json();
    assert_eq!((&back["weights"], &back["previous"]), (&json!({ "1.0.0": 100 }), &json!({ "2.0.0": 100 })));
    assert_eq!(server.get("/shop/").await.text(), "1.0.0");
    assert_eq!(api.order("/apps/shop/rollback").await.json()["weights"], json!({ "2.0.0": 100 }));
    assert_eq!(server.get("/shop/").await.text(), "2.0.0");
    let server = server.stop().await.managed().env("RUNTIME_SPARE_WORKERS", "0").start().await;
    assert_eq!(server.get("/shop/").await.text(), "2.0.0");
    let api = server.api();
    assert_eq!(api.post("/apps/shop/rollback", json!({ "alias": "latest" })).await.status(), 200);
    assert_eq!(server.get("/shop/").await.text(), "1.0.0");
    // What it would go back to is gone.
    api.delete("/apps/shop/versions/2.0.0").await;
    assert_eq!(api.order("/apps/shop/rollback").await.problem(), (404, "version_unknown".to_owned()));
    assert_eq!(server.get("/shop/").await.text(), "1.0.0");
}

#[tokio::test]
async fn weights_divide_and_what_cannot_serve_gets_no_share() {
    let apps = shop().file("shop@4.0.0/index.ts", "throw new Error('never')");
    let server =
        apps.file("shop@5.0.0/manifest.yaml", "tll: 1").file("shop@5.0.0/index.html", "").manage().await;
    let api = server.api();
    let latest = "/apps/shop/aliases/latest";
    let set = |weights: Value| api.put(latest, json!({ "weights": weights }));
    let said = set(json!({ "1.0.0": 0, "2.0.0": 40, "3.0.0": 60 })).await.json();
    assert_eq!(said["weights"], json!({ "2.0.0": 40, "3.0.0": 60 }));
    assert!(["2.0.0", "3.0.0"].contains(&server.get("/shop/").await.text()));
    assert!(!server.get("/shop/").await.header("set-cookie").is_empty());
    let shown = api.get("/apps/shop").await.json();
    assert_eq!((&shown["current"], &shown["aliases"][0]["sticky"]), (&json!(null), &json!("cookie")));
    for (version, status, code) in
        [("9.0.0", 404, "version_unknown"), ("4.0.0", 422, "start_failed"), ("5.0.0", 422, "version_broken")]
    {
        let refused = set(json!({ "3.0.0": 50, version: 50 })).await;
        assert_eq!(refused.problem(), (status, code.to_owned()), "{refused:?}");
        assert_eq!(api.alias("shop", "beta", version).await.problem(), (status, code.to_owned()));
    }
    assert_eq!(api.get("/apps/shop/aliases").await.json()["aliases"], json!([said]));
    let failed = api.alias("shop", "beta", "4.0.0").await.json();
    assert!(failed["start"]["summary"].as_str().unwrap().contains("never"), "{failed}");
    assert_eq!(api.delete(latest).await.status(), 204);
    assert_eq!(server.get("/shop/").await.text(), "3.0.0", "the highest that works");
}

#[tokio::test]
async fn what_an_alias_stands_for_is_not_deleted_and_the_rest_goes() {
    let server = shop().manage().await;
    let (api, dirs) = (server.api(), server.apps().path());
    api.put("/apps/shop/aliases/beta", json!({ "weights": { "1.0.0": 50, "2.0.0": 50 } })).await;
    for version in ["1.0.0", "2.0.0", "v2.0.0+build"] {
        let refused = api.delete(&format!("/apps/shop/versions/{version}")).await;
        assert_eq!(refused.problem(), (409, "version_aliased".to_owned()));
        assert!(refused.json()["detail"].as_str().unwrap().contains("`beta`"), "{refused:?}");
    }
    let deleted = api.delete("/apps/shop/versions/3.0.0").await.json();
    assert_eq!(deleted, json!({ "versions": ["3.0.0"] }));
    assert_eq!(server.get("/shop@3.0.0/").await.status(), 404);
    assert!(!dirs.join("shop@3.0.0").exists());
    assert_eq!(api.delete("/apps/shop/versions/3.0.0").await.problem(), (404, "version_unknown".to_owned()));
    let all = api.delete("/apps/shop").await.json();
    assert_eq!(all, json!({ "versions": ["2.0.0", "1.0.0"] }));
    assert_eq!(server.get("/shop/").await.problem(), (404, "unknown_app".to_owned()));
    assert_eq!(api.get("/apps/shop").await.problem(), (404, "app_unknown".to_owned()));
    // One that comes by that name has none of the old aliases.
    assert_eq!(api.deploy("name=shop&version=1.0.0&alias=", page("new")).await.status(), 201);
    assert_eq!(api.get("/apps/shop/aliases").await.json(), json!({ "aliases": [] }));
    assert_eq!(server.get("/shop/").await.text(), "new");
}

#[tokio::test]
async fn no_older_version_is_served_while_an_app_is_deleted() {
    let versions = ["1.0.0", "2.0.0", "3.0.0", "4.0.0", "5.0.0", "6.0.0", "7.0.0", "8.0.0", "9.0.0"];
    for latest in ["1.0.0", "9.0.0"] {
        let file = |apps: Apps, version: &&str| apps.file(&format!("shop@{version}/index.html"), version);
        let server = versions.iter().fold(Apps::new(), file).manage().await;
        let api = server.api();
        if latest == "1.0.0" {
            assert_eq!(api.alias("shop", "latest", latest).await.status(), 200);
        }
        let mut deleting = std::pin::pin!(api.delete("/apps/shop"));
        let deleted = loop {
            tokio::select! {
                deleted = &mut deleting => break deleted,
                answer = server.get("/shop/") => {
                    assert!(answer.status() == 404 || answer.text() == latest, "{answer:?}");
                }
            }
        };
        assert_eq!(deleted.json()["versions"].as_array().unwrap().len(), versions.len());
        assert_eq!(server.get("/shop/").await.status(), 404);
    }
}

#[tokio::test]
async fn what_has_the_name_of_a_version_and_is_not_it_is_never_deleted_or_replaced() {
    let apps = shop().file("shop/1.0.0/notes.txt", "mine");
    let server = apps.manage().await;
    let api = server.api();
    api.alias("shop", "beta", "2.0.0").await;
    let before = snapshot(server.apps().path());
    for refused in [
        api.delete("/apps/shop/versions/1.0.0").await,
        api.delete("/apps/shop").await,
        api.deploy("name=shop&version=1.0.0&replace=true", page("new")).await,
    ] {
        assert_eq!(refused.problem(), (409, "package_place".to_owned()), "{refused:?}");
        assert!(refused.json()["hint"].is_string(), "{refused:?}");
        eventually("nothing has changed", || snapshot(server.apps().path()) == before).await;
        // Nothing of the app is half deleted.
        assert_eq!(server.get("/shop/").await.text(), "3.0.0");
        assert_eq!(server.get("/shop@beta/").await.text(), "2.0.0");
    }
    std::fs::remove_dir_all(server.apps().path().join("shop")).unwrap();
    assert_eq!(api.delete("/apps/shop/versions/1.0.0").await.status(), 200);
    assert!(!server.apps().path().join("shop@1.0.0").exists());
}

#[tokio::test]
async fn a_disabled_version_whose_directory_has_gone_can_be_enabled_and_deployed() {
    let server = shop().manage().await;
    let api = server.api();
    assert_eq!(api.order("/apps/shop/versions/3.0.0/disable").await.status(), 200);
    std::fs::remove_dir_all(server.apps().path().join("shop@3.0.0")).unwrap();
    api.until("/apps/shop", |app| app["versions"].as_array().unwrap().len() == 2).await;
    for query in ["name=shop&version=3.0.0", "name=shop&version=3.0.0&replace=true"] {
        let refused = api.deploy(query, page("new")).await;
        assert_eq!(refused.problem(), (409, "version_disabled".to_owned()));
    }
    let enabled = api.order("/apps/shop/versions/3.0.0/enable").await;
    assert_eq!((enabled.status(), &enabled.json()["state"]), (200, &json!("enabled")), "{enabled:?}");
    let unknown = api.order("/apps/shop/versions/3.0.0/enable").await;
    assert_eq!(unknown.problem(), (404, "version_unknown".to_owned()), "nothing is left of it");
    assert_eq!(api.deploy("name=shop&version=3.0.0", page("new")).await.status(), 201);
    assert_eq!(server.get("/shop/").await.text(), "new");
}

#[tokio::test]
async fn a_version_has_its_aliases_whatever_build_they_name() {
    let server = shop().manage().await;
    let api = server.api();
    assert_eq!(api.alias("shop", "beta", "1.0.0+build").await.status(), 200);
    assert_eq!(api.get("/apps/shop/versions/1.0.0").await.json()["aliases"], json!(["beta"]));
    assert_eq!(api.get("/apps/shop/versions/2.0.0").await.json()["aliases"], json!([]));
}

#[tokio::test]
async fn a_stream_that_is_open_when_its_version_is_deleted_ends_whole_and_then_the_files_go() {
    let server = Apps::new().with("probe").manage().await;
    let (api, gate) = (server.api(), Gate::new());
    let mut client = server.connect().await;
    let stream = Request::get(gate.at("/probe/stream")).body(Full::default()).unwrap();
    let stream = client.begin(stream).await.unwrap().into_body();
    server.said("probe", "begun /stream").await;
    assert_eq!(api.delete("/apps/probe").await.json(), json!({ "versions": ["latest"] }));
    assert_eq!(server.get("/probe/").await.status(), 404);
    let staging = server.apps().path().join(".buntime-staging");
    let kept = || std::fs::read_dir(&staging).unwrap().count();
    assert_eq!(kept(), 1, "the worker may still read its files");
    gate.open();
    assert_eq!(stream.collect().await.unwrap().to_bytes(), "first,last");
    eventually("the files are gone", || kept() == 0).await;
    server.transition("probe", "terminated", "removed").await;
}

#[tokio::test]
async fn a_restart_replaces_workers_and_a_worker_can_be_replaced_or_ended_alone() {
    let server = Apps::new().with("probe").manage().await;
    let api = server.api();
    let mut pid = server.get("/probe/").await.pid();
    let worker = async || {
        let list = api.until("/workers", |said| said["workers"].as_array().unwrap().len() == 1).await;
        list["workers"][0].clone()
    };
    for path in ["/apps/probe/restart", "/apps/probe/versions/latest/restart"] {
        let said = api.order(path).await;
        assert_eq!((said.status(), said.json()), (202, json!({ "workers": 1 })), "{path}");
        api.until("/workers", |said| {
            let all = said["workers"].as_array().unwrap();
            all.len() == 1 && all[0]["pid"] != pid && all[0]["state"] != "creating"
        })
        .await;
        let next = server.get("/probe/").await.pid();
        assert_ne!(next, pid, "{path}");
        pid = next;
    }
    let shown = worker().await;
    let one = format!("/workers/{}", shown["id"].as_str().unwrap());
    assert_eq!(api.get(&one).await.json()["pid"], pid);
    assert_eq!((shown["app"].as_str(), shown["version"].as_str()), (Some("probe"), Some("latest")));
    assert!(shown["memory"].as_u64() > Some(0) && shown["start"]["steps"][0]["name"] == "spawn", "{shown}");
    assert_eq!(api.order(&format!("{one}/restart")).await.status(), 202);
    api.until("/workers", |said| said["workers"].as_array().unwrap().iter().all(|one| one["pid"] != pid))
        .await;
    let next = worker().await;
    let id = next["id"].as_str().unwrap();
    assert_eq!(api.delete(&format!("/workers/{id}")).await.status(), 202);
    api.until("/workers", |said| said["workers"] == json!([])).await;
    assert_eq!(api.get(&format!("/workers/{id}")).await.problem(), (404, "worker_unknown".to_owned()));
    assert_eq!(server.get("/probe/").await.status(), 200, "the next request starts one");
}

#[tokio::test]
async fn a_scoped_name_is_two_segments_or_one_that_is_encoded() {
    let server = Apps::new().file("@team/shop@1.0.0/index.html", "shop").manage().await;
    let api = server.api();
    for name in ["@team/shop", "@team%2Fshop", "%40team%2fshop"] {
        assert_eq!(api.get(&format!("/apps/{name}")).await.json()["name"], "@team/shop", "{name}");
        assert_eq!(api.get(&format!("/apps/{name}/versions/1.0.0")).await.json()["version"], "1.0.0");
        assert_eq!(api.alias(name, "beta", "1.0.0").await.json()["weights"], json!({ "1.0.0": 100 }));
        assert_eq!(api.get(&format!("/events?follow=false&app={name}")).await.status(), 200);
    }
    for (path, status) in [
        ("/apps/@team", 400),
        ("/apps/@team/", 404),
        ("/apps/@team%2f..%2fx", 400),
        ("/apps/@team/shop/nothing", 404),
    ] {
        let answer = api.get(path).await;
        assert_eq!(answer.status(), status, "{path}: {answer:?}");
        assert!(!answer.problem().1.is_empty());
    }
}

/// `apps`, `versions` and the like are names as others are.
#[tokio::test]
async fn an_app_may_be_called_as_parts_of_the_api_are_but_not_as_its_prefix() {
    let server = Apps::new().lean().managed().env("RUNTIME_API_PREFIX", "/ops").start().await;
    let deploy = async |name: &str| {
        let request = Request::post(format!("/ops/api/apps?name={name}&version=1.0.0"));
        let request = request.header("x-api-key", super::api::ROOT);
        server.send(request.body(Full::new(page(name).into())).unwrap()).await
    };
    for name in ["versions", "restart", "api", "openapi.json"] {
        assert_eq!(deploy(name).await.status(), 201, "{name}");
        until(&server, &format!("/{name}/"), 200).await;
        assert_eq!(server.get(&format!("/{name}/")).await.text(), name);
    }
    assert_eq!(deploy("ops").await.problem(), (409, "app_name_reserved".to_owned()));
    let worker = says("x");
    let request =
        Request::post("/ops/api/apps/restart/versions?version=2.0.0").header("x-api-key", super::api::ROOT);
    let own = server.send(request.body(Full::new(worker.into())).unwrap()).await;
    assert_eq!((own.status(), own.json()["name"].as_str()), (201, Some("restart")));
}
