use super::*;
use buntime_plugin::metrics::{Kind, Value};
use http::{Method, StatusCode};
use std::time::Duration;

fn series(metrics: &Metrics, app: &str) -> Arc<Series> {
    metrics.series(app, &AppVersion::parse("1.0.0").unwrap())
}

fn ended(method: Method, status: u16) -> Ended {
    Ended {
        method: MethodLabel::of(&method),
        status: StatusCode::from_u16(status).ok(),
        took: Duration::from_millis(20),
        trace: None,
        sent: 10,
    }
}

/// Labels and values of a family, as text.
fn shown(snapshot: &Snapshot, desc: &Desc) -> Vec<String> {
    let samples = snapshot.family(desc.name).map(|family| family.samples.clone()).unwrap_or_default();
    let line = |sample: &buntime_plugin::metrics::Sample| {
        let labels: Vec<_> = sample.labels.iter().map(|(_, text)| text.to_string()).collect();
        let value = match &sample.value {
            Value::Number(number) => number.to_string(),
            Value::Histogram(histogram) => histogram.count().to_string(),
        };
        format!("{} {value}", labels.join(" "))
    };
    samples.iter().map(line).collect()
}

#[test]
fn requests_are_counted_by_app_version_method_and_class() {
    let metrics = Metrics::new("1.4.5");
    let shop = series(&metrics, "@team/shop");
    shop.ended(&ended(Method::GET, 200));
    shop.ended(&ended(Method::GET, 204));
    shop.ended(&ended(Method::from_bytes(b"PURGE").unwrap(), 500));
    shop.ended(&Ended { status: None, ..ended(Method::POST, 200) });
    shop.received(7);
    metrics.none().ended(&ended(Method::HEAD, 404));
    let snapshot = metrics.collect();
    assert_eq!(
        shown(&snapshot, &families::REQUESTS),
        [
            "_none _none HEAD 4xx 1",
            "@team/shop 1.0.0 GET 2xx 2",
            "@team/shop 1.0.0 POST aborted 1",
            "@team/shop 1.0.0 _other 5xx 1",
        ]
    );
    assert_eq!(shown(&snapshot, &families::REQUEST_DURATION), ["_none _none 1", "@team/shop 1.0.0 4"]);
    assert_eq!(shown(&snapshot, &families::REQUEST_BODY), ["@team/shop 7", "_none 0"]);
    assert_eq!(shown(&snapshot, &families::RESPONSE_BODY), ["@team/shop 40", "_none 10"]);
}

#[test]
fn a_plugin_that_is_reloaded_counts_on_and_one_that_is_gone_is_shown_no_more() {
    let metrics = Metrics::new("1.4.5");
    let old = metrics.hook("@buntime/plugin-authn", "identify");
    old.observe(Duration::from_micros(3));
    let new = metrics.hook("@buntime/plugin-authn", "identify");
    new.observe(Duration::from_micros(3));
    drop(old);
    let of_now = metrics.collect();
    assert_eq!(shown(&of_now, &families::HOOK_DURATION), ["@buntime/plugin-authn identify 2"]);
    drop(new);
    assert!(shown(&metrics.collect(), &families::HOOK_DURATION).is_empty());
}

#[test]
fn collectors_add_what_is_a_state_and_families_are_in_order() {
    struct Four;
    impl Collector for Four {
        fn collect(&self, into: &mut Families) {
            into.number(&families::CONNECTIONS, [], 4.0);
        }
    }
    let metrics = Metrics::new("1.4.5");
    metrics.register(Arc::new(Four));
    let snapshot = metrics.collect();
    assert_eq!(shown(&snapshot, &families::CONNECTIONS), [" 4"]);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(shown(&snapshot, &families::BUILD_INFO), [format!("{version} 1.4.5 1")]);
    let names: Vec<_> = snapshot.families.iter().map(|family| &family.name).collect();
    assert!(names.is_sorted());
    assert!(snapshot.families.iter().all(|family| family.kind != Kind::Histogram || family.unit.is_some()));
}

#[tokio::test]
async fn plugins_see_the_same_and_may_limit_it() {
    let metrics = Metrics::new("1.4.5");
    let source = metrics.source();
    let apps = ["a", "b", "c"].map(|app| series(&metrics, app));
    apps.iter().for_each(|series| series.ended(&ended(Method::GET, 200)));
    source.limit_apps(1);
    let snapshot = source.snapshot().await;
    assert_eq!(shown(&snapshot, &families::REQUEST_DURATION), ["a 1.0.0 1", "_other _other 2"]);
}
