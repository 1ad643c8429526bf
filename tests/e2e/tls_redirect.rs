//! The port without TLS sends everybody to the one with it.

use super::authority::Authority;
use super::harness::{Apps, Server};
use super::raw::{RawAnswer, RawHead};
use std::net::SocketAddr;

async fn started(authority: &Authority) -> (Server, SocketAddr) {
    let server = authority.of(Apps::new().lean()).env("RUNTIME_HTTP_PORT", "0").start().await;
    let line = server.logged(|line| line["message"] == "sending everybody to https").await;
    let plain = line["listen"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();
    (server, plain)
}

async fn answer(server: &Server, plain: SocketAddr, request: &str) -> RawHead {
    let mut raw = server.raw_at(plain).await;
    raw.write(request).await;
    let RawAnswer { head, body } = raw.answer().await;
    assert_eq!(body, b"");
    head
}

#[tokio::test]
async fn every_request_is_sent_to_the_same_place_over_tls() {
    let authority = Authority::new();
    let (server, plain) = started(&authority).await;
    let port = server.address.port();
    for (request, target) in [
        ("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "a.test PORT /"),
        ("GET /x?y=z&%20 HTTP/1.1\r\nHost: a.test:80\r\n\r\n", "a.test PORT /x?y=z&%20"),
        ("POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n", "a.test PORT /x"),
        ("GET http://b.test/x HTTP/1.1\r\nHost: b.test\r\n\r\n", "b.test PORT /x"),
        // No path is another host, and nobody is believed about it.
        ("GET //evil.test/x HTTP/1.1\r\nHost: a.test\r\n\r\n", "a.test PORT //evil.test/x"),
        (
            "GET /@evil.test HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Host: evil.test\r\n\r\n",
            "a.test PORT /@evil.test",
        ),
        // No name is known of ACME here.
        (
            "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a.test\r\n\r\n",
            "a.test PORT /.well-known/acme-challenge/x",
        ),
    ] {
        let head = answer(&server, plain, request).await;
        let target = target.replace(" PORT ", &format!(":{port}"));
        assert_eq!((head.status, head.text("location")), (308, &*format!("https://{target}")), "{request}");
    }
}

#[tokio::test]
async fn what_names_no_host_is_refused() {
    let authority = Authority::new();
    let (server, plain) = started(&authority).await;
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test/evil\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test@evil.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: \r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
    ] {
        let head = answer(&server, plain, request).await;
        assert_eq!((head.status, head.text("location")), (400, ""), "{request}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_ends_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let authority = Authority::new();
    let port = taken.local_addr().unwrap().port().to_string();
    let error = authority.of(Apps::new().lean()).env("RUNTIME_HTTP_PORT", port).fail().await;
    assert!(error.contains(&format!("cannot listen on {}", taken.local_addr().unwrap())), "{error}");
}
