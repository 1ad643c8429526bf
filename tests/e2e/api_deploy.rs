//! Deployments: what comes in, what it becomes, and what stays when it fails.

use super::api::{packed, page, says, snapshot, source};
use super::api_hostile::build::{ZipEntry, zip};
use super::harness::{Answer, Apps, PATIENCE, Server, eventually};
use super::probe::Gate;
use super::raw::Raw;
use buntime::package::Kind;
use serde_json::{Value, json};

fn made(answer: &Answer) -> Value {
    assert_eq!(answer.status(), 201, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn each_kind_of_archive_becomes_a_version_that_serves() {
    let server = Apps::new().manage().await;
    let api = server.api();
    let index = source("here");
    let files = [("index.ts", &*index), ("package.json", r#"{"name": "@team/shop", "version": "1.2.0"}"#)];
    for (kind, package) in [
        ("zip", zip(&files.map(|(name, text)| ZipEntry::stored(name, text)))),
        ("tgz", packed(Kind::TarGz, &files)),
        ("tar.zst", packed(Kind::TarZst, &files)),
    ] {
        let said = made(&api.deploy("replace=true", package).await);
        assert_eq!((said["name"].as_str(), said["version"].as_str()), (Some("@team/shop"), Some("1.2.0")));
        assert_eq!((said["kind"].as_str(), said["files"].as_u64()), (Some("worker"), Some(2)), "{kind}");
        assert_eq!((said["path"].as_str(), said["alias"].as_str()), (Some("/@team/shop/"), Some("latest")));
        assert_eq!(said["url"], format!("http://{}/@team/shop/", server.address));
        assert_eq!(said["replaced"], kind != "zip", "{kind}");
        let steps = said["start"]["steps"].as_array().unwrap();
        assert!(!steps.is_empty() && steps.iter().all(|step| step["milliseconds"].is_f64()), "{said}");
        assert_eq!(server.get("/@team/shop/").await.text(), "here", "{kind}");
    }
    // What stands in one directory, as npm packs it, and a static site.
    let npm = [("package/index.html", "a page")];
    let said = made(&api.deploy("name=site&version=v2.0.0-rc.1", packed(Kind::TarGz, &npm)).await);
    assert_eq!((said["version"].as_str(), said["kind"].as_str()), (Some("2.0.0-rc.1"), Some("static")));
    assert_eq!(server.get("/site/").await.text(), "a page");
}

#[tokio::test]
async fn a_version_goes_where_the_layout_has_its_place() {
    let apps = Apps::new().file("nested/1.0.0/index.html", "one").file("flat@1.0.0/index.html", "one");
    let server =
        apps.file("simple/index.html", "one").file("@team/nested/1.0.0/index.html", "one").manage().await;
    let (api, dirs) = (server.api(), server.apps().path());
    for (name, path) in [
        ("nested", "nested/2.0.0"),
        ("flat", "flat@2.0.0"),
        ("simple", "simple@2.0.0"),
        ("@team/nested", "@team/nested/2.0.0"),
        ("@team/fresh", "@team/fresh@2.0.0"),
        ("@new/fresh", "@new/fresh@2.0.0"),
        ("fresh", "fresh@2.0.0"),
    ] {
        made(&api.deploy(&format!("name={name}&version=2.0.0"), page("two")).await);
        assert!(dirs.join(path).join("index.html").exists(), "{path}");
        assert_eq!(server.get(&format!("/{name}/")).await.text(), "two", "{name}");
    }
    for (name, path) in [("nested", "nested/1.0.0"), ("flat", "flat@1.0.0")] {
        made(&api.deploy(&format!("name={name}&version=1.0.0&replace=true&alias="), page("one!")).await);
        assert_eq!(std::fs::read_to_string(dirs.join(path).join("index.html")).unwrap(), "one!");
        assert_eq!(server.get(&format!("/{name}@1.0.0/")).await.text(), "one!");
        assert_eq!(server.get(&format!("/{name}/")).await.text(), "two", "no alias was moved");
    }
}

#[tokio::test]
async fn a_version_that_is_there_is_replaced_only_if_that_was_asked_for_and_latest_moves() {
    let server = Apps::new().manage().await;
    let api = server.api();
    let first = made(&api.deploy("name=shop&version=1.0.0", says("one")).await);
    assert_eq!((&first["replaced"], &first["previous"]), (&json!(false), &json!(null)));
    let refused = api.deploy("name=shop&version=1.0.0", says("another")).await;
    assert_eq!(refused.problem(), (409, "package_already_there".to_owned()));
    assert_eq!(server.get("/shop/").await.text(), "one");
    let second = made(&api.deploy("name=shop&version=2.0.0", says("two")).await);
    assert_eq!((&second["previous"], &second["drained"]), (&json!({ "1.0.0": 100 }), &json!(true)));
    assert_eq!(server.get("/shop/").await.text(), "two");
    let replaced = made(&api.deploy("name=shop&version=2.0.0&replace=true", says("two again")).await);
    assert_eq!((&replaced["replaced"], &replaced["drained"]), (&json!(true), &json!(true)));
    assert_eq!(server.get("/shop/").await.text(), "two again");
    // An older number moves it all the same: what was deployed last is what is meant.
    made(&api.deploy("name=shop&version=0.1.0", says("old")).await);
    assert_eq!(server.get("/shop/").await.text(), "old");
    let beta = made(&api.deploy("name=shop&version=3.0.0&alias=beta", says("three")).await);
    assert_eq!(beta["path"], "/shop@beta/");
    assert_eq!(server.get("/shop@beta/").await.text(), "three");
    assert_eq!(server.get("/shop/").await.text(), "old");
    let path = "/apps/shop/versions?version=4.0.0&alias=";
    let own = api.send(api.request("POST", path), says("four")).await;
    assert_eq!(made(&own)["path"], "/shop@4.0.0/");
    assert_eq!(server.get("/shop@4/").await.text(), "four");
}

#[tokio::test]
async fn a_directory_that_is_no_app_yet_is_replaced_only_if_that_was_asked_for() {
    let apps = Apps::new().file("shop@1.0.0/notes.txt", "mine").file("shop@2.0.0/index.html", "two");
    let server = apps.manage().await;
    let api = server.api();
    let before = snapshot(server.apps().path());
    for alias in ["", "&alias="] {
        let refused = api.deploy(&format!("name=shop&version=1.0.0{alias}"), says("one")).await;
        assert_eq!(refused.problem(), (409, "package_already_there".to_owned()));
        eventually("nothing has changed", || snapshot(server.apps().path()) == before).await;
        assert_eq!(server.get("/shop/").await.text(), "two");
    }
    assert_eq!(
        made(&api.deploy("name=shop&version=1.0.0&replace=true", says("one")).await)["replaced"],
        true
    );
    assert_eq!(server.get("/shop/").await.text(), "one");
}

/// Refuses a package whose app throws, prints, and does not start.
async fn does_not_start(server: &Server, query: &str) {
    let broken = "console.error('about to fail'); throw new RangeError('no such luck');";
    let refused = server.api().deploy(query, packed(Kind::TarGz, &[("index.ts", broken)])).await;
    assert_eq!(refused.problem(), (422, "start_failed".to_owned()), "{refused:?}");
    let start = &refused.json()["start"];
    assert!(start["summary"].as_str().is_some_and(|text| text.contains("no such luck")), "{start}");
    assert!(
        start["cause"].as_str().is_some_and(|text| text.contains("RangeError") && text.contains("index.ts"))
    );
    assert!(start["output"].as_array().unwrap().contains(&json!("about to fail")), "{start}");
    let steps: Vec<_> = start["steps"].as_array().unwrap().iter().map(|step| &step["name"]).collect();
    assert_eq!(steps, ["spawn", "connect", "import"], "{start}");
}

#[tokio::test]
async fn a_version_that_does_not_start_leaves_the_old_one_serving() {
    let server = Apps::new().file("shop@1.0.0/index.ts", source("one")).manage().await;
    let api = server.api();
    assert_eq!(server.get("/shop/").await.text(), "one");
    api.alias("shop", "latest", "1.0.0").await;
    let before = snapshot(server.apps().path());
    for query in
        ["name=shop&version=2.0.0", "name=shop&version=1.0.0&replace=true", "name=shop&version=0.1.0&alias="]
    {
        does_not_start(&server, query).await;
        eventually("nothing of it is left", || snapshot(server.apps().path()) == before).await;
        assert_eq!(server.get("/shop/").await.text(), "one", "{query}");
        assert_eq!(server.get("/shop@1.0.0/").await.text(), "one", "{query}");
    }
    let app = api.get("/apps/shop").await.json();
    assert_eq!((&app["current"], &app["versions"][0]["proven"]), (&json!("1.0.0"), &json!(true)), "{app}");
    assert_eq!(app["versions"].as_array().unwrap().len(), 1);
    let unknown = packed(Kind::TarGz, &[("index.ts", "import 'nowhere-to-be-found'; export default {};")]);
    let refused = api.deploy("name=shop&version=2.0.0", unknown).await.json();
    assert!(refused["start"]["suggestion"].is_string() && refused["hint"].is_string(), "{refused}");
    let audit = api.get("/audit?limit=1").await.json();
    let entry = &audit["entries"][0];
    assert_eq!(
        (entry["outcome"].as_str(), &entry["detail"]["code"]),
        (Some("failed"), &json!("start_failed"))
    );
    // The same number is free for one that does.
    made(&api.deploy("name=shop&version=2.0.0", says("two")).await);
    assert_eq!(server.get("/shop/").await.text(), "two");
}

#[tokio::test]
async fn the_same_holds_for_an_app_that_is_scaled_to_zero() {
    let server = Apps::new().file("shop@1.0.0/index.ts", source("one")).manage().await;
    let api = server.api();
    assert_eq!(server.get("/shop/").await.text(), "one");
    for query in ["name=shop&version=2.0.0", "name=shop&version=1.0.0&replace=true"] {
        for worker in api.get("/workers").await.json()["workers"].as_array().unwrap() {
            api.delete(&format!("/workers/{}", worker["id"].as_str().unwrap())).await;
        }
        api.until("/workers", |said| said["workers"] == json!([])).await;
        does_not_start(&server, query).await;
        assert_eq!(server.get("/shop/").await.text(), "one", "{query}");
    }
    for worker in api.get("/workers").await.json()["workers"].as_array().unwrap() {
        api.delete(&format!("/workers/{}", worker["id"].as_str().unwrap())).await;
    }
    api.until("/workers", |said| said["workers"] == json!([])).await;
    made(&api.deploy("name=shop&version=1.0.0&replace=true", says("one again")).await);
    assert_eq!(server.get("/shop/").await.text(), "one again");
}

#[tokio::test]
async fn a_disabled_manifest_or_version_is_refused_and_nothing_changes() {
    let server = Apps::new().file("shop@1.0.0/index.html", "one").manage().await;
    let api = server.api();
    let before = snapshot(server.apps().path());
    let off = packed(Kind::TarGz, &[("index.html", "off"), ("manifest.yaml", "enabled: false")]);
    let refused = api.deploy("name=shop&version=2.0.0", off).await;
    assert_eq!(refused.problem(), (422, "package_disabled".to_owned()));
    assert_eq!(api.order("/apps/shop/versions/1.0.0/disable").await.status(), 200);
    let refused = api.deploy("name=shop&version=1.0.0&replace=true", page("other")).await;
    assert_eq!(refused.problem(), (409, "version_disabled".to_owned()));
    eventually("nothing is left", || snapshot(server.apps().path()) == before).await;
}

/// Sends the head of a deployment and so much of its body.
async fn begin(server: &Server, query: &str, package: &[u8], part: usize) -> Raw {
    begin_with(server, super::api::ROOT, query, package, part).await
}

async fn begin_with(server: &Server, key: &str, query: &str, package: &[u8], part: usize) -> Raw {
    let mut raw = server.raw().await;
    let head = format!(
        "POST /api/apps?{query} HTTP/1.1\r\nHost: test\r\nX-API-Key: {key}\r\nContent-Length: {}\r\n\r\n",
        package.len()
    );
    raw.write([head.as_bytes(), &package[..part]].concat()).await;
    raw
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_body_leaves_nothing() {
    let server = Apps::new().file("shop@1.0.0/index.html", "one").manage().await;
    let (api, package) = (server.api(), page("two"));
    let before = (snapshot(server.apps().path()), api.get("/apps").await.json());
    for part in [0, 1, package.len() / 2, package.len() - 1] {
        drop(begin(&server, "name=shop&version=2.0.0", &package, part).await);
        server.caught_up().await;
    }
    let is_over = |line: &Value| {
        line["message"] == "request" && line["path"] == "/api/apps" && line["method"] == "POST"
    };
    eventually("all four are over", || server.log(is_over).len() == 4).await;
    assert_eq!((snapshot(server.apps().path()), api.get("/apps").await.json()), before);
    // All places for uploads are free again.
    for number in 0..10 {
        made(&api.deploy(&format!("name=shop&version=2.0.{number}"), package.clone()).await);
    }
}

#[tokio::test]
async fn what_has_come_whole_is_deployed_also_if_its_client_does_not_wait() {
    let server = Apps::new().manage().await;
    let api = server.api();
    let gate = Gate::new();
    let open = gate.path().join("open");
    let slow = format!(
        "console.log('loading'); while (!require('node:fs').existsSync({open:?})) await Bun.sleep(5); {}",
        source("slow")
    );
    let package = packed(Kind::TarGz, &[("index.ts", &slow)]);
    let client = begin(&server, "name=shop&version=1.0.0", &package, package.len()).await;
    // It has come whole.
    server.said("shop", "loading").await;
    drop(client);
    server.logged(|line| line["message"] == "request" && line["path"] == "/api/apps").await;
    gate.open();
    server.logged(|line| line["message"] == "deployed" && line["app"] == "shop").await;
    assert_eq!(server.get("/shop/").await.text(), "slow");
    assert_eq!(api.get("/apps/shop/aliases").await.json()["aliases"][0]["weights"], json!({ "1.0.0": 100 }));
}

#[tokio::test]
async fn deployments_of_one_app_take_turns_and_those_of_two_do_not_mind_each_other() {
    let server = Apps::new().manage().await;
    let api = server.api();
    let replace = "name=shop&version=1.0.0&replace=true";
    let (one, two, blog) = tokio::join!(
        api.deploy(replace, says("one")),
        api.deploy(replace, says("two")),
        api.deploy("name=blog&version=1.0.0", says("blog")),
    );
    made(&one);
    made(&two);
    made(&blog);
    assert!([json!(true), json!(false)].contains(&one.json()["replaced"]));
    assert_ne!(one.json()["replaced"], two.json()["replaced"]);
    let winner = server.get("/shop/").await.text().to_owned();
    assert_eq!(winner, if one.json()["replaced"] == true { "one" } else { "two" });
    assert_eq!(server.get("/blog/").await.text(), "blog");
    // Without `replace` the second finds the first.
    let (one, two) = tokio::join!(
        api.deploy("name=shop&version=2.0.0", says("one")),
        api.deploy("name=shop&version=2.0.0", says("two")),
    );
    let mut codes = [one.problem(), two.problem()];
    codes.sort();
    assert_eq!(codes, [(201, String::new()), (409, "package_already_there".to_owned())]);
}

/// Answers with this word, and holds requests at a gate if they name one.
fn gated(word: &str) -> String {
    format!(
        "import {{ existsSync }} from 'node:fs';
export default {{ async fetch(request) {{
  const gate = new URL(request.url).searchParams.get('gate');
  if (gate) console.log('begun');
  while (gate && !existsSync(gate)) await Bun.sleep(5);
  return new Response({word:?});
}} }};"
    )
}

/// Has an app hold a request; gives what waits for its answer.
async fn held_at(server: &Server, gate: &Gate, app: &str) -> tokio::task::JoinHandle<Answer> {
    let (mut client, path) = (server.connect().await, gate.at(&format!("/{app}/")));
    let request = http::Request::get(path).body(http_body_util::Full::default()).unwrap();
    let asking = tokio::spawn(async move { client.send(request).await.unwrap() });
    server.said(app, "begun").await;
    asking
}

/// Asks until the answer is this.
async fn until_it_says(server: &Server, path: &str, word: &str) {
    let asking = async { while server.get(path).await.text() != word {} };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} never said {word}"));
}

#[tokio::test]
async fn a_rollback_does_not_wait_for_what_a_deployment_replaced() {
    let server = Apps::new().manage().await;
    let (api, gate) = (server.api(), Gate::new());
    made(&api.deploy("name=shop&version=1.0.0", packed(Kind::TarGz, &[("index.ts", &gated("one"))])).await);
    let held = held_at(&server, &gate, "shop").await;
    let meanwhile = async {
        until_it_says(&server, "/shop/", "two").await;
        assert_eq!(api.order("/apps/shop/rollback").await.status(), 200);
        assert_eq!(server.get("/shop/").await.text(), "one");
        gate.open();
    };
    let (deployed, ()) = tokio::join!(api.deploy("name=shop&version=2.0.0", says("two")), meanwhile);
    assert_eq!(made(&deployed)["drained"], true, "its answer came after that");
    assert_eq!(held.await.unwrap().text(), "one");
}

#[tokio::test]
async fn deployments_that_wait_for_old_requests_leave_room_for_uploads() {
    let names: Vec<_> = (0..8).map(|number| format!("slow{number}")).collect();
    let file = |apps: Apps, name: &String| apps.file(&format!("{name}@1.0.0/index.ts"), gated("one"));
    let apps = names.iter().fold(Apps::new(), file);
    let server = apps.lean().managed().env("RUNTIME_POOL_SIZE", "20").start().await;
    let (key, _) = server.api().make_key(json!({ "name": "ci", "role": "editor" })).await;
    let (api, gate) = (server.api_with(&key), Gate::new());
    let mut held = Vec::new();
    for name in &names {
        held.push(held_at(&server, &gate, name).await);
    }
    let slow = futures_util::future::join_all(names.iter().map(async |name| {
        made(&api.deploy(&format!("name={name}&version=2.0.0"), page("two")).await)["drained"].clone()
    }));
    let meanwhile = async {
        for name in &names {
            until_it_says(&server, &format!("/{name}/"), "two").await;
        }
        made(&api.deploy("name=shop&version=1.0.0", page("shop")).await);
        gate.open();
    };
    let (drained, ()) = tokio::join!(slow, meanwhile);
    assert_eq!(drained, [true; 8]);
    for held in held {
        assert_eq!(held.await.unwrap().text(), "one");
    }
}

#[tokio::test]
async fn more_uploads_than_there_is_room_for_are_told_to_come_later() {
    let server = Apps::new().manage().await;
    // The operator has no such limit.
    let (key, _) = server.api().make_key(json!({ "name": "ci", "role": "editor" })).await;
    let (api, package) = (server.api_with(&key), page("page"));
    let mut held = Vec::new();
    for number in 0..8 {
        held.push(begin_with(&server, &key, &format!("name=held{number}&version=1.0.0"), &package, 10).await);
    }
    // Files without a name, which is what they are written to.
    let state = server.state_dir().canonicalize().unwrap();
    let is_upload = |file: std::io::Result<std::fs::DirEntry>| {
        let target = std::fs::read_link(file.unwrap().path()).unwrap_or_default();
        target.starts_with(&state) && target.to_string_lossy().ends_with(" (deleted)")
    };
    let uploads = || std::fs::read_dir(format!("/proc/{}/fd", server.pid)).unwrap().map(is_upload);
    eventually("all are on their way", || uploads().filter(|is| *is).count() == 8).await;
    let busy = api.deploy("name=shop&version=1.0.0", package.clone()).await;
    assert_eq!(busy.problem(), (503, "uploads_busy".to_owned()));
    assert_eq!(busy.header("retry-after"), "1");
    for raw in &mut held {
        raw.write(&package[10..]).await;
        assert_eq!(raw.answer().await.head.status, 201);
    }
    made(&api.deploy("name=shop&version=1.0.0&replace=true", package).await);
}
