//! What clients do wrong on a port with TLS costs nobody else, and is bounded as it is without.

use super::authority::{Authority, shake};
use super::harness::{Apps, PATIENCE, Server, eventually};
use super::raw::Raw;
use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn is_served(authority: &Authority, server: &Server) {
    let request = Request::get("/api/health/live").body(Full::default()).unwrap();
    assert_eq!(authority.connect(server, "a.test").await.send(request).await.unwrap().status(), 200);
}

/// A first flight, as a client would send it.
fn hello(authority: &Authority) -> Vec<u8> {
    let name = "a.test".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(authority.config(&["h2"]).into(), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn a_client_that_is_silent_before_in_or_after_its_handshake_is_closed() {
    let authority = Authority::new();
    let server = authority.of(Apps::new().lean()).env("RUNTIME_HEAD_TIMEOUT", "1s").start().await;
    let hello = hello(&authority);
    let mut silent = server.raw().await;
    let mut half = server.raw().await;
    half.write(&hello[..hello.len() / 2]).await;
    let mut unfinished = server.raw().await;
    unfinished.write(&hello).await;
    let mut shaken = shake(&server, "a.test", authority.config(&["http/1.1"])).await.unwrap();
    let mut begun = shake(&server, "a.test", authority.config(&["http/1.1"])).await.unwrap();
    begun.write_all(b"GET / HTTP/1.1\r\nhost: a").await.unwrap();
    // None of them keeps anybody from being served.
    is_served(&authority, &server).await;
    silent.closed().await;
    half.closed().await;
    assert!(!unfinished.rest().await.is_empty(), "the server's part of the handshake");
    for stream in [&mut shaken, &mut begun] {
        let mut rest = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed");
        assert!(rest.is_empty());
    }
    is_served(&authority, &server).await;
}

#[tokio::test]
async fn what_is_no_handshake_ends_the_connection_with_an_alert() {
    let authority = Authority::new();
    let server = authority.of(Apps::new().lean()).start().await;
    let whole = hello(&authority);
    let (middle, mut torn) = (whole.len() / 2, whole.clone());
    torn.iter_mut().skip(20).for_each(|byte| *byte ^= 0x55);
    let version = [&[22, 3, 3, 0, 5][..], &[1, 0, 0, 1, 0]].concat();
    let is_told = |line: &serde_json::Value| line["message"] == "a handshake failed";
    // Whether there is an alert: not where the rest of a record was awaited.
    for (turn, (garbage, is_alerted)) in [
        (&b"\x00\x01\x02\x03\x04\x05"[..], true),
        (&[0xff; 100], true),
        (&[0x16; 70_000], true),
        (&torn, true),
        (&version, true),
        (&whole[..middle], false),
        (&[], false),
    ]
    .into_iter()
    .enumerate()
    {
        let mut raw = server.raw().await;
        raw.write(garbage).await;
        raw.finish().await;
        let rest = raw.rest().await;
        // Of level fatal (RFC 8446 §6).
        let is_fatal = rest.len() == 7 && rest[0] == 21 && rest[5] == 2;
        assert!(if is_alerted { is_fatal } else { rest.is_empty() }, "{turn}: {rest:?}");
        eventually("each is told", || server.log(is_told).len() == turn + 1).await;
    }
    // One that goes away in the middle.
    server.raw().await.write(&whole[..middle]).await;
    is_served(&authority, &server).await;
    assert!(server.log(|line| line["level"] == "ERROR").is_empty());
}

#[tokio::test]
async fn a_plain_request_is_told_what_port_it_is() {
    let authority = Authority::new();
    let server = authority.of(Apps::new().lean()).env("RUNTIME_HEAD_TIMEOUT", "1s").start().await;
    let long = format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "x".repeat(60_000));
    let post =
        format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 500000\r\n\r\n{}", "x".repeat(500_000));
    for request in [
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "get / \r\n\r\n",
        &long,
        &post,
    ] {
        let mut raw = server.raw().await;
        raw.write(request).await;
        let answer = raw.answer().await;
        assert_eq!((answer.status(), answer.head.text("connection")), (400, "close"));
        assert_eq!(answer.body, b"The plain HTTP request was sent to a HTTPS port\n");
        // Also where the client never closes.
        raw.closed().await;
    }
    is_served(&authority, &server).await;
}

#[tokio::test]
async fn the_most_connections_and_the_idle_ones_are_bounded_with_tls_too() {
    let authority = Authority::new();
    let launch = authority.of(Apps::new().lean()).env("RUNTIME_MAX_CONNECTIONS", "2");
    let server = launch.env("RUNTIME_KEEPALIVE_TIMEOUT", "1s").start().await;
    let live = || Request::get("/api/health/live").body(Full::default()).unwrap();
    let mut first = authority.connect(&server, "a.test").await;
    assert_eq!(first.send(live()).await.unwrap().status(), 200);
    let mut second = authority.connect(&server, "a.test").await;
    assert_eq!(second.send(live()).await.unwrap().status(), 200);
    // The one that was idle the longest makes room.
    let mut third = authority.connect(&server, "a.test").await;
    assert_eq!(third.send(live()).await.unwrap().status(), 200);
    for client in [&mut first, &mut third] {
        client.closed().await;
    }
    // HTTP/2 is told with a frame, and then closed.
    let mut client = authority.connect2(&server, "a.test").await;
    let request = || Request::get("https://a.test/api/health/live").body(Full::default()).unwrap();
    assert_eq!(client.send_request(request()).await.unwrap().status(), 200);
    tokio::time::timeout(PATIENCE, async {
        while client.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it is closed");
}

#[tokio::test]
async fn a_client_that_takes_nothing_over_tls_is_given_up() {
    let authority = Authority::new();
    let app = "
const piece = new Uint8Array(100_000);
export default { fetch: (request: Request) => {
  let sent = 0;
  return new Response(new ReadableStream({
    pull(controller) { controller.enqueue(piece); sent += piece.length; },
    cancel() { console.log('given up'); },
  }));
} }";
    let apps = Apps::new().file("flood/index.ts", app).file("flood/manifest.yaml", "streamTimeout: 1s\n");
    let server = authority.of(apps.lean()).start().await;
    let mut client = shake(&server, "a.test", authority.config(&["http/1.1"])).await.unwrap();
    client.write_all(b"GET /flood/ HTTP/1.1\r\nhost: a.test\r\n\r\n").await.unwrap();
    server.logged(|line| line["message"] == "given up").await;
}

#[tokio::test]
async fn a_shutdown_finishes_what_was_begun_over_tls() {
    let authority = Authority::new();
    let app = "
let open = () => {};
export default { async fetch(request: Request) {
  if (request.url.endsWith('/open')) { open(); return new Response('opened'); }
  console.log('waiting');
  await new Promise<void>((resolve) => (open = resolve));
  return new Response('done');
} }";
    let mut server = authority.of(Apps::new().file("slow/index.ts", app).lean()).start().await;
    let get = |path: &str| {
        Request::get(format!("https://a.test{path}")).body(Full::<bytes::Bytes>::default()).unwrap()
    };
    let mut opener = authority.connect(&server, "a.test").await;
    let mut waiting = authority.connect(&server, "a.test").await;
    let waiting = tokio::spawn(async move { waiting.send(get("/slow/")).await });
    server.logged(|line| line["message"] == "waiting").await;
    server.signal(nix::sys::signal::Signal::SIGTERM);
    server.logged(|line| line["message"] == "shutting down").await;
    // It comes on a connection that was there, within the grace.
    assert_eq!(opener.send(get("/slow/open")).await.unwrap().text(), "opened");
    assert_eq!(waiting.await.unwrap().unwrap().text(), "done");
    assert!(server.exit().await.success());
}

/// As many as there may be, each of them silent: their time is bounded, so others come in.
#[tokio::test]
async fn silent_handshakes_hold_their_places_for_the_time_of_a_head() {
    let authority = Authority::new();
    let launch = authority.of(Apps::new().lean()).env("RUNTIME_MAX_CONNECTIONS", "3");
    let server = launch.env("RUNTIME_HEAD_TIMEOUT", "1s").start().await;
    let mut silent: Vec<Raw> = Vec::new();
    for _ in 0..3 {
        silent.push(server.raw().await);
    }
    is_served(&authority, &server).await;
}
