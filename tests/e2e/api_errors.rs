//! The one shape of the management API's errors.

use super::api::{ROOT, page};
use super::harness::{Answer, Apps, Server};
use http::Request;
use http_body_util::Full;

/// With the root key.
async fn ask(server: &Server, method: &str, path: &str, kind: &str, body: impl AsRef<[u8]>) -> Answer {
    let request = Request::builder().method(method).uri(format!("/api{path}")).header("x-api-key", ROOT);
    let request = if kind.is_empty() { request } else { request.header("content-type", kind) };
    server.send(request.body(Full::new(body.as_ref().to_vec().into())).unwrap()).await
}

/// The code, once all else of the shape was looked at.
#[track_caller]
fn code(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    assert_eq!(answer.header("cache-control"), "no-store", "{answer:?}");
    let said = answer.json();
    let text = |name: &str| said[name].as_str().unwrap_or_else(|| panic!("no {name} in {said}")).to_owned();
    assert_eq!(said["status"], answer.status());
    assert_eq!(text("type"), format!("urn:buntime:problem:{}", text("code")));
    assert_eq!(text("instance"), answer.header("x-request-id"));
    let (title, detail) = (text("title"), text("detail"));
    assert!(!title.is_empty() && !detail.is_empty(), "{said}");
    assert!(detail.ends_with('.') && !detail.contains("hint:"), "no sentence: {detail}");
    assert!(said["hint"].is_null() || !text("hint").is_empty());
    text("code")
}

#[tokio::test]
async fn every_error_has_the_one_shape() {
    let server = Apps::new().file("shop@1.0.0/index.html", "shop").manage().await;
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(70_000));
    let json = "application/json";
    for (method, path, kind, body, status, expected) in [
        ("GET", "/nothing", "", "", 404, "not_found"),
        ("GET", "/", "", "", 404, "not_found"),
        ("GET", "", "", "", 404, "not_found"),
        ("GET", "/apps/shop/", "", "", 404, "not_found"),
        ("GET", "/apps/nobody", "", "", 404, "app_unknown"),
        ("GET", "/apps/@team/nobody/versions", "", "", 404, "app_unknown"),
        ("GET", "/apps/Shop", "", "", 400, "app_name_invalid"),
        ("GET", "/apps/shop/versions/9.9.9", "", "", 404, "version_unknown"),
        ("GET", "/apps/shop/versions/one", "", "", 400, "version_invalid"),
        ("DELETE", "/apps/shop/aliases/beta", "", "", 404, "alias_unknown"),
        ("PUT", "/apps/shop/aliases/1.0.0", json, r#"{"version": "1.0.0"}"#, 400, "alias_name_invalid"),
        ("PUT", "/apps/shop/aliases/beta", json, "{}", 422, "alias_invalid"),
        ("PUT", "/apps/shop/aliases/beta", json, r#"{"weights": {"1.0.0": 50}}"#, 422, "weights_invalid"),
        ("PUT", "/apps/shop/aliases/beta", json, r#"{"weights": {}}"#, 422, "weights_invalid"),
        ("PUT", "/apps/shop/aliases/beta", json, r#"{"weights": {"1.0.0": 300}}"#, 400, "json_invalid"),
        ("PUT", "/apps/shop/aliases/beta", json, r#"{"version": "1.0.0", "x": 1}"#, 400, "json_invalid"),
        ("PUT", "/apps/shop/aliases/beta", "text/plain", r#"{"version": "1.0.0"}"#, 415, "not_json"),
        ("PUT", "/apps/shop/aliases/beta", "", r#"{"version": "1.0.0"}"#, 415, "not_json"),
        ("POST", "/apps/shop/rollback", "", "{}", 415, "not_json"),
        ("POST", "/apps/shop/rollback", "", "", 409, "nothing_to_go_back_to"),
        ("POST", "/keys", json, "{", 400, "json_invalid"),
        ("POST", "/keys", json, "", 400, "json_invalid"),
        ("POST", "/keys", json, &large, 413, "body_too_large"),
        ("GET", "/keys/key_1", "", "", 400, "key_id_invalid"),
        ("GET", "/keys/key_0000000000000000", "", "", 404, "key_unknown"),
        ("GET", "/workers/w999", "", "", 404, "worker_unknown"),
        ("GET", "/workers/one", "", "", 400, "worker_id_invalid"),
        ("GET", "/audit?limit=many", "", "", 400, "query_invalid"),
        ("GET", "/audit?page=2", "", "", 400, "query_invalid"),
        ("GET", "/audit?limit=1&limit=2", "", "", 400, "query_invalid"),
        ("GET", "/events?types=nonsense", "", "", 400, "event_type_unknown"),
        ("GET", "/events?after=1", "", "", 400, "event_id_invalid"),
        ("GET", "/events?app=No", "", "", 400, "app_name_invalid"),
        ("GET", "/apps/shop/versions/1.0.0/package?format=zip", "", "", 400, "format_unknown"),
        ("GET", "/apps/%ff", "", "", 400, "path_invalid"),
        ("POST", "/apps", "", "", 400, "body_missing"),
        ("POST", "/apps?replace=maybe", "", "", 400, "query_invalid"),
        ("POST", "/apps?force=true", "", "", 400, "query_invalid"),
        ("POST", "/apps?name=No", "", "x", 400, "app_name_invalid"),
        ("POST", "/apps?version=one", "", "x", 400, "version_invalid"),
        ("POST", "/apps?alias=2", "", "x", 400, "alias_name_invalid"),
        ("POST", "/apps?name=x&version=1.0.0", "", "no archive", 415, "package_unknown_kind"),
    ] {
        let answer = ask(&server, method, path, kind, body).await;
        assert_eq!((answer.status(), &*code(&answer)), (status, expected), "{method} {path} {body:.80}");
    }
    let package = page("page");
    for (query, status, expected) in [
        ("", 422, "package_name_missing"),
        ("?name=blog", 422, "package_version_missing"),
        ("?name=shop&version=1.0.0", 409, "package_already_there"),
        ("?name=shop&version=v1.0.0%2Bbuild", 409, "package_already_there"),
        ("?name=api&version=1.0.0", 409, "app_name_reserved"),
    ] {
        let answer = ask(&server, "POST", &format!("/apps{query}"), "", &package).await;
        assert_eq!((answer.status(), &*code(&answer)), (status, expected), "{query}");
    }
    let unknown = server.api_with("nonsense").get("/apps").await;
    assert_eq!((unknown.status(), &*code(&unknown)), (401, "key_malformed"));
}

#[tokio::test]
async fn a_method_that_a_path_lacks_is_405_with_those_it_has() {
    let server = Apps::new().file("shop@1.0.0/index.html", "shop").manage().await;
    for (method, path, allowed) in [
        ("PATCH", "/keys", "GET,HEAD,POST"),
        ("POST", "/me", "GET,HEAD"),
        ("GET", "/apps/shop/restart", "POST"),
        ("PUT", "/apps/shop/versions/1.0.0", "GET,HEAD,DELETE"),
        ("POST", "/apps/@team/shop/aliases/latest", "PUT,DELETE"),
        ("OPTIONS", "/events", "GET,HEAD"),
        ("DELETE", "/openapi.json", "GET, HEAD"),
        ("POST", "/docs", "GET, HEAD"),
        ("DELETE", "/health", "GET, HEAD"),
    ] {
        let answer = ask(&server, method, path, "", "").await;
        assert_eq!((answer.status(), &*code(&answer)), (405, "method_not_allowed"), "{method} {path}");
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
    }
    let head = ask(&server, "HEAD", "/apps/nobody", "", "").await;
    assert_eq!((head.status(), head.body.len()), (404, 0));
    let length: usize = head.header("content-length").parse().unwrap();
    assert_eq!(length, ask(&server, "GET", "/apps/nobody", "", "").await.body.len());
}
