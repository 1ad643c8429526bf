//! Script plugins: what the examples do, and what becomes of requests when a plugin's process dies or hangs.

use super::harness::{Answer, Apps, Launch, PATIENCE, Server};
use http::Request;
use http_body_util::Full;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A directory of plugins, written by the test.
pub struct Plugins(TempDir);

impl Plugins {
    pub fn new() -> Plugins {
        let dir = TempDir::new().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        Plugins(dir)
    }

    /// Those of `plugins/examples`.
    pub fn examples() -> Plugins {
        let plugins = Plugins::new();
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/examples");
        for name in ["counter", "gate"] {
            for file in ["manifest.yaml", "plugin.ts"] {
                let text = std::fs::read_to_string(examples.join(name).join(file)).unwrap();
                plugins.write(&format!("{name}/{file}"), &text);
            }
        }
        plugins
    }

    /// One of those that are linked in, turned on, with these settings (YAML).
    pub fn native(&self, name: &str, settings: &str) -> &Plugins {
        let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins").join(name).join("manifest.yaml");
        let text = std::fs::read_to_string(own).unwrap();
        assert!(text.contains("enabled: false"), "{text}");
        let text = text.replace("enabled: false", "enabled: true");
        self.write(&format!("@buntime/plugin-{name}/manifest.yaml"), &format!("{text}\n{settings}"))
    }

    pub fn write(&self, file: &str, text: &str) -> &Plugins {
        let path = self.0.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn of(&self, launch: Launch) -> Launch {
        launch.plugins(self.path())
    }
}

const HELLO: &str =
    "export default { fetch: (request) => new Response('hello ' + new URL(request.url).pathname) }";

pub async fn ask(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request =
        headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    server.send(request.body(Full::default()).unwrap()).await
}

/// The process of a plugin, once it is another than `last`.
pub async fn process_of(server: &Server, plugin: &str, last: Option<Pid>) -> Pid {
    let mut admin = server.admin().await;
    let asking = async {
        loop {
            let request = Request::get("/api/workers").body(Full::default()).unwrap();
            let workers = admin.send(request).await.unwrap().json();
            let own = workers["workers"].as_array().unwrap().iter().find(|worker| {
                worker["plugin"] == plugin && worker["state"] != "creating" && worker["state"] != "terminated"
            });
            let pid = own.and_then(|worker| worker["pid"].as_i64()).map(|pid| Pid::from_raw(pid as i32));
            if let Some(pid) = pid.filter(|pid| Some(*pid) != last) {
                return pid;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the plugin has another process")
}

#[tokio::test]
async fn the_example_guards_a_path_adds_a_header_answers_a_route_and_calls_another() {
    let plugins = Plugins::examples();
    let apps = Apps::new().file("hello/index.ts", HELLO).file("other/index.ts", HELLO);
    let server = plugins.of(apps.lean()).start().await;
    let answer = ask(&server, "/hello/x", &[]).await;
    assert_eq!((answer.status(), answer.text()), (200, "hello /x"));
    assert_eq!(answer.header("x-gate"), "was here");
    assert_eq!(ask(&server, "/other/x", &[]).await.header("x-gate"), "", "another app");
    for path in ["/hello/secret", "/hello/secret/x", "/hello/%73ecret", "/hello//secret"] {
        let answer = ask(&server, path, &[]).await;
        assert_eq!(answer.status(), 401, "{path}");
    }
    let answer = ask(&server, "/hello/secret", &[("authorization", "Bearer sesame")]).await;
    assert_eq!((answer.status(), answer.text()), (200, "hello /secret"));
    let stats = ask(&server, "/gate/stats", &[]).await;
    assert_eq!(stats.json(), serde_json::json!({ "admitted": 1, "refused": 4 }));
    assert_eq!(ask(&server, "/gate/nothing", &[]).await.status(), 404);
    server.logged(|line| line["plugin"] == "gate" && line["message"] == "refused").await;
}

/// Clients that ask for a guarded path and for another one without a pause.
struct Load {
    server: Arc<Server>,
    ends: Arc<AtomicBool>,
    refused: watch::Sender<usize>,
    failed: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn begin(server: Server) -> Load {
        let server = Arc::new(server);
        let (ends, refused, failed) =
            (Arc::<AtomicBool>::default(), watch::Sender::default(), Arc::default());
        let mut load = Load { server, ends, refused, failed, clients: Vec::new() };
        for number in 0..8 {
            let (server, ends) = (Arc::clone(&load.server), Arc::clone(&load.ends));
            let (refused, failed) = (load.refused.clone(), Arc::clone(&load.failed));
            load.clients.push(tokio::spawn(async move {
                let mut client = server.connect().await;
                while !ends.load(Ordering::Relaxed) {
                    let path = if number % 2 == 0 { "/hello/secret/x" } else { "/hello/x" };
                    let answer =
                        client.send(Request::get(path).body(Full::default()).unwrap()).await.unwrap();
                    match (path, answer.status()) {
                        ("/hello/secret/x", 401) => refused.send_modify(|refused| *refused += 1),
                        ("/hello/secret/x", 503) => drop(failed.fetch_add(1, Ordering::Relaxed)),
                        ("/hello/x", 200) => {}
                        (path, status) => panic!("{path}: {status}: {}", answer.text()),
                    }
                }
            }));
        }
        load
    }

    /// Waits until so many more were refused by the guard.
    async fn refuses(&self, more: usize) {
        let mut refused = self.refused.subscribe();
        let wanted = *refused.borrow() + more;
        let waiting = refused.wait_for(|refused| *refused >= wanted);
        tokio::time::timeout(PATIENCE, waiting).await.expect("the guard refuses").unwrap();
    }

    /// How many answers were 503.
    async fn end(self) -> usize {
        self.ends.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.failed.load(Ordering::Relaxed)
    }
}

async fn order(server: &Server, path: &str) -> Answer {
    server.admin().await.send(Request::post(path).body(Full::default()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn how_long_hooks_take_is_measured_by_plugin() {
    let plugins = Plugins::examples();
    plugins.native("metrics", "");
    let server = plugins.of(Apps::new().file("hello/index.ts", HELLO).lean()).start().await;
    assert_eq!(ask(&server, "/hello/secret", &[]).await.status(), 401);
    let text = ask(&server, "/metrics/prometheus", &[]).await.text().to_owned();
    // The refusal was shown to onResponse too: it is an answer of a plugin.
    for hook in ["onRequest", "onResponse"] {
        let line = text.lines().find(|line| {
            line.starts_with("buntime_plugin_hook_duration_seconds_count")
                && line.contains("plugin=\"gate\"")
                && line.contains(&format!("hook=\"{hook}\""))
        });
        assert_eq!(line.and_then(|line| line.rsplit(' ').next()), Some("1"), "{hook}: {text}");
    }
}

#[tokio::test]
async fn a_guard_whose_process_is_killed_under_load_never_lets_anybody_pass() {
    let plugins = Plugins::examples();
    let server = plugins.of(Apps::new().file("hello/index.ts", HELLO).lean()).start().await;
    let load = Load::begin(server);
    let mut last = None;
    for _ in 0..4 {
        let pid = process_of(&load.server, "gate", last).await;
        last = Some(pid);
        // It is certainly in the middle of something.
        load.refuses(20).await;
        nix::sys::signal::kill(pid, Signal::SIGKILL).unwrap();
    }
    load.refuses(20).await;
    load.end().await;
}

#[tokio::test]
async fn a_reload_under_load_lets_nobody_pass_and_fails_nobody() {
    let plugins = Plugins::examples();
    let server = plugins.of(Apps::new().file("hello/index.ts", HELLO).lean()).start().await;
    let load = Load::begin(server);
    for round in 0..5 {
        load.refuses(20).await;
        plugins.write("note/manifest.yaml", &format!("name: note\nversion: 1.0.{round}\n"));
        plugins.write("note/plugin.ts", "export default {}");
        let answer = order(&load.server, "/api/plugins/reload").await;
        assert_eq!(answer.status(), 200, "{}", answer.text());
    }
    // One that cannot start leaves everything as it is.
    plugins.write("gate/plugin.ts", "throw new Error('half an edit')");
    let answer = order(&load.server, "/api/plugins/reload").await;
    assert_eq!(answer.status(), 422, "{}", answer.text());
    assert!(answer.text().contains("half an edit"), "{}", answer.text());
    load.refuses(20).await;
    assert_eq!(load.end().await, 0, "no request failed for the reloads");
}

#[tokio::test]
async fn a_guard_that_hangs_refuses_and_health_stays() {
    let plugins = Plugins::new();
    plugins
        .write(
            "hang/manifest.yaml",
            "name: hang\nversion: 1.0.0\nguards: true\nhookTimeout: 100ms\nhooks:\n  onRequest: {paths: [/hello/**]}\n",
        )
        .write("hang/plugin.ts", "export default { onRequest: () => new Promise(() => {}) }");
    let server = plugins.of(Apps::new().file("hello/index.ts", HELLO).lean()).start().await;
    let answer = ask(&server, "/hello/x", &[]).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.json()["code"], "plugin_failed");
    assert_eq!(answer.header("retry-after"), "1");
    let health: Answer = ask(&server, "/api/health", &[]).await;
    assert_eq!((health.status(), &health.json()["status"]), (200, &Value::from("ok")));
    // The operator gets in, and switches it off.
    let buntime = std::process::Command::new(env!("CARGO_BIN_EXE_buntime"))
        .args(["plugins", "disable", "hang", "--admin-socket"])
        .arg(server.state_dir().join("admin.sock"))
        .output()
        .unwrap();
    assert!(buntime.status.success(), "{}", String::from_utf8_lossy(&buntime.stderr));
    assert_eq!(ask(&server, "/hello/x", &[]).await.status(), 200);
}

#[tokio::test]
async fn a_guard_that_does_not_start_keeps_the_runtime_from_starting() {
    let plugins = Plugins::new();
    plugins
        .write("shut/manifest.yaml", "name: shut\nversion: 1.0.0\nguards: true\nhooks: {onRequest: true}\n")
        .write("shut/plugin.ts", "export default { onInit() { throw new Error('no key') }, onRequest() {} }");
    let said = plugins.of(Apps::new().file("hello/index.ts", HELLO).lean()).fail().await;
    assert!(said.contains("shut would not be loaded") && said.contains("no key"), "{said}");
}

/// Signals were heard only once all plugins had started, each of which may take 30 seconds.
#[tokio::test]
async fn a_signal_is_heard_while_plugins_start() {
    for (hook, hooks) in [("onInit", "{onRequest: true}"), ("onServerStart", "{onServerStart: true}")] {
        let plugins = Plugins::new();
        let module = format!(
            "export default {{
               {hook}() {{ console.log('it takes its time'); return new Promise(() => setInterval(() => {{}}, 1000)); }},
               onRequest() {{}},
             }}"
        );
        plugins
            .write("slow/manifest.yaml", &format!("name: slow\nguards: true\nhooks: {hooks}\n"))
            .write("slow/plugin.ts", &module);
        let mut server = plugins.of(Apps::new().file("hello/index.ts", HELLO).lean()).begin();
        server.logged(|line| line.to_string().contains("it takes its time")).await;
        server.signal(Signal::SIGTERM);
        assert!(server.exit().await.success(), "{hook}");
        assert!(server.log(|line| line["message"] == "serving").is_empty(), "{hook}");
    }
}

/// It was asked only where there was something else, and those who look at answers were shown an empty request.
#[tokio::test]
async fn what_no_app_has_is_offered_to_fetch_and_its_answer_is_shown_with_its_request() {
    let plugins = Plugins::new();
    let manifest = "name: well\nhooks:\n  fetch: true\n  onResponse: { paths: [/nowhere/**] }\n";
    plugins.write("well/manifest.yaml", manifest).write(
        "well/plugin.ts",
        "export default {
           fetch(request) {
             const { pathname } = new URL(request.url);
             if (pathname === '/nowhere/fails') throw new Error('as it should');
             return new Response(pathname, { status: pathname.startsWith('/nowhere') ? 200 : 404 });
           },
           onResponse(response, app, request) {
             const headers = { 'x-seen': `${request.method} ${new URL(request.url).pathname}` };
             return new Response(response.body, { headers });
           },
         }",
    );
    let server = plugins.of(Apps::new().file("hello/index.ts", HELLO).lean()).start().await;
    let answer = ask(&server, "/nowhere/x", &[]).await;
    assert_eq!((answer.status(), answer.text()), (200, "/nowhere/x"));
    assert_eq!(answer.header("x-seen"), "GET /nowhere/x");
    assert_eq!(ask(&server, "/elsewhere", &[]).await.status(), 404);
    assert_eq!(ask(&server, "/hello/x", &[]).await.text(), "hello /x");
    let failed = ask(&server, "/nowhere/fails", &[("accept", "text/html")]).await;
    assert_eq!((failed.status(), failed.header("content-type")), (503, "text/html; charset=utf-8"));
}
