//! The last entries, bounded in number and bytes. Knows nothing of locks and of who reads it.

use crate::entry::Entry;
use buntime_plugin::Level;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub entries: usize,
    pub bytes: usize,
}

/// What is kept of one app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By [`Level::ALL`].
    pub levels: [u64; Level::ALL.len()],
    pub bytes: usize,
}

/// An entry's number is that of the first one and its place.
pub struct Ring {
    entries: VecDeque<Arc<Entry>>,
    /// The number of the next one.
    next: u64,
    bytes: usize,
    bounds: Bounds,
    counts: HashMap<Option<Arc<str>>, Counts>,
    /// What is before it and not kept was cleared away, not lost.
    cleared: u64,
}

impl Ring {
    /// `next` is the number of its first entry.
    pub fn new(next: u64, bounds: Bounds) -> Ring {
        Ring { entries: VecDeque::new(), next, bytes: 0, bounds, counts: HashMap::new(), cleared: next }
    }

    /// Adds an entry and returns its number. What falls out for it goes to `gone`, so that it can be freed later.
    pub fn push(&mut self, entry: Arc<Entry>, gone: &mut Vec<Arc<Entry>>) -> u64 {
        let size = entry.size();
        let counts = match self.counts.get_mut(&entry.app) {
            Some(counts) => counts,
            None => self.counts.entry(entry.app.clone()).or_default(),
        };
        counts.levels[entry.level as usize] += 1;
        counts.bytes += size;
        self.bytes += size;
        self.entries.push_back(entry);
        self.next += 1;
        self.shrink(gone);
        self.next - 1
    }

    fn shrink(&mut self, gone: &mut Vec<Arc<Entry>>) {
        while self.entries.len() > self.bounds.entries || self.bytes > self.bounds.bytes {
            let Some(entry) = self.entries.pop_front() else { return };
            let size = entry.size();
            self.bytes -= size;
            if let Some(counts) = self.counts.get_mut(&entry.app) {
                counts.levels[entry.level as usize] -= 1;
                counts.bytes -= size;
                // An entry has a size: with none there is none.
                if counts.bytes == 0 {
                    self.counts.remove(&entry.app);
                }
            }
            gone.push(entry);
        }
    }

    /// Other bounds apply from now on.
    pub fn resize(&mut self, bounds: Bounds, gone: &mut Vec<Arc<Entry>>) {
        self.bounds = bounds;
        self.shrink(gone);
    }

    /// Takes all entries out. Their numbers are not given again.
    pub fn clear(&mut self) -> VecDeque<Arc<Entry>> {
        (self.bytes, self.cleared) = (0, self.next);
        self.counts.clear();
        std::mem::take(&mut self.entries)
    }

    /// The number of the first one that is kept, or of the next one.
    pub fn first(&self) -> u64 {
        self.next - self.entries.len() as u64
    }

    /// The number of the next one.
    pub fn next(&self) -> u64 {
        self.next
    }

    pub fn cleared(&self) -> u64 {
        self.cleared
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    pub fn counts(&self) -> &HashMap<Option<Arc<str>>, Counts> {
        &self.counts
    }

    /// Those with numbers from `from` up to, but not including, `to`, as far as they are kept.
    pub fn range(&self, from: u64, to: u64) -> impl DoubleEndedIterator<Item = (u64, &Arc<Entry>)> {
        let first = self.first();
        let place = |number: u64| usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
        let end = place(to).min(self.entries.len());
        let start = place(from).min(end);
        (start..end).map(move |place| first + place as u64).zip(self.entries.range(start..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::entry;
    use proptest::prelude::*;

    /// The same, done in the plainest way.
    struct Model {
        kept: Vec<(u64, Arc<Entry>)>,
        next: u64,
        bounds: Bounds,
    }

    impl Model {
        fn shrink(&mut self) {
            let bytes =
                |kept: &[(u64, Arc<Entry>)]| kept.iter().map(|(_, entry)| entry.size()).sum::<usize>();
            while self.kept.len() > self.bounds.entries || bytes(&self.kept) > self.bounds.bytes {
                self.kept.remove(0);
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push { app: u8, level: usize, length: usize },
        Resize { entries: usize, bytes: usize },
        Clear,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => (0u8..4, 0usize..5, 0usize..400)
                .prop_map(|(app, level, length)| Step::Push { app, level, length }),
            1 => (1usize..20, 0usize..6000).prop_map(|(entries, bytes)| Step::Resize { entries, bytes }),
            1 => Just(Step::Clear),
        ]
    }

    proptest! {
        #[test]
        fn the_ring_is_what_a_plain_list_would_be(steps in prop::collection::vec(step(), 0..120)) {
            let bounds = Bounds { entries: 8, bytes: 3000 };
            let mut ring = Ring::new(1000, bounds);
            let mut model = Model { kept: Vec::new(), next: 1000, bounds };
            for step in steps {
                let mut gone = Vec::new();
                match step {
                    Step::Push { app, level, length } => {
                        let app = (app > 0).then(|| format!("app{app}"));
                        let new = Arc::new(entry(app.as_deref(), Level::ALL[level], &"x".repeat(length)));
                        let number = ring.push(Arc::clone(&new), &mut gone);
                        prop_assert_eq!(number, model.next);
                        model.kept.push((model.next, new));
                        model.next += 1;
                    }
                    Step::Resize { entries, bytes } => {
                        model.bounds = Bounds { entries, bytes };
                        ring.resize(model.bounds, &mut gone);
                    }
                    Step::Clear => {
                        ring.clear();
                        model.kept.clear();
                        prop_assert_eq!(ring.cleared(), model.next);
                    }
                }
                model.shrink();
                let kept: Vec<_> = ring.range(0, u64::MAX).map(|(number, entry)| (number, Arc::clone(entry))).collect();
                prop_assert_eq!(&kept, &model.kept);
                prop_assert_eq!((ring.len(), ring.next()), (model.kept.len(), model.next));
                prop_assert_eq!(ring.first(), model.kept.first().map_or(model.next, |(number, _)| *number));
                prop_assert_eq!(ring.bytes(), model.kept.iter().map(|(_, entry)| entry.size()).sum::<usize>());
                prop_assert!(ring.len() <= model.bounds.entries && ring.bytes() <= model.bounds.bytes);
                let mut counts: HashMap<_, Counts> = HashMap::new();
                for (_, entry) in &model.kept {
                    let counts = counts.entry(entry.app.clone()).or_default();
                    counts.levels[entry.level as usize] += 1;
                    counts.bytes += entry.size();
                }
                prop_assert_eq!(ring.counts(), &counts);
            }
        }

        #[test]
        fn a_range_has_what_is_kept_of_it(pushes in 0u64..30, from in 0u64..40, to in 0u64..40) {
            let mut ring = Ring::new(5, Bounds { entries: 8, bytes: usize::MAX });
            for _ in 0..pushes {
                ring.push(Arc::new(entry(None, Level::Info, "")), &mut Vec::new());
            }
            let got: Vec<u64> = ring.range(from, to).map(|(number, _)| number).collect();
            let expected: Vec<u64> = (ring.first()..ring.next()).filter(|number| (from..to).contains(number)).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
