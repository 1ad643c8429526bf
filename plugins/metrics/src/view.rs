//! A snapshot as JSON, as far as somebody may see it.

use buntime_plugin::Caller;
use buntime_plugin::metrics::{Histogram, Sample, Snapshot, Value};
use serde_json::{Map, Value as Json, json};

/// All families with the samples that the caller may see. Histograms as count, sum and quantiles.
pub fn families(snapshot: &Snapshot, caller: &dyn Caller) -> Json {
    let families = snapshot.families.iter().filter_map(|family| {
        let seen: Vec<Json> =
            family.samples.iter().filter(|sample| is_seen(sample, caller)).map(shown).collect();
        (!seen.is_empty()).then(|| {
            json!({
                "name": family.name,
                "help": family.help,
                "type": family.kind.as_str(),
                "unit": family.unit,
                "samples": seen,
            })
        })
    });
    families.collect()
}

/// What is of an app is for those who see the app; the rest is for those who see everything.
fn is_seen(sample: &Sample, caller: &dyn Caller) -> bool {
    caller.sees_everything() || sample.label("app").is_some_and(|app| sees(caller, app))
}

/// What the runtime calls `_none` and `_other` is no app.
pub fn sees(caller: &dyn Caller, app: &str) -> bool {
    caller.sees_everything() || !app.starts_with('_') && caller.sees(app)
}

fn shown(sample: &Sample) -> Json {
    let labels: Map<String, Json> =
        sample.labels.iter().map(|(name, text)| (name.to_string(), Json::from(&**text))).collect();
    match &sample.value {
        Value::Number(number) => json!({ "labels": labels, "value": number }),
        Value::Histogram(histogram) => {
            let mut shown = json!({ "labels": labels, "count": histogram.count(), "sum": histogram.sum });
            quantiles(histogram).into_iter().for_each(|(name, value)| shown[name] = value);
            shown
        }
    }
}

const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// The quantiles of a histogram; null where it has counted nothing.
pub fn quantiles(histogram: &Histogram) -> Map<String, Json> {
    let values = QUANTILES.map(|(name, part)| (name.to_owned(), Json::from(histogram.quantile(part))));
    values.into_iter().collect()
}
