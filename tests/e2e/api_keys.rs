//! Keys: what they can give, where their secrets are, and that they do not reach apps.

use super::api::{ROOT, page};
use super::harness::{Answer, Apps, Server};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use std::path::Path;

async fn server() -> Server {
    Apps::new().manage().await
}

/// A request that presents keys in these headers.
async fn presenting(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request =
        headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    server.send(request.body(Full::default()).unwrap()).await
}

fn ids(list: &Value) -> Vec<&str> {
    list["keys"].as_array().unwrap().iter().map(|key| key["id"].as_str().unwrap()).collect()
}

/// Whether any file below `dir` holds this text.
fn holds(dir: &Path, text: &str) -> bool {
    std::fs::read_dir(dir).unwrap().map(Result::unwrap).any(|entry| match entry.file_type().unwrap() {
        kind if kind.is_dir() => holds(&entry.path(), text),
        kind if kind.is_file() => {
            memchr::memmem::find(&std::fs::read(entry.path()).unwrap(), text.as_bytes()).is_some()
        }
        _ => false,
    })
}

#[tokio::test]
async fn a_key_gives_no_more_than_it_has() {
    let server = server().await;
    let maker = json!({
        "name": "maker", "role": "custom", "permissions": ["keys:create", "apps:read"],
        "namespaces": ["@a", "@b"], "expiresIn": 3600,
    });
    let (maker, _) = server.api().make_key(maker).await;
    let api = server.api_with(&maker);
    let wanted = |permissions: &[&str], namespaces: Value, expires: Value| {
        json!({
            "name": "made", "role": "custom", "permissions": permissions, "namespaces": namespaces,
            "expiresIn": expires,
        })
    };
    for (wanted, says) in [
        (wanted(&["apps:read", "apps:install"], json!(["@a"]), json!(60)), "these permissions: apps:install"),
        (wanted(&["apps:read"], json!(["@a", "@c"]), json!(60)), "all of these namespaces"),
        (wanted(&["apps:read"], json!(null), json!(60)), "all of these namespaces"),
        (wanted(&["apps:read"], json!(["@"]), json!(60)), "all of these namespaces"),
        (wanted(&["apps:read"], json!(["@a"]), json!(7200)), "as much time"),
        (wanted(&["apps:read"], json!(["@a"]), json!(null)), "as much time"),
        (json!({ "name": "made", "role": "admin" }), "these permissions"),
        (json!({ "name": "made", "role": "viewer", "namespaces": ["@a"] }), "these permissions"),
    ] {
        let refused = api.post("/keys", wanted.clone()).await;
        assert_eq!(refused.problem(), (403, "grant_exceeded".to_owned()), "{wanted}");
        assert!(refused.json()["detail"].as_str().unwrap().contains(says), "{refused:?}");
        assert!(refused.json()["hint"].is_string());
    }
    let (made, _) = api.make_key(wanted(&["apps:read"], json!(["@a"]), json!(60))).await;
    let me = server.api_with(&made).get("/me").await.json();
    assert_eq!((&me["permissions"], &me["namespaces"]), (&json!(["apps:read"]), &json!(["@a"])));
    assert!(me["expires"].is_string() && me["actor"].as_str().unwrap().contains("key_"), "{me}");
    for (wanted, status, code) in [
        (json!({ "name": "x", "role": "root" }), 400, "role_unknown"),
        (json!({ "name": "x", "role": "custom" }), 422, "permissions_missing"),
        (json!({ "name": "x", "role": "viewer", "permissions": ["apps:read"] }), 422, "permissions_given"),
        (json!({ "name": "x", "role": "custom", "permissions": ["apps:fly"] }), 400, "permission_unknown"),
        (json!({ "name": "x", "role": "custom", "permissions": [] }), 422, "grant_invalid"),
        (json!({ "name": " ", "role": "viewer" }), 400, "key_name_invalid"),
        (json!({ "name": "x", "role": "viewer", "namespaces": [] }), 400, "namespace_invalid"),
        (json!({ "name": "x", "role": "viewer", "namespaces": ["team"] }), 400, "namespace_invalid"),
        (json!({ "name": "x", "role": "viewer", "expiresIn": 0 }), 400, "expiry_invalid"),
    ] {
        assert_eq!(server.api().post("/keys", wanted).await.problem(), (status, code.to_owned()));
    }
}

#[tokio::test]
async fn a_key_neither_sees_nor_revokes_those_above_it() {
    let server = server().await;
    let root = server.api();
    let (_, above) = root.make_key(json!({ "name": "admin", "role": "admin" })).await;
    let (_, beside) = root
        .make_key(
            json!({ "name": "b", "role": "custom", "permissions": ["apps:read"], "namespaces": ["@b"] }),
        )
        .await;
    let (_, below) = root
        .make_key(
            json!({ "name": "a", "role": "custom", "permissions": ["apps:read"], "namespaces": ["@a"] }),
        )
        .await;
    let keeper = json!({
        "name": "keeper", "role": "custom", "permissions": ["keys:read", "keys:revoke", "apps:read"],
        "namespaces": ["@a"],
    });
    let (keeper, own) = root.make_key(keeper).await;
    let api = server.api_with(&keeper);
    let list = api.get("/keys").await.json();
    let mut seen = ids(&list);
    let mut expected = [below.as_str(), &own];
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
    for id in [&above, &beside] {
        assert_eq!(api.get(&format!("/keys/{id}")).await.problem(), (404, "key_unknown".to_owned()));
        assert_eq!(api.delete(&format!("/keys/{id}")).await.problem(), (404, "key_unknown".to_owned()));
    }
    let revoked = api.delete(&format!("/keys/{below}")).await;
    assert_eq!(revoked.status(), 200);
    assert!(revoked.json()["revoked"].is_string());
    let all = root.get("/keys").await.json();
    let alive: Vec<_> =
        all["keys"].as_array().unwrap().iter().filter(|key| key["revoked"].is_null()).collect();
    assert_eq!(alive.len(), 3, "{all}");
}

#[tokio::test]
async fn the_root_key_is_in_no_list_and_cannot_be_revoked() {
    let server = server().await;
    let root = server.api();
    assert_eq!(root.get("/me").await.json()["actor"], "root key");
    assert_eq!(root.get("/keys").await.json(), json!({ "keys": [] }));
    for id in ["key_0000000000000000", "root", ROOT, "root%20key"] {
        assert!(root.delete(&format!("/keys/{id}")).await.status() >= 400);
    }
    assert_eq!(root.get("/me").await.status(), 200);
    assert!(!holds(&server.state_dir(), ROOT), "it is stored nowhere");
}

#[tokio::test]
async fn a_secret_is_shown_once_and_is_nowhere_else() {
    let server = Apps::new().with("probe").manage().await;
    let (secret, id) = server.api().make_key(json!({ "name": "ci", "role": "admin" })).await;
    let own = server.api_with(&secret);
    for path in [
        "/me",
        "/keys",
        &format!("/keys/{id}"),
        "/audit",
        "/runtime",
        "/apps",
        "/workers",
        "/events?follow=false",
    ] {
        let answer = own.get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert!(!answer.text().contains(&secret) && !answer.text().contains(ROOT), "{path}");
    }
    assert_eq!(server.api_with(&format!("{secret}x")).get("/me").await.status(), 401);
    let key = own.get(&format!("/keys/{id}")).await.json();
    assert!(key["lastUsed"].is_string() && key["createdBy"] == "root key", "{key}");
    own.delete(&format!("/keys/{id}")).await;
    assert_eq!(own.get("/me").await.problem(), (401, "key_revoked".to_owned()));
    server.caught_up().await;
    let logged = server.log(|line| line.to_string().contains(&secret) || line.to_string().contains(ROOT));
    assert!(logged.is_empty(), "{logged:?}");
    assert!(!holds(&server.state_dir(), &secret));
    assert!(holds(&server.state_dir(), &id), "the files were looked at");
    let audit = server.api().get("/audit").await.json();
    let actions: Vec<_> =
        audit["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["keys:revoke", "keys:create"]);
}

#[tokio::test]
async fn without_any_key_the_network_is_closed_in_development_too() {
    for environment in ["development", "production"] {
        let launch = Apps::new().lean().env("NODE_ENV", environment).env("HOST", "127.0.0.1");
        let server = launch.start().await;
        assert_eq!(server.get("/api/apps").await.problem(), (401, "key_missing".to_owned()));
        let guessed = server.api_with(ROOT).get("/apps").await;
        assert_eq!(guessed.problem(), (401, "key_malformed".to_owned()));
        let empty = presenting(&server, "/api/apps", &[("x-api-key", "")]).await;
        assert_eq!(empty.problem(), (401, "key_missing".to_owned()));
    }
}

#[tokio::test]
async fn a_key_is_in_one_header_and_only_one() {
    let server = server().await;
    let (key, _) = server.api().make_key(json!({ "name": "ci", "role": "viewer" })).await;
    let bearer = format!("Bearer {key}");
    for headers in [&[("x-api-key", &*key)][..], &[("authorization", &bearer)]] {
        assert_eq!(presenting(&server, "/api/me", headers).await.status(), 200, "{headers:?}");
    }
    let basic = format!("Basic {key}");
    for headers in [
        &[("x-api-key", &*key), ("x-api-key", &*key)][..],
        &[("x-api-key", &key), ("authorization", &bearer)],
        &[("authorization", &bearer), ("authorization", &bearer)],
        &[("authorization", &basic)],
        &[("authorization", &key)],
    ] {
        let answer = presenting(&server, "/api/me", headers).await;
        assert_eq!(answer.problem(), (401, "key_malformed".to_owned()), "{headers:?}");
    }
}

#[tokio::test]
async fn keys_of_the_runtime_do_not_reach_an_app_and_those_of_others_do() {
    let app = "export default { fetch: request => Response.json([...request.headers]) };";
    let server = Apps::new().file("echo/index.ts", app).manage().await;
    let (key, _) = server.api().make_key(json!({ "name": "ci", "role": "viewer" })).await;
    let (unknown, bearer) = (format!("btk_{}", "A".repeat(43)), format!("Bearer {key}"));
    let root = format!("bearer  {ROOT}");
    for headers in [
        &[("x-api-key", &*key)][..],
        &[("x-api-key", ROOT)],
        &[("x-api-key", &unknown)],
        &[("authorization", &bearer)],
        &[("authorization", &root)],
        &[("x-api-key", "theirs"), ("x-api-key", &key)],
    ] {
        let said = presenting(&server, "/echo/", headers).await;
        let text = said.text();
        for secret in [key.as_str(), ROOT, &unknown] {
            assert!(!text.contains(secret), "{headers:?}: {text}");
        }
    }
    for (name, value) in [
        ("x-api-key", "theirs"),
        ("x-api-key", "btk_short"),
        ("authorization", "Bearer theirs"),
        ("authorization", "Basic dTpw"),
        ("authorization", "plain"),
    ] {
        let said = presenting(&server, "/echo/", &[(name, value)]).await.json();
        assert!(said.as_array().unwrap().contains(&json!([name, value])), "{name}: {value}: {said}");
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_while_its_package_comes_deploys_nothing() {
    let server = server().await;
    let (key, id) = server.api().make_key(json!({ "name": "ci", "role": "editor" })).await;
    let package = page("late");
    let length = package.len();
    let mut raw = server.raw().await;
    raw.write(format!(
        "POST /api/apps?name=shop&version=1.0.0 HTTP/1.1\r\nHost: test\r\nX-API-Key: {key}\r\n\
         Content-Length: {length}\r\nExpect: 100-continue\r\n\r\n"
    ))
    .await;
    // The key was looked at, and the body is waited for.
    assert_eq!(raw.head().await.status, 100);
    assert_eq!(server.api().delete(&format!("/keys/{id}")).await.status(), 200);
    raw.write(package).await;
    let answer = raw.answer().await;
    assert_eq!((answer.status(), answer.json()["code"].clone()), (401, json!("key_revoked")));
    assert_eq!(server.get("/shop/").await.status(), 404);
}

#[tokio::test]
async fn a_key_that_may_only_install_moves_no_alias_but_latest() {
    let server = server().await;
    let wanted = json!({ "name": "ci", "role": "custom", "permissions": ["apps:install"] });
    let (key, _) = server.api().make_key(wanted).await;
    let api = server.api_with(&key);
    let refused = api.deploy("name=shop&version=1.0.0&alias=stable", page("one")).await;
    assert_eq!(refused.problem(), (403, "permission_missing".to_owned()));
    assert_eq!(api.deploy("name=shop&version=1.0.0", page("one")).await.status(), 201);
    let configures =
        json!({ "name": "ci", "role": "custom", "permissions": ["apps:install", "apps:configure"] });
    let (key, _) = server.api().make_key(configures).await;
    let api = server.api_with(&key);
    assert_eq!(api.deploy("name=shop&version=1.1.0&alias=stable", page("two")).await.status(), 201);
    assert_eq!(server.get("/shop@stable/").await.text(), "two");
}
