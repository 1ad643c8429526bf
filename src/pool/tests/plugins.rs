//! Script plugins as workers: their seat, their calls, their hooks, and that they come back.

use super::*;
use crate::apps::{self, manifest::Ceilings};
use crate::model::PluginSeat;
use crate::model::plugin::{Call, Calls, Reply};
use crate::plugin::tests::NoCore;
use crate::plugin::{manifest, script};
use crate::wire::message;
use buntime_plugin::{Body, Context, Identity, Passed, Plugin, Request};
use bytes::Bytes;
use http::HeaderValue;
use http_body_util::{BodyExt, StreamBody};
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

/// A plugin as the host has it, before its start.
fn made(house: &House, module: &str, keys: &str) -> Arc<dyn Plugin> {
    let dir = house.dir.path().join("guard");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("plugin.ts"), module).unwrap();
    let ceilings = Ceilings { max_body_size: 1 << 20, cores: 1 };
    let rules = manifest::Rules { reserved: &[], ceilings, environment: &|_| None };
    let text = format!("name: guard\n{keys}");
    let layer = manifest::Layer { file: "manifest.yaml", text: &text };
    let Ok(manifest) = manifest::parse(layer, None, &rules) else { panic!("the manifest is wrong") };
    let identity = Identity {
        name: "guard".into(),
        version: "0.0.0".into(),
        base: manifest.base.as_ref().map(|base| base.as_str().to_owned()),
        state_dir: house.dir.path().join("state"),
        dependencies: Vec::new(),
    };
    let settings = buntime_plugin::Settings::new(json!({}));
    let context = Context::new(identity, settings, Arc::new(NoCore), Arc::default());
    let maker = script::Maker {
        pool: Arc::clone(&house.pool),
        loader: Arc::new(apps::Alone::new(ceilings, false, BTreeMap::new())),
        keep_keys: Arc::new(|_| {}),
    };
    maker.make(&dir, &manifest, &context).unwrap()
}

#[tokio::test]
async fn a_plugin_whose_start_is_given_up_leaves_no_process_that_starts_again() {
    let Some(house) = House::new("plugin_given_up", 2, 0) else { return };
    let hangs = "export default { async onInit() { console.log('it hangs'); await new Promise(() => {}); } }";
    let plugin = made(&house, hangs, "");
    let hangs =
        house.told(|event| matches!(event, Told::Log(line) if line.text.as_deref() == Some("it hangs")));
    tokio::select! {
        started = plugin.on_init() => panic!("it has started: {started:?}"),
        () = hangs => {}
    }
    assert_eq!(house.pool.workers().await.len(), 1);
    drop(plugin);
    house
        .told(|event| matches!(event, Told::Worker(event) if event.plugin.is_some() && event.to == "terminated"))
        .await;
    assert!(house.pool.workers().await.iter().all(|worker| worker.plugin.is_none()), "none takes its place");
    house.end().await;
}

#[tokio::test]
async fn a_request_that_no_route_of_a_plugin_takes_comes_back_as_it_was() {
    let Some(house) = House::new("plugin_passed", 2, 0) else { return };
    let module = "export default { routes: { '/mine': () => new Response('mine') } }";
    let plugin = made(&house, module, "base: /guard\n");
    plugin.on_init().await.unwrap();
    let request = |path: &str, size: usize| {
        let mut head = http::Request::new(()).into_parts().0;
        (head.method, head.uri) = (http::Method::POST, path.parse().unwrap());
        let piece = || Ok(http_body::Frame::data(Bytes::from("x".repeat(size))));
        let body = StreamBody::new(futures_util::stream::iter([piece(), piece()]));
        Request::new(head, Body::stream(body))
    };
    for size in [1, 500_000] {
        let mut answer = plugin.route(request("/other?y=1", size)).await.unwrap();
        assert_eq!(answer.status(), 404);
        let mut back = *Passed::take(&mut answer).unwrap();
        assert_eq!((back.method(), back.uri().to_string()), (&http::Method::POST, "/other?y=1".to_owned()));
        assert_eq!(back.take_body().collect().await.unwrap().to_bytes().len(), 2 * size);
    }
    let mut answer = plugin.route(request("/mine", 1)).await.unwrap();
    assert!(answer.status() == 200 && Passed::take(&mut answer).is_none());
    drop(plugin);
    house.end().await;
}
