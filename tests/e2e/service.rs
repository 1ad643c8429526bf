//! As a service: what its manager is told, and the sockets that it keeps.

use super::authority::Authority;
use super::harness::{Apps, Client, PATIENCE};
use super::probe::Process;
use super::service_manager::ServiceManager;
use super::steady::Steady;
use http::Request;
use http_body_util::Full;
use nix::sys::signal::Signal;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

#[tokio::test]
async fn the_manager_is_told_of_the_start_a_reload_and_the_end() {
    let mut manager = ServiceManager::new();
    let config = tempfile::tempdir().unwrap();
    let file = config.path().join("buntime.yaml");
    std::fs::write(&file, "poolSize: 7\n").unwrap();
    let launch = Apps::new().with("probe").launch().env("RUNTIME_CONFIG", file.to_str().unwrap());
    let mut server = manager.over(launch).start().await;
    manager.hears("READY=1").await;
    let status = manager.hears("STATUS=").await;
    assert_eq!(status, format!("STATUS=Serving 1 app on http://{}", server.address));
    assert!(!server.children().is_empty(), "the spares are up");
    server.signal(Signal::SIGHUP);
    manager.hears("RELOADING=1").await;
    // Of the clock that systemd compares it with (CLOCK_MONOTONIC).
    let at: u64 =
        manager.hears("MONOTONIC_USEC=").await.trim_start_matches("MONOTONIC_USEC=").parse().unwrap();
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    assert!(at <= (u64::try_from(now.tv_sec).unwrap() + 1) * 1_000_000);
    manager.hears("READY=1").await;
    std::fs::write(&file, "poolSize: many\n").unwrap();
    server.signal(Signal::SIGHUP);
    manager.hears("RELOADING=1").await;
    manager.hears("READY=1").await;
    let status = manager.hears("STATUS=").await;
    assert!(status.contains("the last reload failed: ") && status.contains("poolSize"), "{status}");
    server.signal(Signal::SIGTERM);
    manager.hears("STOPPING=1").await;
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn a_restart_through_inherited_sockets_refuses_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let unit = |listener: &TcpListener| listener.try_clone().unwrap();
    let apps = Apps::new().with("probe").lean().env("PORT", "1");
    let mut server = apps.socket("http", unit(&listener)).start().await;
    assert_eq!(server.address, address, "the manager's socket wins over the configuration");
    let load = Steady::start(address, "/probe/", 6);
    let http2 = Steady::http2(address, "/probe/", 2);
    for _ in 0..2 {
        load.answers(100).await;
        http2.answers(20).await;
        let next = server.stop().await;
        server = next.env("RUNTIME_SPARE_WORKERS", "0").socket("http", unit(&listener)).start().await;
    }
    load.answers(100).await;
    http2.answers(20).await;
    load.end().await;
    http2.end().await;
}

#[tokio::test]
async fn sockets_of_several_families_are_taken_and_unknown_names_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("http.sock");
    let (tcp, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
    let second = TcpListener::bind("[::1]:0");
    let launch = Apps::new().with("probe").lean().socket("buntime.socket", tcp).socket("http", unix);
    let launch = match &second {
        Ok(second) => launch.socket("http", second.try_clone().unwrap()),
        Err(_) => launch,
    };
    let server = launch.start().await;
    assert_eq!(server.get("/probe/").await.status(), 200);
    let request = || Request::get("/probe/").body(Full::default()).unwrap();
    let mut client = Client::over(tokio::net::UnixStream::connect(&path).await.unwrap()).await;
    assert_eq!(client.send(request()).await.unwrap().status(), 200);
    if let Ok(second) = second {
        let socket = tokio::net::TcpStream::connect(second.local_addr().unwrap()).await.unwrap();
        assert_eq!(Client::over(socket).await.send(request()).await.unwrap().status(), 200);
    }
    let _server = server.stop().await;
    assert!(path.exists(), "a socket that the manager has made is the manager's");
}

#[tokio::test]
async fn a_descriptor_that_is_no_listener_ends_the_start_with_its_name() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let said = Apps::new().with("probe").lean().socket("http", file).fail().await;
    assert!(said.contains("the socket `http`") && said.contains("it is no socket"), "{said}");
}

#[tokio::test]
async fn a_socket_bound_here_is_kept_by_the_manager_and_used_again() {
    let mut manager = ServiceManager::new();
    let mut server = manager.over(Apps::new().with("probe").lean()).start().await;
    let address = server.address;
    manager.hears("READY=1").await;
    assert_eq!(manager.kept.len(), 1);
    let load = Steady::start(address, "/probe/", 4);
    load.answers(50).await;
    let mut next = server.stop().await.env("RUNTIME_SPARE_WORKERS", "0");
    for (name, socket) in std::mem::take(&mut manager.kept) {
        assert_eq!(name, "own-http");
        next = next.socket(&name, socket);
    }
    server = manager.over(next).start().await;
    assert_eq!(server.address, address, "port 0 means the one that was kept");
    load.answers(50).await;
    load.end().await;
    manager.hears("READY=1").await;
    // Where the configuration asks for another address now, it is of no use.
    let (name, socket) = manager.kept.pop().unwrap();
    let next = server.stop().await.env("HOST", "127.0.0.2").socket(&name, socket);
    let server = manager.over(next).start().await;
    assert_ne!(server.address.ip(), address.ip());
    manager.hears("FDSTOREREMOVE=1").await;
    assert_eq!(server.get("/probe/").await.status(), 200);
}

/// Where all addresses had been listened on, one alone is taken as long as the manager keeps the socket.
#[tokio::test]
async fn a_socket_of_before_that_the_manager_still_keeps_does_not_end_the_start() {
    let mut manager = ServiceManager::new();
    let launch = Apps::new().with("probe").lean().env("HOST", "0.0.0.0");
    let server = manager.over(launch).start().await;
    manager.hears("READY=1").await;
    let (name, socket) = manager.kept.pop().unwrap();
    // A second one stays with the manager until it is told.
    manager.kept.push((name.clone(), socket.try_clone().unwrap()));
    let port = server.address.port();
    let next = server.stop().await.socket(&name, socket);
    let next = manager.over(next.env("HOST", "127.0.0.1").env("PORT", port.to_string()));
    let forgotten = format!("FDNAME={name}");
    let (server, _) = tokio::join!(next.start(), manager.hears(&forgotten));
    assert_eq!(server.address.to_string(), format!("127.0.0.1:{port}"));
    assert_eq!(server.get("/probe/").await.status(), 200);
}

#[tokio::test]
async fn a_stuck_control_loop_says_nothing_to_the_watchdog_and_dies_by_it_with_its_workers() {
    const LIMIT: Duration = Duration::from_millis(500);
    let mut manager = ServiceManager::new();
    let launch = Apps::new().with("probe").launch().env("BUNTIME_TEST_COMMANDS", "1");
    let launch = launch.env("WATCHDOG_USEC", LIMIT.as_micros().to_string());
    let mut server = manager.over(launch).start().await;
    for _ in 0..3 {
        manager.hears("WATCHDOG=1").await;
    }
    let processes: Vec<Process> = server.children();
    assert!(!processes.is_empty());
    let wedge = tokio::process::Command::new(env!("CARGO_BIN_EXE_buntime"))
        .args(["wedge", "--admin-socket"])
        .arg(server.admin_socket())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    server
        .logged(|line| line["message"].as_str().is_some_and(|text| text.starts_with("stuck for good")))
        .await;
    // What was said before may still be on its way.
    while manager.hears_within("WATCHDOG=1", LIMIT * 4).await.is_some() {}
    // As systemd does (WatchdogSignal=, systemd.service(5)).
    server.signal(Signal::SIGABRT);
    assert_eq!(server.exit().await.signal(), Some(Signal::SIGABRT as i32));
    super::harness::eventually("no worker is left", || !processes.iter().any(|process| process.lives()))
        .await;
    let told = tokio::time::timeout(PATIENCE, wedge.wait_with_output()).await.unwrap().unwrap();
    assert!(!told.status.success());
}

#[tokio::test]
async fn without_the_variable_nobody_can_get_it_stuck() {
    let server = Apps::new().with("probe").lean().start().await;
    let request = Request::post("/api/test/wedge").body(Full::default()).unwrap();
    assert_eq!(server.admin().await.send(request).await.unwrap().status(), 404);
    assert_eq!(server.get("/probe/").await.status(), 200);
}

#[tokio::test]
async fn a_watchdog_of_another_process_is_nothing_to_this_one() {
    let mut manager = ServiceManager::new();
    let launch = Apps::new().with("probe").lean();
    let launch = launch.env("WATCHDOG_USEC", "20000").env("WATCHDOG_PID", "1");
    let mut server = manager.over(launch).start().await;
    manager.hears("READY=1").await;
    server.signal(Signal::SIGTERM);
    manager.hears("STOPPING=1").await;
    assert!(server.exit().await.success());
    assert!(!manager.said.iter().any(|line| line == "WATCHDOG=1"));
}

/// The manager's ports, however the configuration would have them.
#[tokio::test]
async fn sockets_of_the_manager_speak_tls_or_redirect_by_their_names() {
    let [main, plain] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let (port, at) = (main.local_addr().unwrap().port(), plain.local_addr().unwrap());
    let authority = Authority::new();
    let launch = authority.of(Apps::new().with("probe").lean()).env("RUNTIME_HTTP_PORT", "1");
    let server = launch.socket("http", main).socket("redirect", plain.try_clone().unwrap()).start().await;
    let request = Request::get("/probe/").body(Full::default()).unwrap();
    assert_eq!(authority.connect(&server, "a.test").await.send(request).await.unwrap().status(), 200);
    let mut raw = server.raw_at(at).await;
    raw.write("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(raw.answer().await.head.text("location"), format!("https://a.test:{port}/x"));
    let error = Apps::new().lean().socket("redirect", plain).fail().await;
    assert!(error.contains("there is no TLS to send anybody to by the socket `redirect`"), "{error}");
}
