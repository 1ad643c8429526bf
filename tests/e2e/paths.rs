//! Request targets that try to be somewhere else.

use super::harness::{Apps, Server};
use super::raw::RawAnswer;

async fn get(server: &Server, target: &str) -> RawAnswer {
    server.raw_answer(format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")).await
}

#[tokio::test]
async fn no_path_changes_the_host_that_the_app_sees() {
    let server = Apps::new().with("mirror").lean().start().await;
    for (target, seen) in [
        ("/mirror/a?b=c", "http://test/a?b=c"),
        ("/mirror//evil/x", "http://test//evil/x"),
        ("/mirror///evil", "http://test///evil"),
        ("/mirror/@evil/x", "http://test/@evil/x"),
        ("/mirror/:80/x", "http://test/:80/x"),
        ("/mirror/http://evil/x", "http://test/http://evil/x"),
        ("/mirror?//evil", "http://test/?//evil"),
        ("/mirror?@evil", "http://test/?@evil"),
        ("/mirror", "http://test/"),
        ("/mirror/..%2f..%2fetc%2fpasswd", "http://test/..%2f..%2fetc%2fpasswd"),
        ("/mirror/a%00b", "http://test/a%00b"),
        ("/mirror/%0d%0aX:%20y", "http://test/%0d%0aX:%20y"),
        ("/mirror/%5c%5cevil", "http://test/%5c%5cevil"),
        ("/mirror/a;b=c,d+e!$&'()*", "http://test/a;b=c,d+e!$&'()*"),
        ("/mirror/%zz%", "http://test/%zz%"),
        // As every URL parser does: dot segments go, a backslash is a slash.
        ("/mirror/../../x", "http://test/x"),
        ("/mirror/./%2e%2e/x", "http://test/x"),
        ("/mirror/\\evil/x", "http://test//evil/x"),
        ("/mirror/\\\\evil/x", "http://test///evil/x"),
        // Bytes beyond ASCII are percent-encoded.
        ("/mirror/\u{e9}", "http://test/%C3%A9"),
    ] {
        let answer = get(&server, target).await;
        assert_eq!(answer.status(), 200, "{target}");
        assert_eq!(answer.json()["url"], seen, "{target}");
    }
}

#[tokio::test]
async fn an_app_at_the_root_sees_its_paths_under_the_public_host() {
    let server = Apps::new().with("mirror").lean().env("RUNTIME_HOME_APP", "mirror").start().await;
    for (target, seen) in [
        ("/", "http://test/"),
        ("/?x", "http://test/?x"),
        ("//evil/x", "http://test//evil/x"),
        ("///", "http://test///"),
        ("/\\evil", "http://test//evil"),
        ("/@evil", "http://test/@evil"),
        ("/nobody/x", "http://test/nobody/x"),
        ("/mirror/x", "http://test/x"),
    ] {
        let answer = get(&server, target).await;
        assert_eq!(answer.status(), 200, "{target}");
        assert_eq!(answer.json()["url"], seen, "{target}");
    }
}

#[tokio::test]
async fn the_authority_of_an_absolute_target_is_the_host_and_names_no_other_server() {
    let server = Apps::new().with("mirror").lean().start().await;
    let answer = get(&server, "http://other.example:81/mirror/x?y").await;
    assert_eq!(answer.json()["url"], "http://other.example:81/x?y");
    let host = answer.json()["headers"].as_array().unwrap().iter().find(|pair| pair[0] == "host").unwrap()[1]
        .clone();
    assert_eq!(host, "other.example:81");
    for target in
        ["http://a@evil/mirror/", "http://:80/mirror/", "http:///mirror/", "http://a b/mirror/", "mirror/"]
    {
        assert_eq!(get(&server, target).await.status(), 400, "{target}");
    }
    // Another scheme is still this server, which speaks http.
    let answer = get(&server, "https://test/mirror/x").await;
    assert_eq!(answer.json()["url"], "http://test/x");
    assert_eq!(get(&server, "http://test").await.status(), 404);
}

#[tokio::test]
async fn targets_that_name_no_app_reach_none() {
    let server = Apps::new().with("mirror").lean().start().await;
    for target in [
        "//evil/x",
        "//mirror/x",
        "/\\mirror/",
        "/./mirror/",
        "/../mirror/",
        "/x/../mirror/",
        "/%6dirror/",
        "/mirror%2f",
        "/mirror%00/",
        "/MIRROR/",
        "/mirror./",
        "/mirror\\x",
        "/..%2f..%2fetc%2fpasswd",
        "/../../../../etc/passwd",
        "/.well-known/../mirror/",
        "/api/../mirror/",
        "/node_modules/",
    ] {
        let answer = get(&server, target).await;
        // The management API tells nobody who has no key what it has not.
        let status = if target.starts_with("/api/") { 401 } else { 404 };
        assert_eq!(answer.status(), status, "{target}");
        assert_eq!(answer.head.text("content-type"), "application/problem+json", "{target}");
    }
    assert_eq!(server.get("/mirror/seen").await.json(), serde_json::json!([]));
}

#[tokio::test]
async fn control_characters_in_a_target_are_refused() {
    let server = Apps::new().with("mirror").lean().start().await;
    for byte in (0..0x20).chain([0x7f]) {
        let mut request = b"GET /mirror/a".to_vec();
        request.push(byte);
        request.extend(b"b HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_eq!(server.raw_answer(request).await.status(), 400, "{byte:#04x}");
    }
    assert_eq!(server.get("/mirror/seen").await.json(), serde_json::json!([]));
}

#[tokio::test]
async fn methods_that_are_about_the_server_do_not_reach_an_app() {
    let server = Apps::new().with("mirror").lean().env("RUNTIME_HOME_APP", "mirror").start().await;
    for (line, status) in [
        ("CONNECT evil:443", 405),
        ("CONNECT test", 405),
        ("OPTIONS *", 204),
        ("TRACE /mirror/", 405),
        ("TRACE /", 405),
    ] {
        let mut raw = server.raw().await;
        raw.write(format!("{line} HTTP/1.1\r\nHost: test\r\nCookie: secret=1\r\nConnection: close\r\n\r\n"))
            .await;
        let answer = String::from_utf8(raw.rest().await).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        assert!(!answer.contains("secret"), "{line}: {answer}");
    }
    assert_eq!(server.get("/mirror/seen").await.json(), serde_json::json!([]));
    // Every other one does.
    for method in ["OPTIONS", "DELETE", "PATCH", "PUT", "PROPFIND", "QUERY"] {
        let answer = server.raw_answer(format!("{method} /mirror/x HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        assert_eq!(answer.json()["method"], method);
    }
}
