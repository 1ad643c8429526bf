//! Plugins over the management API: what there is, on and off, settings, packages.

use super::api::{Api, packed, snapshot};
use super::api_hostile::build::{file, gzip, tar};
use super::harness::{Answer, Apps, Server};
use buntime::package::Kind;
use serde_json::{Value, json};
use std::path::PathBuf;

/// A module that does nothing.
const IDLE: &str = "export default {};";
const SECRET: &str = "hunter2-hunter2";

/// A runtime with plugins: paths below their directory, and texts.
async fn server(files: &[(&str, &str)]) -> Server {
    server_of(Apps::new(), files).await
}

async fn server_of(apps: Apps, files: &[(&str, &str)]) -> Server {
    let apps = files.iter().fold(apps, |apps, (path, text)| apps.file(&format!(".plugins/{path}"), text));
    let dir = apps.path().join(".plugins");
    std::fs::create_dir_all(&dir).unwrap();
    apps.lean().managed().plugins(&dir).start().await
}

fn dir(server: &Server) -> PathBuf {
    server.apps().path().join(".plugins")
}

async fn patch(api: &Api<'_>, plugin: &str, settings: impl ToString) -> Answer {
    let request = api.request("PATCH", &format!("/plugins/{plugin}/config"));
    api.send(request.header("content-type", "application/merge-patch+json"), settings.to_string()).await
}

async fn upload(api: &Api<'_>, query: &str, package: impl Into<bytes::Bytes>) -> Answer {
    api.send(api.request("POST", &format!("/plugins{query}")), package).await
}

fn package(manifest: &str) -> Vec<u8> {
    packed(Kind::TarZst, &[("manifest.yaml", manifest), ("plugin.ts", IDLE)])
}

fn states(list: &Value) -> Vec<(&str, &str)> {
    list["plugins"]
        .as_array()
        .unwrap()
        .iter()
        .map(|plugin| (plugin["name"].as_str().unwrap(), plugin["state"].as_str().unwrap()))
        .filter(|(name, _)| !name.starts_with("@buntime/"))
        .collect()
}

#[tokio::test]
async fn each_plugin_is_listed_with_what_is_wrong_with_it() {
    let server = server(&[
        ("a/manifest.yaml", "name: '@team/off'\nversion: 1.2.3\nenabled: false\nbase: /off"),
        ("a/plugin.ts", IDLE),
        ("broken/manifest.yaml", "name: broken\nrequired: false\nbsae: /x"),
        ("lonely/manifest.yaml", "name: lonely\ndependencies: [nobody]"),
        ("lonely/plugin.ts", IDLE),
    ])
    .await;
    let api = server.api();
    let list = api.get("/plugins").await.json();
    assert_eq!(states(&list), [("@team/off", "disabled"), ("broken", "out"), ("lonely", "out")]);
    let off = api.get("/plugins/@team/off").await.json();
    assert_eq!(
        (&off["version"], &off["base"], &off["kind"]),
        (&json!("1.2.3"), &json!("/off"), &json!("script"))
    );
    let broken = api.get("/plugins/broken").await.json();
    assert!(broken["error"].as_str().unwrap().contains("`bsae`"), "{broken}");
    assert!(broken.get("version").is_none());
    let lonely = api.get("/plugins/lonely").await.json();
    assert!(lonely["error"].as_str().unwrap().contains("nobody"), "{lonely}");
    for path in ["/plugins/none", "/plugins/@team/none", "/plugins/none/config"] {
        assert_eq!(api.get(path).await.problem(), (404, "plugin_unknown".into()), "{path}");
    }
    assert_eq!(api.get("/plugins/No%20Name").await.problem(), (400, "plugin_name_invalid".into()));
    assert_eq!(api.order("/plugins/reload").await.status(), 200);
}

#[tokio::test]
async fn a_broken_plugin_can_be_turned_off_and_not_on() {
    let server =
        server(&[("broken/manifest.yaml", "# mine\nname: broken\nrequired: false\nbsae: /x # why\n")]).await;
    let api = server.api();
    let refused = api.order("/plugins/broken/enable").await;
    assert_eq!(refused.problem(), (422, "plugin_invalid".into()));
    assert!(refused.text().contains("bsae"), "{}", refused.text());
    let off = api.order("/plugins/broken/disable").await;
    assert_eq!((off.status(), &off.json()["state"]), (200, &json!("disabled")), "{off:?}");
    let text = std::fs::read_to_string(dir(&server).join("broken/manifest.yaml")).unwrap();
    assert!(
        text.contains("enabled: false") && text.contains("# mine") && text.contains("bsae: /x # why"),
        "{text}"
    );
    assert!(api.order("/plugins/broken/enable").await.status() == 422);
    let after = std::fs::read_to_string(dir(&server).join("broken/manifest.yaml")).unwrap();
    assert_eq!(after, text, "nothing was written");
}

const CONFIGURED: &str = "
name: hello
enabled: false
config:
  greeting: { type: string, default: hello }
  token: { type: secret, min: 8 }
  limit: { type: number, min: 1, max: 10 }
  hosts:
    type: object
    values: { type: object, properties: { app: { type: string, required: true }, token: { type: secret } } }
# as agreed
greeting: hi # to all
";

#[tokio::test]
async fn settings_are_merged_checked_and_written_where_they_stand() {
    let server = server(&[("hello/manifest.yaml", CONFIGURED), ("hello/plugin.ts", IDLE)]).await;
    let api = server.api();
    let config = api.get("/plugins/hello/config").await.json();
    assert_eq!(config["settings"], json!({ "greeting": "hi" }));
    assert_eq!(
        config["schema"]["limit"],
        json!({ "type": "number", "required": false, "min": 1.0, "max": 10.0 })
    );

    let hosts = json!({ "a.example": { "app": "a" }, "b.example": { "app": "b" } });
    assert_eq!(patch(&api, "hello", json!({ "limit": 5, "hosts": hosts })).await.status(), 200);
    let one = json!({ "greeting": null, "hosts": { "a.example": null, "b.example": { "app": "bee" }, "c": { "app": "c" } } });
    let answer = patch(&api, "hello", one).await;
    let hosts = json!({ "b.example": { "app": "bee" }, "c": { "app": "c" } });
    assert_eq!(
        answer.json()["settings"],
        json!({ "greeting": "hello", "limit": 5, "hosts": hosts }),
        "{answer:?}"
    );
    let text = std::fs::read_to_string(dir(&server).join("hello/manifest.yaml")).unwrap();
    assert!(text.contains("# as agreed") && !text.contains("greeting: hi"), "{text}");

    for (settings, says) in [
        (json!({ "greetin": "x" }), "greetin"),
        (json!({ "name": "other" }), "no setting `name`"),
        (json!({ "enabled": true }), "no setting `enabled`"),
        (json!({ "limit": 11 }), "at most 10"),
        (json!({ "token": "********" }), "stands for a secret"),
        (json!({ "hosts": { "c": { "token": "********" } } }), "stands for a secret"),
    ] {
        let refused = patch(&api, "hello", settings).await;
        assert_eq!(refused.problem(), (422, "plugin_invalid".into()), "{says}");
        assert!(refused.text().contains(says), "{}", refused.text());
    }
    assert_eq!(patch(&api, "hello", "[1]").await.problem(), (400, "json_invalid".into()));
    let plain = api.send(api.request("PATCH", "/plugins/hello/config"), "{}").await;
    assert_eq!(plain.problem(), (415, "not_json".into()));
    assert_eq!(std::fs::read_to_string(dir(&server).join("hello/manifest.yaml")).unwrap(), text);
}

#[tokio::test]
async fn what_the_environment_has_is_not_read_with_a_key() {
    let apps =
        Apps::new().file(".plugins/hello/manifest.yaml", CONFIGURED).file(".plugins/hello/plugin.ts", IDLE);
    let plugins = apps.path().join(".plugins");
    let server = apps.lean().managed().plugins(&plugins).env("ELSEWHERE_TOKEN", SECRET).start().await;
    let wanted = json!({ "name": "a", "role": "admin" });
    let (key, _) = server.api().make_key(wanted).await;
    let refers = json!({ "greeting": "${ELSEWHERE_TOKEN}" });
    let refused = patch(&server.api_with(&key), "hello", &refers).await;
    assert_eq!(refused.problem(), (422, "plugin_invalid".into()));
    let nested = json!({ "hosts": { "a": { "app": "x${ELSEWHERE_TOKEN}" } } });
    assert_eq!(patch(&server.api_with(&key), "hello", nested).await.status(), 422);
    let operator = patch(&server.api(), "hello", &refers).await;
    assert_eq!(operator.json()["settings"]["greeting"], SECRET, "the operator may");
}

#[tokio::test]
async fn a_table_of_hosts_fits_in_one_change_and_more_than_16_mib_does_not() {
    let server = server(&[("hello/manifest.yaml", CONFIGURED), ("hello/plugin.ts", IDLE)]).await;
    let api = server.api();
    let hosts: serde_json::Map<String, Value> =
        (0..20_000).map(|n| (format!("host-{n}.example"), json!({ "app": "shop" }))).collect();
    let answer = patch(&api, "hello", json!({ "hosts": hosts })).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.json()["settings"]["hosts"].as_object().unwrap().len(), 20_000);
    let long = json!({ "greeting": "x".repeat(16 << 20) });
    assert_eq!(patch(&api, "hello", long).await.problem(), (413, "body_too_large".into()));
}

#[tokio::test]
async fn a_secret_is_in_no_answer_no_event_no_audit_entry_and_no_log() {
    let server = server(&[("hello/manifest.yaml", CONFIGURED), ("hello/plugin.ts", IDLE)]).await;
    let api = server.api();
    let hosts = json!({ "a": { "app": "a", "token": SECRET } });
    let mut said = vec![
        patch(&api, "hello", json!({ "token": SECRET, "hosts": hosts })).await,
        // Wrong in every way that one can be, and told of without what it was.
        patch(&api, "hello", json!({ "token": [SECRET] })).await,
        patch(&api, "hello", json!({ "token": SECRET, "limit": "many" })).await,
        patch(&api, "hello", json!({ "token": SECRET, "unknown": 1 })).await,
        patch(&api, "hello", json!({ "token": { "a": SECRET } })).await,
    ];
    assert_eq!(said[0].json()["settings"]["token"], "********");
    assert_eq!(said[0].json()["settings"]["hosts"]["a"]["token"], "********");
    let package = package("name: hello\nconfig: { token: { type: secret } }\nenabled: false\n");
    said.push(upload(&api, "?replace=true", package).await);
    assert_eq!(said.last().unwrap().status(), 201);
    for path in
        ["/plugins", "/plugins/hello", "/plugins/hello/config", "/audit", "/events?follow=false&after=0"]
    {
        said.push(api.get(path).await);
    }
    for answer in said {
        assert!(!answer.text().contains("hunter2"), "{}", answer.text());
    }
    let text = std::fs::read_to_string(dir(&server).join("hello/manifest.yaml")).unwrap();
    assert!(text.contains(SECRET), "it is kept: {text}");
    assert_eq!(server.log(|line| line.to_string().contains("hunter2")), Vec::<Value>::new());
}

#[tokio::test]
async fn a_package_becomes_a_plugin_is_replaced_with_its_settings_kept_and_deleted() {
    let server = server(&[]).await;
    let api = server.api();
    let one = "name: '@team/hello'\nversion: 1.0.0\nenabled: false\nconfig: { old: { type: number }, word: { type: string } }\n";
    let answer = upload(&api, "", packed(Kind::TarGz, &[("manifest.yaml", one), ("plugin.ts", IDLE)])).await;
    assert_eq!(answer.status(), 201, "{answer:?}");
    assert_eq!((&answer.json()["replaced"], &answer.json()["files"]), (&json!(false), &json!(2)));
    assert!(dir(&server).join("@team/hello/plugin.ts").is_file());
    assert_eq!(patch(&api, "@team/hello", json!({ "old": 1, "word": "mine" })).await.status(), 200);

    let two = "name: '@team/hello'\nversion: 2.0.0\nword: theirs\nconfig: { word: { type: string } }\n";
    let again = upload(&api, "", package(two)).await;
    assert_eq!(again.problem(), (409, "plugin_already_there".into()));
    let replaced = upload(&api, "?replace=true", package(two)).await;
    let said = replaced.json();
    assert_eq!(
        (replaced.status(), &said["replaced"], &said["dropped"]),
        (201, &json!(true), &json!(["old"])),
        "{said}"
    );
    let plugin = &said["plugin"];
    assert_eq!((&plugin["version"], &plugin["state"]), (&json!("2.0.0"), &json!("disabled")), "it was off");
    assert_eq!(api.get("/plugins/@team/hello/config").await.json()["settings"], json!({ "word": "mine" }));

    let deleted = api.delete("/plugins/@team/hello").await;
    assert_eq!((deleted.status(), deleted.json()), (200, json!({ "name": "@team/hello", "builtIn": false })));
    assert_eq!(api.get("/plugins/@team/hello").await.status(), 404);
    assert!(!dir(&server).join("@team/hello").exists());
    assert_eq!(api.delete("/plugins/@team/hello").await.problem(), (404, "plugin_unknown".into()));

    let events = api.events("?types=plugin&follow=false&after=0").await.rest().await;
    let actions: Vec<_> = events.iter().map(|event| event.data["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["installed", "configured", "installed", "removed"]);
    assert!(
        events.iter().all(|event| event.data["plugin"] == "@team/hello" && event.data["by"] == "root key"),
        "{events:?}"
    );
    let audit = api.get("/audit").await.json();
    let entries: Vec<_> =
        audit["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(entries, ["plugins:remove", "plugins:install", "plugins:configure", "plugins:install"]);
}

#[tokio::test]
async fn a_package_that_is_no_plugin_or_does_not_start_leaves_nothing() {
    let server =
        server(&[("hello/manifest.yaml", "name: hello\nenabled: false\n"), ("hello/plugin.ts", IDLE)]).await;
    let api = server.api();
    let before = snapshot(&dir(&server));
    let refused = [
        (package("name: lonely\ndependencies: [nobody]\n"), "plugin_not_loaded", "nobody"),
        (package("version: 1.0.0\n"), "plugin_invalid", "name"),
        (package("name: x\nbsae: /x\n"), "plugin_invalid", "manifest.yaml:2:1"),
        (package("name: reload\nenabled: false\n"), "plugin_invalid", "reload"),
        (packed(Kind::TarGz, &[("index.html", "page")]), "plugin_invalid", "manifest.yaml"),
        (packed(Kind::TarGz, &[("manifest.yaml", "name: x\n")]), "plugin_invalid", "plugin.ts"),
        (
            gzip(&tar(&[file("manifest.yaml", "name: x"), file("../../out", "x")])),
            "package_path_traversal",
            "",
        ),
        (b"PK\x03\x04 no".to_vec(), "package_", ""),
    ];
    for (package, code, says) in refused {
        let answer = upload(&api, "", package).await;
        let (status, found) = answer.problem();
        assert!(status == 422 && found.starts_with(code), "{code}: {answer:?}");
        assert!(
            answer.text().contains(says) && !answer.text().contains("buntime-staging"),
            "{}",
            answer.text()
        );
    }
    assert_eq!(snapshot(&dir(&server)), before);
    assert_eq!(states(&api.get("/plugins").await.json()), [("hello", "disabled")]);
    assert_eq!(upload(&api, "", "").await.problem(), (400, "body_missing".into()));
    assert_eq!(upload(&api, "", "text").await.problem(), (415, "package_unknown_kind".into()));
}

#[tokio::test]
async fn without_a_directory_that_can_be_written_nothing_is_installed() {
    let apps = Apps::new();
    let none = apps.path().join(".none");
    let server = apps.lean().managed().plugins(&none).start().await;
    let refused = upload(&server.api(), "", package("name: x\n")).await;
    assert_eq!(refused.problem(), (409, "package_place".into()));
    assert!(refused.text().contains(none.to_str().unwrap()));
}

#[tokio::test]
async fn a_directory_that_a_link_leads_to_is_left_to_its_owner() {
    let apps = Apps::new()
        .file(".elsewhere/manifest.yaml", "name: linked\nenabled: false\n")
        .file(".elsewhere/plugin.ts", IDLE);
    let plugins = apps.path().join(".plugins");
    std::fs::create_dir(&plugins).unwrap();
    std::os::unix::fs::symlink(apps.path().join(".elsewhere"), plugins.join("linked")).unwrap();
    let server = apps.lean().managed().plugins(&plugins).start().await;
    let api = server.api();
    assert_eq!(api.delete("/plugins/linked").await.problem(), (409, "package_place".into()));
    let replaced = upload(&api, "?replace=true", package("name: linked\n")).await;
    assert_eq!(replaced.problem(), (409, "package_place".into()));
    assert!(server.apps().path().join(".elsewhere/plugin.ts").is_file());
}

// From here on plugins start.

const DOOR: &str = "name: door\nbase: /door\n";
const DOOR_CODE: &str = "export default { routes: { '/': () => new Response('door') } };";

#[tokio::test]
async fn a_plugin_is_turned_on_and_off_while_all_is_served() {
    let server = server(&[
        ("door/manifest.yaml", "name: door\nenabled: false # for now\nbase: /door\n"),
        ("door/plugin.ts", DOOR_CODE),
    ])
    .await;
    let api = server.api();
    assert_eq!(server.get("/door").await.status(), 404);
    let on = api.order("/plugins/door/enable").await;
    assert_eq!((on.status(), &on.json()["state"]), (200, &json!("loaded")), "{on:?}");
    assert_eq!(server.get("/door/").await.text(), "door");
    let text = std::fs::read_to_string(dir(&server).join("door/manifest.yaml")).unwrap();
    assert!(text.contains("enabled: true # for now"), "{text}");
    assert_eq!(api.order("/plugins/door/enable").await.status(), 200, "it is on already");
    let off = api.order("/plugins/door/disable").await;
    assert_eq!((off.status(), &off.json()["state"]), (200, &json!("disabled")), "{off:?}");
    assert_eq!(server.get("/door/").await.status(), 404);
}

#[tokio::test]
async fn a_plugin_that_does_not_start_changes_nothing_and_says_why() {
    let throws = "export default { onInit() { throw new Error('no such key'); } };";
    let server = server(&[
        ("door/manifest.yaml", DOOR),
        ("door/plugin.ts", DOOR_CODE),
        ("bad/manifest.yaml", "name: bad\nenabled: false\n"),
        ("bad/plugin.ts", throws),
    ])
    .await;
    let api = server.api();
    let before = snapshot(&dir(&server));
    let refused = api.order("/plugins/bad/enable").await;
    assert_eq!(refused.problem(), (422, "plugin_not_loaded".into()));
    assert!(refused.text().contains("no such key"), "{}", refused.text());
    let files = [("manifest.yaml", DOOR), ("plugin.ts", throws)];
    let refused = upload(&api, "?replace=true", packed(Kind::TarGz, &files)).await;
    assert_eq!(refused.problem(), (422, "plugin_not_loaded".into()), "{refused:?}");
    let files = [("manifest.yaml", "name: fresh\n"), ("plugin.ts", throws)];
    let refused = upload(&api, "", packed(Kind::TarGz, &files)).await;
    assert_eq!(refused.problem(), (422, "plugin_not_loaded".into()), "{refused:?}");
    assert_eq!(snapshot(&dir(&server)), before);
    assert_eq!(server.get("/door/").await.text(), "door");
    assert_eq!(states(&api.get("/plugins").await.json()), [("bad", "disabled"), ("door", "loaded")]);
    let events = api.events("?types=plugin&follow=false&after=0").await.rest().await;
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|event| event.data["action"] == "failed" && event.data["error"].is_string()));
    let audit = api.get("/audit").await.json();
    assert!(audit["entries"].as_array().unwrap().iter().all(|entry| entry["outcome"] == "failed"), "{audit}");
}

#[tokio::test]
async fn what_others_need_is_neither_turned_off_nor_deleted() {
    let server = server(&[
        ("door/manifest.yaml", DOOR),
        ("door/plugin.ts", DOOR_CODE),
        ("bell/manifest.yaml", "name: bell\ndependencies: [door]\n"),
        ("bell/plugin.ts", IDLE),
    ])
    .await;
    let api = server.api();
    for refused in [api.order("/plugins/door/disable").await, api.delete("/plugins/door").await] {
        assert_eq!(refused.problem(), (409, "plugin_needed".into()));
        assert!(refused.text().contains("needed by bell"), "{}", refused.text());
    }
    assert_eq!(server.get("/door/").await.text(), "door");
    assert_eq!(api.order("/plugins/bell/disable").await.status(), 200);
    assert_eq!(api.order("/plugins/door/disable").await.status(), 200);
    assert_eq!(api.delete("/plugins/door").await.status(), 200);
}

#[tokio::test]
async fn an_app_cannot_be_deployed_where_a_plugin_is_and_one_that_is_there_is_told() {
    let apps = Apps::new().file("door@1.0.0/index.html", "app");
    let server = server_of(apps, &[("door/manifest.yaml", DOOR), ("door/plugin.ts", DOOR_CODE)]).await;
    let api = server.api();
    let hidden = server.logged(|line| line["message"] == "a plugin stands where an app is").await;
    assert_eq!((&hidden["app"], &hidden["plugin"]), (&json!("door"), &json!("door")));
    assert_eq!(api.get("/plugins/door").await.json()["hides"], json!(["door"]));
    let refused = api.deploy("name=door&version=2.0.0", packed(Kind::TarGz, &[("index.html", "two")])).await;
    assert_eq!(refused.problem(), (409, "app_name_reserved".into()));
    assert_eq!(api.order("/plugins/door/disable").await.status(), 200);
    let deployed = api.deploy("name=door&version=2.0.0", packed(Kind::TarGz, &[("index.html", "two")])).await;
    assert_eq!(deployed.status(), 201, "{deployed:?}");
    assert_eq!(server.get("/door/").await.text(), "two");
}

#[tokio::test]
async fn settings_reach_a_plugin_that_runs_and_those_it_refuses_are_not_kept() {
    let code = "let word; export default {
        onInit(context) { word = context.config.word; if (word === 'bad') throw new Error('not this one'); },
        routes: { '/': () => new Response(word) },
    };";
    let manifest = "name: echo\nbase: /echo\nconfig: { word: { type: string, default: first } }\n";
    let server = server(&[("echo/manifest.yaml", manifest), ("echo/plugin.ts", code)]).await;
    let api = server.api();
    assert_eq!(server.get("/echo/").await.text(), "first");
    assert_eq!(patch(&api, "echo", json!({ "word": "second" })).await.status(), 200);
    assert_eq!(server.get("/echo/").await.text(), "second");
    let refused = patch(&api, "echo", json!({ "word": "bad" })).await;
    assert_eq!(refused.problem(), (422, "plugin_not_loaded".into()));
    assert!(refused.text().contains("not this one"), "{}", refused.text());
    assert_eq!(server.get("/echo/").await.text(), "second");
    assert_eq!(api.get("/plugins/echo/config").await.json()["settings"], json!({ "word": "second" }));
}
