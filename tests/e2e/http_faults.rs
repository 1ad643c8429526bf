//! What clients do wrong, or unusually, harms neither the apps nor other clients.

use super::harness::{Apps, PATIENCE, Server, get_accepting};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// HTTP/2 up to and including an empty SETTINGS frame (RFC 9113 §3.4, §6.5).
const HTTP2_HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// An app that says what it got.
fn echo() -> Apps {
    Apps::new().file(
        "echo/index.ts",
        "export default { fetch: (r: Request) => Response.json(
            { pid: process.pid, method: r.method, url: r.url, headers: Object.fromEntries(r.headers) }) };",
    )
}

/// Sends bytes on a connection of its own.
async fn write(server: &Server, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(bytes.as_ref()).await.unwrap();
    socket
}

/// All that still comes on a connection. A reset ends it as well.
async fn rest(mut socket: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = socket.read_to_end(&mut bytes);
    let _ = tokio::time::timeout(PATIENCE, read).await.expect("the connection stays open");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The answer to a request that is written by hand and asks to close.
async fn raw(server: &Server, request: &str) -> String {
    rest(write(server, request).await).await
}

async fn http2(server: &Server) -> SendRequest<Full<Bytes>> {
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn json(response: Response<Incoming>) -> serde_json::Value {
    serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn too_many_http2_headers_are_refused_and_no_worker_dies_of_them() {
    let server = echo().serve().await;
    let mut client = http2(&server).await;
    let mut send = async |headers: usize| {
        let mut request = Request::get(format!("http://{}/echo/", server.address));
        for index in 0..headers {
            request = request.header(format!("x-{index}"), "1");
        }
        client.send_request(request.body(Full::default()).unwrap()).await.unwrap()
    };
    let before = json(send(100).await).await["pid"].clone();
    for many in [101, 600] {
        let refused = send(many).await;
        assert_eq!(refused.status(), 431);
        assert_eq!(json(refused).await["code"], "headers_too_large");
    }
    assert_eq!(json(send(0).await).await["pid"], before);
}

#[tokio::test]
async fn an_http2_host_that_is_not_the_authority_is_refused() {
    let server = echo().serve().await;
    let mut client = http2(&server).await;
    let mut status = async |host: &str| {
        let request = Request::get("http://shop.example/echo/").header("host", host);
        client.send_request(request.body(Full::default()).unwrap()).await.unwrap().status().as_u16()
    };
    assert_eq!(status("evil.example").await, 400);
    assert_eq!(status("SHOP.example").await, 200);
}

#[tokio::test]
async fn silent_http2_clients_do_not_keep_others_out() {
    let server = echo().launch().env("RUNTIME_MAX_CONNECTIONS", "3").start().await;
    let mut silent = Vec::new();
    for _ in 0..3 {
        silent.push(write(&server, HTTP2_HELLO).await);
    }
    for _ in 0..2 {
        let answer = tokio::time::timeout(PATIENCE, server.get("/echo/")).await.expect("it was kept out");
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn a_slow_head_that_begins_like_http2_is_cut_off() {
    let launch = echo().launch().env("RUNTIME_HEAD_TIMEOUT", "500ms");
    let server = launch.env("RUNTIME_KEEPALIVE_TIMEOUT", "1h").start().await;
    for begun in ["P", "PRI * HTTP/1.1\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        rest(write(&server, begun).await).await;
    }
}

#[tokio::test]
async fn a_method_that_the_app_would_get_as_another_is_not_implemented() {
    let server = echo().serve().await;
    let send = async |method: &str| {
        raw(&server, &format!("{method} /echo/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await
    };
    for unknown in ["FOO", "get", "Post", "post", "pAtCh", "BREW", "UPDATE"] {
        let answer = send(unknown).await;
        assert!(answer.starts_with("HTTP/1.1 501 "), "{unknown}: {answer}");
        assert!(answer.contains("not_implemented"), "{unknown}: {answer}");
    }
    let known = "ACL BIND CHECKOUT COPY DELETE GET LINK LOCK M-SEARCH MERGE MKACTIVITY MKADDRESSBOOK MKCALENDAR MKCOL \
                 MOVE NOTIFY OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT QUERY REBIND REPORT SEARCH SOURCE SUBSCRIBE \
                 UNBIND UNLINK UNLOCK UNSUBSCRIBE";
    for known in known.split_whitespace() {
        let answer = send(known).await;
        assert!(answer.contains(&format!("\"method\":\"{known}\"")), "{known}: {answer}");
    }
}

#[tokio::test]
async fn a_transfer_coding_that_is_not_undone_is_not_implemented() {
    let server = echo().serve().await;
    let send = async |codings: &str| {
        let head = format!("POST /echo/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{codings}\r\n");
        raw(&server, &format!("{head}0\r\n\r\n")).await
    };
    for codings in
        ["transfer-encoding: gzip, chunked\r\n", "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n"]
    {
        let answer = send(codings).await;
        assert!(answer.starts_with("HTTP/1.1 501 "), "{answer}");
    }
    let answer = send("transfer-encoding: Chunked\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn requests_in_the_backlog_at_the_end_are_answered() {
    let mut server = echo().serve().await;
    assert_eq!(server.get("/echo/").await.status(), 200);
    let fresh = TcpStream::connect(server.address).await.unwrap();
    // Stopped, it accepts nothing: what connects now waits in the backlog when the signal comes.
    server.signal(Signal::SIGSTOP);
    let request = "GET /echo/ HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut sockets = vec![fresh];
    for _ in 0..20 {
        sockets.push(TcpStream::connect(server.address).await.unwrap());
    }
    for socket in &mut sockets {
        socket.write_all(request.as_bytes()).await.unwrap();
    }
    server.signal(Signal::SIGTERM);
    server.signal(Signal::SIGCONT);
    for socket in sockets {
        let answer = rest(socket).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    }
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn a_connection_closes_after_the_head_that_came_during_the_shutdown() {
    let mut server = echo().launch().env("RUNTIME_SHUTDOWN_TIMEOUT", "1h").start().await;
    let mut socket = write(&server, "GET /api/health/live HTTP/1.1\r\nhost: a\r\n").await;
    // One that came later is answered: the head has been read.
    assert_eq!(server.get("/echo/").await.status(), 200);
    server.signal(Signal::SIGTERM);
    server.logged(|line| line["message"] == "shutting down").await;
    socket.write_all(b"\r\n").await.unwrap();
    let answer = rest(socket).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn the_home_app_answers_at_well_known_addresses() {
    let server = echo().launch().env("RUNTIME_HOME_APP", "echo").start().await;
    let answer = server.get("/.well-known/security.txt").await;
    assert_eq!((answer.status(), &answer.json()["method"]), (200, &"GET".into()));
    assert_eq!(server.get("/.well-known/buntime").await.json()["name"], "buntime");
}

#[tokio::test]
async fn the_redirect_to_the_slash_is_cached_for_navigations_only() {
    let server = echo().serve().await;
    let answer = server.send(get_accepting("/echo", "text/html")).await;
    assert_eq!((answer.status(), answer.header("location")), (308, "/echo/"));
    assert!(answer.header("vary").eq_ignore_ascii_case("accept"));
    assert_eq!(server.get("/echo").await.status(), 200);
}

#[tokio::test]
async fn http10_without_host_gets_an_address_that_can_be_reached() {
    let server = echo().launch().env("HOST", "0.0.0.0").start().await;
    let answer = raw(&server, "GET /echo/ HTTP/1.0\r\n\r\n").await;
    let url = format!("\"url\":\"http://127.0.0.1:{}/\"", server.address.port());
    assert!(answer.contains(&url), "{answer}");
}

#[tokio::test]
async fn headers_of_the_hop_are_kept_from_the_app_whichever_line_names_them() {
    let server = echo().serve().await;
    let head = "GET /echo/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\nconnection: x-hop\r\nx-hop: 1\r\nx-end: 2\r\n\r\n";
    let answer = raw(&server, head).await;
    assert!(answer.contains("\"x-end\":\"2\"") && !answer.contains("x-hop"), "{answer}");
}

#[tokio::test]
async fn a_client_does_not_choose_its_address_behind_a_proxy() {
    let server = echo().launch().env("RUNTIME_TRUSTED_PROXIES", "127.0.0.1").start().await;
    let request = Request::get("/echo/")
        .header("forwarded", "for=6.6.6.6;proto=https;host=evil.example")
        .header("x-forwarded-for", "9.9.9.9")
        .body(Full::default());
    let got = server.send(request.unwrap()).await.json();
    assert_eq!(got["headers"]["x-forwarded-for"], "9.9.9.9");
    assert_eq!(got["url"], "http://test/");
}
