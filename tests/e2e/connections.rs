//! Connections that cost without use are closed; those in use are not.

use super::harness::{Apps, PATIENCE};
use super::raw::Raw;

const SLOW_APP: &str = "
const gates = new Map<string, () => void>();
export default {
  async fetch(request: Request) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith('/open')) { gates.get(pathname.slice(5))!(); return new Response('opened'); }
    console.log('waiting ' + pathname);
    await new Promise<void>((resolve) => gates.set(pathname, resolve));
    return new Response('done');
  },
};";

async fn ask(raw: &mut Raw, path: &str) -> u16 {
    raw.write(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")).await;
    raw.answer().await.status()
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_or_not_at_all_is_closed() {
    let server = Apps::new().lean().env("RUNTIME_HEAD_TIMEOUT", "1s").start().await;
    let mut silent = server.raw().await;
    let mut half = server.raw().await;
    half.write("GET / HTTP/1.1\r\nHost: te").await;
    let mut dripping = server.raw().await;
    dripping.write("GET / HTTP/1.1\r\n").await;
    let mut second = server.raw().await;
    assert_eq!(ask(&mut second, "/api/health/live").await, 200);
    second.write("GET / HT").await;
    let drip = async {
        // Each byte is in time, the head is not.
        loop {
            dripping.write("X: y\r\n").await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = drip => {}
        () = silent.closed() => {}
    }
    half.closed().await;
    dripping.closed().await;
    second.closed().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_that_waits_for_its_answer_is_not() {
    let server = Apps::new()
        .file("slow/index.ts", SLOW_APP)
        .lean()
        .env("RUNTIME_KEEPALIVE_TIMEOUT", "1s")
        .env("RUNTIME_HEAD_TIMEOUT", "1s")
        .start()
        .await;
    let mut waiting = server.raw().await;
    waiting.write("GET /slow/a HTTP/1.1\r\nHost: test\r\n\r\n").await;
    server.logged(|line| line["message"] == "waiting /a").await;
    let mut idle = server.raw().await;
    assert_eq!(ask(&mut idle, "/api/health/live").await, 200);
    idle.closed().await;
    assert_eq!(server.get("/slow/open/a").await.status(), 200);
    assert_eq!(waiting.answer().await.body, b"done");
    waiting.closed().await;
}

#[tokio::test]
async fn beyond_the_most_connections_the_one_idle_the_longest_is_closed() {
    let server =
        Apps::new().file("slow/index.ts", SLOW_APP).lean().env("RUNTIME_MAX_CONNECTIONS", "3").start().await;
    let mut busy = server.raw().await;
    busy.write("GET /slow/a HTTP/1.1\r\nHost: test\r\n\r\n").await;
    server.logged(|line| line["message"] == "waiting /a").await;
    let mut older = server.raw().await;
    assert_eq!(ask(&mut older, "/api/health/live").await, 200);
    let mut newer = server.raw().await;
    assert_eq!(ask(&mut newer, "/api/health/live").await, 200);
    let mut fourth = server.raw().await;
    assert_eq!(ask(&mut fourth, "/api/health/live").await, 200);
    older.closed().await;
    assert_eq!(ask(&mut newer, "/slow/open/a").await, 200);
    assert_eq!(busy.answer().await.body, b"done");
}

#[tokio::test]
async fn when_every_connection_is_busy_the_next_one_waits_and_is_served() {
    let server =
        Apps::new().file("slow/index.ts", SLOW_APP).lean().env("RUNTIME_MAX_CONNECTIONS", "2").start().await;
    let mut busy = server.raw().await;
    busy.write("GET /slow/a HTTP/1.1\r\nHost: test\r\n\r\n").await;
    server.logged(|line| line["message"] == "waiting /a").await;
    let mut second = server.raw().await;
    assert_eq!(ask(&mut second, "/api/health/live").await, 200);
    second.write("GET /slow/b HTTP/1.1\r\nHost: test\r\n\r\n").await;
    server.logged(|line| line["message"] == "waiting /b").await;
    let mut third = server.raw().await;
    third.write("GET /slow/open/b HTTP/1.1\r\nHost: test\r\n\r\n").await;
    third.write("GET /api/health/live HTTP/1.1\r\nHost: test\r\n\r\n").await;
    // Nobody is idle: only the end of a connection makes room.
    drop(busy);
    assert_eq!(third.answer().await.status(), 200);
    assert_eq!(third.answer().await.status(), 200);
    assert_eq!(second.answer().await.body, b"done");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let server = Apps::new().with("mirror").lean().start().await;
    let mut raw = server.raw().await;
    let requests: String =
        (0..50).map(|n| format!("GET /mirror/{n} HTTP/1.1\r\nHost: test\r\n\r\n")).collect();
    raw.write(requests).await;
    for n in 0..50 {
        let answer = tokio::time::timeout(PATIENCE, raw.answer()).await.unwrap();
        assert_eq!(answer.json()["url"], format!("http://test/{n}"));
    }
}

#[tokio::test]
async fn a_connection_that_becomes_idle_makes_room_for_one_that_waits() {
    let server = Apps::new().lean().env("RUNTIME_MAX_CONNECTIONS", "2").start().await;
    let mut first = server.raw().await;
    let mut second = server.raw().await;
    assert_eq!(ask(&mut second, "/api/health/live").await, 200);
    // Both are served for as long as nobody else wants their place.
    assert_eq!(ask(&mut first, "/api/health/live").await, 200);
    assert_eq!(ask(&mut second, "/api/health/live").await, 200);
    first.write("GET /api/health/live HTTP/1.1\r\nHost").await;
    second.write("GET /api/health/live HTTP/1.1\r\nHost").await;
    let mut third = server.raw().await;
    third.write("GET /api/health/live HTTP/1.1\r\nHost: test\r\n\r\n").await;
    first.write(": test\r\n\r\n").await;
    assert_eq!(first.answer().await.status(), 200);
    assert_eq!(third.answer().await.status(), 200);
    first.closed().await;
}
