use crate::support::*;
use buntime_plugin::http::Method;
use buntime_plugin::testkit::{Loaded, request, with_header};
use buntime_plugin::{Body, Problem, Response, Server, WorkerEvent, WorkerInfo};
use futures_util::FutureExt;
use serde_json::json;
use std::collections::BTreeMap;

async fn send(plugin: &Loaded, token: &str, body: &str) -> Response {
    let mut request = request(Method::POST, "localhost", "/api/ingest");
    request = with_header(request, "authorization", &format!("Bearer {token}"));
    request.set_body(Body::from(body.to_owned()));
    plugin.route(request).await.unwrap()
}

fn environment(plugin: &Loaded, app: &str, worker: &str) -> BTreeMap<String, String> {
    plugin.plugin.worker_env(app, "1.0.0", worker).into_iter().collect()
}

#[tokio::test]
async fn an_app_sends_entries_of_its_own_and_cannot_forge_its_name() {
    let stage = stage();
    let plugin = load(&stage).await;
    let environment = environment(&plugin, "@team/shop", "w7");
    assert_eq!(environment["LOGS_URL"], "http://127.0.0.1:8000/logs/api/ingest");
    let body = r#"{"level":"warn","message":"hi","app":"bank","worker":"w1","source":"runtime","seq":1,"requestId":"r","n":1}"#;
    let answer = read(send(&plugin, &environment["LOGS_TOKEN"], body).await).await;
    assert_eq!(answer["accepted"], 1);
    let page = read(get(&plugin, ALL, "/api").await).await;
    let entry = &page["entries"][0];
    assert_eq!(
        (&entry["app"], &entry["version"], &entry["worker"]),
        (&json!("@team/shop"), &json!("1.0.0"), &json!("w7"))
    );
    assert_eq!(
        (&entry["source"], &entry["level"], &entry["requestId"]),
        (&json!("ingest"), &json!("warn"), &json!("r"))
    );
    assert_eq!(
        entry["fields"],
        json!({ "app": "bank", "worker": "w1", "source": "runtime", "seq": 1, "n": 1 })
    );
    assert_eq!(messages(&plugin, ALL, "/api?app=bank").await, [""; 0]);
    assert_eq!(messages(&plugin, TEAM, "/api").await, ["hi"]);
}

#[tokio::test]
async fn who_has_no_token_of_a_worker_that_lives_is_refused() {
    let stage = stage();
    let plugin = load(&stage).await;
    let token = environment(&plugin, "shop", "w7")["LOGS_TOKEN"].clone();
    for wrong in ["", "btl_x", ALL, &token[1..], &format!("{token}x")] {
        let response = send(&plugin, wrong, "{}").await;
        assert_eq!(response.status(), 401, "{wrong}");
        let problem = response.extensions().get::<Problem>().unwrap();
        assert_eq!(problem.headers[0].1, "Bearer");
    }
    let keyed = plugin.route(ask(Method::POST, ALL, "/api/ingest")).await.unwrap();
    assert_eq!(refusal(&keyed), (401, "token_required".into()));
    plugin.plugin.on_worker(&WorkerEvent::new("w7", "idle", "done"));
    assert_eq!(send(&plugin, &token, "{}").await.status(), 200);
    plugin.plugin.on_worker(&WorkerEvent::new("w7", "terminated", "exit"));
    assert_eq!(refusal(&send(&plugin, &token, "{}").await), (401, "token_unknown".into()));
}

#[tokio::test]
async fn a_token_survives_a_reload_and_not_its_worker() {
    let stage = stage().worker(WorkerInfo::new("w1", "idle", json!({})));
    let old = load(&stage).await;
    let alive = environment(&old, "shop", "w1")["LOGS_TOKEN"].clone();
    // This one ends while nobody listens.
    let dead = environment(&old, "shop", "w2")["LOGS_TOKEN"].clone();
    old.shut_down().await.unwrap();
    let new = load(&stage).await;
    assert_eq!(send(&new, &alive, "{}").await.status(), 200);
    assert_eq!(send(&new, &dead, "{}").await.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_with_a_worker_whose_end_nobody_heard() {
    let stage = stage().worker(WorkerInfo::new("w1", "idle", json!({})));
    let plugin = load(&stage).await;
    let alive = environment(&plugin, "shop", "w1")["LOGS_TOKEN"].clone();
    let dead = environment(&plugin, "shop", "w2")["LOGS_TOKEN"].clone();
    assert_eq!(send(&plugin, &dead, "{}").await.status(), 200);
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    assert_eq!(send(&plugin, &dead, "{}").await.status(), 401);
    assert_eq!(send(&plugin, &alive, "{}").await.status(), 200);
}

#[tokio::test]
async fn what_is_too_much_is_refused_with_the_time_to_wait() {
    let stage = stage();
    let plugin = load(&stage).await;
    let token = environment(&plugin, "shop", "w1")["LOGS_TOKEN"].clone();
    let lines = |count: usize| "{\"msg\":\"x\"}\n".repeat(count);
    assert_eq!(refusal(&send(&plugin, &token, &lines(1001)).await), (413, "too_many_entries".into()));
    assert_eq!(send(&plugin, &token, &lines(900)).await.status(), 200);
    let refused = send(&plugin, &token, &lines(1000)).await;
    assert_eq!(refusal(&refused), (429, "too_many_entries".into()));
    assert!(refused.extensions().get::<Problem>().unwrap().retry_after.is_some());
    // The same app, whichever worker.
    let second = environment(&plugin, "shop", "w2")["LOGS_TOKEN"].clone();
    assert_eq!(send(&plugin, &second, &lines(1000)).await.status(), 429);
    let other = environment(&plugin, "blog", "w3")["LOGS_TOKEN"].clone();
    assert_eq!(send(&plugin, &other, &lines(1000)).await.status(), 200);
}

#[tokio::test]
async fn of_many_entries_all_are_added_or_none() {
    let stage = stage();
    let plugin = load(&stage).await;
    let token = environment(&plugin, "shop", "w1")["LOGS_TOKEN"].clone();
    let body = r#"{"msg":"x"}"#.repeat(400);
    // The client goes while they are made ready.
    assert!(send(&plugin, &token, &body).now_or_never().is_none());
    tokio::task::yield_now().await;
    assert_eq!(read(get(&plugin, ALL, "/api/stats").await).await["entries"], 0);
    assert_eq!(read(send(&plugin, &token, &body).await).await["accepted"], 400);
    assert_eq!(read(get(&plugin, ALL, "/api/stats").await).await["entries"], 400);
}

#[tokio::test]
async fn requests_that_are_refused_count_too() {
    let stage = stage();
    let plugin = load(&stage).await;
    for (app, body, code) in [
        ("faulty", "x".repeat(1 << 20), (400, "entry_invalid")),
        ("large", " ".repeat((1 << 20) + 1), (413, "body_too_large")),
        ("many", format!("[{}{{}}]", "{},".repeat(300_000)), (413, "too_many_entries")),
    ] {
        let token = environment(&plugin, app, app)["LOGS_TOKEN"].clone();
        let refused = send(&plugin, &token, &body).await;
        assert_eq!(refusal(&refused), (code.0, code.1.to_owned()), "{app}");
        let next = send(&plugin, &token, &"{}".repeat(1000)).await;
        assert_eq!(refusal(&next), (429, "too_many_entries".into()), "{app}");
    }
}

/// Apps start before the server says that it has.
#[tokio::test]
async fn workers_that_start_before_the_server_know_where_to_send_to() {
    let server = Server { url: Some("http://127.0.0.1:8000".into()), api_base: "/api".into() };
    let stage = stage().server(server);
    let plugin = stage.load(&buntime_plugin_logs::NATIVE).await.unwrap();
    let environment = environment(&plugin, "shop", "w1");
    assert_eq!(environment["LOGS_URL"], "http://127.0.0.1:8000/logs/api/ingest");
    assert!(environment.contains_key("LOGS_TOKEN"));
}

#[tokio::test]
async fn without_ingest_there_is_neither_route_nor_token() {
    let mut settings = settings();
    settings["ingest"] = json!(false);
    let stage = stage().settings(settings);
    let plugin = load(&stage).await;
    assert!(environment(&plugin, "shop", "w1").is_empty());
    assert_eq!(send(&plugin, "x", "{}").await.status(), 404);
}

#[tokio::test]
async fn where_the_server_has_no_address_apps_get_none() {
    let stage = stage();
    let plugin = load(&stage).await;
    let server = Server { url: None, api_base: "/api".into() };
    plugin.plugin.on_server_start(server).await.unwrap();
    assert!(environment(&plugin, "shop", "w1").is_empty());
}
