//! The process is replaced while requests are served.

use super::authority::Authority;
use super::harness::{Apps, Server, eventually};
use super::probe::Process;
use super::service_manager::ServiceManager;
use super::steady::Steady;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The process that has taken over; ended with the test.
pub struct Successor(pub u32);

impl Successor {
    /// Of a server that was told to be replaced.
    pub async fn of(server: &Server) -> Successor {
        let line = server.logged(|line| line["message"] == "another process has taken over").await;
        Successor(u32::try_from(line["pid"].as_u64().unwrap()).unwrap())
    }

    /// Ends it in order.
    pub async fn end(self) {
        let Successor(pid) = self;
        let process = Process::of(pid).unwrap();
        kill(Pid::from_raw(pid as i32), Signal::SIGTERM).unwrap();
        eventually("the successor has ended", || !process.lives()).await;
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        // It has ended, unless the test has failed.
        if Path::new(&format!("/proc/{}/exe", self.0)).read_link().is_ok_and(|exe| exe.ends_with("buntime")) {
            let _ = kill(Pid::from_raw(self.0 as i32), Signal::SIGKILL);
        }
    }
}

/// What the runtime says of itself over the admin socket.
async fn pid(server: &Server) -> u64 {
    let request = http::Request::get("/api/runtime").body(http_body_util::Full::default()).unwrap();
    let answer = server.admin().await.send(request).await.unwrap();
    answer.json()["pid"].as_u64().unwrap()
}

#[tokio::test]
async fn sigusr2_replaces_the_process_under_load_and_no_request_fails() {
    let mut server = Apps::new().with("probe").file("hi/index.html", "hi").serve().await;
    let load = Steady::start(server.address, "/probe/", 6);
    let files = Steady::start(server.address, "/hi/", 2);
    load.answers(100).await;
    server.signal(Signal::SIGUSR2);
    let successor = Successor::of(&server).await;
    load.answers(200).await;
    files.answers(10).await;
    assert_eq!(server.exit().await.code(), Some(0));
    load.answers(100).await;
    assert_eq!(pid(&server).await, u64::from(successor.0), "the admin socket is the new one's");
    load.end().await;
    files.end().await;
    assert!(server.admin_socket().exists(), "its name was left to the new one");
    successor.end().await;
    assert!(!server.admin_socket().exists());
}

/// The port with TLS and the one that redirects are handed over, with the certificates as they are by then.
#[tokio::test]
async fn the_process_is_replaced_under_load_over_tls_too() {
    let authority = Authority::new();
    let launch = authority.of(Apps::new().with("probe").lean()).env("RUNTIME_HTTP_PORT", "0");
    let mut server = launch.start().await;
    let redirects = |line: &serde_json::Value| line["message"] == "sending everybody to https";
    let plain =
        server.logged(redirects).await["listen"].as_str().unwrap()["http://".len()..].parse().unwrap();
    let load = Steady::over(authority.connector(&server, "a.test"), "/probe/", 4);
    load.answers(50).await;
    let before = authority.shown(&server, "a.test").await;
    server.signal(Signal::SIGUSR2);
    let successor = Successor::of(&server).await;
    load.answers(100).await;
    assert_eq!(server.exit().await.code(), Some(0));
    load.answers(50).await;
    assert_eq!(authority.shown(&server, "a.test").await, before);
    let mut raw = server.raw_at(plain).await;
    raw.write("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(raw.answer().await.status(), 308);
    // The new process looks after them from here on.
    authority.lay("a", &["a.test"]);
    server.logged(|line| line["message"] == "the certificates were read again").await;
    assert_ne!(authority.shown(&server, "a.test").await, before);
    load.end().await;
    successor.end().await;
}

#[tokio::test]
async fn http2_clients_are_sent_to_the_new_process_and_lose_nothing() {
    let mut server = Apps::new().with("probe").lean().start().await;
    let load = Steady::http2(server.address, "/probe/", 3);
    load.answers(50).await;
    server.signal(Signal::SIGUSR2);
    let successor = Successor::of(&server).await;
    assert_eq!(server.exit().await.code(), Some(0));
    load.answers(50).await;
    load.end().await;
    successor.end().await;
}

#[tokio::test]
async fn what_is_in_flight_is_finished_by_the_process_that_began_it() {
    let mut server = Apps::new().with("probe").serve().await;
    let gate = super::probe::Gate::new();
    let mut client = server.connect().await;
    let held = http::Request::get(gate.at("/probe/hold")).body(http_body_util::Full::default()).unwrap();
    let held = tokio::spawn(async move { client.send(held).await.unwrap() });
    server.said("probe", "begun /hold").await;
    server.signal(Signal::SIGUSR2);
    let successor = Successor::of(&server).await;
    // On a new connection: the new process answers, and the old one is still there.
    assert_eq!(server.get("/probe/").await.status(), 200);
    assert!(Process::of(server.pid).is_some_and(Process::lives));
    gate.open();
    let held = held.await.unwrap();
    assert_eq!((held.status(), held.header("connection")), (200, "close"));
    assert_eq!(server.exit().await.code(), Some(0));
    successor.end().await;
}

/// A thread that has entered a mount namespace is in its root.
#[tokio::test]
async fn relative_paths_begin_for_the_new_process_where_they_began_for_the_old() {
    let mut server = Apps::new().with("probe").lean().inside().start().await;
    server.signal(Signal::SIGUSR2);
    let successor = Successor::of(&server).await;
    assert_eq!(server.get("/probe/").await.status(), 200);
    assert_eq!(server.exit().await.code(), Some(0));
    successor.end().await;
}

#[tokio::test]
async fn a_program_that_does_not_start_leaves_the_process_serving() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("buntime");
    let put = |text: &[u8]| {
        let new = dir.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::set_permissions(&new, PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::rename(&new, &program).unwrap();
    };
    let real = std::fs::read(env!("CARGO_BIN_EXE_buntime")).unwrap();
    put(&real);
    let mut server = Apps::new().with("probe").lean().binary(&program).start().await;
    let load = Steady::start(server.address, "/probe/", 2);
    let failed = async |server: &Server, why: &str| {
        server.signal(Signal::SIGUSR2);
        server.logged(|line| is_failure(line) && line["error"].as_str().unwrap().contains(why)).await;
    };
    put(b"#!/bin/sh\nexit 3\n");
    failed(&server, "ended before it served").await;
    put(b"no program at all");
    failed(&server, "cannot be started").await;
    std::fs::remove_file(&program).unwrap();
    failed(&server, "No such file").await;
    put(&real);
    load.answers(20).await;
    assert_eq!(pid(&server).await, u64::from(server.pid));
    server.signal(Signal::SIGUSR2);
    let successor = Successor::of(&server).await;
    assert_eq!(server.exit().await.code(), Some(0));
    load.answers(20).await;
    load.end().await;
    successor.end().await;
}

fn is_failure(line: &serde_json::Value) -> bool {
    line["message"] == "the process was not replaced, and serves on"
}

#[tokio::test]
async fn a_process_that_is_told_to_end_while_another_one_starts_ends_both() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("buntime");
    std::fs::copy(env!("CARGO_BIN_EXE_buntime"), &program).unwrap();
    let mut server = Apps::new().with("probe").lean().binary(&program).start().await;
    let started = dir.path().join("started");
    std::fs::remove_file(&program).unwrap();
    std::fs::write(
        &program,
        format!("#!/bin/sh\necho $$ > {0}.new; mv {0}.new {0}; exec sleep 1000\n", started.display()),
    )
    .unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    server.signal(Signal::SIGUSR2);
    eventually("the program has started", || started.exists()).await;
    let child: u32 = std::fs::read_to_string(&started).unwrap().trim().parse().unwrap();
    let child = Process::of(child).unwrap();
    assert_eq!(server.get("/probe/").await.status(), 200, "it serves meanwhile");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.exit().await.code(), Some(0));
    assert!(!child.lives());
}

#[tokio::test]
async fn changes_wait_for_the_new_process_and_are_refused_when_it_serves() {
    let server = Apps::new().with("probe").operated().start().await;
    let set_alias = || {
        http::Request::put("/api/apps/probe/aliases/beta")
            .header("content-type", "application/json")
            .header("x-api-key", super::operator::KEY)
            .body(http_body_util::Full::from(json!({ "version": "latest" }).to_string()))
            .unwrap()
    };
    // On a connection to the old process.
    let mut kept = server.connect().await;
    server.signal(Signal::SIGUSR2);
    let successor = Successor::of(&server).await;
    let refused = kept.send(set_alias()).await.unwrap();
    assert_eq!(refused.problem(), (503, "handed_over".to_owned()));
    assert_eq!((refused.header("retry-after"), refused.header("connection")), ("1", "close"));
    // The new one knows the root key, which was in a variable that no process shows.
    assert_eq!(server.send(set_alias()).await.status(), 200);
    successor.end().await;
}

#[tokio::test]
async fn the_service_manager_is_told_who_the_service_is() {
    let mut manager = ServiceManager::new();
    let launch = Apps::new().with("probe").lean().env("WATCHDOG_USEC", "400000");
    let mut server = manager.over(launch).start().await;
    manager.hears("READY=1").await;
    server.signal(Signal::SIGUSR2);
    let line = manager.hears("MAINPID=").await;
    // A manager waits for the end of its own children, and not for that of the old process's (service_set_main_pid of systemd).
    let successor: u32 = line.trim_start_matches("MAINPID=").parse().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{successor}/stat")).unwrap();
    let parent = stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap();
    assert_ne!(parent, server.pid.to_string());
    let successor = Successor::of(&server).await;
    assert_eq!(line, format!("MAINPID={}", successor.0));
    // The new one: ready, and alive. What it says before it is the service, the manager would drop.
    manager.hears("FDSTORE=1").await;
    manager.hears("READY=1").await;
    manager.hears("WATCHDOG=1").await;
    assert_eq!(server.exit().await.code(), Some(0));
    manager.hears("WATCHDOG=1").await;
    assert!(!manager.said.iter().any(|line| line == "STOPPING=1"), "the service goes on");
    successor.end().await;
    manager.hears("STOPPING=1").await;
}
