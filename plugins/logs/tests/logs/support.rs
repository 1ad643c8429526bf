//! The stage, and a client that reads its streams.

use buntime_plugin::http::Method;
use buntime_plugin::testkit::{Loaded, Stage, bytes, request, with_header};
use buntime_plugin::{Body, Level, LogEntry, Problem, Request, Response, Server, Source};
use http_body_util::BodyExt;
use serde_json::{Value, json};

pub const ALL: &str = "all-permissions";
pub const TEAM: &str = "of-the-team";

pub fn settings() -> Value {
    json!({ "maxEntries": 1000, "maxBytes": 16 << 20, "sseHeartbeat": 15_000, "ingest": true })
}

pub fn stage() -> Stage {
    Stage::new("@buntime/plugin-logs")
        .settings(settings())
        .base("/logs")
        .key(ALL, None, &["apps:read", "plugins:configure"])
        .key(TEAM, Some("@team"), &["apps:read", "plugins:configure"])
        .key("may-nothing", None, &[])
}

/// The plugin, loaded and started.
pub async fn load(stage: &Stage) -> Loaded {
    let loaded = stage.load(&buntime_plugin_logs::NATIVE).await.unwrap();
    let server = Server { url: Some("http://127.0.0.1:8000".into()), api_base: "/api".into() };
    loaded.plugin.on_server_start(server).await.unwrap();
    loaded
}

pub fn line(app: Option<&str>, text: &str) -> LogEntry {
    let entry = LogEntry::new(Level::Info, Source::WorkerStdout, text);
    match app {
        Some(app) => entry.app(app, "1.0.0"),
        None => entry,
    }
}

pub fn ask(method: Method, key: &str, target: &str) -> Request {
    with_header(request(method, "localhost", target), "x-api-key", key)
}

pub async fn get(plugin: &Loaded, key: &str, target: &str) -> Response {
    plugin.route(ask(Method::GET, key, target)).await.unwrap()
}

/// The answer's JSON.
pub async fn read(response: Response) -> Value {
    assert_eq!(response.status(), 200, "{:?}", response.extensions().get::<Problem>());
    serde_json::from_slice(&bytes(response.into_body()).await).unwrap()
}

/// Status and code of what is refused.
pub fn refusal(response: &Response) -> (u16, String) {
    let problem = response.extensions().get::<Problem>().expect("it is refused");
    (response.status().as_u16(), problem.code.to_string())
}

pub async fn messages(plugin: &Loaded, key: &str, target: &str) -> Vec<String> {
    let page = read(get(plugin, key, target).await).await;
    page["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["message"].as_str().unwrap().to_owned())
        .collect()
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    pub id: Option<u64>,
    pub kind: String,
    pub data: Value,
}

/// One connection, and what it has read.
pub struct Stream {
    body: Body,
    rest: String,
    pub last: Option<u64>,
}

impl Stream {
    pub async fn open(plugin: &Loaded, key: &str, query: &str, last: Option<u64>) -> Stream {
        let mut request = ask(Method::GET, key, &format!("/api/sse{query}"));
        if let Some(last) = last {
            request = with_header(request, "last-event-id", &last.to_string());
        }
        let response = plugin.route(request).await.unwrap();
        assert_eq!(response.status(), 200, "{:?}", response.extensions().get::<Problem>());
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { body: response.into_body(), rest: String::new(), last }
    }

    /// The next block: an event, or (with an empty kind) none but an id. None = the stream has ended.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((block, rest)) = self.rest.split_once("\n\n") {
                let event = parse(block);
                self.rest = rest.to_owned();
                self.last = event.id.or(self.last);
                return Some(event);
            }
            let frame = self.body.frame().await?.unwrap();
            self.rest.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
        }
    }

    /// All that there is now, until nothing comes without something new.
    pub fn ready(&mut self) -> Vec<Event> {
        use futures_util::FutureExt;
        std::iter::from_fn(|| self.next().now_or_never().flatten()).collect()
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event::default();
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => event.id = Some(id.parse().unwrap()),
            Some(("event", kind)) => event.kind = kind.to_owned(),
            Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
            _ => {}
        }
    }
    if event.kind.is_empty() && !event.data.is_null() {
        event.kind = "message".to_owned();
    }
    event
}
