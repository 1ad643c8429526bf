//! Large bodies pass through; they do not pile up.

use super::harness::{Apps, Server};
use super::probe::{Gate, peak_memory};
use bytes::Bytes;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, Empty, StreamBody};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MEBI: u64 = 1 << 20;
const LARGE: u64 = 256 * MEBI;
/// What the supervisor may grow by meanwhile.
const GROWTH: u64 = 32 * MEBI;
const PIECE: usize = 64 * 1024;

async fn server() -> Server {
    let server = Apps::new()
        .with("probe")
        .file("probe/manifest.yaml", "maxBodySize: 300mb\ntimeout: 5m")
        .launch()
        .env("RUNTIME_MAX_BODY_SIZE", "300mb")
        .start()
        .await;
    // What it needs once and for all.
    for _ in 0..2 {
        assert_eq!(drain(send(&server, "/probe/echo", 8 * MEBI).await).await, 8 * MEBI);
    }
    server
}

/// Sends a body that is made as it is asked for.
async fn send(server: &Server, path: &str, bytes: u64) -> Incoming {
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let pieces = (0..bytes / PIECE as u64).map(move |_| Ok::<_, Infallible>(Frame::data(piece.clone())));
    let body = StreamBody::new(futures_util::stream::iter(pieces));
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post(path).header("host", "test").body(body).unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.into_body()
}

async fn drain(mut body: Incoming) -> u64 {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.unwrap().data_ref().map_or(0, Bytes::len) as u64;
    }
    bytes
}

#[track_caller]
fn assert_grew_little(server: &Server, before: u64) {
    let growth = peak_memory(server.pid).saturating_sub(before);
    assert!(growth < GROWTH, "the supervisor grew by {} MiB", growth / MEBI);
}

#[tokio::test]
async fn a_download_of_256_mib_passes_and_the_supervisor_grows_by_less_than_32_mib() {
    let server = server().await;
    let before = peak_memory(server.pid);
    let socket = TcpStream::connect(server.address).await.unwrap();
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.unwrap();
    tokio::spawn(connection);
    let request =
        Request::get("/probe/download?mib=256").header("host", "test").body(Empty::<Bytes>::new()).unwrap();
    let answer = client.send_request(request).await.unwrap();
    assert_eq!(drain(answer.into_body()).await, LARGE);
    assert_grew_little(&server, before);
}

#[tokio::test]
async fn an_upload_of_256_mib_passes_and_the_supervisor_grows_by_less_than_32_mib() {
    let server = server().await;
    let before = peak_memory(server.pid);
    let answer = send(&server, "/probe/upload", LARGE).await.collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&answer).unwrap();
    assert_eq!(text.split_once(' ').unwrap().1, LARGE.to_string());
    assert_grew_little(&server, before);
}

#[tokio::test]
async fn an_echo_of_256_mib_passes_both_ways_at_once_and_the_supervisor_grows_by_less_than_32_mib() {
    let server = server().await;
    let before = peak_memory(server.pid);
    assert_eq!(drain(send(&server, "/probe/echo", LARGE).await).await, LARGE);
    assert_grew_little(&server, before);
}

#[tokio::test]
async fn a_stalled_reader_stalls_only_its_stream_and_memory_stays_bounded() {
    const READERS: usize = 8;
    let server = server().await;
    let worker = server.get("/probe/").await.pid();
    let (before, worker_before) = (peak_memory(server.pid), peak_memory(worker));
    let mut stalled = Vec::new();
    for n in 0..READERS {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET /probe/download?mib=256&n={n} HTTP/1.1\r\nhost: test\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 1024];
        assert!(socket.read(&mut head).await.unwrap() > 0);
        assert!(head.starts_with(b"HTTP/1.1 200 "));
        stalled.push(socket);
    }

    // More than all windows and socket buffers of the stalled ones could hold.
    for _ in 0..4 {
        assert_eq!(drain(send(&server, "/probe/echo", 16 * MEBI).await).await, 16 * MEBI);
    }
    for _ in 0..50 {
        assert_eq!(server.get("/probe/").await.pid(), worker);
    }

    assert_grew_little(&server, before);
    let growth = peak_memory(worker).saturating_sub(worker_before);
    assert!(growth < 256 * MEBI, "the worker grew by {} MiB", growth / MEBI);
    drop(stalled);
    for n in 0..READERS {
        let line = format!("cancelled /download?mib=256&n={n} ");
        let event = server.said("probe", &line).await;
        let made: u64 = event["message"].as_str().unwrap().split(' ').nth(3).unwrap().parse().unwrap();
        // Of 1024 pieces of 256 KiB; how many the sockets on the way hold is the system's choice.
        assert!(made < 100, "{event}");
    }
}

#[tokio::test]
async fn a_body_that_its_app_does_not_read_holds_up_no_other_and_memory_stays_bounded() {
    let server = server().await;
    let gate = Gate::new();
    let before = peak_memory(server.pid);
    let path = gate.at("/probe/hold");
    let mut unread = Vec::new();
    for _ in 0..4 {
        unread.push(send(&server, &path, LARGE));
    }
    let unread = futures_util::future::join_all(unread);
    let others = async {
        server.said("probe", "begun /hold").await;
        for _ in 0..4 {
            assert_eq!(drain(send(&server, "/probe/echo", 16 * MEBI).await).await, 16 * MEBI);
        }
        gate.open();
    };
    // The answers come although the bodies were never taken.
    let (unread, ()) = tokio::join!(unread, others);
    for body in unread {
        assert!(drain(body).await > 0);
    }
    assert_grew_little(&server, before);
}
