//! TLS on the public listener: which certificate, which protocol, and what follows for apps.

use super::authority::{Authority, shake, text, write};
use super::harness::{Apps, Client, Launch, PATIENCE};
use super::hidden::{As, SOMEBODY, start, users};
use super::plugins::Plugins;
use buntime::access::{Actor, UnixTime};
use buntime::model::{Route, Split, Sticky};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use tokio_websockets::{ClientBuilder, Message};

const APP: &str = "
export default { fetch: (request: Request) => Response.json({ url: request.url, api: process.env.RUNTIME_API_URL ?? null }) }";

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).body(Full::default()).unwrap()
}

#[tokio::test]
async fn http_1_and_2_are_spoken_over_tls_as_the_handshake_says() {
    let authority = Authority::new();
    let server = authority.of(Apps::new().with("mirror").lean()).start().await;
    let serving = server.logged(|line| line["message"] == "serving").await;
    assert_eq!(serving["listen"], format!("https://{}", server.address));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for (offered, chosen) in
            [(&["h2", "http/1.1"][..], Some(&b"h2"[..])), (&["http/1.1"], Some(b"http/1.1")), (&[], None)]
        {
            let config = authority.config_with(offered, &[version]);
            let stream = shake(&server, "a.test", config).await.unwrap();
            let connection = stream.get_ref().1;
            assert_eq!(connection.protocol_version(), Some(version.version));
            assert_eq!(connection.alpn_protocol(), chosen);
        }
    }
    let mut client = authority.connect(&server, "a.test").await;
    for _ in 0..3 {
        let answer = client.send(get("/mirror/x")).await.unwrap();
        assert_eq!(answer.json()["url"], "https://test/x");
    }
    let mut client = authority.connect2(&server, "a.test").await;
    let body = client.send_request(get("https://a.test/mirror/x?y")).await.unwrap().into_body();
    let told: serde_json::Value = serde_json::from_slice(&body.collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(told["url"], "https://a.test/x?y");
    let forwarded = json!(["x-forwarded-proto", "https"]);
    assert!(told["headers"].as_array().unwrap().contains(&forwarded), "{told:#}");
}

#[tokio::test]
async fn large_bodies_go_both_ways_over_tls() {
    let authority = Authority::new();
    let app = "export default { fetch: async (request: Request) => new Response(await request.bytes()) }";
    let server = authority.of(Apps::new().file("echo/index.ts", app).lean()).start().await;
    let body: Bytes = (0..5_000_000_u32).map(|n| (n * 7 / 3) as u8).collect();
    let request = || Request::post("https://a.test/echo/").body(Full::new(body.clone())).unwrap();
    assert!(authority.connect(&server, "a.test").await.send(request()).await.unwrap().body == body);
    let mut client = authority.connect2(&server, "a.test").await;
    let answer = client.send_request(request()).await.unwrap().into_body();
    assert!(answer.collect().await.unwrap().to_bytes() == body);
}

#[tokio::test]
async fn each_name_has_its_certificate_and_who_names_none_has_the_default() {
    let authority = Authority::new();
    authority.lay("certificates/wide", &["*.wide.test"]);
    authority.lay("certificates/exact", &["exact.wide.test", "b.test"]);
    let launch =
        authority.of(Apps::new().lean()).env("RUNTIME_TLS_DIR", text(&authority.path("certificates")));
    let server = launch.start().await;
    let (a, exact) =
        (authority.shown(&server, "a.test").await, authority.shown(&server, "exact.wide.test").await);
    // The client checks that each is for the name that it asked for.
    let wide = authority.shown(&server, "any.wide.test").await;
    assert_eq!(authority.shown(&server, "b.test").await, exact);
    assert!(a != exact && a != wide && exact != wide);
    for other in ["other.test", "a.b.wide.test", "127.0.0.1"] {
        let refused = shake(&server, other, authority.config(&[])).await.unwrap_err().to_string();
        assert!(
            refused.contains("certificate not valid for name") && refused.contains("a.test"),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn apps_know_the_origin_with_tls_and_the_api_by_the_first_name() {
    let authority = Authority::new();
    let app = Apps::new().file("app/index.ts", APP).file("app/manifest.yaml", "csrf: true\n");
    let server = authority.of(app.lean()).start().await;
    let mut client = authority.connect(&server, "a.test").await;
    let told = client.send(get("/app/")).await.unwrap().json();
    let port = server.address.port();
    assert_eq!(told, json!({ "url": "https://test/", "api": format!("https://a.test:{port}/api") }));
    let post = |origin: &'static str| {
        let request =
            Request::post("/app/").header("host", "a.test").header("origin", origin).header("cookie", "a=b");
        request.body(Full::default()).unwrap()
    };
    // Whoever is on the way to a page without TLS may have made it.
    assert_eq!(client.send(post("http://a.test")).await.unwrap().status(), 403);
    assert_eq!(client.send(post("https://b.test")).await.unwrap().status(), 403);
    assert_eq!(client.send(post("https://a.test")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn without_a_name_in_the_certificate_apps_are_told_no_address_of_the_api() {
    let authority = Authority::new();
    let app = Apps::new().file("app/index.ts", APP);
    let launch = authority.of(app.lean());
    authority.lay("a", &["*.a.test"]);
    let server = launch.start().await;
    let mut client = authority.connect(&server, "b.a.test").await;
    assert_eq!(client.send(get("/app/")).await.unwrap().json()["api"], json!(null));
}

#[tokio::test]
async fn the_cookie_of_a_split_is_for_tls_alone() {
    let authority = Authority::new();
    let versions = ["1.0.0", "2.0.0"].iter().fold(Apps::new(), |apps, version| {
        apps.file(&format!("shop@{version}/index.ts"), "export default { fetch: () => new Response('shop') }")
    });
    let launch = authority.of(versions.lean()).decided(|store| {
        let parts = [("1.0.0".parse().unwrap(), 50), ("2.0.0".parse().unwrap(), 50)];
        let route = Route { split: Split::new(parts.into_iter().collect()).unwrap(), sticky: Sticky::Cookie };
        let (app, alias) = ("shop".parse().unwrap(), "latest".parse().unwrap());
        store.set_alias(&app, &alias, &route, &Actor::AdminSocket, UnixTime::new(0)).unwrap();
    });
    let server = launch.start().await;
    let answer = authority.connect(&server, "a.test").await.send(get("/shop/")).await.unwrap();
    assert!(answer.header("set-cookie").ends_with("; Secure"), "{:?}", answer.head.headers);
}

#[tokio::test]
async fn websockets_are_spoken_over_tls() {
    let authority = Authority::new();
    let plugins = Plugins::new();
    plugins.write("chat/manifest.yaml", "name: chat\nversion: 1.0.0\nbase: /chat\n").write(
        "chat/plugin.ts",
        "export default { routes: { '/': (request, server) => { server.upgrade(request); } },
           websocket: { message(socket, message) { socket.send(message); } } };",
    );
    let app = Apps::new().file("app/index.ts", APP);
    let server = authority.of(plugins.of(app.lean())).start().await;
    let stream = shake(&server, "a.test", authority.config(&["http/1.1"])).await.unwrap();
    let builder = ClientBuilder::from_uri("ws://a.test/chat/".parse().unwrap());
    let builder = builder.add_header("origin".parse().unwrap(), "https://a.test".parse().unwrap()).unwrap();
    let (mut socket, _) = tokio::time::timeout(PATIENCE, builder.connect_on(stream)).await.unwrap().unwrap();
    for size in [1, 70_000] {
        socket.send(Message::text("x".repeat(size))).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(answer.as_text().unwrap().len(), size);
    }
    let stream = shake(&server, "a.test", authority.config(&["http/1.1"])).await.unwrap();
    let builder = ClientBuilder::from_uri("ws://a.test/chat/".parse().unwrap());
    let builder = builder.add_header("origin".parse().unwrap(), "http://a.test".parse().unwrap()).unwrap();
    assert!(builder.connect_on(stream).await.is_err(), "a page that came without TLS");
}

/// The code that it ends with, and what it says.
async fn ended(launch: Launch) -> (Option<i32>, String) {
    let (mut command, _apps, _state) = launch.into_command();
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it started").unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A service manager tries again after code 1: where files were being exchanged, all is well then.
#[tokio::test]
async fn certificates_that_cannot_be_used_end_the_start_with_what_is_wrong() {
    let authority = Authority::new();
    let launch = authority.of(Apps::new().lean());
    std::fs::set_permissions(authority.path("a.key"), PermissionsExt::from_mode(0o644)).unwrap();
    let (code, error) = ended(launch).await;
    assert!(error.starts_with("error: RUNTIME_TLS_KEY=") && error.contains("hint: chmod 600 "), "{error}");
    assert_eq!(code, Some(2));
    let launch = authority.of(Apps::new().lean());
    write(&authority.path("a.key"), &authority.issue(&["a.test"]).key);
    let (code, error) = ended(launch).await;
    assert!(error.contains("is not that of the certificate in"), "{error}");
    assert_eq!(code, Some(1));
}

/// As Kubernetes hands secrets to a user who is not root (`fsGroup`).
#[tokio::test]
async fn a_key_of_roots_that_the_group_of_the_user_can_read_is_taken() {
    if !users().contains(&As::Root) || !users().contains(&As::User) {
        return super::hidden::skip(
            "the tests do not run as root, or another user cannot reach what is to be started",
        );
    }
    let authority = Authority::new();
    let launch = authority.of(Apps::new().lean());
    for (file, mode) in [("a.crt", 0o644), ("a.key", 0o440)] {
        std::os::unix::fs::chown(authority.path(file), Some(0), Some(SOMEBODY)).unwrap();
        std::fs::set_permissions(authority.path(file), PermissionsExt::from_mode(mode)).unwrap();
    }
    let Some(server) = start(launch, As::User).await else { return };
    authority.shown(&server, "a.test").await;
}

#[tokio::test]
async fn a_session_is_resumed() {
    let authority = Authority::new();
    let server = authority.of(Apps::new().lean()).start().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let config = authority.config_with(&["http/1.1"], &[version]);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let stream = shake(&server, "a.test", config.clone()).await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
            // The ticket comes with the first answer at the latest.
            assert_eq!(Client::over(stream).await.send(get("/api/health/live")).await.unwrap().status(), 200);
        }
        assert_eq!(format!("{kinds:?}"), "[Full, Resumed]", "{version:?}");
    }
}
