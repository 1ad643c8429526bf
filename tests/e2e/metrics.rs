//! The metrics plugin in the runtime: what it says of real requests and workers, read by those who are to read it.

use super::harness::{Answer, Apps, PATIENCE, Server, eventually, tool};
use super::plugins::Plugins;
use http::Request;
use http_body_util::Full;
use serde_json::Value;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const HELLO: &str = "export default { fetch: () => new Response('hello') };";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// A runtime with the plugin, and the directory of its plugins.
struct Measured {
    server: Server,
    _plugins: Plugins,
}

impl Measured {
    async fn start(settings: &str) -> Measured {
        let plugins = Plugins::new();
        plugins.native("metrics", settings);
        let server = Apps::new()
            .file("shop@1.0.0/index.ts", HELLO)
            .file("site@1.0.0/index.html", "<p>site")
            .lean()
            .plugins(plugins.path())
            .env("RUNTIME_ROOT_KEY", KEY)
            .start()
            .await;
        Measured { server, _plugins: plugins }
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request =
            headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        self.server.send(request.body(Full::default()).unwrap()).await
    }

    /// The exposition, in the format that is asked for.
    async fn scrape(&self, accept: &str) -> String {
        let answer = self.get("/metrics/prometheus", &[("accept", accept)]).await;
        assert_eq!(answer.status(), 200);
        String::from_utf8(answer.body.to_vec()).unwrap()
    }

    /// The value of a line that begins so.
    async fn value(&self, line: &str) -> Option<f64> {
        let text = self.scrape("text/plain").await;
        let found = text.lines().find_map(|of| of.strip_prefix(line))?;
        Some(found.trim().parse().unwrap())
    }

    /// Requests of all kinds: to an app, to a site, with a trace, with a body, to nothing.
    async fn be_busy(&self) {
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        assert_eq!(self.get("/shop/", &[("traceparent", &parent)]).await.status(), 200);
        assert_eq!(self.server.post("/shop/", "seven b").await.status(), 200);
        assert_eq!(self.get("/site/", &[]).await.status(), 200);
        assert_eq!(self.get("/nothing/", &[]).await.status(), 404);
        assert_eq!(self.get("/api/apps", &[("x-api-key", KEY)]).await.status(), 200);
    }
}

/// Runs a program that reads `input` and succeeds. Returns what it said.
async fn check(program: &Path, args: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.unwrap().unwrap();
    let said =
        [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned()).concat();
    assert!(output.status.success(), "{said}\n{input}");
    said
}

#[tokio::test]
async fn requests_bodies_and_workers_are_in_the_text_and_promtool_has_nothing_to_say() {
    let runtime = Measured::start("").await;
    runtime.be_busy().await;
    let text = runtime.scrape("text/plain").await;
    for line in [
        r#"buntime_http_requests_total{app="shop",version="1.0.0",method="GET",status="2xx"} 1"#,
        r#"buntime_http_requests_total{app="shop",version="1.0.0",method="POST",status="2xx"} 1"#,
        r#"buntime_http_requests_total{app="site",version="1.0.0",method="GET",status="2xx"} 1"#,
        r#"buntime_http_requests_total{app="_none",version="_none",method="GET",status="4xx"} 1"#,
        r#"buntime_http_request_duration_seconds_count{app="shop",version="1.0.0"} 2"#,
        r#"buntime_http_request_body_bytes_total{app="shop"} 7"#,
        r#"buntime_http_response_body_bytes_total{app="shop"} 10"#,
        "buntime_http_requests_in_flight 1",
        r#"buntime_worker_start_duration_seconds_count{phase="ready",kind="fresh"} 1"#,
        "buntime_pool_hits_total 1",
        "buntime_pool_misses_total 1",
        "buntime_pool_size 1",
    ] {
        assert!(text.lines().any(|of| of == line), "no line {line}\n{text}");
    }
    let Some(promtool) = tool("promtool", "promtool is missing; scripts/ci-tools installs it") else {
        return;
    };
    assert_eq!(check(&promtool, &["check", "metrics"], &text).await, "");
}

#[tokio::test]
async fn the_openmetrics_is_parsed_and_names_the_trace_of_a_request() {
    let runtime = Measured::start("").await;
    runtime.be_busy().await;
    let text = runtime.scrape("application/openmetrics-text; version=1.0.0").await;
    assert!(text.contains(&format!("# {{trace_id=\"{TRACE}\"}} ")), "{text}");
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/prometheus-client/bin/python");
    let missing = "prometheus-client is missing; scripts/ci-tools installs it";
    if !python.exists() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
        return eprintln!("SKIPPED: {missing}");
    }
    let script = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
families = {f.name: f for f in text_string_to_metric_families(sys.stdin.buffer.read().decode())}
samples = families['buntime_http_request_duration_seconds'].samples
print([s.exemplar.labels['trace_id'] for s in samples if s.exemplar])";
    assert_eq!(check(&python, &["-c", script], &text).await.trim(), format!("['{TRACE}']"));
}

#[tokio::test]
async fn a_worker_and_a_version_that_go_away_lose_their_series() {
    let runtime = Measured::start("").await;
    runtime.be_busy().await;
    let state = r#"buntime_worker_state{app="shop",version="1.0.0",state="active"}"#;
    assert_eq!(runtime.value(state).await, Some(1.0));
    let requests = r#"buntime_http_requests_total{app="shop","#;
    assert!(runtime.scrape("").await.contains(requests));
    std::fs::remove_dir_all(runtime.server.apps().path().join("shop@1.0.0")).unwrap();
    let gone = async {
        while runtime.scrape("").await.contains("app=\"shop\"") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the series go with their version");
    assert_eq!(runtime.value(r#"buntime_http_request_body_bytes_total{app="site"}"#).await, Some(0.0));
}

#[tokio::test]
async fn json_and_workers_are_for_keys() {
    let runtime = Measured::start("").await;
    runtime.be_busy().await;
    for path in ["/metrics/api", "/metrics/api/workers", "/metrics/api/sse"] {
        assert_eq!(runtime.get(path, &[]).await.status(), 401, "{path}");
    }
    let snapshot = runtime.get("/metrics/api", &[("x-api-key", KEY)]).await;
    let snapshot: Value = serde_json::from_slice(&snapshot.body).unwrap();
    let names = snapshot["metrics"].as_array().unwrap().iter().map(|family| family["name"].as_str().unwrap());
    assert!(
        names.clone().any(|name| name == "process_resident_memory_bytes"),
        "{:?}",
        names.collect::<Vec<_>>()
    );
    let workers = runtime.get("/metrics/api/workers", &[("x-api-key", KEY)]).await;
    let workers: Value = serde_json::from_slice(&workers.body).unwrap();
    assert_eq!(workers["workers"][0]["app"], "shop");
}

/// A real one, with exemplars: it finds the runtime up, and what it was told.
#[tokio::test]
async fn prometheus_scrapes_the_runtime_and_knows_what_it_did() {
    let Some(prometheus) = tool("prometheus", "prometheus is missing; scripts/ci-tools installs it") else {
        return;
    };
    let runtime = Measured::start("scrapeToken: opensesame\n").await;
    runtime.be_busy().await;
    let dir = TempDir::new().unwrap();
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}
scrape_configs:
  - job_name: buntime
    metrics_path: /metrics/prometheus
    authorization: {{ credentials: opensesame }}
    static_configs: [{{ targets: [\"{}\"] }}]
",
        runtime.server.address
    );
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    // Prometheus does not say which port it got.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _running = Command::new(prometheus)
        .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address={free}"))
        .arg("--enable-feature=exemplar-storage")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let said = || std::fs::read_to_string(dir.path().join("log")).unwrap();
    eventually("prometheus is ready", || said().contains("Server is ready to receive web requests")).await;
    let results = async |path: &str| -> Value {
        let io = hyper_util::rt::TokioIo::new(tokio::net::TcpStream::connect(free).await.unwrap());
        let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let request =
            Request::get(path).header("host", "localhost").body(Full::<bytes::Bytes>::default()).unwrap();
        let body = client.send_request(request).await.unwrap().into_body();
        let body = http_body_util::BodyExt::collect(body).await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    };
    let up = async {
        while results("/api/v1/query?query=up").await["data"]["result"][0]["value"][1] != "1" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, up).await.unwrap_or_else(|_| panic!("it never was up\n{}", said()));
    let counted =
        results("/api/v1/query?query=sum%20by%20(app)(buntime_http_requests_total%7Bapp%3D%22shop%22%7D)")
            .await;
    assert_eq!(counted["data"]["result"][0]["value"][1], "2", "{counted}");
    let traces = results(
        "/api/v1/query_exemplars?query=buntime_http_request_duration_seconds_bucket&start=0&end=9999999999",
    )
    .await;
    assert_eq!(traces["data"][0]["exemplars"][0]["labels"]["trace_id"], TRACE, "{traces}");
}
