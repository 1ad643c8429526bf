//! Signals that come while the process is replaced, or just after.

use super::harness::{Apps, Launch, Server, eventually};
use super::probe::{Gate, Process, kill};
use super::steady::Steady;
use super::swap::Successor;
use http_body_util::Full;
use nix::sys::signal::Signal;
use std::path::PathBuf;
use tempfile::TempDir;

/// A server whose successor is not ready before a gate is open: an app of which there is always a worker does not load.
struct Slow {
    server: Server,
    gate: Gate,
    config: TempDir,
}

impl Slow {
    async fn start() -> Slow {
        let (gate, config) = (Gate::new(), TempDir::new().unwrap());
        gate.open();
        let apps = Apps::new()
            .with("probe")
            .file("home/index.html", "home")
            .file(
                "slow/index.ts",
                "import { existsSync } from 'node:fs';
                console.log('loading');
                while (!existsSync(process.env.GATE!)) await Bun.sleep(10);
                export default { fetch: () => new Response('slow') };",
            )
            .file(
                "slow/manifest.yaml",
                format!("instances:\n  min: 1\nenv:\n  GATE: {}/open\n", gate.path().display()),
            );
        let server = configured(apps.lean(), &config, "").start().await;
        server.said("slow", "loading").await;
        Slow { server, gate, config }
    }

    /// Tells the process to be replaced; the one that is to replace it, and waits for its workers.
    async fn replace(&self) -> u32 {
        std::fs::remove_file(self.gate.path().join("open")).unwrap();
        self.server.signal(Signal::SIGUSR2);
        let line = self.server.logged(|line| line["message"] == "it has started").await;
        eventually("it loads its apps", || self.server.times_said("slow", "loading") == 2).await;
        u32::try_from(line["pid"].as_u64().unwrap()).unwrap()
    }
}

fn configured(launch: Launch, dir: &TempDir, config: &str) -> Launch {
    let file = dir.path().join("buntime.yaml");
    std::fs::write(&file, config).unwrap();
    launch.env("RUNTIME_CONFIG", file.to_str().unwrap())
}

async fn not_replaced(server: &Server, why: &str) {
    let message = "the process was not replaced, and serves on";
    server.logged(|line| line["message"] == message && line["error"].as_str().unwrap().contains(why)).await;
}

/// A request that is with a worker until the gate is open.
async fn held(server: &Server, gate: &Gate) -> tokio::task::JoinHandle<(u16, String)> {
    let mut client = server.connect().await;
    let request = http::Request::get(gate.at("/probe/hold")).body(Full::default()).unwrap();
    let held = tokio::spawn(async move {
        let answer = client.send(request).await.unwrap();
        (answer.status(), answer.header("connection").to_owned())
    });
    server.said("probe", "begun /hold").await;
    held
}

#[tokio::test]
async fn a_process_that_ends_while_its_successor_starts_loses_no_request() {
    let mut slow = Slow::start().await;
    let load = Steady::start(slow.server.address, "/probe/", 4);
    let successor = slow.replace().await;
    load.answers(50).await;
    // The new one answers nothing yet: what comes is the old one's.
    load.end().await;
    let gate = Gate::new();
    let held = held(&slow.server, &gate).await;
    let successor = Process::of(successor).unwrap();
    slow.server.signal(Signal::SIGTERM);
    eventually("the successor has ended", || !successor.lives()).await;
    slow.server.logged(|line| line["message"] == "shutting down").await;
    gate.open();
    assert_eq!(held.await.unwrap(), (200, "close".to_owned()));
    assert_eq!(slow.server.exit().await.code(), Some(0));
}

#[tokio::test]
async fn a_successor_that_is_told_to_end_before_it_serves_leaves_the_other_serving() {
    let slow = Slow::start().await;
    let load = Steady::start(slow.server.address, "/probe/", 4);
    let successor = slow.replace().await;
    load.answers(20).await;
    kill(successor, Signal::SIGTERM);
    not_replaced(&slow.server, "ended before it served").await;
    load.answers(50).await;
    load.end().await;
    slow.gate.open();
    let runtime = http::Request::get("/api/runtime").body(Full::default()).unwrap();
    let said = slow.server.admin().await.send(runtime).await.unwrap().json();
    assert_eq!(said["pid"], slow.server.pid, "its admin socket is still its own");
    // The next one takes over.
    let mut server = slow.server;
    server.signal(Signal::SIGUSR2);
    let successor = Successor::of(&server).await;
    assert_eq!(server.exit().await.code(), Some(0));
    successor.end().await;
}

#[tokio::test]
async fn a_hangup_while_the_successor_starts_is_obeyed_by_it() {
    let slow = Slow::start().await;
    slow.replace().await;
    // The new process has read the file of before.
    std::fs::write(slow.config.path().join("buntime.yaml"), "home: home\n").unwrap();
    slow.server.signal(Signal::SIGHUP);
    // A request on a connection that was open before: the signal has been seen when it is answered.
    assert_eq!(slow.server.get("/").await.status(), 404);
    slow.gate.open();
    let successor = Successor::of(&slow.server).await;
    slow.server.logged(|line| line["message"] == "reloaded").await;
    assert_eq!(slow.server.get("/").await.text(), "home");
    successor.end().await;
}

#[tokio::test]
async fn a_reload_and_a_replacement_that_are_asked_for_at_once_both_happen() {
    let server = Apps::new().with("probe").lean().start().await;
    server.signal(Signal::SIGHUP);
    server.signal(Signal::SIGUSR2);
    let successor = Successor::of(&server).await;
    server.logged(|line| line["message"] == "reloaded").await;
    successor.end().await;
}

#[tokio::test]
async fn the_end_of_the_service_reaches_the_process_that_still_finishes() {
    let mut server = Apps::new().with("probe").serve().await;
    let gate = Gate::new();
    let held = held(&server, &gate).await;
    server.signal(Signal::SIGUSR2);
    let successor = Successor::of(&server).await;
    let process = Process::of(successor.0).unwrap();
    kill(successor.0, Signal::SIGTERM);
    server.logged(|line| line["message"] == "told to end soon").await;
    // With the main process gone, a service manager ends all that is left (KillMode=mixed, systemd.kill(5)).
    assert!(process.lives());
    gate.open();
    assert_eq!(held.await.unwrap(), (200, "close".to_owned()));
    assert_eq!(server.exit().await.code(), Some(0));
    eventually("the successor has ended", || !process.lives()).await;
}

#[tokio::test]
async fn a_process_that_was_replaced_and_is_told_to_end_finishes_what_it_has() {
    let mut server = Apps::new().with("probe").serve().await;
    let gate = Gate::new();
    let held = held(&server, &gate).await;
    server.signal(Signal::SIGUSR2);
    let successor = Successor::of(&server).await;
    // What is for the service is passed on.
    server.signal(Signal::SIGHUP);
    server.logged(|line| line["message"] == "reloaded").await;
    server.signal(Signal::SIGTERM);
    server.logged(|line| line["message"] == "told to end soon").await;
    gate.open();
    assert_eq!(held.await.unwrap(), (200, "close".to_owned()));
    assert_eq!(server.exit().await.code(), Some(0));
    assert_eq!(server.get("/probe/").await.status(), 200, "the other one serves on");
    successor.end().await;
}

#[tokio::test]
async fn after_a_replacement_nobody_takes_the_sockets_for_left_behind() {
    let mut server = Apps::new().with("probe").lean().start().await;
    server.signal(Signal::SIGUSR2);
    let successor = Successor::of(&server).await;
    assert_eq!(server.exit().await.code(), Some(0));
    let socket = server.admin_socket();
    let second = Apps::new().with("probe").lean().env("RUNTIME_ADMIN_SOCKET", socket.to_str().unwrap());
    let error = second.fail().await;
    assert!(error.contains("another Buntime seems to use"), "{error}");
    assert!(socket.exists());
    successor.end().await;
}

#[tokio::test]
async fn a_successor_says_why_it_does_not_serve_and_moves_its_admin_socket() {
    let dir = TempDir::new().unwrap();
    let socket = |name: &str| -> PathBuf { dir.path().join(name) };
    let config = |name: &str| format!("adminSocket: {}\n", socket(name).display());
    let mut server = configured(Apps::new().with("probe").lean(), &dir, &config("a")).start().await;
    let file = dir.path().join("buntime.yaml");
    std::fs::write(&file, "poolSize: many\n").unwrap();
    server.signal(Signal::SIGUSR2);
    not_replaced(&server, "poolSize").await;
    std::fs::write(&file, config("b")).unwrap();
    server.signal(Signal::SIGUSR2);
    let successor = Successor::of(&server).await;
    assert_eq!(server.exit().await.code(), Some(0));
    eventually("the old socket is gone", || !socket("a").exists()).await;
    assert!(socket("b").exists());
    successor.end().await;
    assert!(!socket("b").exists());
}
