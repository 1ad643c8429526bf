//! What a plugin has of its context, on the stage of the test kit.

use crate::testkit::{Loaded, Stage};
use crate::{Body, Context, EventFilter, Native, Plugin, Response};
use futures_util::StreamExt;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;

struct Idle;

impl Plugin for Idle {
    fn hooks(&self) -> crate::Hooks {
        crate::Hooks::new()
    }
}

const IDLE: Native = Native {
    manifest: "name: idle\nversion: 1.0.0\nenabled: false\n",
    owned_headers: &[],
    make: |_: &Arc<Context>| Ok(Arc::new(Idle)),
};

fn load(stage: &Stage) -> Loaded {
    stage.make(&IDLE).unwrap()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn what_is_done_every_second_never_overlaps_outlives_panics_and_ends_with_the_plugin() {
    let loaded = load(&Stage::new("idle"));
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    loaded.context.every(SECOND, move || {
        let run = counted.fetch_add(1, Ordering::SeqCst);
        async move {
            match run {
                // Until 3.5 s: those at 2 and 3 s are left out.
                0 => sleep(SECOND * 5 / 2).await,
                1 => panic!("on purpose"),
                _ => {}
            }
        }
    });
    // Between the runs, each moment with how many have begun.
    let mut now = Duration::ZERO;
    for (millis, begun) in [(900, 0), (1100, 1), (3900, 1), (4100, 2), (5100, 3), (6100, 4)] {
        let at = Duration::from_millis(millis);
        sleep(at - now).await;
        now = at;
        assert_eq!(runs.load(Ordering::SeqCst), begun, "{at:?}");
    }
    loaded.shut_down().await.unwrap();
    sleep(SECOND * 10).await;
    assert_eq!(runs.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_stage_has_events_and_a_web() {
    let stage = Stage::new("idle").web(|request| Response::new(Body::from(request.uri().to_string())));
    let loaded = load(&stage);
    let core = loaded.context.core();
    let mut all = core.events(&EventFilter::all()).unwrap();
    let mut some = core.events(&EventFilter::all().kinds(&["app"]).app("shop")).unwrap();
    assert_eq!(stage.publish(&json!({ "type": "worker", "app": "shop" })), 1);
    assert_eq!(stage.publish(&json!({ "type": "app", "app": "shop" })), 2);
    assert_eq!(some.next().await.unwrap()["type"], "app");
    assert_eq!(all.next().await.unwrap()["type"], "worker");
    drop((all, some));
    assert_eq!(stage.publish(&json!({ "type": "app", "app": "shop" })), 0);

    let ask = || http::Request::get("http://host/path").body(Body::Empty).unwrap();
    let answer = core.fetch(ask()).await.unwrap();
    assert_eq!(crate::testkit::bytes(answer.into_body()).await, "http://host/path");
    let alone = load(&Stage::new("idle"));
    assert!(alone.context.core().fetch(ask()).await.is_err());
}
