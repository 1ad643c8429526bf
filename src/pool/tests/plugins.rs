//! Script plugins as workers: their seat, their calls, their hooks, and that they come back.

use super::*;
use crate::model::PluginSeat;
use crate::model::plugin::{Call, Calls, Reply};
use crate::wire::message;
use http::HeaderValue;
use rmpv::Value;
use serde_json::json;
use tokio::sync::mpsc;

const GUARD: &str = "
let ctx, given;
export default {
  async onInit(context) { ctx = context; given = await ctx.get('vault').secret('word'); },
  onRequest(request) {
    if (request.url.endsWith('/exit')) process.exit(3);
    return Response.json({ given, config: ctx.config, stateDir: ctx.stateDir, data: process.env.APP_DATA_DIR, server: ctx.server });
  },
  onShutdown() { console.log('good night'); },
}";

/// Hands calls to the test.
struct Switchboard(mpsc::UnboundedSender<(Call, Reply)>);

impl Calls for Switchboard {
    fn call(&self, call: Call, reply: Reply) {
        let _ = self.0.send((call, reply));
    }
}

struct Guarded {
    house: House,
    app: Arc<App>,
    seat: Arc<PluginSeat>,
    calls: mpsc::UnboundedReceiver<(Call, Reply)>,
}

impl Guarded {
    fn new(test: &str) -> Option<Guarded> {
        let house = House::new(test, 2, 1)?;
        let (sender, calls) = mpsc::unbounded_channel();
        let config = json!({ "limit": 3, "secret": "hunter2" });
        let switchboard = Arc::new(Switchboard(sender));
        let seat = PluginSeat::new("@team/guard".parse().unwrap(), "1.2.0".into(), None, config, switchboard);
        let seat = Arc::new(seat);
        let plain = house.app(7, GUARD, |_| {});
        let (key, name) = (VersionKey::of_plugin(7), seat.name.clone());
        let app = Arc::new(App { key, name, plugin: Some(Arc::clone(&seat)), ..plain });
        house.pool.add(&app);
        Some(Guarded { house, app, seat, calls })
    }

    /// Answers the call that its `onInit` makes.
    async fn answer(&mut self) {
        let (call, reply) =
            tokio::time::timeout(PATIENCE, self.calls.recv()).await.expect("no call").unwrap();
        assert_eq!((&*call.service, &*call.method, call.args), ("vault", "secret", vec!["word".into()]));
        reply.send(Ok(Value::from("open")));
    }

    /// Asks its `onRequest` about a request. None = its worker has ended.
    async fn hook(&self, path: &str) -> Option<(String, serde_json::Value)> {
        let lease = self.house.pool.checkout(&self.app, true, || true).await.unwrap();
        let headers = [("x-buntime-hook", &b"request"[..]), ("x-buntime-phase", b"permit")];
        let encode = |out: &mut bytes::BytesMut, id| {
            let url = [&b"http://h"[..], path.as_bytes()];
            message::put_request(out, id, true, "GET", &url, headers.into_iter(), ("", 0), 0);
        };
        let id = HeaderValue::from_static("id");
        let mut exchange = lease.link().open(Instant::now(), &id, 0, true, encode)?;
        let head = tokio::time::timeout(PATIENCE, exchange.head()).await.expect("no answer").ok()?;
        assert!(head.fin);
        let flow = head.headers["x-buntime-flow"].to_str().unwrap().to_owned();
        Some((flow, serde_json::from_slice(&head.body).unwrap()))
    }
}

#[tokio::test]
async fn a_plugin_is_started_by_itself_calls_and_answers_hooks() {
    let Some(mut guarded) = Guarded::new("plugin_hooks") else { return };
    guarded.answer().await;
    let (flow, seen) = guarded.hook("/").await.unwrap();
    let data = guarded.house.dir.path().join("data/Plugins/@team/guard");
    assert!(data.is_dir());
    let expected = json!({
        "given": "open",
        "config": { "limit": 3, "secret": "hunter2" },
        "stateDir": data,
        "data": data,
        "server": null,
    });
    assert_eq!((&*flow, seen), ("respond", expected));
    guarded.house.end().await;
}

#[tokio::test]
async fn a_plugins_workers_are_told_of_as_the_plugins_and_no_apps() {
    let Some(mut guarded) = Guarded::new("plugin_events") else { return };
    guarded.answer().await;
    guarded.hook("/").await.unwrap();
    let name = Some(guarded.seat.name.clone());
    let workers = guarded.house.pool.workers().await;
    let ours = workers.iter().find(|worker| worker.plugin.is_some()).unwrap();
    assert_eq!((&ours.app, &ours.plugin), (&None, &name));
    assert_eq!(ours.version.as_ref().unwrap().to_string(), "1.0.7");
    guarded.house.pool.shut_down(Duration::from_secs(5)).await;
    guarded
        .house
        .told(|event| {
            matches!(event, Told::Log(line) if line.text.as_deref() == Some("good night") && line.plugin == name)
        })
        .await;
    let mut events = guarded.house.hub.subscribe(Some(guarded.house.hub.beginning()), Filter::all());
    let mut ready = false;
    loop {
        let Item::Event(event) = events.next().await else { continue };
        assert!(event.event.app().is_none(), "{event:?}");
        if let Told::Worker(event) = &event.event {
            ready |= event.to == "ready" && event.plugin == name;
            if event.to == "terminated" && event.plugin.is_some() {
                break;
            }
        }
    }
    assert!(ready);
}

#[tokio::test]
async fn a_plugin_that_ends_is_started_again_and_knows_of_the_server_that_is_there_by_then() {
    let Some(mut guarded) = Guarded::new("plugin_again") else { return };
    guarded.answer().await;
    guarded.seat.set_server("http://127.0.0.1:8000", "/api");
    assert!(guarded.hook("/exit").await.is_none());
    // Nobody asks for it.
    guarded.answer().await;
    let (_, seen) = guarded.hook("/").await.unwrap();
    assert_eq!(seen["server"], json!({ "url": "http://127.0.0.1:8000", "apiBase": "/api" }));
    guarded.house.end().await;
}

#[tokio::test]
async fn a_plugin_whose_call_nobody_answers_is_told_and_fails_to_start() {
    let Some(mut guarded) = Guarded::new("plugin_unavailable") else { return };
    let started = guarded.house.pool.start_one(guarded.app.key);
    let mut started = pin!(started);
    assert!(is_pending(&mut started).await);
    drop(guarded.calls.recv().await);
    let error = started.await.unwrap_err();
    assert!(failure(&error).to_string().contains("the service is unavailable"), "{error}");
    guarded.house.end().await;
}
