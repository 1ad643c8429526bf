//! SIGHUP: everything is read again while requests are served.

use super::harness::{Apps, Launch, Server};
use super::steady::Steady;
use nix::sys::signal::Signal;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use std::path::PathBuf;
use tempfile::TempDir;

/// A server with a configuration file of its own.
struct Configured {
    server: Server,
    dir: TempDir,
}

impl Configured {
    async fn start(apps: Apps, config: &str) -> Configured {
        Configured::launch(apps.lean(), config).await
    }

    async fn launch(launch: Launch, config: &str) -> Configured {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("buntime.yaml"), config).unwrap();
        let file = dir.path().join("buntime.yaml");
        let server = launch.env("RUNTIME_CONFIG", file.to_str().unwrap()).start().await;
        Configured { server, dir }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("buntime.yaml")
    }

    /// Waits for the end of the reload; the line of the log that says how it went.
    async fn reload(&self, config: &str) -> serde_json::Value {
        let ended = |line: &serde_json::Value| {
            line["message"] == "reloaded" || line["message"] == "the reload failed"
        };
        let before = self.server.log(ended).len();
        std::fs::write(self.file(), config).unwrap();
        self.server.signal(Signal::SIGHUP);
        let seen = std::cell::Cell::new(0);
        self.server
            .logged(|line| {
                seen.set(seen.get() + usize::from(ended(line)));
                ended(line) && seen.get() > before
            })
            .await
    }
}

#[tokio::test]
async fn sighup_changes_settings_under_load_and_no_request_fails() {
    let apps = Apps::new().with("probe").file("home/index.html", "home");
    let configured = Configured::start(apps, "poolSize: 3\n").await;
    let server = &configured.server;
    let load = Steady::start(server.address, "/probe/", 6);
    let http2 = Steady::http2(server.address, "/probe/", 2);
    load.answers(50).await;
    http2.answers(50).await;
    assert_eq!(server.get("/").await.status(), 404);
    let said = configured.reload("poolSize: 4\nhome: home\nlogLevel: debug\n").await;
    assert_eq!(said["message"], "reloaded", "{said}");
    assert_eq!(server.get("/").await.text(), "home");
    let runtime = http::Request::get("/api/runtime").body(http_body_util::Full::default()).unwrap();
    assert_eq!(server.admin().await.send(runtime).await.unwrap().json()["poolSize"], 4);
    for _ in 0..10 {
        configured.reload("poolSize: 4\nhome: home\n").await;
    }
    load.answers(50).await;
    http2.answers(50).await;
    load.end().await;
    http2.end().await;
}

#[tokio::test]
async fn a_configuration_that_is_not_valid_changes_nothing() {
    let apps = Apps::new().file("home/index.html", "home");
    let configured = Configured::start(apps, "home: home\n").await;
    let said = configured.reload("home: other\npoolSize: many\n").await;
    assert_eq!(said["message"], "the reload failed");
    assert!(said["error"].as_str().unwrap().contains("poolSize"), "{said}");
    assert_eq!(configured.server.get("/").await.text(), "home");
    assert_eq!(configured.reload("home: home\n").await["message"], "reloaded");
}

#[tokio::test]
async fn what_takes_a_new_process_is_named_and_stays() {
    let configured = Configured::start(Apps::new().with("probe"), "threads: 1\n").await;
    configured.reload("threads: 2\napiPrefix: /_ops\n").await;
    let told = |line: &serde_json::Value| line["settings"] == "threads, api-prefix";
    assert_eq!(configured.server.log(told).len(), 1);
    // For as long as it is so, and not when it is again as it was at the start.
    configured.reload("threads: 2\napiPrefix: /_ops\n").await;
    assert_eq!(configured.server.log(told).len(), 2);
    configured.reload("threads: 1\n").await;
    assert_eq!(configured.server.log(|line| line["settings"].is_string()).len(), 2);
    assert_eq!(configured.server.get("/api/health").await.status(), 200);
}

#[tokio::test]
async fn a_manifest_that_was_edited_in_place_counts_and_others_keep_their_workers() {
    let app = "export default { fetch: () => new Response(process.env.WORD + ' ' + process.pid) };";
    let apps = Apps::new()
        .file("one/index.ts", app)
        .file("one/manifest.yaml", "env:\n  WORD: old\n")
        .file("two/index.ts", app)
        .file("two/manifest.yaml", "env:\n  WORD: two\n")
        .file("off/index.ts", app);
    let configured = Configured::start(apps, "").await;
    let server = &configured.server;
    let before = (server.get("/one/").await, server.get("/two/").await);
    assert!(before.0.text().starts_with("old "));
    let load = Steady::start(server.address, "/one/", 4);
    load.answers(20).await;
    let dir = server.apps().path().to_owned();
    std::fs::write(dir.join("one/manifest.yaml"), "env:\n  WORD: new\n").unwrap();
    std::fs::write(dir.join("off/manifest.yaml"), "enabled: false\n").unwrap();
    configured.reload("").await;
    while !server.get("/one/").await.text().starts_with("new ") {
        load.answers(1).await;
    }
    load.answers(20).await;
    load.end().await;
    assert_eq!(server.get("/two/").await.text(), before.1.text(), "nothing of it has changed");
    assert_eq!(server.get("/off/").await.status(), 404);
    // A broken one makes its version unavailable, and is repaired by the next.
    std::fs::write(dir.join("one/manifest.yaml"), "env: [\n").unwrap();
    configured.reload("").await;
    assert!([200, 503].contains(&server.get("/one/").await.status()));
    std::fs::write(dir.join("one/manifest.yaml"), "env:\n  WORD: newer\n").unwrap();
    configured.reload("").await;
    let mut tries = 0;
    while !server.get("/one/").await.text().starts_with("newer ") {
        tries += 1;
        assert!(tries < 10_000);
    }
}

#[tokio::test]
async fn the_root_key_is_read_again_from_its_file_and_kept_if_it_was_a_variable() {
    const ROOT: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210";
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("key");
    let write = |key: &str| {
        std::fs::write(&file, key).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    write(ROOT);
    let status = async |server: &Server, key: &str| {
        let request = http::Request::get("/api/me").header("x-api-key", key);
        server.send(request.body(http_body_util::Full::default()).unwrap()).await.status()
    };
    let reload = async |server: &Server| {
        server.signal(Signal::SIGHUP);
        server.logged(|line| line["message"] == "reloaded").await;
    };
    let apps = || Apps::new().with("probe").lean();
    let server = apps().env("RUNTIME_ROOT_KEY_FILE", file.to_str().unwrap()).start().await;
    assert_eq!((status(&server, ROOT).await, status(&server, OTHER).await), (200, 401));
    write(OTHER);
    reload(&server).await;
    assert_eq!((status(&server, ROOT).await, status(&server, OTHER).await), (401, 200));
    let server = apps().env("RUNTIME_ROOT_KEY", ROOT).start().await;
    reload(&server).await;
    assert_eq!(status(&server, ROOT).await, 200);
}

/// The limit was looked at when the process began, and never again.
#[tokio::test]
async fn a_reload_that_asks_for_more_than_the_limit_on_descriptors_warns_or_is_refused() {
    let config = |connections: usize, pool_size: usize, spares: usize| {
        format!("maxConnections: {connections}\npoolSize: {pool_size}\nspares: {spares}\n")
    };
    let launch = Apps::new().with("probe").launch();
    let configured = Configured::launch(launch, &config(100, 2, 0)).await;
    let server = &configured.server;
    let is_tight =
        |line: &serde_json::Value| line["message"].as_str().unwrap().starts_with("the limit on descriptors");
    set_limit(server, 300);
    assert_eq!(configured.reload(&config(200, 2, 0)).await["message"], "reloaded");
    assert!(server.log(is_tight).is_empty());
    assert_eq!(configured.reload(&config(200, 20, 0)).await["message"], "reloaded");
    let warning = server.logged(is_tight).await;
    assert_eq!((&warning["limit"], &warning["wanted"]), (&300.into(), &400.into()), "{warning:#}");
    let said = configured.reload(&config(200, 40, 40)).await;
    assert_eq!(said["message"], "the reload failed", "{said:#}");
    assert!(said.to_string().contains("300 descriptors"), "{said:#}");
    assert_eq!(server.get("/probe/").await.status(), 200);
}

fn set_limit(server: &Server, current: u64) {
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(current), maximum: hard };
    prlimit(Pid::from_raw(server.pid as i32), Resource::Nofile, limit).unwrap();
}
