//! What a subscriber may rely on, with real threads: order, and no gap that is not told.

use super::*;
use crate::model::WorkerId;
use futures_util::task::noop_waker;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

fn line(text: &str) -> Event {
    Event::Log(LogEvent {
        worker: WorkerId(1),
        app: None,
        plugin: None,
        version: None,
        stream: Stream::Stdout,
        request_id: None,
        dropped: 0,
        text: Some(text.into()),
    })
}

fn app(name: &str, action: AppAction) -> Event {
    let (app, version) = (name.parse().unwrap(), "1.2.3".parse().unwrap());
    Event::App(AppEvent { action, app, version, failure: None })
}

fn bounds(events: usize, bytes: usize) -> Bounds {
    Bounds { events, bytes }
}

/// What is there now.
fn available(subscription: &mut Subscription) -> Vec<Item> {
    let waker = noop_waker();
    let mut items = Vec::new();
    while let Poll::Ready(item) = pin!(subscription.next()).poll(&mut Context::from_waker(&waker)) {
        items.push(item);
    }
    items
}

/// The numbers of the events, and of the gaps how many were lost.
fn numbers(items: &[Item]) -> Vec<(u64, &'static str)> {
    let name = |item: &Item| match item {
        Item::Event(_) => "event",
        Item::Gap(_) => "gap",
        Item::Reset(_) => "reset",
    };
    items.iter().map(|item| (item.id().number, name(item))).collect()
}

fn events(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, &'static str)> {
    numbers.into_iter().map(|number| (number, "event")).collect()
}

#[test]
fn a_subscriber_gets_what_is_kept_after_an_id_and_then_what_comes() {
    let hub = Hub::new(Bounds::default());
    for _ in 0..5 {
        hub.publish(line("x"));
    }
    let after = EventId { number: 3, ..hub.beginning() };
    let mut from_three = hub.subscribe(Some(after), Filter::all());
    let mut from_now = hub.subscribe(None, Filter::all());
    let mut from_newest = hub.subscribe(Some(hub.newest()), Filter::all());
    hub.publish(line("y"));
    assert_eq!(numbers(&available(&mut from_three)), events(4..=6));
    assert_eq!(numbers(&available(&mut from_now)), events([6]));
    assert_eq!(numbers(&available(&mut from_newest)), events([6]));
    assert_eq!(hub.subscribers(), 3);
    drop((from_three, from_now, from_newest));
    assert_eq!(hub.subscribers(), 0);
}

#[test]
fn what_is_no_longer_kept_is_told_as_a_gap_with_its_size() {
    let hub = Hub::new(bounds(10, 1 << 20));
    for _ in 0..25 {
        hub.publish(line("x"));
    }
    let after = EventId { number: 3, ..hub.beginning() };
    let mut subscription = hub.subscribe(Some(after), Filter::all());
    let items = available(&mut subscription);
    assert!(matches!(&items[0], Item::Gap(gap) if gap.lost == 12), "{items:?}");
    assert_eq!(numbers(&items[1..]), events(16..=25));
    // To go on after the gap's own id is to miss no more than it says.
    let mut again = hub.subscribe(Some(items[0].id()), Filter::all());
    assert_eq!(numbers(&available(&mut again)), events(16..=25));
}

#[test]
fn an_id_of_another_boot_or_of_the_future_is_a_reset() {
    let (before, hub) = (Hub::new(Bounds::default()), Hub::new(bounds(2, 1 << 20)));
    before.publish(line("x"));
    for _ in 0..3 {
        hub.publish(line("x"));
    }
    let future = EventId { number: 4, ..hub.beginning() };
    for id in [before.newest(), before.beginning(), future] {
        let mut subscription = hub.subscribe(Some(id), Filter::all());
        let items = numbers(&available(&mut subscription));
        assert_eq!(items, [(0, "reset"), (1, "gap"), (2, "event"), (3, "event")]);
    }
}

#[test]
fn a_slow_subscriber_is_told_what_it_lost_and_holds_nobody_up() {
    let hub = Hub::new(bounds(100, 1 << 20));
    let mut slow = hub.subscribe(None, Filter::all());
    hub.publish(line("x"));
    assert_eq!(numbers(&available(&mut slow)), events([1]));
    for _ in 0..1_000 {
        hub.publish(line("x"));
    }
    let items = available(&mut slow);
    assert!(matches!(&items[0], Item::Gap(gap) if gap.lost == 900), "{items:?}");
    assert_eq!(numbers(&items[1..]), events(902..=1_001));
}

#[test]
fn what_was_read_and_not_given_out_comes_before_the_gap() {
    let hub = Hub::new(bounds(100, 1 << 20));
    let mut slow = hub.subscribe(None, Filter::all());
    for _ in 0..100 {
        hub.publish(line("x"));
    }
    let waker = noop_waker();
    let first = pin!(slow.next()).poll(&mut Context::from_waker(&waker));
    assert!(matches!(first, Poll::Ready(item) if item.id().number == 1));
    assert_eq!(slow.position().number, 1);
    for _ in 0..100 {
        hub.publish(line("x"));
    }
    let items = numbers(&available(&mut slow));
    let told: Vec<u64> =
        items.iter().filter(|(_, what)| *what == "event").map(|(number, _)| *number).collect();
    let gap = items.iter().position(|(_, what)| *what == "gap").unwrap();
    assert_eq!(items[gap].0 + 1, items[gap + 1].0);
    assert_eq!(told.iter().position(|number| *number > 100), Some(gap), "{items:?}");
    assert!(told.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn the_ring_keeps_to_its_bytes() {
    let hub = Hub::new(bounds(10_000, 100 << 10));
    let mut slow = hub.subscribe(None, Filter::all());
    for _ in 0..1_000 {
        hub.publish(line(&"x".repeat(10 << 10)));
        assert!(hub.kept_bytes() <= 100 << 10);
    }
    let items = available(&mut slow);
    assert!(matches!(&items[0], Item::Gap(gap) if gap.lost == 991), "{:?}", numbers(&items));
    assert_eq!(items.len(), 10);
    hub.publish(line(&"x".repeat(200 << 10)));
    let items = available(&mut slow);
    assert!(matches!(&items[..], [Item::Gap(gap)] if gap.lost == 1), "one that is larger than the ring");
    assert_eq!(hub.kept_bytes(), 0);
}

#[test]
fn a_filter_takes_apps_and_kinds_and_the_position_passes_over_the_rest() {
    let hub = Hub::new(Bounds::default());
    let kinds =
        Filter::all().kinds([Kind::App]).apps(|app| app.is_some_and(|app| app.as_str() == "@team/shop"));
    let mut subscription = hub.subscribe(None, kinds);
    hub.publish(line("x"));
    hub.publish(app("@team/shop", AppAction::Added));
    hub.publish(app("@other/shop", AppAction::Added));
    hub.publish(Event::Server(ServerEvent::Draining));
    assert_eq!(numbers(&available(&mut subscription)), events([2]));
    assert_eq!(subscription.position(), hub.newest());
}

/// Publishes from several threads while subscribers read, and ends with the number of events.
fn flood(hub: &Arc<Hub>, threads: usize, each: usize) -> Vec<std::thread::JoinHandle<()>> {
    (0..threads)
        .map(|thread| {
            let hub = Arc::clone(hub);
            std::thread::spawn(move || (0..each).for_each(|n| hub.publish(line(&format!("{thread} {n}")))))
        })
        .collect()
}

fn text(item: &Item) -> Option<(usize, usize)> {
    let Item::Event(event) = item else { return None };
    let Event::Log(line) = &event.event else { return None };
    let (thread, n) = line.text.as_deref()?.split_once(' ')?;
    Some((thread.parse().ok()?, n.parse().ok()?))
}

#[test]
fn nothing_is_missed_or_doubled_across_reconnects_under_a_flood() {
    const THREADS: usize = 4;
    const EACH: usize = 5_000;
    let hub = Hub::new(bounds(THREADS * EACH, 64 << 20));
    let readers: Vec<_> = (1..4)
        .map(|reader| {
            let hub = Arc::clone(&hub);
            std::thread::spawn(move || {
                let mut after = hub.beginning();
                let mut next = [0; THREADS];
                let mut number = 0;
                while number < (THREADS * EACH) as u64 {
                    let mut subscription = hub.subscribe(Some(after), Filter::all());
                    // Stays for a while, then comes back.
                    for _ in 0..reader * 97 {
                        if number == (THREADS * EACH) as u64 {
                            break;
                        }
                        let item = block_on(subscription.next());
                        number += 1;
                        assert_eq!(item.id().number, number, "in order, without a gap");
                        let (thread, n) = text(&item).unwrap();
                        assert_eq!(n, next[thread], "as its publisher said it");
                        next[thread] += 1;
                        after = item.id();
                    }
                }
                assert_eq!(next, [EACH; THREADS]);
            })
        })
        .collect();
    let publishers = flood(&hub, THREADS, EACH);
    for thread in publishers.into_iter().chain(readers) {
        thread.join().unwrap();
    }
}

#[test]
fn under_a_flood_that_overruns_the_ring_every_event_is_told_or_counted_as_lost() {
    const THREADS: usize = 4;
    const EACH: usize = 20_000;
    let hub = Hub::new(bounds(50, 1 << 20));
    let mut subscription = hub.subscribe(None, Filter::all());
    let reader = std::thread::spawn(move || {
        let mut number = 0;
        while number < (THREADS * EACH) as u64 {
            match block_on(subscription.next()) {
                Item::Event(event) => {
                    number += 1;
                    assert_eq!(event.id.number, number);
                }
                Item::Gap(gap) => {
                    number += gap.lost;
                    assert_eq!(gap.id.number, number);
                }
                Item::Reset(_) => panic!("a reset"),
            }
        }
    });
    for thread in flood(&hub, THREADS, EACH) {
        thread.join().unwrap();
    }
    reader.join().unwrap();
}

/// Runs a future on this thread, parked while there is nothing to do.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn an_event_is_one_flat_object() {
    let hub = Hub::new(Bounds::default());
    let failure = Failure {
        summary: "Error: boom".into(),
        suggestion: Some("run bun install".into()),
        steps: vec![Step { name: "spawn", ms: 3 }],
        error: Some(Thrown { name: "Error".into(), message: "boom".into(), stack: "at x".into() }),
        output: vec!["last".into()],
    };
    let shop = || "@team/shop".parse().unwrap();
    let version = |text: &str| text.parse().unwrap();
    hub.publish(Event::Worker(WorkerEvent {
        worker: WorkerId(3),
        app: Some(shop()),
        plugin: None,
        version: Some(version("1.2.3")),
        pid: Some(7),
        from: Some("creating"),
        to: "ready",
        reason: "loaded",
    }));
    hub.publish(Event::App(AppEvent {
        action: AppAction::Failed,
        app: shop(),
        version: version("latest"),
        failure: Some(Arc::new(failure)),
    }));
    hub.publish(Event::Alias(AliasEvent {
        action: AliasAction::Set,
        app: shop(),
        alias: "stable".parse().unwrap(),
        before: None,
        after: Some(crate::model::Split::new(vec![(version("1.0.0"), 95), (version("2.0.0"), 5)]).unwrap()),
    }));
    hub.publish(Event::Server(ServerEvent::Started { listen: "http://x".into(), bun: "1.4.5".into() }));
    hub.publish(line("hello"));
    let mut subscription = hub.subscribe(Some(hub.beginning()), Filter::all());
    let boot = hub.beginning().boot;
    let shown: Vec<serde_json::Value> = available(&mut subscription)
        .iter()
        .map(|item| {
            let mut value = serde_json::to_value(item).unwrap();
            let at = value.as_object_mut().unwrap().remove("at").unwrap();
            assert!(at.as_str().unwrap().ends_with('Z'), "{at}");
            value
        })
        .collect();
    let expected = serde_json::json!([
        {
            "id": format!("{boot}-1"), "type": "worker", "worker": "w3", "app": "@team/shop", "version": "1.2.3",
            "pid": 7, "from": "creating", "to": "ready", "reason": "loaded"
        },
        {
            "id": format!("{boot}-2"), "type": "app", "action": "failed", "app": "@team/shop", "version": "latest",
            "failure": {
                "summary": "Error: boom", "suggestion": "run bun install", "steps": [{ "name": "spawn", "ms": 3 }],
                "error": { "name": "Error", "message": "boom", "stack": "at x" }, "output": ["last"]
            }
        },
        {
            "id": format!("{boot}-3"), "type": "alias", "action": "set", "app": "@team/shop", "alias": "stable",
            "after": { "1.0.0": 95, "2.0.0": 5 }
        },
        { "id": format!("{boot}-4"), "type": "server", "action": "started", "listen": "http://x", "bun": "1.4.5" },
        { "id": format!("{boot}-5"), "type": "log", "worker": "w1", "stream": "stdout", "text": "hello" },
    ]);
    assert_eq!(serde_json::Value::Array(shown), expected);
    let gap = Item::Gap(super::hub::Gap { id: hub.newest(), lost: 2 });
    let expected = serde_json::json!({ "type": "gap", "id": format!("{boot}-5"), "lost": 2 });
    assert_eq!(serde_json::to_value(gap).unwrap(), expected);
}
