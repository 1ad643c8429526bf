//! Headers: who may say what to whom.

use super::harness::{Answer, Apps, Server};
use http::Request;
use http_body_util::Full;
use serde_json::Value;

const TRUSTED: (&str, &str) = ("RUNTIME_TRUSTED_PROXIES", "127.0.0.0/8");

async fn mirror(env: &[(&str, &str)]) -> Server {
    let launch = Apps::new().with("mirror").lean();
    env.iter().fold(launch, |launch, (name, value)| launch.env(name, *value)).start().await
}

/// GET with these headers.
async fn ask(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server.send(request.body(Full::default()).unwrap()).await
}

/// The values of a header that the app saw.
fn saw(answer: &Answer, name: &str) -> Vec<String> {
    let said: Value = answer.json();
    let pairs = said["headers"].as_array().unwrap();
    pairs.iter().filter(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap().to_owned()).collect()
}

fn is_uuid_v7(id: &str) -> bool {
    uuid::Uuid::try_parse(id).is_ok_and(|id| id.get_version_num() == 7)
}

#[tokio::test]
async fn every_response_has_an_id_of_its_own_and_the_app_and_the_log_know_it() {
    let server = mirror(&[]).await;
    let mut ids = std::collections::HashSet::new();
    for (path, status) in [
        ("/mirror/", 200),
        ("/mirror", 200),
        ("/nobody/", 404),
        ("/mirror@9/", 404),
        ("/mirror@!/", 400),
        ("/api/health", 200),
        ("/api/nothing", 401),
        ("/.well-known/buntime", 200),
        ("/.well-known/nothing", 404),
        ("/", 404),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status(), status, "{path}");
        let id = answer.header("x-request-id").to_owned();
        assert!(is_uuid_v7(&id), "{path}: {id}");
        server.logged(|line| line["message"] == "request" && line["request_id"] == *id).await;
        if path.starts_with("/mirror") && status == 200 {
            assert_eq!(saw(&answer, "x-request-id"), std::slice::from_ref(&id));
        }
        if status >= 400 {
            assert_eq!(answer.json()["instance"], id, "{path}");
        }
        assert!(ids.insert(id));
    }
    let bad = server.raw_answer("GET /mirror/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await;
    assert!(is_uuid_v7(bad.head.text("x-request-id")));
}

#[tokio::test]
async fn an_id_is_kept_only_from_a_trusted_proxy_and_only_if_it_is_well_formed() {
    let stranger = mirror(&[]).await;
    let answer = ask(&stranger, "/mirror/", &[("x-request-id", "mine")]).await;
    assert!(is_uuid_v7(answer.header("x-request-id")));
    assert_eq!(saw(&answer, "x-request-id"), [answer.header("x-request-id")]);

    let proxied = mirror(&[TRUSTED]).await;
    for path in ["/mirror/", "/nobody/"] {
        let answer = ask(&proxied, path, &[("x-request-id", "abc.DEF-1/2")]).await;
        assert_eq!(answer.header("x-request-id"), "abc.DEF-1/2");
    }
    for bad in ["", "a b", "a\tb", &"x".repeat(129)] {
        let answer = ask(&proxied, "/mirror/", &[("x-request-id", bad)]).await;
        assert!(is_uuid_v7(answer.header("x-request-id")), "{bad}");
    }
}

#[tokio::test]
async fn what_strangers_say_of_the_way_here_is_replaced_by_the_truth() {
    let server = mirror(&[]).await;
    let answer = ask(
        &server,
        "/mirror/",
        &[
            ("host", "public.example"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-prefix", "/evil"),
            ("x-forwarded-anything", "evil"),
            ("forwarded", "for=6.6.6.6;host=evil.example;proto=https"),
        ],
    )
    .await;
    assert_eq!(answer.json()["url"], "http://public.example/");
    assert_eq!(answer.json()["address"], "127.0.0.1");
    for (name, value) in [
        ("x-forwarded-for", &["127.0.0.1"][..]),
        ("x-forwarded-host", &["public.example"]),
        ("x-forwarded-proto", &["http"]),
        ("x-forwarded-prefix", &["/mirror"]),
        ("x-base", &["/mirror"]),
        ("x-forwarded-port", &[]),
        ("x-forwarded-anything", &[]),
        ("forwarded", &[]),
    ] {
        assert_eq!(saw(&answer, name), value, "{name}");
    }
}

#[tokio::test]
async fn what_a_trusted_proxy_says_of_the_way_here_is_believed() {
    let server = mirror(&[TRUSTED]).await;
    let older = [
        ("host", "inside:8000"),
        ("x-forwarded-for", "6.6.6.6, 9.9.9.9, 127.0.0.7"),
        ("x-forwarded-host", "public.example"),
        ("x-forwarded-proto", "https"),
    ];
    let standard =
        [("host", "inside:8000"), ("forwarded", "for=6.6.6.6, for=9.9.9.9;host=public.example;proto=https")];
    for headers in [&older[..], &standard] {
        let answer = ask(&server, "/mirror/x", headers).await;
        assert_eq!(answer.json()["url"], "https://public.example/x");
        assert_eq!(answer.json()["address"], "9.9.9.9");
        assert_eq!(saw(&answer, "x-forwarded-for"), ["9.9.9.9"]);
        assert_eq!(saw(&answer, "x-forwarded-host"), ["public.example"]);
        assert_eq!(saw(&answer, "x-forwarded-proto"), ["https"]);
        assert_eq!(saw(&answer, "host"), ["public.example"]);
    }
    // A host that is no host is refused from proxies too.
    assert_eq!(ask(&server, "/mirror/", &[("x-forwarded-host", "a/b")]).await.status(), 400);
}

#[tokio::test]
async fn internal_headers_from_outside_do_not_arrive() {
    for env in [&[][..], &[TRUSTED]] {
        let server = mirror(env).await;
        let answer = ask(
            &server,
            "/mirror/",
            &[
                ("x-base", "/evil"),
                ("X-Base", "/evil"),
                ("x-forwarded-prefix", "/evil"),
                ("x-buntime-user", "root"),
                ("X-Buntime-Anything", "evil"),
                ("x-buntime-", "evil"),
            ],
        )
        .await;
        assert_eq!(saw(&answer, "x-base"), ["/mirror"]);
        assert_eq!(saw(&answer, "x-forwarded-prefix"), ["/mirror"]);
        assert!(!answer.text().contains("x-buntime") && !answer.text().contains("evil"), "{}", answer.text());
    }
}

#[tokio::test]
async fn headers_about_the_connection_stay_on_it() {
    let server = mirror(&[]).await;
    let answer = server
        .raw_answer(
            "GET /mirror/ HTTP/1.1\r\nHost: test\r\nConnection: close, X-One\r\nConnection: x-two , Authorization\r\n\
             X-One: 1\r\nX-Two: 2\r\nX-Three: 3\r\nAuthorization: kept\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive\r\nProxy-Authorization: secret\r\nTE: trailers\r\nTrailer: x\r\n\
             Upgrade: websocket\r\nExpect: 100-continue\r\n\r\n",
        )
        .await;
    let names: Vec<_> =
        answer.json()["headers"].as_array().unwrap().iter().map(|pair| pair[0].clone()).collect();
    for gone in [
        "connection",
        "x-one",
        "x-two",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "transfer-encoding",
    ] {
        assert!(!names.contains(&gone.into()), "{gone} in {names:?}");
    }
    for there in ["x-three", "authorization"] {
        assert!(names.contains(&there.into()), "{there} not in {names:?}");
    }
}

#[tokio::test]
async fn other_headers_arrive_as_they_were_sent() {
    let server = mirror(&[]).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let mut request = format!("GET /mirror/ HTTP/1.1\r\nHost: test\r\ntraceparent: {trace}\r\n").into_bytes();
    request.extend(b"tracestate: a=b\r\nX-Twice: 1\r\nX-Twice: 2\r\nX-Bytes: caf\xe9\r\nX-Empty:\r\n");
    request.extend(b"Cookie: a=1\r\nCookie: b=2\r\nUser-Agent: \"x\"\r\n\r\n");
    let answer = server.raw_answer(request).await;
    let said = answer.json();
    let value = |name: &str| {
        said["headers"].as_array().unwrap().iter().find(|pair| pair[0] == name).map(|pair| pair[1].clone())
    };
    for (name, expected) in [
        ("traceparent", trace),
        ("tracestate", "a=b"),
        ("x-twice", "1, 2"),
        ("x-bytes", "caf\u{e9}"),
        ("x-empty", ""),
        ("cookie", "a=1; b=2"),
        ("user-agent", "\"x\""),
    ] {
        assert_eq!(value(name), Some(expected.into()), "{name}");
    }
}
