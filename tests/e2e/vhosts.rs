//! Apps by the host of a request: what each host has, what apps are told, and what no client can do about it.

use super::harness::{Answer, Apps, Client, Launch, Server};
use super::plugins::Plugins;
use buntime::access::{Actor, UnixTime};
use buntime::model::Split;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use std::fmt::Write;

/// A supervisor with these hosts (YAML, a line each) beside what it has otherwise.
struct Hosts {
    server: Server,
    _plugins: Plugins,
}

impl Hosts {
    async fn start(launch: Launch, lines: &[&str]) -> Hosts {
        let plugins = Plugins::new();
        let mut settings = "hosts:\n".to_owned();
        lines.iter().for_each(|line| writeln!(settings, "  {line}").unwrap());
        plugins.native("vhosts", &settings);
        Hosts { server: plugins.of(launch).start().await, _plugins: plugins }
    }

    async fn get(&self, host: &str, path: &str) -> Answer {
        ask(&mut self.server.connect().await, host, path, &[]).await
    }
}

async fn ask(client: &mut Client, host: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = Request::get(path).header("host", host);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    client.send(request.body(Full::default()).unwrap()).await.unwrap()
}

/// A header as the app `mirror` got it.
fn got(answer: &Answer, name: &str) -> Option<String> {
    let headers = answer.json()["headers"].as_array().unwrap().clone();
    let found = headers.iter().find(|header| header[0] == name);
    found.and_then(|header| header[1].as_str()).map(str::to_owned)
}

fn says(text: &str) -> String {
    format!("export default {{ fetch: () => new Response('{text}') }};")
}

#[tokio::test]
async fn an_app_is_at_the_root_of_its_host_and_told_so() {
    let hosts = Hosts::start(
        Apps::new().with("mirror").lean(),
        &[
            "shop.example.com: {app: mirror}",
            "example.com: [{app: mirror, pathPrefix: /a}, {app: mirror, pathPrefix: /b, stripPrefix: true}]",
        ],
    )
    .await;
    for (host, path, url, base, prefix) in [
        ("shop.example.com", "/x?y=1", "http://shop.example.com/x?y=1", "/", None),
        ("SHOP.example.com:81", "/mirror/", "http://shop.example.com:81/mirror/", "/", None),
        ("example.com", "/a/x", "http://example.com/a/x", "/a", None),
        ("example.com", "/b/x?y", "http://example.com/x?y", "/", Some("/b")),
        ("example.com", "/b", "http://example.com/", "/", Some("/b")),
    ] {
        let answer = hosts.get(host, path).await;
        assert_eq!(answer.json()["url"], url, "{host} {path}");
        assert_eq!(got(&answer, "x-base").as_deref(), Some(base), "{host} {path}");
        let told = got(&answer, "x-forwarded-prefix").filter(|told| !told.is_empty());
        assert_eq!(told.as_deref(), prefix, "{host} {path}");
        assert_eq!(got(&answer, "x-forwarded-host").as_deref(), Some(host), "{host} {path}");
    }
}

#[tokio::test]
async fn a_host_has_what_the_table_says_and_other_hosts_go_on_as_before() {
    let missing = "export default { fetch: () => new Response('not mine', { status: 404 }) };";
    let apps = Apps::new().file("shop/index.ts", missing).file("other/index.ts", says("other"));
    let launch = apps.file("home/index.ts", says("home")).lean().env("RUNTIME_HOME_APP", "home");
    let hosts = Hosts::start(
        launch,
        &["shop.example.com: {app: shop}", "part.example.com: {app: shop, pathPrefix: /p}"],
    )
    .await;
    for (host, path, status, text) in [
        // The app's own 404 is the answer, be there an app of that path or not.
        ("shop.example.com", "/", 404, "not mine"),
        ("shop.example.com", "/other/", 404, "not mine"),
        ("elsewhere.test", "/", 200, "home"),
        ("elsewhere.test", "/other/", 200, "other"),
    ] {
        let answer = hosts.get(host, path).await;
        assert_eq!((answer.status(), answer.text()), (status, text), "{host} {path}");
    }
    assert_eq!(hosts.get("part.example.com", "/other/").await.status(), 404);
    let ambiguous = hosts.get("part.example.com", "/p/..%2fother/").await;
    assert_eq!((ambiguous.status(), ambiguous.json()["code"].as_str()), (400, Some("ambiguous_path")));
    // The runtime's own addresses are at every host.
    for path in ["/api/health", "/.well-known/buntime"] {
        assert_eq!(hosts.get("shop.example.com", path).await.status(), 200, "{path}");
    }
}

/// Two apps of one host share an origin. A service worker of one with the scope `/` would have the other's pages.
#[tokio::test]
async fn an_app_below_a_prefix_does_not_get_the_service_workers_of_its_whole_host() {
    let script = "export default { fetch: () => new Response('a', { headers: {
        'content-type': 'text/javascript', 'service-worker-allowed': '/' } }) };";
    let inside = script.replace("'/'", "'/b/part/'");
    let apps = Apps::new().file("a/index.ts", script).file("b/index.ts", &inside);
    let hosts = Hosts::start(
        apps.lean(),
        &["example.com: [{app: a, pathPrefix: /a}, {app: b, pathPrefix: /b}, {app: a, pathPrefix: /c, stripPrefix: true}]"],
    )
    .await;
    for (path, allowed) in [("/a/sw.js", ""), ("/b/sw.js", "/b/part/"), ("/c/sw.js", "")] {
        let answer = hosts.get("example.com", path).await;
        assert_eq!((answer.status(), answer.header("service-worker-allowed")), (200, allowed), "{path}");
    }
}

#[tokio::test]
async fn a_tenant_reaches_its_app_and_no_client_says_who_it_is() {
    let apps = Apps::new().with_as("mirror", "@acme/site").with("mirror");
    let hosts = Hosts::start(
        apps.lean(),
        &["\"*.apps.example.com\": {app: \"@{tenant}/site\"}", "shop.example.com: {app: mirror}"],
    )
    .await;
    let forged = [("x-vhost-tenant", "evil"), ("X-Vhost-Tenant", "worse")];
    let mut client = hosts.server.connect().await;
    let mut tenant = async |host, path| got(&ask(&mut client, host, path, &forged).await, "x-vhost-tenant");
    assert_eq!(tenant("Acme.apps.example.com", "/").await.as_deref(), Some("acme"));
    assert_eq!(tenant("shop.example.com", "/").await, None);
    assert_eq!(tenant("elsewhere.test", "/mirror/").await, None);
    for host in ["_acme.apps.example.com", "other.apps.example.com"] {
        let answer = hosts.get(host, "/").await;
        assert_eq!(
            (answer.status(), &answer.json()["code"]),
            (502, &Value::from("vhost_app_unknown")),
            "{host}"
        );
        assert!(answer.json()["detail"].as_str().unwrap().contains(host));
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
}

#[tokio::test]
async fn a_host_without_its_app_is_logged_once() {
    let hosts = Hosts::start(Apps::new().with("mirror").lean(), &["gone.example: {app: gone@1}"]).await;
    for _ in 0..5 {
        assert_eq!(hosts.get("gone.example", "/").await.status(), 502);
    }
    let is_it = |line: &Value| line["host"] == "gone.example";
    hosts.server.logged(is_it).await;
    assert_eq!(hosts.server.log(is_it).len(), 1);
}

#[tokio::test]
async fn a_redirect_keeps_path_and_query_and_its_host() {
    let lines = &[
        "old.example: {redirect: new.example}",
        "moved.example: {redirect: {to: \"new.example:81\", status: 301}}",
    ];
    let hosts = Hosts::start(Apps::new().with("mirror").lean(), lines).await;
    for (host, path, status, location) in [
        ("old.example", "/a%20b?c=d", 308, "http://new.example/a%20b?c=d"),
        ("OLD.example.:8000", "/", 308, "http://new.example:8000/"),
        ("old.example", "//evil.test/x", 308, "http://new.example//evil.test/x"),
        ("moved.example", "/x", 301, "http://new.example:81/x"),
    ] {
        let answer = hosts.get(host, path).await;
        assert_eq!((answer.status(), answer.header("location")), (status, location), "{host} {path}");
    }
}

#[tokio::test]
async fn a_split_keeps_its_clients_at_a_host_too() {
    let apps =
        Apps::new().file("shop@1.0.0/index.ts", says("1.0.0")).file("shop@2.0.0/index.ts", says("2.0.0"));
    let launch = apps.lean().decided(|store| {
        let parts = vec![("1.0.0".parse().unwrap(), 50), ("2.0.0".parse().unwrap(), 50)];
        let route = Split::new(parts).unwrap().into();
        let (app, alias) = ("shop".parse().unwrap(), "beta".parse().unwrap());
        store.set_alias(&app, &alias, &route, &Actor::AdminSocket, UnixTime::new(0)).unwrap();
    });
    let hosts =
        Hosts::start(launch, &["shop.example.com: {app: shop@beta}", "one.example.com: {app: shop@1}"]).await;
    let mut client = hosts.server.connect().await;
    let first = ask(&mut client, "shop.example.com", "/a/b", &[]).await;
    let cookie = first.header("set-cookie").to_owned();
    assert!(cookie.starts_with("buntime-split-") && cookie.contains("Path=/;"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    for _ in 0..20 {
        let again = ask(&mut client, "shop.example.com", "/", &[("cookie", pair)]).await;
        assert_eq!(again.text(), first.text());
    }
    assert_eq!(hosts.get("one.example.com", "/").await.text(), "1.0.0");
}

#[tokio::test]
async fn hostile_hosts_reach_no_app_of_a_host() {
    let apps = Apps::new().file("shop/index.ts", says("shop"));
    let hosts = Hosts::start(
        apps.lean(),
        &["shop.example.com: {app: shop}", "\"**.example.com\": {app: \"{tenant}\"}"],
    )
    .await;
    let (long, labels) = ("a".repeat(10_000), "a.".repeat(2000));
    for (lines, status) in [
        // As the runtime reads it: no Host, several, none that could be one.
        ("", 400),
        ("Host: shop.example.com\r\nHost: other.example.com\r\n", 400),
        ("Host: user@shop.example.com\r\n", 400),
        ("Host: shop.example.com:80:80\r\n", 400),
        ("Host: shop.example.com:99999\r\n", 400),
        ("Host: shop.example.com/x\r\n", 400),
        ("Host: shop\0.example.com\r\n", 400),
        ("Host: shop\x7f.example.com\r\n", 400),
        ("Host: ../shop.example.com\r\n", 400),
        ("Host: sh%6fp.example.com\r\n", 400),
        ("Host: sh\u{f6}p.example.com\r\n", 400),
        ("Host: *.example.com\r\n", 400),
        (&*format!("Host: {long}.example.com\r\n"), 400),
        (&*format!("Host: {labels}example.com\r\n"), 400),
        // Names, but none that the table has; and nothing is at the root of this server.
        ("Host: shop..example.com\r\n", 404),
        ("Host: shop.example.com..\r\n", 404),
        ("Host: .example.com\r\n", 404),
        // Labels that make no name.
        ("Host: _.example.com\r\n", 502),
        ("Host: node_modules.example.com\r\n", 502),
        ("Host: SHOP.Example.COM.:8080\r\n", 200),
    ] {
        let answer =
            hosts.server.raw_answer(format!("GET / HTTP/1.1\r\n{lines}Connection: close\r\n\r\n")).await;
        let shown: String = lines.chars().take(60).collect();
        assert_eq!(answer.head.status, status, "{shown:?}: {}", String::from_utf8_lossy(&answer.body));
    }
    // The authority of an absolute target outranks Host.
    let absolute =
        "GET http://shop.example.com/ HTTP/1.1\r\nHost: elsewhere.test\r\nConnection: close\r\n\r\n";
    assert_eq!(hosts.server.raw_answer(absolute).await.body, b"shop");
}

#[tokio::test]
async fn a_hundred_thousand_hosts_are_served() {
    let lines: Vec<String> =
        (0..100_000).map(|n| format!("h{n}.example.com: {{app: {}}}", ["a", "b"][n % 2])).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).chain(["\"*.example.com\": {app: a}"]).collect();
    let apps = Apps::new().file("a/index.ts", says("a")).file("b/index.ts", says("b"));
    let hosts = Hosts::start(apps.lean(), &lines).await;
    for (host, text) in [
        ("h0.example.com", "a"),
        ("h1.example.com", "b"),
        ("h99999.example.com", "b"),
        ("x.example.com", "a"),
    ] {
        assert_eq!(hosts.get(host, "/").await.text(), text, "{host}");
    }
}
