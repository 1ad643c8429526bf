//! The plugin without the runtime: who sees what, and in which form.

use buntime_plugin::http::{Method, StatusCode, header};
use buntime_plugin::metrics::{Bucket, Exemplar, Family, Histogram, Kind};
use buntime_plugin::testkit::{Loaded, Stage, bytes, request, with_header};
use buntime_plugin::{AppInfo, Body, Problem, Request, Response, Server, WorkerInfo};
use buntime_plugin_metrics::NATIVE;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const EVIL: &str = "sh\"o\\p\nü";
const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";

fn settings(change: Value) -> Value {
    let mut settings = json!({ "prometheus": true, "sseInterval": 1000, "maxApps": 1000 });
    settings.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    settings
}

fn stage(change: Value) -> Stage {
    let stage = Stage::new("@buntime/plugin-metrics")
        .base("/metrics")
        .settings(settings(change))
        .key("operator", None, &["apps:read", "workers:read"])
        .key("team", Some("@team"), &["apps:read", "workers:read"])
        .key("reader", None, &["apps:read"])
        .key("stranger", None, &["events:read"]);
    stage.meters().set(measured(1.0));
    stage
}

/// Some families, with `more` requests.
fn measured(more: f64) -> Vec<Family> {
    let bucket = |le, count, exemplar| Bucket { le, count, exemplar };
    let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    let trace = Exemplar { trace_id: TRACE.to_owned(), value: 0.0042, at };
    let took = Histogram {
        buckets: vec![
            bucket(0.000_001, 0, None),
            bucket(0.005, 2, Some(trace)),
            bucket(1.0, 1, None),
            bucket(f64::INFINITY, 0, None),
        ],
        sum: 0.5,
    };
    let of = |app: &'static str| [("app", app), ("version", "1.0.0"), ("method", "GET"), ("status", "2xx")];
    let requests = Family::new("buntime_http_requests_total", Kind::Counter, "Requests, \"all\" of\nthem.");
    vec![
        Family::new("buntime_http_connections", Kind::Gauge, "Connections.").with(&[], 4.0),
        Family::new("buntime_http_request_duration_seconds", Kind::Histogram, "Took.")
            .unit("seconds")
            .with(&of("@team/shop")[..2], took),
        requests
            .with(&of("_none"), 2.0)
            .with(&of("@team/shop"), more)
            .with(&of("@other/shop"), more)
            .with(&of(EVIL), 1.5),
    ]
}

fn get(path: &str) -> Request {
    request(Method::GET, "localhost", path)
}

fn by(key: &'static str, path: &str) -> Request {
    with_header(get(path), "x-api-key", key)
}

async fn ask(plugin: &Loaded, request: Request) -> Response {
    plugin.route(request).await.unwrap()
}

async fn text(response: Response) -> String {
    assert_eq!(response.status(), StatusCode::OK);
    String::from_utf8(bytes(response.into_body()).await.to_vec()).unwrap()
}

async fn json(response: Response) -> Value {
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    serde_json::from_str(&text(response).await).unwrap()
}

fn problem(response: &Response) -> &Problem {
    response.extensions().get().expect("a problem")
}

/// A tool that checks what we write; in CI it has to be there.
fn tool(found: Option<PathBuf>, missing: &str) -> Option<PathBuf> {
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
        eprintln!("SKIPPED: {missing}");
    }
    found
}

fn check(program: &Path, args: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}\n{input}", String::from_utf8_lossy(&output.stderr));
    said
}

#[tokio::test]
async fn promtool_has_nothing_to_say_about_the_text() {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join("promtool")).find(|file| file.exists());
    let Some(promtool) = tool(found, "promtool is missing; apt-get install prometheus") else { return };
    let plugin = stage(json!({})).load(&NATIVE).await.unwrap();
    let response = ask(&plugin, get("/prometheus")).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    let said = check(&promtool, &["check", "metrics"], &text(response).await);
    assert_eq!(said, "");
}

#[tokio::test]
async fn the_parser_of_openmetrics_reads_values_labels_and_traces() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = Some(root.join(".tools/prometheus-client/bin/python")).filter(|file| file.exists());
    let Some(python) = tool(python, "prometheus-client is missing; scripts/ci-tools installs it") else {
        return;
    };
    let plugin = stage(json!({})).load(&NATIVE).await.unwrap();
    let response = ask(&plugin, with_header(get("/prometheus"), "accept", OPEN_METRICS)).await;
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let script = "
import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
text = sys.stdin.buffer.read().decode()
print(json.dumps([
    [family.name, family.type, family.unit, family.documentation,
     [[s.name, s.labels, s.value, s.exemplar and [s.exemplar.labels, s.exemplar.value, float(s.exemplar.timestamp)]]
      for s in family.samples]]
    for family in text_string_to_metric_families(text)]))";
    let read: Value = serde_json::from_str(&check(&python, &["-c", script], &text(response).await)).unwrap();
    let [_, took, requests] = [&read[0], &read[1], &read[2]];
    assert_eq!(requests[0], "buntime_http_requests");
    assert_eq!(requests[3], "Requests, \"all\" of\nthem.");
    assert_eq!(requests[4][3][1]["app"], EVIL);
    assert_eq!(requests[4][3][2], 1.5);
    assert_eq!((&took[1], &took[2]), (&json!("histogram"), &json!("seconds")));
    assert_eq!(took[4][1][3], json!([{ "trace_id": TRACE }, 0.0042, 1_700_000_000.123]));
    assert_eq!(took[4][2][2], 3.0, "buckets add up");
}

#[tokio::test]
async fn without_a_token_everybody_scrapes_and_with_one_whoever_knows_it() {
    let open = stage(json!({})).load(&NATIVE).await.unwrap();
    assert!(text(ask(&open, get("/prometheus")).await).await.contains("buntime_http_connections 4\n"));
    let head = ask(&open, request(Method::HEAD, "localhost", "/prometheus")).await;
    assert_eq!(head.status(), StatusCode::OK);

    let closed = stage(json!({ "scrapeToken": "secret" })).load(&NATIVE).await.unwrap();
    for wrong in ["Bearer", "Bearer ", "Bearer secre", "Bearer secrets", "Basic secret", "secret"] {
        let refused = ask(&closed, with_header(get("/prometheus"), "authorization", wrong)).await;
        assert_eq!(
            (refused.status(), &*problem(&refused).code),
            (StatusCode::UNAUTHORIZED, "scrape_token_required")
        );
        assert_eq!(problem(&refused).headers[0].0, header::WWW_AUTHENTICATE);
    }
    assert_eq!(ask(&closed, get("/prometheus")).await.status(), StatusCode::UNAUTHORIZED);
    for right in ["Bearer secret", "bearer secret"] {
        text(ask(&closed, with_header(get("/prometheus"), "authorization", right)).await).await;
    }

    let none = stage(json!({ "prometheus": false })).load(&NATIVE).await.unwrap();
    assert_eq!(ask(&none, get("/prometheus")).await.status(), StatusCode::NOT_FOUND);
}

/// A variable that is not set must not open the door.
#[test]
fn an_empty_token_is_refused() {
    assert!(stage(json!({ "scrapeToken": "" })).make(&NATIVE).is_err());
}

#[tokio::test]
async fn the_limit_of_apps_is_handed_on_when_the_set_is_the_one_that_serves() {
    let stage = stage(json!({ "maxApps": 7 }));
    let loaded = stage.load(&NATIVE).await.unwrap();
    assert_eq!(stage.meters().most_apps(), None, "its set may still be refused");
    let server = Server { url: None, api_base: "/api".into() };
    loaded.plugin.on_server_start(server).await.unwrap();
    assert_eq!(stage.meters().most_apps(), Some(7));
}

#[tokio::test]
async fn json_is_for_keys_and_each_sees_its_apps_alone() {
    let plugin = stage(json!({})).load(&NATIVE).await.unwrap();
    for path in ["/api", "/api/sse", "/api/workers"] {
        assert_eq!(ask(&plugin, get(path)).await.status(), StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(ask(&plugin, by("stranger", path)).await.status(), StatusCode::FORBIDDEN, "{path}");
        let wrong = request(Method::POST, "localhost", path);
        assert_eq!(ask(&plugin, wrong).await.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    let all = json(ask(&plugin, by("operator", "/api")).await).await;
    let families = all["metrics"].as_array().unwrap();
    assert_eq!(families.len(), 3);
    assert_eq!(families[2]["samples"].as_array().unwrap().len(), 4);
    let took = &families[1]["samples"][0];
    assert_eq!((&took["count"], &took["sum"]), (&json!(3), &json!(0.5)));
    assert!(took["p50"].as_f64().unwrap() < took["p99"].as_f64().unwrap());

    let own = json(ask(&plugin, by("team", "/api")).await).await;
    let families = own["metrics"].as_array().unwrap();
    let names: Vec<_> = families.iter().map(|family| family["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["buntime_http_request_duration_seconds", "buntime_http_requests_total"]);
    for family in families {
        assert_eq!(family["samples"].as_array().unwrap().len(), 1);
        assert_eq!(family["samples"][0]["labels"]["app"], "@team/shop");
    }
    assert_eq!(own.get("connections"), None);
}

#[tokio::test]
async fn workers_take_two_permissions_and_each_sees_its_own() {
    let worker = |id: &str, app: Option<&str>| {
        let mut worker = WorkerInfo::new(id, "ready", json!({ "id": id }));
        worker.app = app.map(|app| AppInfo::new(app, "1.0.0"));
        worker
    };
    let stage = stage(json!({}))
        .worker(worker("w1", Some("@team/shop")))
        .worker(worker("w2", Some("@other/shop")))
        .worker(worker("w3", None));
    let plugin = stage.load(&NATIVE).await.unwrap();
    assert_eq!(ask(&plugin, by("reader", "/api/workers")).await.status(), StatusCode::FORBIDDEN);
    let all = json(ask(&plugin, by("operator", "/api/workers")).await).await;
    assert_eq!(all, json!({ "workers": [{ "id": "w1" }, { "id": "w2" }, { "id": "w3" }] }));
    let own = json(ask(&plugin, by("team", "/api/workers")).await).await;
    assert_eq!(own, json!({ "workers": [{ "id": "w1" }] }));
}

/// An event stream, as its client reads it.
struct Stream(Body);

impl Stream {
    async fn open(plugin: &Loaded, key: &'static str) -> Stream {
        let response = ask(plugin, by(key, "/api/sse")).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        Stream(response.into_body())
    }

    /// The next piece; none = it has ended.
    async fn next(&mut self) -> Option<String> {
        let frame = self.0.frame().await?.unwrap();
        Some(String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap())
    }

    /// The next event: its id and data.
    async fn event(&mut self) -> (u64, Value) {
        loop {
            let piece = self.next().await.expect("the stream goes on");
            let Some(at) = piece.find("id: ") else { continue };
            let mut lines = piece[at..].lines();
            let id = lines.next().unwrap()[4..].parse().unwrap();
            assert_eq!(lines.next(), Some("event: metrics"));
            return (
                id,
                serde_json::from_str(lines.next().unwrap().strip_prefix("data: ").unwrap()).unwrap(),
            );
        }
    }
}

#[tokio::test]
async fn the_head_of_a_stream_takes_no_place() {
    let plugin = stage(json!({})).load(&NATIVE).await.unwrap();
    let mut heads = Vec::new();
    for _ in 0..200 {
        let head = with_header(request(Method::HEAD, "localhost", "/api/sse"), "x-api-key", "operator");
        heads.push(ask(&plugin, head).await);
    }
    for head in heads {
        assert_eq!(head.status(), StatusCode::OK);
        assert_eq!(head.headers()[header::CONTENT_TYPE], "text/event-stream");
        assert!(matches!(head.body(), Body::Empty));
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_is_told_rates_at_the_interval_and_sees_its_apps_alone() {
    let stage = stage(json!({}));
    let plugin = stage.load(&NATIVE).await.unwrap();
    let mut all = Stream::open(&plugin, "operator").await;
    let mut own = Stream::open(&plugin, "team").await;
    assert!(all.next().await.unwrap().starts_with("retry: 1000\n\n"));
    let begun = tokio::time::Instant::now();
    let (first, event) = all.event().await;
    assert_eq!((first, &event["connections"]), (1, &json!(4.0)));
    assert_eq!(event["total"]["rates"]["1s"], Value::Null);
    stage.meters().set(measured(11.0));
    let (second, event) = all.event().await;
    assert_eq!(second, first + 1);
    assert_eq!(begun.elapsed().as_secs(), 1, "the clock is the test's own");
    assert_eq!(event["total"]["rates"]["1s"], 20.0);
    assert_eq!(event["apps"].as_array().unwrap().len(), 4);

    own.event().await;
    let (_, event) = own.event().await;
    assert_eq!(event["total"]["rates"]["1s"], 10.0);
    assert_eq!(event["apps"].as_array().unwrap().len(), 1);
    assert_eq!(event["apps"][0]["app"], "@team/shop");
    assert_eq!(event.get("connections"), None);
    plugin.shut_down().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn between_rare_events_a_heartbeat_goes_out() {
    let stage = stage(json!({ "sseInterval": 60_000 }));
    let plugin = stage.load(&NATIVE).await.unwrap();
    let mut stream = Stream::open(&plugin, "operator").await;
    stream.event().await;
    for _ in 0..3 {
        assert_eq!(stream.next().await.unwrap(), ":\n\n");
    }
    // It has been sampled all the time, so the rates are there.
    let (_, event) = stream.event().await;
    assert_eq!(event["total"]["rates"]["1s"], 0.0);
    plugin.shut_down().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_key_and_with_the_plugin() {
    let stage = stage(json!({}));
    let plugin = stage.load(&NATIVE).await.unwrap();
    let mut revoked = Stream::open(&plugin, "team").await;
    let mut stays = Stream::open(&plugin, "operator").await;
    revoked.event().await;
    stays.event().await;
    stage.revoke("team");
    while revoked.next().await.is_some() {}
    stays.event().await;
    plugin.shut_down().await.unwrap();
    while stays.next().await.is_some() {}
    assert_eq!(ask(&plugin, by("operator", "/api/sse")).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test(start_paused = true)]
async fn a_slow_follower_is_given_up_and_holds_nobody_up() {
    let plugin = stage(json!({ "sseInterval": 100 })).load(&NATIVE).await.unwrap();
    let mut slow = Stream::open(&plugin, "operator").await;
    let mut quick = Stream::open(&plugin, "operator").await;
    slow.event().await;
    let ids = [quick.event().await.0, quick.event().await.0];
    assert_eq!(ids[1], ids[0] + 1);
    for _ in 0..40 {
        quick.event().await;
    }
    assert_eq!(slow.next().await, None);
    plugin.shut_down().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hundred_may_follow_and_a_place_is_free_again_when_one_goes() {
    let plugin = stage(json!({})).load(&NATIVE).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(Stream::open(&plugin, "operator").await);
    }
    let refused = ask(&plugin, by("operator", "/api/sse")).await;
    assert_eq!(
        (refused.status(), &*problem(&refused).code),
        (StatusCode::SERVICE_UNAVAILABLE, "followers_busy")
    );
    assert!(problem(&refused).retry_after.is_some());
    streams.pop();
    Stream::open(&plugin, "operator").await.event().await;
    plugin.shut_down().await.unwrap();
}
