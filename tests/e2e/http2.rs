//! HTTP/2 without TLS, by prior knowledge (RFC 9113 §3.3).

use super::harness::{Apps, PATIENCE, Server};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u32 = 11;

async fn connect(server: &Server) -> SendRequest<Full<Bytes>> {
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header block (RFC 7541): GET of `path` over http from `test`.
fn block(path: &str) -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x01, 4];
    block.extend(b"test");
    block.extend([0x04, path.len() as u8]);
    block.extend(path.as_bytes());
    block
}

/// Reads frames until GOAWAY and gives its error code; `None` = the connection ended without one.
async fn goaway(socket: &mut TcpStream) -> Option<u32> {
    let read = async {
        let mut head = [0; 9];
        loop {
            socket.read_exact(&mut head).await.ok()?;
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let mut payload = vec![0; len];
            socket.read_exact(&mut payload).await.ok()?;
            if head[3] == GOAWAY {
                return Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
    };
    tokio::time::timeout(PATIENCE, read).await.expect("no GOAWAY came")
}

#[tokio::test]
async fn many_requests_share_a_connection_and_a_slow_one_holds_up_none() {
    let app = "
let open: () => void;
const gate = new Promise<void>((resolve) => (open = resolve));
export default {
  async fetch(request: Request) {
    const { pathname } = new URL(request.url);
    if (pathname === '/slow') await gate;
    if (pathname === '/open') open();
    return new Response(pathname + await request.text());
  },
};";
    let server = Apps::new().file("app/index.ts", app).lean().start().await;
    let mut client = connect(&server).await;
    let request = |path: &str, body: &str| {
        Request::post(format!("http://test/app{path}")).body(Full::new(Bytes::from(body.to_owned()))).unwrap()
    };
    let slow = tokio::spawn(client.send_request(request("/slow", "!")));
    let quick = (0..100).map(|n| client.send_request(request(&format!("/{n}"), "?")));
    for (n, answer) in futures_util::future::join_all(quick).await.into_iter().enumerate() {
        let answer = answer.unwrap();
        assert_eq!(answer.version(), http::Version::HTTP_2);
        assert!(answer.headers().contains_key("x-request-id"));
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), format!("/{n}?"));
    }
    client.send_request(request("/open", "")).await.unwrap();
    let answer = tokio::time::timeout(PATIENCE, slow).await.unwrap().unwrap().unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "/slow!");
}

#[tokio::test]
async fn the_app_sees_a_host_and_one_cookie_header() {
    let server = Apps::new().with("mirror").lean().start().await;
    let mut client = connect(&server).await;
    let request = Request::get("http://a.example:81/mirror/x?y")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("cookie", "c=3; d=4")
        .body(Full::default())
        .unwrap();
    let answer = client.send_request(request).await.unwrap();
    let said: serde_json::Value =
        serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap();
    assert_eq!(said["url"], "http://a.example:81/x?y");
    let headers = said["headers"].as_array().unwrap();
    let values = |name: &str| {
        headers
            .iter()
            .filter(|pair| pair[0] == name)
            .map(|pair| pair[1].as_str().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(values("cookie"), ["a=1; b=2; c=3; d=4"]);
    assert_eq!(values("host"), ["a.example:81"]);
    assert!(headers.iter().all(|pair| !pair[0].as_str().unwrap().starts_with(':')), "{headers:?}");
}

#[tokio::test]
async fn an_authority_and_a_host_that_differ_are_refused() {
    let server = Apps::new().with("mirror").lean().start().await;
    let mut client = connect(&server).await;
    let request =
        Request::get("http://a.example/mirror/").header("host", "b.example").body(Full::default()).unwrap();
    assert_eq!(client.send_request(request).await.unwrap().status(), 400);
}

#[tokio::test]
async fn a_flood_of_resets_ends_its_connection_and_no_other() {
    let server = Apps::new().with("mirror").lean().start().await;
    let mut neighbour = connect(&server).await;
    let ask = || Request::get("http://test/mirror/").body(Full::default()).unwrap();
    assert_eq!(neighbour.send_request(ask()).await.unwrap().status(), 200);

    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let mut flood = PREFACE.to_vec();
    flood.extend(frame(SETTINGS, 0, 0, &[]));
    for n in 0..2000 {
        let stream = 2 * n + 1;
        flood.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &block("/mirror/")));
        flood.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    // The server may close before all of it is written.
    let _ = socket.write_all(&flood).await;
    assert_eq!(goaway(&mut socket).await, Some(ENHANCE_YOUR_CALM));
    assert_eq!(neighbour.send_request(ask()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn endless_continuations_and_large_heads_end_the_connection() {
    let server = Apps::new().with("mirror").lean().start().await;
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    let mut flood = PREFACE.to_vec();
    flood.extend(frame(SETTINGS, 0, 0, &[]));
    flood.extend(frame(HEADERS, END_STREAM, 1, &block("/mirror/")));
    // A literal header that is not indexed: 100 bytes of value.
    let mut field = vec![0x00, 1, b'x', 100];
    field.extend([b'a'; 100]);
    for _ in 0..20_000 {
        flood.extend(frame(CONTINUATION, 0, 1, &field));
    }
    let _ = socket.write_all(&flood).await;
    // With or without a word: a connection whose other side is reset while it writes loses the last of it.
    if let Some(code) = goaway(&mut socket).await {
        assert_ne!(code, 0);
    }
    let seen = server.get("/mirror/seen").await.json();
    assert_eq!(seen, serde_json::json!([]));
}

#[tokio::test]
async fn more_than_100_headers_are_refused() {
    let server = Apps::new().with("mirror").lean().start().await;
    let mut client = connect(&server).await;
    let with = |count: usize| {
        let mut request = Request::get("http://test/mirror/");
        for n in 0..count {
            request = request.header(format!("x-{n}"), "y");
        }
        request.body(Full::default()).unwrap()
    };
    assert_eq!(client.send_request(with(101)).await.unwrap().status(), 431);
    assert_eq!(client.send_request(with(90)).await.unwrap().status(), 200);
    assert_eq!(server.get("/mirror/seen").await.json(), serde_json::json!(["GET /"]));
}
