use crate::support::*;
use buntime_plugin::http::Method;
use buntime_plugin::testkit::request;
use buntime_plugin::{Level, LogEntry, Problem, Source};
use serde_json::{Value, json};

#[tokio::test]
async fn entries_are_listed_newest_first_in_pages() {
    let stage = stage();
    let plugin = load(&stage).await;
    (0..250).for_each(|n| stage.log(&line(Some("shop"), &format!("line {n}"))));
    let first = read(get(&plugin, ALL, "/api").await).await;
    let entries = first["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &entries[0]["message"]), (100, &json!("line 249")));
    let seq = |entry: &Value| entry["seq"].as_u64().unwrap();
    assert!(entries.windows(2).all(|pair| seq(&pair[0]) == seq(&pair[1]) + 1));
    assert_eq!(seq(&entries[99]), first["next"].as_u64().unwrap());
    let mut next = first["next"].clone();
    let mut seen = 100;
    while let Some(before) = next.as_u64() {
        let page = read(get(&plugin, ALL, &format!("/api?before={before}&limit=70")).await).await;
        assert_eq!(page["run"], first["run"]);
        let entries = page["entries"].as_array().unwrap();
        assert_eq!(entries[0]["message"], format!("line {}", 249 - seen));
        seen += entries.len();
        next = page["next"].clone();
    }
    assert_eq!(seen, 250);
}

#[tokio::test]
async fn an_entry_says_all_that_is_known() {
    let stage = stage();
    let plugin = load(&stage).await;
    let mut entry = LogEntry::new(Level::Error, Source::Access, "GET /x 500").app("@team/shop", "1.2.3");
    (entry.worker, entry.request_id) = (Some("w1".into()), Some("r".into()));
    entry.trace_id = Some("4bf92f3577b34da6a3ce929d0e0e4736".into());
    stage.log(&entry.field("status", 500));
    let page = read(get(&plugin, ALL, "/api?search=get&level=warn&source=access").await).await;
    let mut shown = page["entries"][0].clone();
    assert!(shown["time"].as_str().unwrap().ends_with('Z'));
    shown["time"].take();
    shown["seq"].take();
    let expected = json!({
        "seq": null, "time": null, "level": "error", "source": "access", "app": "@team/shop", "version": "1.2.3",
        "worker": "w1", "requestId": "r", "traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "message": "GET /x 500",
        "fields": { "status": 500 },
    });
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_1_mb_line_and_an_ansi_coloured_line_are_handled() {
    let stage = stage();
    let plugin = load(&stage).await;
    stage.log(&line(None, &"x".repeat(1 << 20)));
    stage.log(&line(None, "\u{1b}[1;31mred\u{1b}[0m"));
    let page = read(get(&plugin, ALL, "/api").await).await;
    assert_eq!(page["entries"][0]["message"], "red");
    assert_eq!(page["entries"][1]["message"].as_str().unwrap().len(), 64 << 10);
    assert_eq!(page["entries"][1]["fields"], json!({ "truncated": true }));
}

#[tokio::test]
async fn secrets_are_not_kept() {
    let stage = stage().secret("the-root-key-of-this-test");
    let plugin = load(&stage).await;
    stage.log(&line(None, "root the-root-key-of-this-test, Cookie: sid=1"));
    stage.log(&line(None, r#"{"msg":"m","headers":{"authorization":"Bearer not-to-be-kept"}}"#));
    let text = read(get(&plugin, ALL, "/api").await).await.to_string();
    assert!(
        !text.contains("the-root-key") && !text.contains("sid=1") && !text.contains("not-to-be-kept"),
        "{text}"
    );
}

#[tokio::test]
async fn the_ring_is_bounded_by_entries_and_by_bytes() {
    let stage = stage();
    let plugin = load(&stage).await;
    (0..5000).for_each(|_| stage.log(&line(None, "short")));
    let stats = read(get(&plugin, ALL, "/api/stats").await).await;
    assert_eq!(stats["entries"], 1000);
    (0..1000).for_each(|_| stage.log(&line(None, &"x".repeat(60_000))));
    let stats = read(get(&plugin, ALL, "/api/stats").await).await;
    let (entries, bytes) = (stats["entries"].as_u64().unwrap(), stats["bytes"].as_u64().unwrap());
    assert!((200..300).contains(&entries) && bytes <= 16 << 20, "{stats}");
}

#[tokio::test]
async fn a_page_of_long_entries_is_shorter() {
    let stage = stage();
    let plugin = load(&stage).await;
    (0..200).for_each(|_| stage.log(&line(None, &"x".repeat(60_000))));
    let page = read(get(&plugin, ALL, "/api").await).await;
    let entries = page["entries"].as_array().unwrap().len();
    assert!((60..100).contains(&entries) && page["next"].is_u64(), "{entries}");
}

#[tokio::test]
async fn stats_count_by_level_and_app() {
    let stage = stage();
    let plugin = load(&stage).await;
    stage.log(&line(Some("shop"), "a"));
    stage.log(&LogEntry::new(Level::Error, Source::WorkerStderr, "b").app("shop", "1.0.0"));
    stage.log(&line(None, "c"));
    let stats = read(get(&plugin, ALL, "/api/stats").await).await;
    assert_eq!(
        (&stats["entries"], &stats["levels"]["info"], &stats["levels"]["error"]),
        (&json!(3), &json!(2), &json!(1))
    );
    assert_eq!((&stats["apps"][0]["app"], &stats["apps"][1]["app"]), (&Value::Null, &json!("shop")));
    assert_eq!((&stats["apps"][1]["entries"], &stats["dropped"]), (&json!(2), &json!(0)));
    assert_eq!((&stats["maxEntries"], &stats["followers"]), (&json!(1000), &json!(0)));
    assert_eq!(stats["last"].as_u64().unwrap() - stats["first"].as_u64().unwrap(), 2);
}

#[tokio::test]
async fn clearing_is_for_those_who_configure_and_see_everything() {
    let stage = stage().key("reader", None, &["apps:read"]);
    let plugin = load(&stage).await;
    stage.log(&line(None, "a"));
    for key in ["reader", TEAM] {
        let response = plugin.route(ask(Method::DELETE, key, "/api")).await.unwrap();
        assert_eq!(response.status(), 403, "{key}");
    }
    let cleared = read(plugin.route(ask(Method::DELETE, ALL, "/api")).await.unwrap()).await;
    assert_eq!(cleared["cleared"], 1);
    assert_eq!(messages(&plugin, ALL, "/api").await, [""; 0]);
}

#[tokio::test]
async fn wrong_questions_and_strangers_are_refused() {
    let stage = stage();
    let plugin = load(&stage).await;
    for path in ["/api", "/api/sse", "/api/stats"] {
        let nobody = plugin.route(request(Method::GET, "localhost", path)).await.unwrap();
        assert_eq!(nobody.status(), 401, "{path}");
        assert_eq!(get(&plugin, "may-nothing", path).await.status(), 403, "{path}");
        let wrong = get(&plugin, ALL, &format!("{path}?colour=red")).await;
        assert_eq!(refusal(&wrong), (400, "parameter_unknown".into()), "{path}");
        assert!(wrong.extensions().get::<Problem>().unwrap().hint.is_some());
        let wrong = get(&plugin, "may-nothing", &format!("{path}?colour=red")).await;
        assert_eq!(wrong.status(), 403, "who may not learns nothing more");
    }
    let nobody = plugin.route(request(Method::DELETE, "localhost", "/api")).await.unwrap();
    assert_eq!(nobody.status(), 401);
    assert_eq!(refusal(&get(&plugin, ALL, "/api?limit=9999").await), (400, "parameter_invalid".into()));
    assert_eq!(get(&plugin, ALL, "/").await.status(), 404);
    assert_eq!(plugin.route(ask(Method::PUT, ALL, "/api")).await.unwrap().status(), 405);
}
