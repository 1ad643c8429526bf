//! A limit on what one producer may add, so that nobody's flood costs the processor for long or sweeps away all that others said
//! at once. A producer is an app and a source: what `shop` prints on stdout. What is beyond the limit is counted, and said once a second.

use buntime_plugin::Source;
use buntime_plugin::limit::Bucket;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What a producer may add in the long run, and in a burst.
pub const ENTRIES_A_SECOND: u32 = 20_000;
pub const ENTRIES_AT_ONCE: u32 = 20_000;
/// Apps whose drops are counted by themselves; those of further ones are counted as nobody's.
const COUNTED_APPS: usize = 1000;

pub type Producer = (Option<Arc<str>>, Source);

/// How many entries of a producer were dropped since that was said last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    pub producer: Producer,
    pub entries: u64,
}

#[derive(Default)]
pub struct Flood {
    producers: HashMap<Producer, (Bucket, u64)>,
    /// Since the beginning, by app.
    dropped: HashMap<Option<Arc<str>>, u64>,
}

impl Flood {
    /// Whether an entry may be added.
    pub fn admits(&mut self, app: &Option<Arc<str>>, source: Source, now: Duration) -> bool {
        let fresh = || (Bucket::new(ENTRIES_A_SECOND, ENTRIES_AT_ONCE, now), 0);
        let (bucket, dropped) = self.producers.entry((app.clone(), source)).or_insert_with(fresh);
        if bucket.take(1, now).is_ok() {
            return true;
        }
        *dropped += 1;
        let is_counted = self.dropped.len() < COUNTED_APPS || self.dropped.contains_key(app);
        *self.dropped.entry(if is_counted { app.clone() } else { None }).or_default() += 1;
        false
    }

    /// What was dropped since this was asked last, in the order of its producers. Those that rest are forgotten.
    pub fn dropped(&mut self, now: Duration) -> Vec<Dropped> {
        let mut all = Vec::new();
        self.producers.retain(|producer, (bucket, dropped)| {
            let entries = std::mem::take(dropped);
            if entries > 0 {
                all.push(Dropped { producer: producer.clone(), entries });
            }
            entries > 0 || !bucket.is_full(now)
        });
        all.sort_by(|a, b| a.producer.cmp(&b.producer));
        all
    }

    pub fn all_dropped(&self) -> &HashMap<Option<Arc<str>>, u64> {
        &self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_flood_is_sampled_and_its_losses_are_said_once_by_producer() {
        let mut flood = Flood::default();
        let (loud, quiet) = (Some("loud".into()), Some("quiet".into()));
        let flow = |flood: &mut Flood, app: &Option<Arc<str>>, count: u32, now| {
            (0..count).filter(|_| flood.admits(app, Source::WorkerStdout, now)).count()
        };
        assert_eq!(flow(&mut flood, &loud, 50_000, SECOND), 20_000);
        assert_eq!(flow(&mut flood, &quiet, 20_000, SECOND), 20_000, "others are not touched");
        assert!(flood.admits(&loud, Source::WorkerStderr, SECOND), "nor its other output");
        let dropped = Dropped { producer: (loud.clone(), Source::WorkerStdout), entries: 30_000 };
        assert_eq!(flood.dropped(SECOND), [dropped]);
        assert_eq!(flood.dropped(SECOND), []);
        assert_eq!(flow(&mut flood, &loud, 50_000, SECOND + SECOND / 2), 10_000);
        assert_eq!(flood.all_dropped(), &HashMap::from([(loud, 70_000)]));
    }

    #[test]
    fn ten_thousand_a_second_of_one_producer_pass_whole() {
        let mut flood = Flood::default();
        let passed = (0..100_000u32).filter(|&n| {
            flood.admits(&None, Source::WorkerStdout, Duration::from_micros(u64::from(n) * 100))
        });
        assert_eq!(passed.count(), 100_000);
    }

    #[test]
    fn producers_that_rest_take_no_memory() {
        let mut flood = Flood::default();
        for n in 0..5000 {
            flood.admits(&Some(format!("app{n}").into()), Source::Access, SECOND);
        }
        flood.dropped(SECOND);
        assert_eq!(flood.producers.len(), 5000);
        flood.dropped(2 * SECOND);
        assert_eq!(flood.producers.len(), 0);
    }

    #[test]
    fn losses_of_countless_apps_take_no_memory() {
        let mut flood = Flood::default();
        for n in 0..COUNTED_APPS + 10 {
            let app = Some(format!("app{n}").into());
            flood.producers.insert((app.clone(), Source::Access), (Bucket::new(0, 0, SECOND), 0));
            assert!(!flood.admits(&app, Source::Access, SECOND));
        }
        assert_eq!((flood.dropped.len(), flood.dropped[&None]), (COUNTED_APPS + 1, 10));
    }
}
