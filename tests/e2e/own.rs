//! What the supervisor answers itself.

use super::harness::{Apps, PATIENCE, Server, get_accepting};
use http::{Method, Request};
use http_body_util::Full;
use nix::sys::signal::Signal;
use std::os::unix::fs::PermissionsExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HELLO: &str = "export default { fetch: () => new Response('hello') };";

async fn hello(environment: &str) -> Server {
    Apps::new()
        .file("hello/index.ts", HELLO)
        .file("shop@1.2.0/index.ts", HELLO)
        .lean()
        .env("NODE_ENV", environment)
        .env("HOST", "127.0.0.1")
        .start()
        .await
}

#[tokio::test]
async fn a_server_that_can_start_workers_is_live_and_ready() {
    let server = hello("production").await;
    for path in ["/api/health", "/api/health/ready", "/api/health/live"] {
        let answer = server.get(path).await;
        assert_eq!((answer.status(), answer.json()["status"].as_str()), (200, Some("ok")), "{path}");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "no-store");
        let length = answer.header("content-length").to_owned();
        let head = server.send(Request::head(path).body(Full::default()).unwrap()).await;
        assert_eq!((head.status(), head.header("content-length"), head.body.len()), (200, &*length, 0));
        for method in [Method::POST, Method::DELETE, Method::OPTIONS] {
            let request = Request::builder().method(method).uri(path).body(Full::default()).unwrap();
            let refused = server.send(request).await;
            assert_eq!((refused.status(), refused.header("allow")), (405, "GET, HEAD"), "{path}");
        }
    }
    let about = server.get("/.well-known/buntime").await.json();
    assert_eq!((about["name"].as_str(), about["api"].as_str()), (Some("buntime"), Some("/api")));
    assert_eq!(about["version"], env!("CARGO_PKG_VERSION"));
}

#[tokio::test]
async fn the_api_moves_with_its_prefix() {
    let server = Apps::new().lean().env("RUNTIME_API_PREFIX", "/_ops").start().await;
    assert_eq!(server.get("/_ops/api/health").await.status(), 200);
    assert_eq!(server.get("/api/health").await.status(), 404);
    assert_eq!(server.get("/_ops/apihealth").await.status(), 404);
    assert_eq!(server.get("/.well-known/buntime").await.json()["api"], "/_ops/api");
}

#[tokio::test]
async fn a_server_whose_workers_do_not_start_is_live_and_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("bun");
    let script = "#!/bin/sh\ncase \"$*\" in *console.log*) echo \"9.9.9 $0\"; exit ;; esac\nexit 7\n";
    std::fs::write(&broken, script).unwrap();
    std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).unwrap();
    let server = Apps::new()
        .launch()
        .env("RUNTIME_BUN", broken.to_str().unwrap())
        .env("RUNTIME_SPARE_WORKERS", "1")
        .start()
        .await;
    let unready = async {
        loop {
            let answer = server.get("/api/health/ready").await;
            if answer.status() == 503 {
                return answer.json();
            }
        }
    };
    let said = tokio::time::timeout(PATIENCE, unready).await.expect("it stayed ready");
    assert_eq!(
        (said["status"].as_str(), said["checks"]["listener"].as_str()),
        (Some("unavailable"), Some("ok"))
    );
    assert_eq!(server.get("/api/health").await.status(), 503);
    assert_eq!(server.get("/api/health/live").await.status(), 200);
}

/// On HTTP/2 a client may begin requests until it has confirmed that it knows of the end (RFC 9113 §6.8). This one
/// never does, so it can ask.
#[tokio::test]
async fn a_server_that_is_shutting_down_is_not_ready() {
    let app = "export default { fetch: () => (console.log('begun'), new Promise(() => {})) };";
    let mut server =
        Apps::new().file("slow/index.ts", app).lean().env("RUNTIME_SHUTDOWN_TIMEOUT", "60s").start().await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let request = |stream: u8, path: &str| {
        let mut block = vec![0x82, 0x86, 0x01, 4];
        block.extend(b"test\x04");
        block.push(path.len() as u8);
        block.extend(path.as_bytes());
        let mut frame = vec![0, 0, block.len() as u8, 1, 5, 0, 0, 0, stream];
        frame.extend(block);
        frame
    };
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    socket.write_all(&request(1, "/slow/")).await.unwrap();
    server.logged(|line| line["message"] == "begun").await;
    server.signal(Signal::SIGTERM);
    let said = tokio::time::timeout(PATIENCE, async {
        loop {
            let mut head = [0; 9];
            socket.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            socket.read_exact(&mut payload).await.unwrap();
            match head[3] {
                7 => socket.write_all(&request(3, "/api/health/ready")).await.unwrap(),
                0 if head[8] == 3 => break String::from_utf8(payload).unwrap(),
                _ => {}
            }
        }
    });
    let said = said.await.expect("no answer came");
    assert!(said.contains("unavailable") && said.contains("draining"), "{said}");
    drop(socket);
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn the_landing_page_lists_the_apps_in_development_only() {
    let development = hello("development").await;
    let page = development.send(get_accepting("/", "text/html")).await;
    assert_eq!(page.status(), 200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.text().contains("href=\"/hello/\"") && page.text().contains("shop"), "{}", page.text());
    for environment in ["production", "staging", "test"] {
        let server = hello(environment).await;
        let answer = server.send(get_accepting("/", "text/html")).await;
        assert_eq!(answer.status(), 404);
        assert!(!answer.text().contains("hello") && !answer.text().contains("shop"), "{}", answer.text());
    }
}

#[tokio::test]
async fn an_error_is_problem_json_unless_the_client_prefers_a_page() {
    let server = hello("production").await;
    for (accept, page) in [
        ("*/*", false),
        ("application/json", false),
        ("application/problem+json, text/html;q=0.5", false),
        ("text/html;q=0", false),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
        ("text/html", true),
        ("\u{7f}", false),
    ] {
        let raw = format!("GET /nobody/x HTTP/1.1\r\nHost: test\r\nAccept: {accept}\r\n\r\n");
        let answer = server.raw_answer(raw).await;
        if accept == "\u{7f}" {
            assert_eq!(answer.status(), 400);
            continue;
        }
        assert_eq!(answer.status(), 404);
        let kind = answer.head.text("content-type");
        if page {
            assert!(kind.starts_with("text/html"), "{accept}: {kind}");
            continue;
        }
        assert_eq!(kind, "application/problem+json", "{accept}");
        let said = answer.json();
        for (member, value) in [
            ("type", "urn:buntime:problem:unknown_app"),
            ("code", "unknown_app"),
            ("title", "No such app"),
            ("instance", answer.head.text("x-request-id")),
        ] {
            assert_eq!(said[member], value);
        }
        assert_eq!(said["status"], 404);
        assert!(!said["detail"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn versions_that_cannot_be_are_400_with_a_hint_and_those_that_are_not_there_404() {
    let server = hello("production").await;
    for (path, status, code) in [
        ("/shop@9/", 404, "unknown_version"),
        ("/shop@2.0.0-rc.1/", 404, "unknown_version"),
        ("/shop@beta/", 404, "unknown_version"),
        ("/shop@>=1%20<2/", 400, "invalid_version"),
        ("/shop@1%20||%202/", 400, "invalid_version"),
        ("/nobody/", 404, "unknown_app"),
    ] {
        let answer = server.raw_answer(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
        if answer.body.is_empty() {
            // The parser of request lines does not take `<` and `>` at all.
            assert_eq!(answer.status(), 400, "{path}");
            continue;
        }
        assert_eq!((answer.status(), answer.json()["code"].as_str()), (status, Some(code)), "{path}");
        assert_eq!(answer.json()["hint"].is_string(), status == 400, "{path}");
    }
}

#[tokio::test]
async fn a_page_repeats_nothing_of_the_request_that_a_browser_would_run() {
    let server = hello("development").await;
    for path in ["/%3Cscript%3Ealert(1)%3C/script%3E/", "/shop@%3Cscript%3Ealert(1)/", "/hello@%22%3E%3Cimg/"]
    {
        let request = Request::get(path).header("accept", "text/html").header("host", "a");
        let answer = server.send(request.body(Full::default()).unwrap()).await;
        assert!(answer.status() >= 400, "{path}");
        assert!(
            !answer.text().contains("<script>alert") && !answer.text().contains("<img"),
            "{}",
            answer.text()
        );
    }
}

/// Counted from outside: reads of files by the supervisor (proc_pid_io(5)); sockets are read by other calls.
#[tokio::test]
async fn thousands_of_unknown_apps_and_versions_are_answered_without_the_disk() {
    let server = hello("production").await;
    let reads = || {
        let io = std::fs::read_to_string(format!("/proc/{}/io", server.pid)).unwrap();
        let line = io.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let mut client = server.connect().await;
    let mut ask = async |path: String| {
        let answer = client.send(Request::get(path).body(Full::default()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 404);
    };
    ask("/warm/".into()).await;
    let before = reads();
    for n in 0..1000 {
        ask(format!("/app-{n}/")).await;
        ask(format!("/shop@7.{n}.1/")).await;
        ask(format!("/shop@tag-{n}/")).await;
    }
    let more = reads() - before;
    assert!(more < 1000, "{more} reads for 3000 requests");
}

#[tokio::test]
async fn a_method_that_the_api_lacks_is_refused_with_those_it_has() {
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let server = Apps::new().lean().env("RUNTIME_ROOT_KEY", KEY).start().await;
    for method in ["PATCH", "OPTIONS", "TRACE"] {
        let request =
            Request::builder().method(method).uri("/api/keys").header("x-api-key", KEY).body(Full::default());
        let refused = server.send(request.unwrap()).await;
        assert_eq!((refused.status(), refused.header("allow")), (405, "GET,HEAD,POST"), "{method}");
        assert_eq!(refused.json()["code"], "method_not_allowed");
    }
}
