//! The admin socket: whose it is, what it has, and when.

use super::harness::{Apps, Client, Server, eventually};
use super::probe::Gate;
use http::Request;
use http_body_util::Full;
use nix::sys::signal::Signal;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;

async fn status(server: &Server, path: &str) -> u16 {
    server.admin().await.send(Request::get(path).body(Full::default()).unwrap()).await.unwrap().status()
}

#[tokio::test]
async fn it_has_the_api_alone_for_its_owner_alone_and_goes_with_the_process() {
    let mut server = Apps::new().file("shop/index.html", "shop").lean().start().await;
    let meta = std::fs::symlink_metadata(server.admin_socket()).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.permissions().mode() & 0o777, 0o600);
    for path in ["/api/me", "/api/apps", "/api/keys", "/api/health", "/api/health/ready", "/api/openapi.json"]
    {
        assert_eq!(status(&server, path).await, 200, "{path}");
    }
    for path in ["/", "/shop/", "/shop", "/apis", "/.well-known/buntime", "/metrics"] {
        assert_eq!(status(&server, path).await, 404, "{path}");
    }
    let mut client = server.admin().await;
    let request = || Request::get("/api/me").body(Full::default()).unwrap();
    let me = client.send(request()).await.unwrap();
    assert_eq!(me.json()["actor"], "admin socket");
    // A key is not looked at, and the socket's own word counts.
    let mut keyed = request();
    keyed.headers_mut().insert("x-api-key", "nonsense".parse().unwrap());
    assert_eq!(client.send(keyed).await.unwrap().status(), 200);
    let path = server.admin_socket();
    server.signal(Signal::SIGTERM);
    assert!(server.exit().await.success());
    assert!(!path.exists());
}

/// Of the same user are the apps of another supervisor too.
#[tokio::test]
async fn a_worker_of_another_supervisor_is_refused_whoever_has_its_connection() {
    let app = "const ask = 'const told = await fetch(\\'http://admin/api/me\\', { unix: process.argv.at(-1) }); console.log(await told.text())';
        export default { fetch: async (request) => {
            const unix = await request.text();
            const child = Bun.spawnSync(['bun', '-e', ask, unix]).stdout.toString();
            return Response.json([await (await fetch('http://admin/api/me', { unix })).json(), JSON.parse(child || '{}')]);
        } };";
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let socket = dir.path().join("admin.sock");
    let one = Apps::new().lean().env("RUNTIME_ADMIN_SOCKET", socket.to_str().unwrap()).start().await;
    let other = Apps::new().file("ask/index.js", app).lean().start().await;
    // As if it were the same user.
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o666)).unwrap();
    let told = other.post("/ask/", socket.to_str().unwrap().to_owned()).await.json();
    for answer in told.as_array().unwrap() {
        assert_eq!((&answer["status"], &answer["code"]), (&403.into(), &"peer_refused".into()), "{told:#}");
        assert!(answer["hint"].as_str().unwrap().contains("NoNewPrivileges=yes"), "{told:#}");
    }
    let mut client = Client::over(tokio::net::UnixStream::connect(&socket).await.unwrap()).await;
    let own = client.send(Request::get("/api/me").body(Full::default()).unwrap()).await.unwrap();
    assert_eq!((own.status(), one.get("/api/health").await.status()), (200, 200));
}

#[tokio::test]
async fn it_answers_at_the_prefix_too() {
    let server = Apps::new().lean().env("RUNTIME_API_PREFIX", "/_ops").start().await;
    for path in ["/api/me", "/_ops/api/me"] {
        assert_eq!(status(&server, path).await, 200, "{path}");
    }
}

/// Looks as often as it can from before it is there.
#[tokio::test]
async fn nobody_else_can_open_it_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let watched = path.clone();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let watching = std::thread::spawn(move || {
        let mut modes = std::collections::BTreeSet::new();
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            if let Ok(meta) = std::fs::symlink_metadata(&watched) {
                modes.insert(meta.permissions().mode() & 0o777);
            }
        }
        modes
    });
    let launch = Apps::new().lean().env("RUNTIME_ADMIN_SOCKET", path.to_str().unwrap());
    let _server = launch.start().await;
    eventually("it is there", || path.exists()).await;
    stop.send(()).unwrap();
    assert_eq!(Vec::from_iter(watching.join().unwrap()), [0o600]);
}

#[tokio::test]
async fn one_that_is_left_over_is_replaced_and_one_in_use_is_an_error_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("admin.sock");
    let launch = || Apps::new().lean().env("RUNTIME_ADMIN_SOCKET", path.to_str().unwrap());
    let other = UnixListener::bind(&path).unwrap();
    let said = launch().fail().await;
    assert!(said.contains("it is in use") && said.contains("hint: give this one its own"), "{said}");
    assert!(path.exists());
    drop(other);
    let mut server = launch().start().await;
    server.signal(Signal::SIGKILL);
    server.exit().await;
    assert!(path.exists(), "nobody was left to remove it");
    drop(launch().start().await);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "not a socket").unwrap();
    launch().fail().await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "not a socket");
}

#[tokio::test]
async fn a_second_supervisor_with_the_same_state_directory_does_not_start_and_harms_nothing() {
    let server = Apps::new().file("shop/index.ts", "export default { fetch: () => new Response('shop') };");
    let server = server.manage().await;
    assert_eq!(server.get("/shop/").await.text(), "shop");
    let socket = server.admin_socket();
    let shared = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(server.state_dir(), shared.path().join("state")).unwrap();
    let said = Apps::new().file("shop/index.html", "").lean().state_in(shared).fail().await;
    assert!(said.contains("another Buntime seems to use") && said.contains("--state-dir"), "{said}");
    assert!(socket.exists());
    assert_eq!(status(&server, "/api/me").await, 200);
    assert_eq!(server.get("/shop/").await.text(), "shop");
    let runs: Vec<_> = std::fs::read_dir(server.state_dir().join("run")).unwrap().collect();
    assert_eq!(runs.len(), 1, "it leaves nothing behind: {runs:?}");
}

#[tokio::test]
async fn the_operator_gets_in_when_clients_hold_all_connections() {
    let apps =
        Apps::new().file("shop/index.ts", std::fs::read_to_string("tests/apps/probe/index.ts").unwrap());
    let server = apps.lean().env("RUNTIME_MAX_CONNECTIONS", "1").start().await;
    let gate = Gate::new();
    let mut client = server.connect().await;
    let held = Request::get(gate.at("/shop/hold")).body(Full::default()).unwrap();
    let held = tokio::spawn(async move { client.send(held).await.unwrap().status() });
    server.said("shop", "begun /hold").await;
    assert_eq!(status(&server, "/api/workers").await, 200);
    gate.open();
    assert_eq!(held.await.unwrap(), 200);
}
