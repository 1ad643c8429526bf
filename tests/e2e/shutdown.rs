//! The end of a supervisor, asked for and not.

use super::harness::{Apps, Server, eventually};
use super::load::Load;
use super::probe::{Gate, Process};
use http::Request;
use http_body_util::{BodyExt, Full};
use nix::sys::signal::Signal;
use std::net::TcpStream;

async fn gone(processes: Vec<Process>) {
    assert!(!processes.is_empty());
    eventually("no bun process is left", || !processes.iter().any(|process| process.lives())).await;
}

/// A server with an app that has a worker, and spares.
async fn server() -> Server {
    let server = Apps::new().with("probe").serve().await;
    assert_eq!(server.get("/probe/").await.status(), 200);
    server
}

#[tokio::test]
async fn sigterm_under_load_finishes_what_was_begun_and_leaves_no_process() {
    // Each request that reaches the app leaves a line in this file.
    let reached = Gate::new();
    let file = reached.path().join("reached");
    let app = format!(
        "import {{ appendFileSync }} from 'node:fs';
        let n = 0;
        export default {{
            async fetch() {{
                const own = n++;
                appendFileSync({file:?}, own + '\\n');
                await Bun.sleep(5);
                return new Response(String(own));
            }},
        }};"
    );
    let mut server = Apps::new().with("probe").file("counting/index.ts", app).serve().await;
    let gate = Gate::new();
    let mut client = server.connect().await;
    let held = Request::get(gate.at("/probe/hold")).body(Full::default()).unwrap();
    let held = tokio::spawn(async move { client.send(held).await.unwrap() });
    server.said("probe", "begun /hold").await;
    let mut client = server.connect().await;
    let stream = Request::get(gate.at("/probe/stream")).body(Full::default()).unwrap();
    let stream = client.begin(stream).await.unwrap();
    let load = Load::start(&server, 8, &["/counting/"]).await;
    load.answers(100).await;
    let processes = server.children();

    server.signal(Signal::SIGTERM);

    server.logged(|line| line["message"] == "shutting down").await;
    eventually("new connections are refused", || TcpStream::connect(server.address).is_err()).await;
    // Each connection ends of its own accord: closed after its last answer.
    let outcomes = load.ends().await;
    gate.open();
    let held = held.await.unwrap();
    assert_eq!((held.status(), held.header("connection")), (200, "close"));
    assert_eq!(stream.into_body().collect().await.unwrap().to_bytes(), "first,last");
    assert_eq!(server.exit().await.code(), Some(0));
    let answered = outcomes.iter().filter_map(|outcome| outcome.answer.as_ref().ok());
    let mut answered: Vec<u32> = answered.map(|answer| answer.text().parse().unwrap()).collect();
    answered.sort_unstable();
    let reached: Vec<u32> =
        std::fs::read_to_string(file).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(answered, reached, "every request that reached the app was answered, no other");
    gone(processes).await;
}

#[tokio::test]
async fn what_does_not_finish_within_the_shutdown_timeout_is_ended() {
    let mut server =
        Apps::new().with("probe").launch().env("RUNTIME_SHUTDOWN_TIMEOUT", "300ms").start().await;
    let never = Gate::new();
    let mut client = server.connect().await;
    let held = Request::get(never.at("/probe/hold")).body(Full::default()).unwrap();
    let held = tokio::spawn(async move { client.send(held).await });
    server.said("probe", "begun /hold").await;
    let processes = server.children();
    server.signal(Signal::SIGINT);
    assert_eq!(server.exit().await.code(), Some(0));
    assert!(held.await.unwrap().map_or(true, |answer| answer.status() >= 500));
    gone(processes).await;
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_leaves_no_process() {
    let mut server = server().await;
    let never = Gate::new();
    let mut client = server.connect().await;
    let held = Request::get(never.at("/probe/hold")).body(Full::default()).unwrap();
    let held = tokio::spawn(async move { client.send(held).await });
    server.said("probe", "begun /hold").await;
    let processes = server.children();
    server.signal(Signal::SIGTERM);
    server.logged(|line| line["message"] == "shutting down").await;
    server.signal(Signal::SIGTERM);
    server.exit().await;
    server.logged(|line| line["message"] == "ending at once").await;
    assert!(held.await.unwrap().map_or(true, |answer| answer.status() >= 500));
    gone(processes).await;
}

#[tokio::test]
async fn killing_the_supervisor_leaves_no_worker() {
    let mut server = server().await;
    let processes = server.children();
    server.signal(Signal::SIGKILL);
    server.exit().await;
    gone(processes).await;
}

#[tokio::test]
async fn killing_the_supervisor_ends_workers_whose_event_loop_is_blocked_too() {
    let mut server = server().await;
    let mut client = server.connect().await;
    let spin = Request::get("/probe/spin").body(Full::default()).unwrap();
    tokio::spawn(async move { client.send(spin).await });
    server.said("probe", "begun /spin").await;
    let processes = server.children();
    server.signal(Signal::SIGKILL);
    server.exit().await;
    gone(processes).await;
}

#[tokio::test]
async fn what_a_worker_spawned_ends_with_it() {
    let app = "export default {
        fetch(request) {
            if (new URL(request.url).pathname === '/exit') process.exit(1);
            return new Response(String(Bun.spawn(['sleep', '1000']).pid));
        },
    };";
    let server = Apps::new().file("parent/index.ts", app).serve().await;
    let child = Process::of(server.get("/parent/").await.pid()).unwrap();
    assert!(child.lives());
    assert_eq!(server.get("/parent/exit").await.status(), 502);
    gone(vec![child]).await;
}
