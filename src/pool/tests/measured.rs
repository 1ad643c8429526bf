//! What the registry is told of the pool and its workers.

use super::*;
use buntime_plugin::metrics::{Snapshot, Value};

/// The kernel counts in hundredths of a second.
const BUSY: &str = "const end = performance.now() + 100; while (performance.now() < end);
export default { fetch: () => new Response('fine') }";

/// A number of a family; histograms by how much they have counted. Labels are given as in `app=shop,state=idle`.
fn number(snapshot: &Snapshot, family: &str, labels: &str) -> Option<f64> {
    let wanted: Vec<_> = labels.split(',').filter_map(|label| label.split_once('=')).collect();
    let family = snapshot.family(family)?;
    let is_it = |sample: &&buntime_plugin::metrics::Sample| {
        wanted.iter().all(|(name, text)| sample.label(name) == Some(text))
    };
    let found = family.samples.iter().find(is_it)?;
    Some(match &found.value {
        Value::Number(number) => *number,
        Value::Histogram(histogram) => histogram.count() as f64,
    })
}

#[tokio::test]
async fn what_the_pool_does_is_counted_and_what_workers_use_is_read() {
    let Some(house) = House::new("measured", 2, 0) else { return };
    let app = house.add(1, BUSY, |_| {});
    let worker = house.ask(&app).await;
    house.ask(&app).await;
    let now = house.metrics.collect();
    let of = |family: &str, labels: &str| number(&now, family, labels);
    assert_eq!(of("buntime_pool_misses_total", ""), Some(1.0));
    assert_eq!(of("buntime_pool_hits_total", ""), Some(1.0));
    assert_eq!(of("buntime_pool_wait_seconds", ""), Some(1.0));
    assert_eq!((of("buntime_pool_size", ""), of("buntime_pool_size_limit", "")), (Some(1.0), Some(2.0)));
    for phase in ["spawn", "connect", "import", "ready"] {
        let labels = format!("phase={phase},kind=fresh");
        assert_eq!(of("buntime_worker_start_duration_seconds", &labels), Some(1.0), "{phase}");
    }
    let begun = "from=none,to=creating,reason=request";
    assert_eq!(of("buntime_worker_transitions_total", begun), Some(1.0));
    assert_eq!(of("buntime_worker_state", "app=shop,version=1.0.1,state=active"), Some(1.0));
    for kind in ["rss", "pss", "uss"] {
        let bytes = of("buntime_worker_memory_bytes", &format!("app=shop,version=1.0.1,kind={kind}"));
        assert!(bytes.is_some_and(|bytes| bytes > 1e6), "{kind} {bytes:?}");
    }
    assert!(of("buntime_worker_cpu_seconds_total", "app=shop,version=1.0.1").is_some_and(|cpu| cpu > 0.0));

    house.pool.terminate_worker(worker);
    house.gone(worker, "operator").await;
    let then = house.metrics.collect();
    let of = |family: &str, labels: &str| number(&then, family, labels);
    assert_eq!(of("buntime_worker_state", "app=shop"), None);
    assert_eq!(of("buntime_worker_memory_bytes", "app=shop"), None);
    assert_eq!(of("buntime_worker_transitions_total", "to=terminated,reason=operator"), Some(1.0));
    let spent = |snapshot| number(snapshot, "buntime_worker_cpu_seconds_total", "app=shop");
    assert_eq!(spent(&then), spent(&now), "what was read stays");

    house.pool.remove(app.key, None);
    drop(app);
    assert_eq!(spent(&house.metrics.collect()), None, "its version is gone");
    house.end().await;
}

#[tokio::test]
async fn spares_belong_to_no_app_and_refused_requests_say_why() {
    let Some(house) = House::new("measured", 1, 1) else { return };
    house.told(|event| matches!(event, Told::Worker(event) if event.to == "creating")).await;
    let now = house.metrics.collect();
    assert_eq!(number(&now, "buntime_worker_state", "app=_none,state=creating"), Some(1.0));
    let app = house.add(1, "throw new Error('no')", |_| {});
    let refused = house.pool.checkout(&app, false, || true).await.map(drop).unwrap_err();
    assert_eq!(refused.why, Refusal::StartFailed);
    let then = house.metrics.collect();
    assert_eq!(number(&then, "buntime_pool_rejections_total", "reason=start-failed"), Some(1.0));
    house.end().await;
}
