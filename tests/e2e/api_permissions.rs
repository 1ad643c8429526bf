//! Every operation of the management API, and who may call it. The list is the running server's own.

use super::api::{Api, packed};
use super::harness::{Answer, Apps, Client, Server};
use buntime::access::{Actor, KeyName, Namespaces, NewKey, Permission, Role, UnixTime};
use buntime::model::{AppName, Route};
use buntime::package::Kind;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// An operation of the API, as its document has it.
struct Operation {
    id: String,
    method: String,
    path: String,
    permission: String,
}

/// What a request for an operation is made of.
struct Call {
    path: String,
    kind: &'static str,
    body: Vec<u8>,
}

/// What an operation concerns, and so what a key for the namespace `@other` gets.
#[derive(Clone, Copy, PartialEq)]
enum Concern {
    /// One app, or a worker of it: 403.
    App,
    /// A list, of which it sees nothing; or who asks.
    List,
    /// One key above it: 404, as if there was none.
    Key,
    /// The whole runtime: there is no such key.
    Runtime,
    /// Nothing of anyone's.
    Nobody,
}

/// A supervisor with an app for each operation, a worker, and two dead keys.
struct World {
    server: Server,
    expired: String,
}

/// Operations that concern a worker share an app, for only a running one has one.
const WORKER: &str = "busy";

impl World {
    async fn new() -> World {
        let operations = ALL.map(|(id, ..)| id.to_lowercase());
        let apps = Apps::new().file("busy/index.ts", "export default { fetch: () => new Response('ok') };");
        let apps = operations.iter().fold(apps, |apps, app| {
            apps.file(&format!("{app}@1.0.0/index.html"), "one")
                .file(&format!("{app}@2.0.0/index.html"), "two")
        });
        let expired = Arc::new(Mutex::new(String::new()));
        let secret = Arc::clone(&expired);
        let plugins = apps.path().join(".plugins");
        for name in operations.iter().filter(|name| name.contains("plugin")) {
            let dir = plugins.join(name);
            std::fs::create_dir_all(&dir).unwrap();
            // What is turned on must be able to start.
            let manifest = match &**name {
                "enableplugin" => format!("{}entrypoint: index.html\nbase: /enableplugin-app\n", off(name)),
                _ => off(name),
            };
            std::fs::write(dir.join("manifest.yaml"), manifest).unwrap();
            std::fs::write(dir.join("plugin.ts"), "export default {}").unwrap();
            std::fs::write(dir.join("index.html"), "page").unwrap();
        }
        let launch = apps.lean().managed().plugins(&plugins).decided(move |store| {
            let now = UnixTime::from(SystemTime::now());
            for (name, versions) in operations.iter().map(|name| (name, ["1.0.0", "2.0.0"])) {
                let (app, alias): (AppName, _) = (name.parse().unwrap(), "latest".parse().unwrap());
                for version in versions {
                    let route = Route::one(version.parse().unwrap());
                    store.set_alias(&app, &alias, &route, &Actor::RootKey, now).unwrap();
                }
            }
            let past = now.minus(Duration::from_secs(60));
            let name: KeyName = "old".parse().unwrap();
            let key = NewKey::new(name, Role::Admin, Namespaces::All, Some(past)).unwrap();
            *secret.lock().unwrap() = store.create_key(&key, &Actor::RootKey, now).unwrap().1.reveal();
        });
        let server = launch.start().await;
        let expired = expired.lock().unwrap().clone();
        World { server, expired }
    }

    /// A request that the operation would carry out. Each call finds what it needs in place.
    async fn call(&self, operation: &Operation) -> Call {
        let app = operation.id.to_lowercase();
        let (_, _, query, body) = ALL.into_iter().find(|(id, ..)| *id == operation.id).unwrap_or_else(|| {
            panic!("{} is a new operation: say in this test how it is called", operation.id)
        });
        let mut path = operation.path.replace("{version}", "1.0.0").replace("{name}", &app);
        path = path.replace("{alias}", if operation.method == "PUT" { "beta" } else { "latest" });
        if path.contains("{id}") {
            let id = match path.starts_with("/keys") {
                true => self.key(&[&operation.permission], json!(null)).await.1,
                false => self.worker().await,
            };
            path = path.replace("{id}", &id);
        }
        let (kind, body) = match body {
            "package" => ("application/gzip", packed(Kind::TarGz, &[("index.html", "three")])),
            "plugin" => {
                let files = [("manifest.yaml", &*off(&app)), ("plugin.ts", "export default {}")];
                ("application/gzip", packed(Kind::TarGz, &files))
            }
            body => ("application/json", body.into()),
        };
        Call { path: format!("{path}{}", query.replace("{name}", &app)), kind, body }
    }

    async fn key(&self, permissions: &[&str], namespaces: Value) -> (String, String) {
        let wanted = json!({
            "name": "test", "role": "custom", "permissions": permissions, "namespaces": namespaces,
        });
        self.server.api().make_key(wanted).await
    }

    /// A worker of the app that has one.
    async fn worker(&self) -> String {
        assert_eq!(self.server.get("/busy/").await.status(), 200);
        let live = |worker: &Value| worker["app"] == WORKER && worker["draining"] == false;
        let api = self.server.api();
        let list = api.until("/workers", |list| list["workers"].as_array().unwrap().iter().any(live)).await;
        let worker = list["workers"].as_array().unwrap().iter().find(|worker| live(worker)).unwrap();
        worker["id"].as_str().unwrap().to_owned()
    }
}

/// A plugin that is off, so that nothing of it must start.
fn off(name: &str) -> String {
    format!("name: {name}\nenabled: false\nconfig: {{ word: {{ type: string }} }}\n")
}

/// Each operation: what it concerns, the query and the body of a request for it. `{name}` is an app of its own.
const ALL: [(&str, Concern, &str, &str); 38] = [
    ("getIdentity", Concern::Nobody, "", ""),
    ("getRuntime", Concern::Nobody, "", ""),
    ("listApps", Concern::List, "", ""),
    ("deploy", Concern::App, "?name={name}&version=3.0.0&replace=true", "package"),
    ("getApp", Concern::App, "", ""),
    ("deleteApp", Concern::App, "", ""),
    ("restartApp", Concern::App, "", ""),
    ("rollback", Concern::App, "", ""),
    ("listVersions", Concern::App, "", ""),
    ("deployVersion", Concern::App, "?version=3.0.0&replace=true", "package"),
    ("getVersion", Concern::App, "", ""),
    ("deleteVersion", Concern::App, "", ""),
    ("downloadVersion", Concern::App, "", ""),
    ("enableVersion", Concern::App, "", ""),
    ("disableVersion", Concern::App, "", ""),
    ("restartVersion", Concern::App, "", ""),
    ("listAliases", Concern::App, "", ""),
    ("setAlias", Concern::App, "", r#"{"version": "1.0.0"}"#),
    ("deleteAlias", Concern::App, "", ""),
    ("listWorkers", Concern::List, "", ""),
    ("getWorker", Concern::App, "", ""),
    ("terminateWorker", Concern::App, "", ""),
    ("restartWorker", Concern::App, "", ""),
    ("streamEvents", Concern::List, "?follow=false&after=0", ""),
    ("listKeys", Concern::List, "", ""),
    ("createKey", Concern::Key, "", r#"{"name": "made", "role": "custom", "permissions": ["keys:create"]}"#),
    ("getKey", Concern::Key, "", ""),
    ("revokeKey", Concern::Key, "", ""),
    ("listAudit", Concern::Runtime, "", ""),
    ("listPlugins", Concern::Runtime, "", ""),
    ("installPlugin", Concern::Runtime, "?replace=true", "plugin"),
    ("reloadPlugins", Concern::Runtime, "", ""),
    ("getPlugin", Concern::Runtime, "", ""),
    ("deletePlugin", Concern::Runtime, "", ""),
    ("enablePlugin", Concern::Runtime, "", ""),
    ("disablePlugin", Concern::Runtime, "", ""),
    ("getPluginConfig", Concern::Runtime, "", ""),
    ("configurePlugin", Concern::Runtime, "", r#"{"word": "hi"}"#),
];

async fn operations(server: &Server) -> Vec<Operation> {
    let document = server.get("/api/openapi.json").await.json();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let text =
                |name: &str| operation[name].as_str().unwrap_or_else(|| panic!("{path} {name}")).to_owned();
            let (id, permission) = (text("operationId"), text("x-permission"));
            found.push(Operation { id, permission, method: method.to_uppercase(), path: path.clone() });
        }
    }
    found
}

impl Operation {
    async fn ask(&self, api: &Api<'_>, call: &Call) -> Answer {
        let request = api.request(&self.method, &call.path).header("content-type", call.kind);
        api.send(request, call.body.clone()).await
    }

    async fn ask_admin(&self, admin: &mut Client, call: &Call) -> Answer {
        let request = Request::builder().method(&*self.method).uri(format!("/api{}", call.path));
        let request = request.header("content-type", call.kind);
        admin.send(request.body(Full::new(call.body.clone().into())).unwrap()).await.unwrap()
    }

    fn concern(&self) -> Concern {
        ALL.iter().find(|(id, ..)| *id == self.id).unwrap().1
    }
}

#[tokio::test]
async fn without_a_key_that_lives_no_operation_is_done() {
    let world = World::new().await;
    let (revoked, id) = world.key(&["apps:read"], json!(null)).await;
    assert_eq!(world.server.api().delete(&format!("/keys/{id}")).await.status(), 200);
    let before = world.server.api().get("/apps").await.json();
    for operation in operations(&world.server).await {
        let call = world.call(&operation).await;
        let anonymous = world.server.api_with("");
        for (key, code) in [
            ("", "key_missing"),
            ("btk_short", "key_malformed"),
            (&format!("btk_{}", "A".repeat(43)), "key_unknown"),
            (&world.expired, "key_expired"),
            (&revoked, "key_revoked"),
        ] {
            let answer = operation.ask(&world.server.api_with(key), &call).await;
            assert_eq!(answer.problem(), (401, code.to_owned()), "{} with {code}", operation.id);
            assert_eq!(answer.header("www-authenticate"), "Bearer realm=\"buntime\"");
        }
        let none = Request::builder().method(&*operation.method).uri(format!("/api{}", call.path));
        let answer = anonymous.send(none, call.body.clone()).await;
        assert_eq!(answer.problem(), (401, "key_missing".to_owned()), "{}", operation.id);
    }
    let mut after = world.server.api().get("/apps").await.json();
    after["apps"].as_array_mut().unwrap().iter_mut().zip(before["apps"].as_array().unwrap()).for_each(
        |(after, before)| {
            // The worker that the requests were about was started meanwhile.
            if after["name"] == WORKER {
                *after = before.clone();
            }
        },
    );
    assert_eq!(after, before, "nothing was changed");
}

#[tokio::test]
async fn each_operation_takes_its_permission_in_the_namespace_and_nothing_else() {
    let world = World::new().await;
    let api = world.server.api();
    for operation in operations(&world.server).await {
        let Operation { id, permission, .. } = &operation;
        let call = world.call(&operation).await;
        if permission == "none" {
            let (key, _) = world.key(&["audit:read"], json!(null)).await;
            assert_eq!(operation.ask(&world.server.api_with(&key), &call).await.status(), 200, "{id}");
            continue;
        }
        let others: Vec<_> =
            Permission::ALL.into_iter().map(Permission::as_str).filter(|other| other != permission).collect();
        let (key, _) = world.key(&others, json!(null)).await;
        let answer = operation.ask(&world.server.api_with(&key), &call).await;
        assert_eq!(answer.problem(), (403, "permission_missing".to_owned()), "{id}");
        assert!(answer.text().contains(permission.as_str()), "{id}: {}", answer.text());

        let elsewhere = json!({
            "name": "other", "role": "custom", "permissions": [permission], "namespaces": ["@other"],
        });
        let made = api.post("/keys", elsewhere).await;
        let concern = operation.concern();
        if concern == Concern::Runtime {
            assert_eq!(made.problem(), (422, "grant_invalid".to_owned()), "{id}");
        } else {
            let key = made.json()["secret"].as_str().unwrap().to_owned();
            let answer = operation.ask(&world.server.api_with(&key), &call).await;
            match concern {
                // Which apps others have is not told by their workers.
                Concern::App if id.ends_with("Worker") => {
                    assert_eq!(answer.problem(), (404, "worker_unknown".to_owned()), "{id}");
                }
                Concern::App => {
                    assert_eq!(answer.problem(), (403, "namespace_missing".to_owned()), "{id}");
                }
                Concern::Key if id == "createKey" => {
                    assert_eq!(answer.problem(), (403, "grant_exceeded".to_owned()), "{id}");
                }
                Concern::Key => assert_eq!(answer.problem(), (404, "key_unknown".to_owned()), "{id}"),
                _ => assert_eq!(answer.status(), 200, "{id}"),
            }
            if concern == Concern::List && id != "listKeys" {
                let said = answer.text();
                assert!(!said.contains("listapps") && !said.contains(WORKER), "{id}: {said}");
            }
        }

        let here = if concern == Concern::App { json!(["@"]) } else { json!(null) };
        let (key, _) = world.key(&[permission], here).await;
        let call = world.call(&operation).await;
        let answer = operation.ask(&world.server.api_with(&key), &call).await;
        assert!((200..300).contains(&answer.status()), "{id}: {answer:?}");
    }
}

#[tokio::test]
async fn the_admin_socket_needs_no_key() {
    let world = World::new().await;
    let mut admin = world.server.admin().await;
    for operation in operations(&world.server).await {
        let call = world.call(&operation).await;
        let answer = operation.ask_admin(&mut admin, &call).await;
        assert!((200..300).contains(&answer.status()), "{}: {answer:?}", operation.id);
    }
}

#[tokio::test]
async fn a_package_is_judged_by_the_name_that_it_gives_itself_and_every_no_is_in_the_audit_log() {
    let server = Apps::new().manage().await;
    let root = server.api();
    let wanted =
        json!({ "name": "a", "role": "custom", "permissions": ["apps:install"], "namespaces": ["@a"] });
    let (key, _) = root.make_key(wanted).await;
    let api = server.api_with(&key);
    let named = |name: &str| {
        let manifest = format!("name: '{name}'\nversion: 1.0.0");
        packed(Kind::TarGz, &[("index.html", "page"), ("manifest.yaml", &manifest)])
    };
    for name in ["@b/site", "site", "@ab/site"] {
        let refused = api.deploy("", named(name)).await;
        assert_eq!(refused.problem(), (403, "namespace_missing".to_owned()), "{name}");
        assert_eq!(server.get(&format!("/{name}/")).await.status(), 404);
    }
    let elsewhere = api.deploy("name=@b/site", named("@a/site")).await;
    assert_eq!(elsewhere.problem(), (403, "namespace_missing".to_owned()), "the query's name is what counts");
    assert_eq!(api.deploy("", named("@a/site")).await.status(), 201);
    assert_eq!(server.get("/@a/site/").await.text(), "page");
    let denied = |page: &Value| {
        let of =
            |entry: &&Value| entry["outcome"] == "denied" && entry["detail"]["code"] == "namespace_missing";
        page["entries"].as_array().unwrap().iter().filter(of).count()
    };
    let audit = root.until("/audit", |page| denied(page) == 4).await;
    let first =
        audit["entries"].as_array().unwrap().iter().find(|entry| entry["outcome"] == "denied").unwrap();
    assert_eq!(first["action"], "apps:install");
    assert!(first["actor"].as_str().unwrap().contains("key_"), "{first}");
}

#[tokio::test]
async fn a_key_that_asks_for_more_than_it_has_is_in_the_audit_log() {
    let server = Apps::new().manage().await;
    let api = server.api();
    let wanted = json!({
        "name": "team", "role": "custom", "permissions": ["keys:create"], "namespaces": ["@team"],
    });
    let (secret, id) = api.make_key(wanted).await;
    let team = server.api_with(&secret);
    let beyond = team.post("/keys", json!({ "name": "more", "role": "admin" })).await;
    assert_eq!(beyond.problem(), (403, "grant_exceeded".to_owned()));
    let denied = |audit: &Value| {
        audit["entries"].as_array().unwrap().iter().any(|entry| {
            (&entry["actor"], &entry["action"]) == (&json!(id), &json!("keys:create"))
                && (&entry["outcome"], &entry["detail"]["code"])
                    == (&json!("denied"), &json!("grant_exceeded"))
        })
    };
    api.until("/audit", denied).await;
}
