//! The stream of events: its form, what it takes to miss nothing, who sees what, and its end.

use super::api::{Event, page, source};
use super::harness::{Apps, Server};
use http::Request;
use http_body_util::Full;
use nix::sys::signal::Signal;
use serde_json::json;

/// Prints as many lines as it is asked for: `/flood?lines=100&length=10`.
const FLOOD: &str = "export default {
    fetch(request) {
        const asked = new URL(request.url).searchParams;
        const filler = 'x'.repeat(Number(asked.get('length') ?? 0));
        let text = '';
        for (let n = 0; n < Number(asked.get('lines')); n++) text += `line ${n} ${filler}\\n`;
        process.stdout.write(text);
        return new Response('done');
    },
};";

async fn flooding() -> Server {
    Apps::new().file("flood/index.ts", FLOOD).manage().await
}

/// The numbers of the lines that these events tell.
fn lines(events: &[Event]) -> Vec<usize> {
    let text = |event: &Event| event.data["text"].as_str()?.split(' ').nth(1)?.parse().ok();
    events.iter().filter(|event| event.kind == "log").filter_map(text).collect()
}

#[track_caller]
fn assert_in_order(events: &[Event]) {
    let numbers: Vec<u64> = events.iter().map(Event::number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

#[tokio::test]
async fn each_event_has_its_id_its_type_and_one_line_of_json() {
    let server = Apps::new().file("shop@1.0.0/index.ts", source("shop")).manage().await;
    let api = server.api();
    let mut events = api.events("").await;
    assert_eq!(server.get("/shop/").await.text(), "shop");
    api.make_key(json!({ "name": "ci\u{a0}key", "role": "viewer" })).await;
    api.deploy("name=site&version=1.0.0", page("page")).await;
    let mut seen = Vec::new();
    while !seen.iter().any(|event: &Event| event.kind == "deploy" && event.data["action"] == "finished") {
        seen.push(events.next().await.unwrap());
    }
    assert_in_order(&seen);
    let first = seen[0].number();
    for (event, number) in seen.iter().zip(first..) {
        assert_eq!(event.number(), number, "none is missing");
        assert_eq!((&event.data["id"], &event.data["type"]), (&json!(event.id), &json!(event.kind)));
        assert!(event.data["at"].as_str().unwrap().ends_with('Z'), "{event:?}");
    }
    let find = |kind: &str, field: &str, value: &str| {
        let is = |event: &&Event| event.kind == kind && event.data[field] == value;
        seen.iter().find(is).unwrap_or_else(|| panic!("no {kind} with {field} {value} in {seen:#?}")).clone()
    };
    let ready = find("worker", "to", "ready");
    assert_eq!((ready.data["app"].as_str(), ready.data["version"].as_str()), (Some("shop"), Some("1.0.0")));
    assert_eq!(find("key", "action", "created").data["name"], "ci\u{a0}key");
    assert_eq!(find("alias", "app", "site").data["after"], json!({ "1.0.0": 100 }));
    assert_eq!(find("deploy", "action", "started").data["by"], "root key");
    find("app", "action", "added");
}

#[tokio::test]
async fn who_comes_back_misses_nothing_and_sees_nothing_twice() {
    let server = flooding().await;
    let api = server.api();
    let total = 1500;
    let path = format!("/flood/?lines={total}");
    let flood = server.get(&path);
    let following = async {
        let (mut seen, mut last): (Vec<Event>, Option<String>) = (Vec::new(), None);
        // Breaks off again and again, in the middle of the flood.
        while lines(&seen).len() < total {
            let query = if last.is_none() { "?types=log&after=0" } else { "?types=log" };
            let mut events = api.events_after(query, last.as_deref()).await;
            for _ in 0..100 {
                if lines(&seen).len() == total {
                    break;
                }
                seen.push(events.next().await.unwrap());
            }
            last = seen.last().map(|event| event.id.clone());
        }
        seen
    };
    let (answer, seen) = tokio::join!(flood, following);
    assert_eq!(answer.text(), "done");
    assert_in_order(&seen);
    assert_eq!(lines(&seen), Vec::from_iter(0..total));
    assert!(seen.iter().all(|event| event.kind == "log"), "nothing was lost");
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_first_event_loses_none() {
    let server = flooding().await;
    let api = server.api();
    let place = api.events("?types=log").await.place.expect("it says where it begins");
    assert_eq!(server.get("/flood/?lines=3").await.text(), "done");
    let mut again = api.events_after("?types=log", Some(&place)).await;
    let mut seen = Vec::new();
    while lines(&seen).len() < 3 {
        seen.push(again.next().await.unwrap());
    }
    assert_eq!(lines(&seen), [0, 1, 2]);
}

#[tokio::test]
async fn what_is_no_longer_kept_is_a_gap_that_says_how_much() {
    let server = flooding().await;
    let api = server.api();
    let mut events = api.events("").await;
    assert_eq!(server.get("/flood/?lines=1").await.text(), "done");
    let before = events.find(|event| event.kind == "log").await;
    drop(events);
    // More than the 8 MiB that are kept.
    assert_eq!(server.get("/flood/?lines=300&length=50000").await.text(), "done");
    // Not by the log, which may drop lines when its reader is slow.
    while !lines(&api.events("?follow=false&types=log").await.rest().await).contains(&299) {}
    let mut later = api.events_after("", Some(&before.id)).await;
    let gap = later.next().await.unwrap();
    assert_eq!((gap.kind.as_str(), &gap.data["type"]), ("gap", &json!("gap")));
    let lost = gap.data["lost"].as_u64().unwrap();
    assert_eq!(gap.number(), before.number() + lost, "its id is that of the last one lost");
    let next = later.next().await.unwrap();
    assert_eq!(next.number(), gap.number() + 1);
    // To go on after the gap is to miss nothing more.
    assert_eq!(api.events_after("", Some(&gap.id)).await.next().await.unwrap(), next);
}

#[tokio::test]
async fn after_a_restart_the_stream_says_reset_and_begins_anew() {
    let server = Apps::new().file("site/index.html", "site").manage().await;
    let mut events = server.api().events("?after=0").await;
    let last = events.find(|event| event.data["action"] == "started").await.id;
    let server = server.stop().await.managed().env("RUNTIME_SPARE_WORKERS", "0").start().await;
    let api = server.api();
    let mut again = api.events_after("", Some(&last)).await;
    assert_eq!(again.place, None, "who comes back before it was told of the reset is told then");
    let reset = again.next().await.unwrap();
    assert_eq!((reset.kind.as_str(), reset.number()), ("reset", 0));
    let first = again.next().await.unwrap();
    assert_eq!(first.number(), 1);
    assert_ne!(first.id.split('-').next(), last.split('-').next(), "another process");
    // So it is behind an event that there has not been yet.
    let future = format!("{}-999999", first.id.split('-').next().unwrap());
    assert_eq!(api.events_after("", Some(&future)).await.next().await.unwrap().kind, "reset");
}

#[tokio::test]
async fn types_app_and_version_choose_and_without_follow_it_ends() {
    let apps =
        Apps::new().file("shop@1.0.0/index.ts", source("one")).file("shop@2.0.0/index.ts", source("two"));
    let server = apps.file("blog/index.ts", source("blog")).manage().await;
    let api = server.api();
    for path in ["/shop@1.0.0/", "/shop@2.0.0/", "/blog/"] {
        assert_eq!(server.get(path).await.status(), 200);
    }
    api.make_key(json!({ "name": "ci", "role": "viewer" })).await;
    for (query, is) in [
        ("types=key", (|event| event.kind == "key") as fn(&Event) -> bool),
        ("types=worker,app", |event| ["worker", "app"].contains(&event.kind.as_str())),
        ("app=shop", |event| event.data["app"] == "shop"),
        ("app=shop&version=1.0.0", |event| event.data["version"] == "1.0.0"),
        ("types=worker&version=2.0.0", |event| event.kind == "worker" && event.data["version"] == "2.0.0"),
    ] {
        let all = api.events("?follow=false").await.rest().await;
        let chosen = api.events(&format!("?follow=false&{query}")).await.rest().await;
        let expected: Vec<_> = all.into_iter().filter(is).collect();
        assert!(!expected.is_empty(), "{query}");
        assert!(chosen.starts_with(&expected), "{query}: {chosen:#?}");
    }
    let none = api.events("?follow=false&app=nobody").await.rest().await;
    assert_eq!(none, []);
}

#[tokio::test]
async fn a_key_sees_what_its_namespaces_have_and_nothing_of_others_or_of_the_runtime() {
    let apps = ["@a/one", "@b/two", "three"]
        .iter()
        .fold(Apps::new(), |apps, name| apps.file(&format!("{name}/index.ts"), source(name)));
    let server = apps.launch().env("RUNTIME_SPARE_WORKERS", "1").managed().start().await;
    let root = server.api();
    let wanted = json!({ "name": "a", "role": "viewer", "namespaces": ["@a"] });
    let (key, _) = root.make_key(wanted).await;
    let mut live = server.api_with(&key).events("").await;
    for path in ["/@b/two/", "/three/", "/@a/one/"] {
        assert_eq!(server.get(path).await.status(), 200);
    }
    root.make_key(json!({ "name": "other", "role": "viewer" })).await;
    let own = |event: &Event| event.data["app"] == "@a/one";
    let mut seen = vec![live.next().await.unwrap()];
    while seen.last().unwrap().data["to"] != "active" {
        seen.push(live.next().await.unwrap());
    }
    assert!(seen.iter().all(own), "{seen:#?}");
    let kept = server.api_with(&key).events("?follow=false&after=0").await.rest().await;
    assert!(!kept.is_empty() && kept.iter().all(own), "{kept:#?}");
    let all = root.events("?follow=false&after=0").await.rest().await;
    assert!(all.iter().any(|event| event.kind == "worker" && event.data["app"].is_null()), "spares");
    for kind in ["key", "server"] {
        assert!(all.iter().any(|event| event.kind == kind), "{kind}");
    }
    let refused = server.api_with(&key).get("/events?app=@b/two").await;
    assert_eq!(refused.problem(), (403, "namespace_missing".to_owned()));
}

#[tokio::test]
async fn a_stream_ends_with_the_key_that_opened_it() {
    let server = Apps::new().manage().await;
    let root = server.api();
    let (key, id) = root.make_key(json!({ "name": "watcher", "role": "viewer" })).await;
    let (short, _) = root.make_key(json!({ "name": "short", "role": "viewer", "expiresIn": 1 })).await;
    let (revoked, mut other) = (server.api_with(&key).events("").await, root.events("?types=key").await);
    let expiring = server.api_with(&short).get("/events").await;
    // It may have been over before it asked.
    assert!(expiring.status() == 200 || expiring.status() == 401);
    root.delete(&format!("/keys/{id}")).await;
    revoked.rest().await;
    let is_revoked = |event: &Event| event.data["action"] == "revoked";
    assert_eq!(other.find(is_revoked).await.data["key"], json!(id), "others go on");
}

#[tokio::test]
async fn followers_do_not_hold_up_the_end_and_are_told_of_it() {
    let mut server = flooding().await;
    let api = server.api();
    let (one, filtered) = (api.events("").await, api.events("?types=key").await);
    let mut admin = server.admin().await;
    let request = Request::get("/api/events").body(Full::default()).unwrap();
    let admin = admin.begin(request).await.unwrap();
    assert_eq!(server.get("/flood/?lines=200").await.text(), "done");
    server.signal(Signal::SIGTERM);
    // Bounded by the patience of the tests; without their end it would be the shutdown timeout.
    assert!(server.exit().await.success());
    let told = one.rest().await;
    assert!(told.iter().any(|event| event.kind == "server" && event.data["action"] == "draining"));
    assert_eq!(filtered.rest().await, []);
    let body = http_body_util::BodyExt::collect(admin.into_body()).await.unwrap().to_bytes();
    assert!(body.ends_with(b"\n\n"), "whole");
}

#[tokio::test]
async fn a_follower_that_does_not_read_slows_nobody() {
    let server = flooding().await;
    let api = server.api();
    let mut stuck = server.raw().await;
    let head = format!("GET /api/events HTTP/1.1\r\nHost: test\r\nX-API-Key: {}\r\n\r\n", super::api::ROOT);
    stuck.write(head).await;
    assert_eq!(stuck.head().await.status, 200);
    let mut quick = api.events("?types=log").await;
    // More than the sockets between them hold.
    for round in 0..4 {
        assert_eq!(server.get("/flood/?lines=150&length=50000").await.text(), "done");
        let last =
            |event: &Event| event.data["text"].as_str().is_some_and(|text| text.starts_with("line 149 "));
        let event = quick.find(|event| event.kind == "gap" || last(event)).await;
        assert_eq!(event.kind, "log", "round {round}: one that reads loses nothing");
    }
    // The slow one finds out what it has missed.
    loop {
        let chunk = stuck.chunk().await.unwrap().expect("it goes on");
        if memchr::memmem::find(&chunk, b"event: gap\n").is_some() {
            break;
        }
    }
}
