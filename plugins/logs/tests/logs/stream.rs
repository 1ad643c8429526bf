use crate::support::*;
use buntime_plugin::testkit::{Loaded, Stage};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

fn texts(events: &[Event]) -> Vec<&str> {
    let entries = events.iter().filter(|event| event.kind == "message");
    entries.map(|event| event.data["message"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn entries_are_pushed_and_their_ids_are_their_numbers() {
    let stage = stage();
    let plugin = load(&stage).await;
    stage.log(&line(None, "before"));
    let mut stream = Stream::open(&plugin, ALL, "", None).await;
    let head = stream.next().await.unwrap();
    assert_eq!((&*head.kind, head.data["run"].is_string()), ("run", true));
    assert_eq!(stream.ready(), []);
    stage.log(&line(None, "one"));
    stage.log(&line(None, "two"));
    let events = stream.ready();
    assert_eq!(texts(&events), ["one", "two"]);
    assert!(events.iter().all(|event| event.id == event.data["seq"].as_u64()));
    assert_eq!(events[0].id, head.id.map(|id| id + 1));
}

#[tokio::test]
async fn a_filter_of_a_page_is_one_of_a_stream_too() {
    let stage = stage();
    let plugin = load(&stage).await;
    (0..5).for_each(|n| stage.log(&line(Some("shop"), &format!("old {n}"))));
    let first =
        read(get(&plugin, ALL, "/api?search=old+0").await).await["entries"][0]["seq"].as_u64().unwrap();
    for (query, expected) in [
        ("?app=blog", &["new"][..]),
        ("?app=shop", &[]),
        ("?after=0", &["old 0", "old 1", "old 2", "old 3", "old 4", "new"]),
        (&format!("?after={}", first + 2), &["old 3", "old 4", "new"]),
        (&format!("?after=0&before={}", first + 2), &["old 0", "old 1"]),
        ("?since=1h&search=4", &["old 4"]),
        ("?limit=2&search=old", &["old 3", "old 4"]),
        ("?limit=1&app=shop", &["old 4"]),
        ("?limit=9&app=blog", &["new"]),
    ] {
        let mut stream = Stream::open(&plugin, ALL, query, None).await;
        stage.log(&line(Some("blog"), "new"));
        let events = stream.ready();
        let shown: Vec<_> = texts(&events).into_iter().filter(|text| text.starts_with("old")).collect();
        let wanted: Vec<_> = expected.iter().copied().filter(|text| text.starts_with("old")).collect();
        assert_eq!(shown, wanted, "{query}");
        assert_eq!(texts(&events).contains(&"new"), expected.contains(&"new"), "{query}");
    }
    // What can have no more ends.
    let mut stream = Stream::open(&plugin, ALL, &format!("?after=0&before={}", first + 1), None).await;
    while let Some(event) = stream.next().await {
        assert!(event.id.is_none_or(|id| id <= first));
    }
    let mut stream = Stream::open(&plugin, ALL, "?since=1h&until=1s", None).await;
    while stream.next().await.is_some() {}
}

#[tokio::test]
async fn who_comes_back_goes_on_and_hears_what_was_lost_to_the_ring() {
    let stage = stage();
    let plugin = load(&stage).await;
    let mut stream = Stream::open(&plugin, ALL, "", None).await;
    stage.log(&line(None, "seen"));
    assert_eq!(texts(&stream.ready()), ["seen"]);
    let last = stream.last;
    drop(stream);
    stage.log(&line(None, "missed"));
    let mut stream = Stream::open(&plugin, ALL, "", last).await;
    assert_eq!(texts(&stream.ready()), ["missed"]);
    let last = stream.last;
    drop(stream);
    (0..1007).for_each(|n| stage.log(&line(None, &format!("{n}"))));
    let mut stream = Stream::open(&plugin, ALL, "", last).await;
    let head = stream.next().await.unwrap();
    assert_eq!((&*head.kind, head.id), ("run", None), "to go on after it would hide the gap");
    let gap = stream.next().await.unwrap();
    assert_eq!((&*gap.kind, gap.id, &gap.data), ("gap", last.map(|last| last + 7), &json!({ "lost": 7 })));
    let events = stream.ready();
    assert_eq!((texts(&events).len(), texts(&events)[0]), (1000, "7"));
}

#[tokio::test]
async fn an_id_of_another_run_is_known_for_what_it_is() {
    let stage = stage();
    let plugin = load(&stage).await;
    stage.log(&line(None, "first"));
    let now = read(get(&plugin, ALL, "/api").await).await["entries"][0]["seq"].as_u64().unwrap();
    // An earlier run's is below, that of a clock that was set back above.
    for other in [1, now - 2, now + 1] {
        let mut stream = Stream::open(&plugin, ALL, "", Some(other)).await;
        let events = stream.ready();
        let kinds: Vec<_> = events.iter().map(|event| &*event.kind).collect();
        assert_eq!(kinds, ["run", "reset", "message"], "{other}");
        assert_eq!((events[0].id, texts(&events)), (None, vec!["first"]));
        assert_eq!(events[1].data["run"], events[0].data["run"]);
    }
    let request = ask(buntime_plugin::http::Method::GET, ALL, "/api/sse");
    let request = buntime_plugin::testkit::with_header(request, "last-event-id", "nonsense");
    assert_eq!(refusal(&plugin.route(request).await.unwrap()), (400, "event_id_invalid".into()));
}

#[tokio::test]
async fn a_client_that_is_too_slow_is_sent_away_and_told_when_it_is_back() {
    let stage = stage();
    let plugin = load(&stage).await;
    let mut stream = Stream::open(&plugin, ALL, "", None).await;
    stage.log(&line(None, "seen"));
    assert_eq!(texts(&stream.ready()), ["seen"]);
    (0..1500).for_each(|_| stage.log(&line(None, "x")));
    assert_eq!(stream.next().await.unwrap().kind, "slow");
    assert_eq!(stream.next().await, None);
    let mut stream = Stream::open(&plugin, ALL, "", stream.last).await;
    assert_eq!(stream.next().await.unwrap().kind, "run");
    assert_eq!(stream.next().await.unwrap().data, json!({ "lost": 500 }));
    assert_eq!(texts(&stream.ready()).len(), 1000);
}

#[tokio::test]
async fn what_was_cleared_away_is_not_lost() {
    let stage = stage();
    let plugin = load(&stage).await;
    let mut stream = Stream::open(&plugin, ALL, "", None).await;
    stage.log(&line(None, "x"));
    plugin.route(ask(buntime_plugin::http::Method::DELETE, ALL, "/api")).await.unwrap();
    stage.log(&line(None, "y"));
    assert_eq!(texts(&stream.ready()), ["y"]);
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_by_heartbeats_that_move_the_place_on() {
    let stage = stage();
    let plugin = load(&stage).await;
    let mut stream = Stream::open(&plugin, ALL, "?app=shop", None).await;
    let head = stream.next().await.unwrap();
    stage.log(&line(Some("blog"), "not for this client"));
    let began = tokio::time::Instant::now();
    let beat = stream.next().await.unwrap();
    assert_eq!((beat.kind, beat.id), (String::new(), head.id.map(|id| id + 1)));
    assert_eq!(began.elapsed().as_secs(), 15);
}

#[tokio::test]
async fn no_more_than_100_clients_follow_at_once() {
    let stage = stage();
    let plugin = load(&stage).await;
    let mut streams = Vec::new();
    for _ in 0..100 {
        streams.push(Stream::open(&plugin, ALL, "", None).await);
    }
    assert_eq!(refusal(&get(&plugin, ALL, "/api/sse").await), (503, "followers_busy".into()));
    streams.pop();
    Stream::open(&plugin, ALL, "", None).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_key() {
    let stage = stage();
    let plugin = load(&stage).await;
    let mut stream = Stream::open(&plugin, TEAM, "", None).await;
    let mut other = Stream::open(&plugin, ALL, "", None).await;
    assert_eq!(stream.next().await.unwrap().kind, "run");
    stage.revoke(TEAM);
    stage.log(&line(Some("@team/shop"), "not for a key that is revoked"));
    assert_eq!(stream.next().await, None);
    assert_eq!(texts(&other.ready()).len(), 1);
    assert_eq!(get(&plugin, TEAM, "/api/sse").await.status(), 401);
}

/// Lines from several producers at 10,000 a second, until told to end. Returns how many there were.
fn flood(stage: Arc<Stage>, end: Arc<AtomicBool>, count: Arc<AtomicU64>) -> Vec<std::thread::JoinHandle<()>> {
    (0..4)
        .map(|producer| {
            let (stage, end, count) = (Arc::clone(&stage), Arc::clone(&end), Arc::clone(&count));
            std::thread::spawn(move || {
                let began = Instant::now();
                let mut sent = 0u32;
                while !end.load(Ordering::Relaxed) {
                    // 2,500 a second each, in small bursts.
                    while f64::from(sent) < began.elapsed().as_secs_f64() * 2500.0 {
                        stage.log(&line(Some(&format!("app{producer}")), &format!("{sent}")));
                        sent += 1;
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                    // This sets the pace; nothing waits for it.
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_or_doubled_by_a_client_that_reconnects_while_10_000_entries_a_second_flow_through_a_full_ring()
 {
    const ENTRIES: u64 = 15_000;
    let stage = Arc::new(stage());
    let plugin: Loaded = load(&stage).await;
    (0..1000).for_each(|_| stage.log(&line(None, "full")));
    let mut stream = Stream::open(&plugin, ALL, "", None).await;
    // Up to here it has heard of everything.
    let mut heard = stream.next().await.unwrap().id.unwrap();
    let first = heard;
    let (end, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let producers = flood(Arc::clone(&stage), Arc::clone(&end), Arc::clone(&count));
    // The next number of each producer, by which nothing is missed that no gap speaks of.
    let (mut next, mut lost, mut since) = ([0u64; 4], 0, 0);
    while heard - first < ENTRIES {
        let Some(event) = stream.next().await else {
            stream = Stream::open(&plugin, ALL, "", stream.last).await;
            continue;
        };
        match &*event.kind {
            "message" => {
                assert_eq!(event.id, Some(heard + 1), "missed or doubled");
                heard += 1;
                let producer = usize::from(event.data["app"].as_str().unwrap().as_bytes()[3] - b'0');
                let number = event.data["message"].as_str().unwrap().parse::<u64>().unwrap();
                assert!(number == next[producer] || (lost > 0 && number > next[producer]));
                next[producer] = number + 1;
            }
            "gap" => {
                let gap = event.data["lost"].as_u64().unwrap();
                heard += gap;
                lost += gap;
                assert_eq!(event.id, Some(heard));
            }
            "run" | "slow" | "" => {}
            kind => panic!("{kind}"),
        }
        since += 1;
        if since % 97 == 0 {
            // In the middle of a piece, or of an event.
            stream = Stream::open(&plugin, ALL, "", stream.last).await;
        }
    }
    end.store(true, Ordering::Relaxed);
    producers.into_iter().for_each(|producer| producer.join().unwrap());
    let stats = read(get(&plugin, ALL, "/api/stats").await).await;
    assert_eq!(stats["dropped"], 0, "none was sampled");
    assert_eq!(stats["last"].as_u64().unwrap() - first, count.load(Ordering::Relaxed));
}
