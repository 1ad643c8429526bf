//! The last minute of requests, for rates and quantiles over it.

use crate::view;
use buntime_plugin::Caller;
use buntime_plugin::metrics::{Histogram, Snapshot, Value};
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};
use tokio::time::Instant;

/// Over what rates are told.
const WINDOWS: [(&str, Duration); 3] =
    [("1s", Duration::from_secs(1)), ("10s", Duration::from_secs(10)), ("60s", Duration::from_secs(60))];
/// What is remembered: so old, and at such distances.
const LENGTH: Duration = Duration::from_secs(61);
const STEP: Duration = Duration::from_millis(950);

/// App and version.
type Key = (Arc<str>, Arc<str>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Point {
    requests: f64,
    /// Those answered with a status of 500 and more.
    errors: f64,
    took: Vec<u64>,
}

/// Points of a moment. One that has not changed is shared with the moment before.
struct Moment {
    at: Instant,
    points: BTreeMap<Key, Arc<Point>>,
}

/// What a moment is compared with.
struct Before<'h> {
    windows: [Option<&'h Moment>; WINDOWS.len()],
    /// As long ago as anything is remembered.
    minute: Option<&'h Moment>,
    at: Instant,
}

#[derive(Default)]
pub struct History {
    moments: VecDeque<Moment>,
}

/// How it is at a moment, and how the last minute was.
#[derive(Debug, Default)]
pub struct Now {
    /// Seconds since 1970.
    time: f64,
    in_flight: Option<f64>,
    connections: Option<f64>,
    rows: Vec<Row>,
}

#[derive(Clone, Debug, Default)]
struct Row {
    requests: f64,
    errors: f64,
    /// A second, over each window. None: nothing is known of before.
    rates: Option<[f64; WINDOWS.len()]>,
    error_rates: Option<[f64; WINDOWS.len()]>,
    /// Of the last minute.
    took: Histogram,
    key: Option<Key>,
}

impl History {
    /// Takes a snapshot in.
    pub fn push(&mut self, snapshot: &Snapshot, at: Instant) -> Now {
        let mut points: BTreeMap<Key, Point> = BTreeMap::new();
        let mut bounds = Vec::new();
        let samples = |name: &str| snapshot.family(name).into_iter().flat_map(|family| &family.samples);
        let key = |sample: &buntime_plugin::metrics::Sample| -> Option<Key> {
            Some((sample.label("app")?.into(), sample.label("version")?.into()))
        };
        for sample in samples("buntime_http_requests_total") {
            let (Some(key), Value::Number(count)) = (key(sample), &sample.value) else { continue };
            let point = points.entry(key).or_default();
            point.requests += count;
            if sample.label("status") == Some("5xx") {
                point.errors += count;
            }
        }
        for sample in samples("buntime_http_request_duration_seconds") {
            let (Some(key), Value::Histogram(took)) = (key(sample), &sample.value) else { continue };
            points.entry(key).or_default().took = took.buckets.iter().map(|bucket| bucket.count).collect();
            // They are the same for all.
            if bounds.is_empty() {
                bounds = took.buckets.iter().map(|bucket| bucket.le).collect();
            }
        }
        while self.moments.front().is_some_and(|moment| at.duration_since(moment.at) > LENGTH) {
            self.moments.pop_front();
        }
        let gauge = |name: &str| match samples(name).next()?.value {
            Value::Number(number) => Some(number),
            Value::Histogram(_) => None,
        };
        let before = Before {
            windows: WINDOWS.map(|(_, window)| self.nearest(at, window)),
            minute: self.nearest(at, LENGTH),
            at,
        };
        let now = Now {
            time: snapshot.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64(),
            in_flight: gauge("buntime_http_requests_in_flight"),
            connections: gauge("buntime_http_connections"),
            rows: points.iter().map(|(key, point)| before.row(key, point, &bounds)).collect(),
        };
        self.remember(points, at);
        now
    }

    /// The moment that is nearest to so long ago.
    fn nearest(&self, at: Instant, window: Duration) -> Option<&Moment> {
        self.moments.iter().min_by_key(|moment| at.duration_since(moment.at).abs_diff(window))
    }

    fn remember(&mut self, points: BTreeMap<Key, Point>, at: Instant) {
        let last = self.moments.back();
        if last.is_some_and(|last| at.duration_since(last.at) < STEP) {
            return;
        }
        let shared = points.into_iter().map(|(key, point)| {
            let before = last.and_then(|last| last.points.get(&key)).filter(|before| ***before == point);
            let point = before.map_or_else(|| Arc::new(point), Arc::clone);
            (key, point)
        });
        let points = shared.collect();
        self.moments.push_back(Moment { at, points });
    }
}

impl Before<'_> {
    fn row(&self, key: &Key, point: &Point, bounds: &[f64]) -> Row {
        let rate = |of: fn(&Point) -> f64| {
            let over = |then: Option<&Moment>| {
                let then = then?;
                let before = then.points.get(key).map_or(0.0, |point| of(point));
                let elapsed = self.at.duration_since(then.at).as_secs_f64();
                // Counters begin anew with their version.
                (elapsed > 0.0).then(|| (of(point) - before).max(0.0) / elapsed)
            };
            let [a, b, c] = self.windows.map(over);
            Some([a?, b?, c?])
        };
        let nothing = Point::default();
        let before = self.minute.and_then(|then| then.points.get(key));
        let before = before.map_or(&nothing, |point| &**point);
        let mut took = histogram(&point.took, bounds);
        took = took.since(&histogram(&before.took, bounds));
        let Point { requests, errors, .. } = *point;
        let (rates, error_rates) = (rate(|point| point.requests), rate(|point| point.errors));
        Row { requests, errors, rates, error_rates, took, key: Some(key.clone()) }
    }
}

impl Now {
    /// As far as somebody may see it. The sums are over what they see.
    pub fn shown(&self, caller: &dyn Caller) -> Json {
        let all = caller.sees_everything();
        let seen = |row: &&Row| row.key.as_ref().is_some_and(|(app, _)| view::sees(caller, app));
        let rows: Vec<&Row> = self.rows.iter().filter(seen).collect();
        let total = rows.iter().fold(Row::default(), |sum, row| sum.and(row));
        let mut shown = json!({ "time": self.time });
        if all {
            shown["inFlight"] = self.in_flight.into();
            shown["connections"] = self.connections.into();
        }
        shown["total"] = total.shown();
        shown["apps"] = rows.iter().map(|row| row.shown()).collect();
        shown
    }
}

impl Row {
    fn and(mut self, other: &Row) -> Row {
        self.requests += other.requests;
        self.errors += other.errors;
        self.rates = sum(self.rates, other.rates);
        self.error_rates = sum(self.error_rates, other.error_rates);
        if self.took.buckets.is_empty() {
            self.took = other.took.clone();
        } else {
            for (bucket, more) in self.took.buckets.iter_mut().zip(&other.took.buckets) {
                bucket.count += more.count;
            }
        }
        self
    }

    fn shown(&self) -> Json {
        let rates = |rates: Option<[f64; WINDOWS.len()]>| -> Json {
            let of = |index: usize| rates.map(|rates| rates[index]);
            let named =
                WINDOWS.iter().enumerate().map(|(index, (name, _))| ((*name).to_owned(), of(index).into()));
            Json::Object(named.collect())
        };
        let mut shown = match &self.key {
            Some((app, version)) => json!({ "app": **app, "version": **version }),
            None => json!({}),
        };
        shown["requests"] = self.requests.into();
        shown["errors"] = self.errors.into();
        shown["rates"] = rates(self.rates);
        shown["errorRates"] = rates(self.error_rates);
        shown["latency"] = view::quantiles(&self.took).into();
        shown
    }
}

fn sum(
    one: Option<[f64; WINDOWS.len()]>,
    other: Option<[f64; WINDOWS.len()]>,
) -> Option<[f64; WINDOWS.len()]> {
    match (one, other) {
        (Some(one), Some(other)) => Some(std::array::from_fn(|index| one[index] + other[index])),
        (one, other) => one.or(other),
    }
}

fn histogram(counts: &[u64], bounds: &[f64]) -> Histogram {
    let bucket = |(le, count): (&f64, &u64)| buntime_plugin::metrics::Bucket {
        le: *le,
        count: *count,
        exemplar: None,
    };
    Histogram { buckets: bounds.iter().zip(counts).map(bucket).collect(), sum: 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use buntime_plugin::metrics::{Bucket, Family, Kind};
    use buntime_plugin::{BoxFuture, Problem};
    use std::time::SystemTime;

    struct Operator;
    impl Caller for Operator {
        fn name(&self) -> String {
            "operator".to_owned()
        }
        fn may(&self, _: &str, _: Option<&str>) -> Result<(), Problem> {
            Ok(())
        }
        fn sees(&self, _: &str) -> bool {
            true
        }
        fn sees_everything(&self) -> bool {
            true
        }
        fn permissions(&self) -> Vec<String> {
            Vec::new()
        }
        fn namespaces(&self) -> Option<Vec<String>> {
            None
        }
        fn revoked(&self) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
    }

    fn snapshot(requests: f64, slow: u64) -> Snapshot {
        let bucket = |le, count| Bucket { le, count, exemplar: None };
        let took = Histogram { buckets: vec![bucket(0.1, 4), bucket(f64::INFINITY, slow)], sum: 0.0 };
        let of = [("app", "shop"), ("version", "1.0.0")];
        let labels = [of[0], of[1], ("status", "5xx")];
        let requests = Family::new("buntime_http_requests_total", Kind::Counter, "").with(&labels, requests);
        let took = Family::new("buntime_http_request_duration_seconds", Kind::Histogram, "").with(&of, took);
        Snapshot { at: SystemTime::now(), families: vec![requests, took] }
    }

    #[test]
    fn rates_are_over_what_is_known_and_the_windows_differ() {
        let (mut history, begun) = (History::default(), Instant::now());
        let at = |seconds| begun + Duration::from_secs(seconds);
        let first = history.push(&snapshot(100.0, 0), at(0)).shown(&Operator);
        assert_eq!(first["total"]["rates"]["1s"], Json::Null, "{first}");
        // Ten a second, then a hundred in the last one.
        let mut last = Json::Null;
        for second in 1..=60 {
            let burst = if second == 60 { 90.0 } else { 0.0 };
            last =
                history.push(&snapshot(100.0 + second as f64 * 10.0 + burst, 2), at(second)).shown(&Operator);
        }
        assert_eq!(last["total"]["rates"], json!({ "1s": 100.0, "10s": 19.0, "60s": 11.5 }));
        assert_eq!(last["apps"][0]["errorRates"]["1s"], 100.0);
        assert_eq!((&last["apps"][0]["app"], &last["apps"][0]["requests"]), (&json!("shop"), &json!(790.0)));
        // Only the two slow ones have come in this minute.
        assert_eq!(last["total"]["latency"]["p50"], 0.1);
        assert!(history.moments.len() <= 62);
    }

    #[test]
    fn quick_samples_are_not_all_remembered_and_what_does_not_change_is_shared() {
        let (mut history, begun) = (History::default(), Instant::now());
        for tick in 0..1000 {
            history.push(&snapshot(5.0, 0), begun + Duration::from_millis(100 * tick));
        }
        assert!(history.moments.len() <= 62, "{}", history.moments.len());
        let points: Vec<_> = history.moments.iter().flat_map(|moment| moment.points.values()).collect();
        assert!(points.windows(2).all(|two| Arc::ptr_eq(two[0], two[1])));
    }
}
