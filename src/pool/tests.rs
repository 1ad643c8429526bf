//! The pool with real workers: what the management API asks of it, and what is told of it.

mod measured;
mod plugins;

use super::core::types::State;
use super::*;
use crate::config::{Bun, Environment, bun};
use crate::events::{self, AppAction, Event as Told, Filter, Item, Kind as Of};
use crate::model::Manifest;
use crate::testing;
use std::collections::BTreeSet;
use std::pin::{Pin, pin};
use std::task::Poll;
use tempfile::TempDir;

/// Generous: it only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(60);
const FINE: &str = "export default { fetch: () => new Response('fine') }";

/// A pool, and apps that are written for it.
struct House {
    pool: Arc<Pool>,
    hub: Arc<Hub>,
    metrics: Arc<Metrics>,
    dir: TempDir,
}

struct Nobody;

impl Observer for Nobody {
    fn proven(&self, _: VersionKey) {}
    fn unproven(&self, _: VersionKey, _: &StartFailure) {}
    fn forgotten(&self, _: VersionKey) {}
}

impl House {
    /// None = there is no bun to run them.
    fn new(test: &str, pool_size: usize, spares: usize) -> Option<House> {
        let path = testing::bun(test)?;
        let dir = TempDir::new().unwrap();
        for name in ["run/empty", "run/workers", "data"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        // No place for what is compiled: from its source it runs as well.
        std::fs::write(dir.path().join("cache"), "").unwrap();
        let bun: Bun = bun::inspect(&path, &Environment::default()).unwrap();
        let run = dir.path().join("run");
        let shim = crate::shim::install(&dir.path().join("cache"), &run, &bun).unwrap();
        let settings = Settings {
            isolation: Arc::new(crate::worker::isolation::Isolation::none()),
            limits: Limits { pool_size, spares, spare_starts: 1, seed: 1 },
            bun: bun.path,
            shim: Arc::new(shim),
            env: BTreeMap::new(),
            empty_dir: run.join("empty"),
            private_dir: run.join("workers"),
            data_dir: dir.path().join("data"),
            origin: String::new(),
            api_url: None,
            dev: false,
        };
        let hub = Hub::new(events::Bounds::default());
        let metrics = Metrics::new("1.4.5");
        let pool = Pool::start(settings, Box::new(Nobody), Arc::clone(&hub), Arc::clone(&metrics)).unwrap();
        Some(House { pool, hub, metrics, dir })
    }

    fn add(&self, key: u64, code: &str, change: impl FnOnce(&mut Manifest)) -> Arc<App> {
        let app = Arc::new(self.app(key, code, change));
        self.pool.add(&app);
        app
    }

    /// Written, and not yet told to the pool.
    fn app(&self, key: u64, code: &str, change: impl FnOnce(&mut Manifest)) -> App {
        let dir = self.dir.path().join(format!("app{key}"));
        std::fs::create_dir_all(&dir).unwrap();
        let entrypoint = dir.join("index.ts");
        std::fs::write(&entrypoint, code).unwrap();
        let mut manifest = Manifest::default();
        change(&mut manifest);
        App {
            key: VersionKey(key),
            name: "shop".parse().unwrap(),
            version: format!("1.0.{key}").parse().unwrap(),
            dir,
            manifest,
            kind: Kind::Worker { entrypoint },
            env: BTreeMap::new(),
            needs_fresh: None,
            plugin: None,
        }
    }

    /// Returns when such an event was published, or is.
    async fn told(&self, is: impl Fn(&Told) -> bool) {
        let mut events = self.hub.subscribe(Some(self.hub.beginning()), Filter::all());
        let found = async {
            loop {
                if let Item::Event(event) = events.next().await
                    && is(&event.event)
                {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("no such event");
    }

    async fn gone(&self, worker: WorkerId, reason: &str) {
        self.told(|event| {
            matches!(event, Told::Worker(event)
                if event.worker == worker && event.to == "terminated" && event.reason == reason)
        })
        .await;
    }

    /// The worker that takes the next request, which is over at once.
    async fn ask(&self, app: &App) -> WorkerId {
        self.pool.checkout(app, false, || true).await.unwrap().worker()
    }

    async fn end(&self) {
        self.pool.shut_down(Duration::from_secs(1)).await;
        assert_eq!(self.hub.subscribers(), 0);
    }
}

async fn is_pending<T>(future: &mut Pin<&mut impl Future<Output = T>>) -> bool {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

fn failure(error: &StartError) -> &StartFailure {
    error.failure().expect("a failure of the start")
}

#[tokio::test]
async fn a_version_that_nobody_asks_for_is_started_once_for_all_who_want_it() {
    let Some(house) = House::new("start_one", 2, 0) else { return };
    let app = house.add(1, FINE, |_| {});
    let (one, two) = tokio::join!(house.pool.start_one(app.key), house.pool.start_one(app.key));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.worker, two.worker);
    let steps: Vec<_> = one.journey.steps().map(|(name, _)| name).collect();
    assert_eq!(steps, ["spawn", "connect", "import"]);
    assert_eq!(house.pool.start_one(app.key).await.unwrap().worker, one.worker, "it is there");
    assert_eq!(house.pool.last_start(app.key).unwrap().ready, Some(one.journey));
    assert_eq!(house.ask(&app).await, one.worker);
    house.end().await;
}

#[tokio::test]
async fn a_start_that_fails_says_why_and_what_to_do() {
    let Some(house) = House::new("start_one", 4, 0) else { return };
    for (key, code, summary, suggestion) in [
        (1, "import 'express'; export default {}", "Cannot find package 'express'", "bun install"),
        (2, "export default { fetch( { }", "Expected", "does not compile"),
        (3, "await new Promise(() => {}); export default {}", "startTimeout", "startTimeout"),
        (4, "process.kill(process.pid, 'SIGKILL'); export default {}", "signal 9", "memory"),
        (5, "process.exit(0); export default {}", "code 0", "without a word"),
        (6, "console.error('EACCES: permission denied, open x'); process.exit(3)", "code 3", "APP_DATA_DIR"),
        (
            7,
            "Bun.serve({ port: 1, hostname: '203.0.113.1', fetch: () => new Response() })",
            "EADDRNOTAVAIL",
            "listen itself",
        ),
    ] {
        let app = house.add(key, code, |manifest| {
            manifest.start_timeout = Duration::from_secs(if key == 3 { 10 } else { 30 })
        });
        let error = house.pool.start_one(app.key).await.unwrap_err();
        let failure = failure(&error);
        assert!(matches!(error, StartError::Failed(_)), "{code}: {error:?}");
        assert!(failure.summary.contains(summary), "{code}: {failure:?}");
        let found = failure.suggestion.clone().unwrap_or_default();
        assert!(found.contains(suggestion), "{code}: {failure:?}");
        assert!(failure.journey.steps().count() >= 2, "{code}: {failure:?}");
        let known = house.pool.last_start(app.key).unwrap().failure.unwrap();
        assert_eq!(known.summary, failure.summary);
        let version = app.version.clone();
        house
            .told(|event| {
                matches!(event, Told::App(event) if event.action == AppAction::Failed
                    && event.version == version
                    && event.failure.as_ref().is_some_and(|told| told.summary == failure.summary))
            })
            .await;
    }
    house.end().await;
}

#[tokio::test]
async fn a_version_that_keeps_failing_is_not_started_and_its_failure_is_told() {
    let Some(house) = House::new("start_one", 2, 0) else { return };
    let app = house.add(1, "throw new Error('no such luck')", |_| {});
    loop {
        match house.pool.start_one(app.key).await.unwrap_err() {
            StartError::Failed(failure) => assert_eq!(failure.summary, "Error: no such luck"),
            StartError::BackOff { failure, .. } => {
                assert_eq!(failure.unwrap().summary, "Error: no such luck");
                break;
            }
            other => panic!("{other}"),
        }
    }
    house.end().await;
}

#[tokio::test]
async fn a_start_ends_with_its_version_with_the_pool_and_with_who_wanted_it() {
    let Some(house) = House::new("start_one", 4, 0) else { return };
    let stuck = "await new Promise(() => {}); export default {}";
    let (removed, replaced, dropped) =
        (house.add(1, stuck, |_| {}), house.add(2, stuck, |_| {}), house.add(3, stuck, |_| {}));
    let new = house.add(4, stuck, |_| {});
    assert!(matches!(house.pool.start_one(VersionKey(99)).await, Err(StartError::Gone)));
    {
        let mut start = pin!(house.pool.start_one(dropped.key));
        assert!(is_pending(&mut start).await);
    }
    let (pool, keys) = (Arc::clone(&house.pool), [removed.key, replaced.key]);
    let removing = async {
        house.pool.remove(keys[0], None);
        house.pool.remove(keys[1], Some(new.key));
    };
    let (one, two, ()) = tokio::join!(pool.start_one(keys[0]), pool.start_one(keys[1]), removing);
    assert!(matches!((one, two), (Err(StartError::Gone), Err(StartError::Gone))));
    let ending = async { house.pool.shut_down(Duration::ZERO).await };
    let (last, ()) = tokio::join!(house.pool.start_one(new.key), ending);
    assert!(matches!(last, Err(StartError::ShuttingDown)));
    assert!(matches!(house.pool.start_one(new.key).await, Err(StartError::ShuttingDown)));
    assert!(house.pool.lock().starters.is_empty());
    assert!(
        house
            .pool
            .inspect(|core| core.snapshot(Now::ZERO))
            .versions
            .iter()
            .all(|version| version.starters == 0)
    );
    house.end().await;
}

#[tokio::test]
async fn a_restart_replaces_every_worker_and_each_serves_until_the_next_is_ready() {
    let Some(house) = House::new("restart", 4, 0) else { return };
    let app = house.add(1, FINE, |_| {});
    assert_eq!(house.pool.restart(app.key), 0, "there is none");
    let old = house.ask(&app).await;
    let held = house.pool.checkout(&app, false, || true).await.unwrap();
    assert_eq!(house.pool.restart(app.key), 1);
    assert_eq!(house.ask(&app).await, old, "the new one is not ready");
    let mut settled = pin!(house.pool.settled(app.key, PATIENCE));
    assert!(is_pending(&mut settled).await);
    let replaced =
        |event: &Told| matches!(event, Told::Worker(event) if event.worker != old && event.to == "ready");
    house.told(replaced).await;
    assert_ne!(house.ask(&app).await, old);
    assert!(is_pending(&mut settled).await, "one is in flight");
    drop(held);
    assert!(settled.await);
    house.gone(old, "restart").await;
    house.end().await;
}

#[tokio::test]
async fn what_came_later_does_not_keep_a_version_from_being_settled() {
    let Some(house) = House::new("settled", 4, 0) else { return };
    let app = house.add(1, FINE, |_| {});
    assert!(house.pool.settled(app.key, Duration::ZERO).await, "nothing is there");
    let first = house.pool.checkout(&app, false, || true).await.unwrap();
    assert!(!house.pool.settled(app.key, Duration::from_millis(1)).await);
    assert!(house.pool.lock().settling.is_empty(), "who gave up left nothing behind");
    let mut settled = pin!(house.pool.settled(app.key, PATIENCE));
    assert!(is_pending(&mut settled).await);
    let second = house.pool.checkout(&app, false, || true).await.unwrap();
    drop(first);
    assert!(settled.await);
    assert_eq!(second.worker(), house.pool.workers().await[0].id);

    house.pool.remove(app.key, None);
    let mut settled = pin!(house.pool.settled(app.key, PATIENCE));
    assert!(is_pending(&mut settled).await, "it drains");
    drop(second);
    assert!(settled.await);
    assert!(house.pool.workers().await.is_empty(), "it is reaped");
    assert!(house.pool.settled(app.key, Duration::ZERO).await, "and forgotten");
    house.end().await;
}

#[tokio::test]
async fn workers_are_ended_and_retired_and_a_later_request_starts_another() {
    let Some(house) = House::new("terminate", 4, 0) else { return };
    let app = house.add(1, FINE, |_| {});
    let first = house.ask(&app).await;
    assert!(house.pool.terminate_worker(first));
    house.gone(first, "operator").await;
    assert!(!house.pool.terminate_worker(first) && !house.pool.restart_worker(first));
    let second = house.ask(&app).await;
    assert_eq!(house.pool.retire(app.key), 1);
    house.gone(second, "retired").await;
    let third = house.ask(&app).await;
    assert!(BTreeSet::from([first, second, third]).len() == 3);
    house.end().await;
}

#[tokio::test]
async fn a_request_that_was_late_starts_no_worker_of_a_retired_version() {
    let Some(house) = House::new("late", 4, 0) else { return };
    let app = house.add(1, FINE, |_| {});
    let worker = house.ask(&app).await;
    // With room there is no need to ask.
    drop(house.pool.checkout(&app, false, || panic!("asked")).await.unwrap());
    house.pool.retire(app.key);
    house.gone(worker, "retired").await;
    let late = house.pool.checkout(&app, false, || false).await.err().unwrap();
    assert!(matches!(late.why, Refusal::Gone));
    assert!(house.pool.workers().await.is_empty());
    house.end().await;
}

#[tokio::test]
async fn those_who_wait_for_a_version_that_is_retired_are_asked_what_they_mean() {
    let Some(house) = House::new("retired_queue", 1, 0) else { return };
    let (old, other) = (house.add(1, FINE, |_| {}), house.add(2, FINE, |_| {}));
    let held = house.pool.checkout(&other, false, || true).await.unwrap();
    let mut waits = pin!(house.pool.checkout(&old, false, || true));
    assert!(is_pending(&mut waits).await, "the pool is full");
    house.pool.retire(old.key);
    let refused = waits.await.err().unwrap();
    assert!(matches!(refused.why, Refusal::Gone));
    assert_eq!(house.pool.inspect(|core| core.snapshot(Duration::ZERO).waiting), 0);
    drop(held);
    house.end().await;
}

#[tokio::test]
async fn every_worker_is_listed_with_what_its_process_uses() {
    let Some(house) = House::new("workers", 4, 1) else { return };
    let app = house.add(1, FINE, |_| {});
    let started = house.pool.start_one(app.key).await.unwrap();
    let held = house.pool.checkout(&app, false, || true).await.unwrap();
    house.told(|event| matches!(event, Told::Worker(event) if event.app.is_none() && event.worker != started.worker)).await;
    let listing = async {
        loop {
            let workers = house.pool.workers().await;
            if workers.len() == 2 && workers.iter().all(|worker| worker.journey.connect.is_some()) {
                return workers;
            }
            tokio::task::yield_now().await;
        }
    };
    let workers = tokio::time::timeout(PATIENCE, listing).await.unwrap();
    let spare = workers.iter().find(|worker| worker.id != started.worker).unwrap();
    assert!(spare.app.is_none() && spare.version.is_none() && spare.key.is_none());
    assert_eq!((spare.state, spare.served), (State::Creating, 0));
    let worker = workers.iter().find(|worker| worker.id == started.worker).unwrap();
    assert_eq!(worker.app.as_ref(), Some(&app.name));
    assert_eq!(worker.version.as_ref(), Some(&app.version));
    assert_eq!((worker.key, worker.state, worker.draining), (Some(app.key), State::Active, false));
    assert_eq!((worker.in_flight, worker.awaiting, worker.served), (1, 1, 1));
    assert_eq!(worker.journey, started.journey);
    for worker in &workers {
        assert!(worker.pid.is_some() && worker.cpu.is_some(), "{worker:?}");
        assert!(worker.memory.is_some_and(|memory| memory.bytes > 1 << 20), "{worker:?}");
    }
    drop(held);
    house.end().await;
}

#[tokio::test]
async fn what_a_worker_does_and_prints_is_told_as_events() {
    let Some(house) = House::new("events", 2, 0) else { return };
    let app = house.add(1, "console.log('out'); console.error('err'); export default { fetch() {} }", |_| {});
    let worker = house.pool.start_one(app.key).await.unwrap().worker;
    house.pool.terminate_worker(worker);
    house.gone(worker, "operator").await;
    let mut subscription =
        house.hub.subscribe(Some(house.hub.beginning()), Filter::all().kinds([Of::Worker, Of::Log, Of::App]));
    let (mut states, mut lines, mut actions) = (Vec::new(), BTreeSet::new(), Vec::new());
    while let Some(Item::Event(event)) = futures_util::FutureExt::now_or_never(subscription.next()) {
        assert_eq!(event.event.app().unwrap().as_str(), "shop");
        match &event.event {
            Told::Worker(event) => {
                assert_eq!(event.pid.is_some(), event.from.is_some());
                states.push((event.from, event.to, event.reason));
            }
            Told::Log(line) => {
                assert_eq!((line.worker, line.version.as_ref()), (worker, Some(&app.version)));
                lines.insert((format!("{:?}", line.stream), line.text.as_deref().unwrap().to_owned()));
            }
            Told::App(event) => actions.push(event.action),
            other => panic!("{other:?}"),
        }
    }
    let expected = [
        (None, "creating", "prove"),
        (Some("creating"), "ready", "loaded"),
        (Some("ready"), "terminated", "operator"),
    ];
    assert_eq!(states, expected);
    assert_eq!(lines, BTreeSet::from([("Stderr".into(), "err".into()), ("Stdout".into(), "out".into())]));
    assert_eq!(actions, [AppAction::Proven]);
    drop(subscription);
    house.end().await;
}
