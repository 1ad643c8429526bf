//! Counts of what is kept and of what was dropped, of the apps that the caller sees.

use crate::query::Scope;
use crate::ring::Counts;
use crate::store::{Census, FOLLOWERS, Store};
use buntime_plugin::Level;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

pub fn stats(store: &Store, scope: &Scope) -> Value {
    let Census { first, next, bounds, kept, dropped } = store.census();
    let mut apps: BTreeSet<_> = kept.keys().chain(dropped.keys()).collect();
    apps.retain(|app| scope.sees(app.as_deref()));
    let mut all = Counts::default();
    let mut all_dropped = 0;
    let each: Vec<Value> = apps
        .into_iter()
        .map(|app| {
            let counts = kept.get(app).cloned().unwrap_or_default();
            let dropped = dropped.get(app).copied().unwrap_or_default();
            for (sum, levels) in all.levels.iter_mut().zip(counts.levels) {
                *sum += levels;
            }
            all.bytes += counts.bytes;
            all_dropped += dropped;
            let mut one = json!({ "app": app.as_deref() });
            extend(&mut one, &counts, dropped);
            one
        })
        .collect();
    let mut stats = json!({ "run": store.run() });
    extend(&mut stats, &all, all_dropped);
    stats["apps"] = each.into();
    stats["maxEntries"] = bounds.entries.into();
    stats["maxBytes"] = bounds.bytes.into();
    if scope.sees_everything() {
        stats["first"] = (first < next).then_some(first).into();
        stats["last"] = (first < next).then(|| next - 1).into();
        stats["followers"] = (FOLLOWERS - store.places.available_permits()).into();
    }
    stats
}

fn extend(value: &mut Value, counts: &Counts, dropped: u64) {
    let levels: Map<String, Value> = Level::ALL
        .iter()
        .zip(counts.levels)
        .map(|(level, count)| (level.to_string(), count.into()))
        .collect();
    value["entries"] = counts.levels.iter().sum::<u64>().into();
    value["bytes"] = counts.bytes.into();
    value["dropped"] = dropped.into();
    value["levels"] = levels.into();
}
