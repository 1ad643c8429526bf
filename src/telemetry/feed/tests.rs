use super::*;
use crate::telemetry::filter;
use tracing_subscriber::prelude::*;

#[derive(Default)]
struct Collected(Mutex<Vec<LogEntry>>);

impl LogSink for Collected {
    fn log(&self, entry: LogEntry) {
        tracing::warn!(target: "buntime::plugin", "a sink logs");
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }
}

/// A feed of the test's own, with a sink.
fn collecting() -> (&'static Feed, Arc<Collected>, LogGuard) {
    let feed: &'static Feed = Box::leak(Box::new(Feed::new()));
    let sink = Arc::new(Collected::default());
    let guard = feed.add(Arc::clone(&sink) as Arc<dyn LogSink>);
    (feed, sink, guard)
}

fn under(feed: &'static Feed, work: impl FnOnce()) {
    let subscriber =
        tracing_subscriber::registry().with(filter(crate::config::LogLevel::Info)).with(FeedLayer(feed));
    tracing::subscriber::with_default(subscriber, work);
}

#[test]
fn events_are_entries_with_their_fields_and_what_a_sink_logs_is_none() {
    let (feed, sink, _guard) = collecting();
    under(feed, || {
        let (app, version, worker) = ("shop", "1.0.0", 7);
        tracing::warn!(target: "buntime::pool", app, version, %worker, ms = 5, odd = ?Some(1), ok = true, "slow");
        tracing::info!(target: "buntime::plugin", plugin = "@buntime/plugin-x", app = "", "hello");
        tracing::debug!(target: "buntime::pool", "below the level");
        tracing::info!(target: "buntime::app", "comes with its line");
        tracing::error!(target: "buntime::request", "comes with its request");
    });
    let entries = sink.0.lock().unwrap();
    let shown: Vec<_> = entries
        .iter()
        .map(|entry| {
            let fields: serde_json::Map<_, _> =
                entry.fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
            (
                entry.level,
                entry.source,
                entry.app.as_deref(),
                entry.worker.as_deref(),
                &*entry.message,
                fields,
            )
        })
        .collect();
    let fields = |value: serde_json::Value| value.as_object().cloned().unwrap();
    let first = serde_json::json!({ "ms": 5, "odd": "Some(1)", "ok": true, "target": "buntime::pool" });
    let second = serde_json::json!({ "plugin": "@buntime/plugin-x" });
    assert_eq!(
        shown,
        [
            (Level::Warn, Source::Runtime, Some("shop"), Some("7"), "slow", fields(first)),
            (Level::Info, Source::Plugin, None, None, "hello", fields(second)),
        ]
    );
}

#[test]
fn a_sink_gets_what_comes_until_its_guard_is_dropped() {
    let (feed, sink, guard) = collecting();
    let other = Arc::new(Collected::default());
    let other_guard = feed.add(Arc::clone(&other) as Arc<dyn LogSink>);
    let worker: Arc<str> = "w1".into();
    let (app, version): (Arc<str>, Arc<str>) = ("shop".into(), "1.0.0".into());
    let mut line = Line {
        source: Source::WorkerStderr,
        of: Some(Of { name: &app, version: &version, is_plugin: false }),
        worker: &worker,
        request_id: Some("r"),
        text: "one",
        cut: true,
    };
    feed.line(&line);
    drop(guard);
    assert!(feed.is_on(), "the other one is there");
    line.text = "two";
    line.of = Some(Of { name: &app, version: &version, is_plugin: true });
    feed.line(&line);
    drop(other_guard);
    assert!(!feed.is_on());
    feed.line(&line);
    let messages = |sink: &Collected| -> Vec<Box<str>> {
        sink.0.lock().unwrap().iter().map(|entry| entry.message.clone()).collect()
    };
    assert_eq!(messages(&sink), ["one".into()]);
    assert_eq!(messages(&other), ["one".into(), "two".into()]);
    let second = &other.0.lock().unwrap()[1];
    assert_eq!(
        (second.app.as_deref(), &*second.fields[0].0, &second.fields[0].1),
        (None, "plugin", &"shop".into())
    );
    let first = &sink.0.lock().unwrap()[0];
    assert_eq!((first.level, first.cut, first.request_id.as_deref()), (Level::Warn, true, Some("r")));
    assert_eq!((first.app.as_deref(), first.version.as_deref()), (Some("shop"), Some("1.0.0")));
}

#[test]
fn a_request_is_an_entry_whose_level_says_whether_the_server_failed() {
    let (feed, sink, _guard) = collecting();
    let (app, version): (Arc<str>, Arc<str>) = ("shop".into(), "1.0.0".into());
    let mut access = Access {
        method: &http::Method::GET,
        path: "/shop/x",
        status: Some(http::StatusCode::NOT_FOUND),
        duration: std::time::Duration::from_nanos(1_234_567),
        bytes: 9,
        broken: false,
        app: Some((&app, &version)),
        request_id: "r",
        trace_id: None,
        client: Some([192, 0, 2, 1].into()),
    };
    feed.access(&access);
    access.status = Some(http::StatusCode::BAD_GATEWAY);
    access.broken = true;
    feed.access(&access);
    access.status = None;
    feed.access(&access);
    let entries = sink.0.lock().unwrap();
    assert_eq!((entries[0].level, &*entries[0].message), (Level::Info, "GET /shop/x 404"));
    assert_eq!(entries[1].level, Level::Error);
    assert_eq!(&*entries[2].message, "GET /shop/x aborted");
    let fields: Vec<String> =
        entries[1].fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(
        fields,
        [
            "method=\"GET\"",
            "path=\"/shop/x\"",
            "status=502",
            "duration_ms=1.235",
            "bytes=9",
            "client=\"192.0.2.1\"",
            "broken=true"
        ]
    );
}
