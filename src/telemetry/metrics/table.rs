//! The series of all versions, bounded: what comes beyond the limits is counted together under `_other`.

use super::series::{NONE, OTHER, Series};
use crate::model::AppVersion;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Apps with series of their own, where nobody says otherwise.
pub const MOST_APPS: usize = 1000;
/// For each of them there may be so many versions, all apps taken together.
const VERSIONS: usize = 4;

type Key = (Arc<str>, Arc<str>);

#[derive(Debug)]
pub(super) struct Table {
    series: BTreeMap<Key, Entry>,
    /// Those that are not folded.
    apps: HashMap<Arc<str>, OfApp>,
    /// Versions that are not folded.
    versions: usize,
    most: usize,
    created: u64,
    none: Arc<Series>,
    /// What is folded from the beginning, and what was counted by folded ones that are gone.
    other: Arc<Series>,
}

/// What is to be shown.
#[derive(Debug)]
pub(super) struct View {
    /// `_none`, the versions, and `_other` where anything is folded.
    pub series: Vec<Arc<Series>>,
    /// Bytes of bodies that came and went, by app.
    pub bodies: BTreeMap<Arc<str>, (u64, u64)>,
}

#[derive(Debug, Default)]
struct OfApp {
    /// How many it has here.
    versions: usize,
    /// Bytes of bodies of versions that are gone: while the app is there, its counters must not go down.
    gone: (u64, u64),
}

#[derive(Debug)]
struct Entry {
    series: Arc<Series>,
    /// The how manieth it was.
    number: u64,
}

impl Table {
    pub fn new() -> Table {
        Table {
            series: BTreeMap::new(),
            apps: HashMap::new(),
            versions: 0,
            most: MOST_APPS,
            created: 0,
            none: Arc::new(Series::new(NONE.into(), NONE.into())),
            other: Arc::new(Series::new(OTHER.into(), OTHER.into())),
        }
    }

    pub fn none(&self) -> &Arc<Series> {
        &self.none
    }

    /// The series of a version. Whoever keeps it keeps it alive: one that only this table has is gone at the next look.
    pub fn find(&mut self, app: &str, version: &AppVersion) -> Arc<Series> {
        let key: Key = (app.into(), version.to_string().into());
        if let Some(entry) = self.series.get(&key) {
            return Arc::clone(&entry.series);
        }
        if !self.has_room(&key.0) {
            self.tidy();
            if !self.has_room(&key.0) {
                return Arc::clone(&self.other);
            }
        }
        let series = Arc::new(Series::new(Arc::clone(&key.0), Arc::clone(&key.1)));
        self.created += 1;
        self.versions += 1;
        self.apps.entry(Arc::clone(&key.0)).or_default().versions += 1;
        self.series.insert(key, Entry { series: Arc::clone(&series), number: self.created });
        series
    }

    /// Folds the apps that came last, if there are more.
    pub fn limit(&mut self, most: usize) {
        self.most = most;
        self.tidy();
        if self.apps.len() <= most && self.versions <= most.saturating_mul(VERSIONS) {
            return;
        }
        let mut oldest: HashMap<&Arc<str>, u64> = HashMap::new();
        for ((app, _), entry) in self.series.iter().filter(|(_, entry)| !entry.series.is_folded()) {
            let number = oldest.entry(app).or_insert(entry.number);
            *number = entry.number.min(*number);
        }
        let mut apps: Vec<_> = oldest.into_iter().map(|(app, number)| (number, Arc::clone(app))).collect();
        apps.sort_unstable();
        let mut left = most.saturating_mul(VERSIONS);
        for (index, (_, app)) in apps.into_iter().enumerate() {
            let versions = self.apps.get(&app).map_or(0, |of_app| of_app.versions);
            if index < most && versions <= left {
                left -= versions;
            } else {
                self.fold(&app);
            }
        }
    }

    /// An app that is folded stays so: its counters, taken out again, would make those of `_other` go down.
    fn fold(&mut self, app: &Arc<str>) {
        for (_, entry) in self.series.iter().filter(|((of, _), _)| of == app) {
            entry.series.fold();
        }
        let OfApp { versions, gone } = self.apps.remove(app).unwrap_or_default();
        self.versions -= versions;
        self.other.add_bodies(gone);
    }

    fn has_room(&self, app: &Arc<str>) -> bool {
        let known = self.apps.contains_key(app);
        (known || self.apps.len() < self.most) && self.versions < self.most.saturating_mul(VERSIONS)
    }

    /// Lets go of the versions that nobody has any more.
    fn tidy(&mut self) {
        let Table { series, apps, versions, other, .. } = self;
        series.retain(|(app, _), Entry { series, .. }| {
            // It is handed out under the same lock as this, so nobody can have got it meanwhile.
            if Arc::strong_count(series) > 1 {
                return true;
            }
            if series.is_folded() {
                other.add(series);
            } else {
                *versions -= 1;
                if let Some(of_app) = apps.get_mut(app) {
                    of_app.versions -= 1;
                    of_app.gone = sum(of_app.gone, series.bodies());
                    if of_app.versions == 0 {
                        apps.remove(app);
                    }
                }
            }
            false
        });
    }

    pub fn look(&mut self) -> View {
        self.tidy();
        let folded = self.series.values().filter(|entry| entry.series.is_folded());
        let mut other = Arc::clone(&self.other);
        let mut folded = folded.peekable();
        if folded.peek().is_some() {
            let sum = Series::new(OTHER.into(), OTHER.into());
            sum.add(&self.other);
            folded.for_each(|entry| sum.add(&entry.series));
            other = Arc::new(sum);
        }
        let own = self.series.values().map(|entry| &entry.series).filter(|series| !series.is_folded());
        let mut all: Vec<_> = std::iter::once(&self.none).chain(own).cloned().collect();
        if other.duration.view().count() > 0 || other.bodies() != (0, 0) || !other.cpu().is_zero() {
            all.push(other);
        }
        let gone = self.apps.iter().map(|(app, of_app)| (Arc::clone(app), of_app.gone));
        let mut bodies: BTreeMap<Arc<str>, (u64, u64)> = gone.collect();
        for series in &all {
            let of_app = bodies.entry(Arc::clone(&series.app)).or_default();
            *of_app = sum(*of_app, series.bodies());
        }
        View { series: all, bodies }
    }
}

fn sum(a: (u64, u64), b: (u64, u64)) -> (u64, u64) {
    (a.0 + b.0, a.1 + b.1)
}

#[cfg(test)]
mod tests {
    use super::super::series::{Ended, MethodLabel};
    use super::*;
    use http::{Method, StatusCode};
    use std::time::Duration;

    fn name(index: usize) -> String {
        format!("app{index}")
    }

    fn version(text: &str) -> AppVersion {
        AppVersion::parse(text).unwrap()
    }

    fn ask(series: &Series) {
        let status = Some(StatusCode::OK);
        let method = MethodLabel::of(&Method::GET);
        series.ended(&Ended { method, status, took: Duration::from_millis(3), trace: None, sent: 5 });
    }

    fn shown(table: &mut Table) -> Vec<(String, u64)> {
        let count = |series: &Series| series.requests().map(|(_, _, count)| count).sum();
        table.look().series.iter().map(|series| (series.app.to_string(), count(series))).collect()
    }

    #[test]
    fn two_thousand_apps_stay_within_the_limit_and_nothing_is_lost() {
        let mut table = Table::new();
        let all: Vec<_> = (0..2000).map(|index| table.find(&name(index), &version("1.0.0"))).collect();
        all.iter().for_each(|series| ask(series));
        let shown = shown(&mut table);
        assert_eq!(shown.len(), MOST_APPS + 2);
        assert_eq!(shown.last().unwrap(), &(OTHER.to_owned(), 1000));
        assert_eq!(shown.iter().map(|(_, count)| count).sum::<u64>(), 2000);
    }

    #[test]
    fn versions_without_end_stay_within_a_limit_too() {
        let mut table = Table::new();
        table.limit(2);
        let all: Vec<_> =
            (0..50).map(|patch| table.find(&name(1), &version(&format!("1.0.{patch}")))).collect();
        all.iter().for_each(|series| ask(series));
        let shown = shown(&mut table);
        assert_eq!(shown.len(), 2 * VERSIONS + 2);
        assert_eq!(shown.iter().map(|(_, count)| count).sum::<u64>(), 50);
    }

    #[test]
    fn a_version_that_nobody_has_loses_its_series_and_one_that_is_kept_goes_on_counting() {
        let mut table = Table::new();
        let (kept, gone) = (table.find(&name(1), &version("1.0.0")), table.find(&name(2), &version("1.0.0")));
        [&kept, &gone].into_iter().for_each(|series| ask(series));
        assert_eq!(shown(&mut table), [(NONE, 0), ("app1", 1), ("app2", 1)].map(|(a, b)| (a.to_owned(), b)));
        drop(gone);
        // Its directory was exchanged: whoever comes next counts on.
        ask(&table.find(&name(1), &version("1.0.0")));
        drop(kept.labels());
        assert_eq!(shown(&mut table), [(NONE, 0), ("app1", 2)].map(|(a, b)| (a.to_owned(), b)));
    }

    #[test]
    fn counters_of_an_app_do_not_go_down_with_one_of_its_versions() {
        let mut table = Table::new();
        let (old, new) = (table.find("shop", &version("1.0.0")), table.find("shop", &version("2.0.0")));
        [&old, &new].into_iter().for_each(|series| ask(series));
        drop(old);
        let bodies = |table: &mut Table, app: &str| table.look().bodies.get(app).copied();
        assert_eq!(bodies(&mut table, "shop"), Some((0, 10)));
        assert_eq!(bodies(&mut table, "shop"), Some((0, 10)), "and again");
        // Where the app is folded, they go on in the sum.
        table.limit(0);
        assert_eq!((bodies(&mut table, "shop"), bodies(&mut table, OTHER)), (None, Some((0, 10))));
        drop(new);
        assert_eq!(bodies(&mut table, OTHER), Some((0, 10)));
    }

    #[test]
    fn counters_of_an_app_go_with_its_last_version() {
        let mut table = Table::new();
        let all = ["1.0.0", "2.0.0"].map(|text| table.find("shop", &version(text)));
        all.iter().for_each(|series| ask(series));
        drop(all);
        assert_eq!(table.look().bodies.get("shop"), None);
        let _again = table.find("shop", &version("3.0.0"));
        assert_eq!(table.look().bodies.get("shop"), Some(&(0, 0)));
    }

    #[test]
    fn a_lower_limit_folds_who_came_last_for_good() {
        let mut table = Table::new();
        let mut all: Vec<_> = (0..4).map(|index| table.find(&name(index), &version("1.0.0"))).collect();
        all.iter().for_each(|series| ask(series));
        table.limit(2);
        let folded = [(NONE, 0), ("app0", 1), ("app1", 1), (OTHER, 2)].map(|(a, b)| (a.to_owned(), b));
        assert_eq!(shown(&mut table), folded);
        assert_eq!(&*all[3].labels()[0].1, OTHER);
        // There is room again, and the sum must not go down.
        all.remove(0);
        table.limit(10);
        assert_eq!(shown(&mut table), [&folded[..1], &folded[2..]].concat());
        // Nor when a folded one is gone.
        all.pop();
        assert_eq!(shown(&mut table).last().unwrap(), &folded[3]);
    }
}
