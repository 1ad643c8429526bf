//! A client that takes nothing of what it is sent.

use super::harness::Apps;
use nix::sys::signal::Signal;

const ENDLESS: &str = "const piece = new Uint8Array(65536);
export default { fetch: () => new Response(new ReadableStream({ pull(c) { c.enqueue(piece); } })) };";

#[tokio::test]
async fn a_client_that_stops_reading_keeps_neither_its_worker_nor_its_connection() {
    let mut server = Apps::new()
        .file("flood/index.ts", ENDLESS)
        .file("flood/manifest.yaml", "streamTimeout: 1s\nidleTimeout: 300ms\ntimeout: 1s\nttl: 2s\n")
        .serve()
        .await;
    let mut stalled = server.raw().await;
    stalled.write("GET /flood/ HTTP/1.1\r\nhost: test\r\n\r\n").await;
    // The worker has nothing more to do with it: it rests, and ends.
    server.logged(|line| line["app"] == "flood" && line["to"] == "idle").await;
    server.logged(|line| line["app"] == "flood" && line["reason"] == "idle-ttl").await;
    // What was on its way is still there; then the connection is at its end.
    stalled.rest().await;
    server.signal(Signal::SIGTERM);
    assert!(server.exit().await.success());
}
