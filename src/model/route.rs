//! What an alias stands for: a split between versions, and how a client stays with the one it got.
//!
//! Every client has a **bucket**, a number from 0 to 99. The parts of a split take ranges of them in the order in which they
//! are named: of `1.4.2: 95, 1.5.0: 5` the first has the buckets 0 to 94 and the second 95 to 99. So a weight that moves
//! from a part to its neighbour moves exactly that many buckets, and a part that only grows at its neighbour's cost loses
//! nobody it had. Between parts that are no neighbours, those in between shift too.

use super::alias::WHOLE;
use super::{AppVersion, Split};
use std::fmt;
use std::ops::Range;

/// How many buckets there are: one for each hundredth that a weight can name.
pub const BUCKETS: usize = WHOLE as usize;

/// What an alias stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub split: Split,
    pub sticky: Sticky,
}

/// What keeps a client in its bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Sticky {
    /// A cookie that says the bucket, which is drawn at random the first time.
    #[default]
    Cookie,
    /// The client's address, which decides the bucket.
    Address,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to keep a client: `cookie` and `address` are")]
pub struct StickyError(String);

/// Which hundredth of the clients one belongs to: 0 to 99.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bucket(u8);

/// Which part of a split each bucket goes to, by the part's place in it.
pub type Shares = [u8; BUCKETS];

impl Route {
    /// All to one version.
    pub fn one(version: AppVersion) -> Route {
        Split::one(version).into()
    }
}

impl From<Split> for Route {
    fn from(split: Split) -> Route {
        Route { split, sticky: Sticky::default() }
    }
}

impl Sticky {
    pub fn as_str(self) -> &'static str {
        match self {
            Sticky::Cookie => "cookie",
            Sticky::Address => "address",
        }
    }
}

impl fmt::Display for Sticky {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Sticky {
    type Err = StickyError;

    fn from_str(text: &str) -> Result<Sticky, StickyError> {
        let known = [Sticky::Cookie, Sticky::Address].into_iter().find(|sticky| sticky.as_str() == text);
        known.ok_or_else(|| StickyError(text.to_owned()))
    }
}

impl Bucket {
    /// The number as it is written: `0` to `99`, without a leading zero.
    pub fn parse(text: &[u8]) -> Option<Bucket> {
        match *text {
            [ones @ b'0'..=b'9'] => Some(Bucket(ones - b'0')),
            [tens @ b'1'..=b'9', ones @ b'0'..=b'9'] => Some(Bucket((tens - b'0') * 10 + (ones - b'0'))),
            _ => None,
        }
    }

    /// Cuts all numbers into equal ranges, one a bucket. The upper bits decide.
    pub fn of(number: u64) -> Bucket {
        let upper = number >> 32;
        Bucket(((upper * BUCKETS as u64) >> 32) as u8)
    }

    pub fn number(self) -> u8 {
        self.0
    }

    /// All there are, in their order.
    pub fn all() -> impl Iterator<Item = Bucket> {
        (0..WHOLE).map(Bucket)
    }
}

impl Split {
    /// Which part each bucket goes to, where `is_there` tells whether a version can be served; none = no part is there.
    ///
    /// Buckets whose own part is there go to it, whatever became of the others. Those of parts that are not there go to
    /// the rest in proportion to its weights.
    pub fn shares(&self, is_there: impl Fn(&AppVersion) -> bool) -> Option<Shares> {
        let ranges = self.ranges();
        let (there, gone): (Vec<_>, Vec<_>) =
            ranges.into_iter().enumerate().partition(|(part, _)| is_there(&self.parts()[*part].0));
        let there_whole: usize = there.iter().map(|(_, range)| range.len()).sum();
        let gone_whole: usize = gone.iter().map(|(_, range)| range.len()).sum();
        if there.is_empty() {
            return None;
        }
        let mut shares = [0; BUCKETS];
        for (part, range) in &there {
            shares[range.clone()].fill(*part as u8);
        }
        for (place, bucket) in gone.into_iter().flat_map(|(_, range)| range).enumerate() {
            // Laid over the weights that are left, evenly; each stands in the middle of its piece.
            let mut at = (2 * place + 1) * there_whole / (2 * gone_whole);
            let mut heirs = there.iter();
            let heir = heirs.find(|(_, range)| match at.checked_sub(range.len()) {
                Some(beyond) => {
                    at = beyond;
                    false
                }
                None => true,
            });
            // `at` is below the sum of all lengths.
            shares[bucket] = heir.map_or(0, |(part, _)| *part as u8);
        }
        Some(shares)
    }

    /// The buckets of each part.
    fn ranges(&self) -> Vec<Range<usize>> {
        let mut end = 0;
        let range = |(_, weight): &(AppVersion, u8)| {
            let start = end;
            end += usize::from(*weight);
            start..end
        };
        self.parts().iter().map(range).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(n: usize) -> AppVersion {
        format!("{n}.0.0").parse().unwrap()
    }

    /// A split between the versions 0.0.0, 1.0.0, … with these weights.
    fn split(weights: &[u8]) -> Split {
        Split::new(weights.iter().enumerate().map(|(n, weight)| (version(n), *weight)).collect()).unwrap()
    }

    fn all(weights: &[u8]) -> Shares {
        split(weights).shares(|_| true).unwrap()
    }

    fn moved(before: &Shares, after: &Shares) -> Vec<usize> {
        (0..BUCKETS).filter(|bucket| before[*bucket] != after[*bucket]).collect()
    }

    fn count(shares: &Shares, part: usize) -> usize {
        shares.iter().filter(|share| usize::from(**share) == part).count()
    }

    /// Two to eight weights that come to a hundred.
    fn weights() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::btree_set(1u8..100, 1..8).prop_map(|cuts| {
            let mut start = 0;
            let ends = cuts.into_iter().chain([100]);
            ends.map(|end| end - std::mem::replace(&mut start, end)).collect()
        })
    }

    #[test]
    fn parts_take_the_buckets_in_the_order_in_which_they_are_named() {
        let shares = all(&[90, 7, 3]);
        assert!(shares[..90].iter().all(|part| *part == 0));
        assert!(shares[90..97].iter().all(|part| *part == 1));
        assert!(shares[97..].iter().all(|part| *part == 2));
        assert_eq!(Split::one(version(0)).shares(|_| true), Some([0; BUCKETS]));
    }

    #[test]
    fn a_growing_canary_moves_only_whom_it_must_and_nobody_twice() {
        let mut before = all(&[99, 1]);
        for weight in 2..100 {
            let after = all(&[100 - weight, weight]);
            let moved = moved(&before, &after);
            assert_eq!(moved, [100 - usize::from(weight)]);
            assert_eq!((before[moved[0]], after[moved[0]]), (0, 1), "to the canary, never back");
            before = after;
        }
        let canary_ends = Split::one(version(1));
        assert_eq!(canary_ends.shares(|_| true), Some([0; BUCKETS]));
    }

    #[test]
    fn what_is_not_there_leaves_its_share_to_the_others_and_moves_none_of_theirs() {
        let split = split(&[60, 20, 20]);
        let shares = split.shares(|found| *found != version(2)).unwrap();
        assert_eq!(moved(&all(&[60, 20, 20]), &shares), (80..100).collect::<Vec<_>>());
        assert_eq!((count(&shares, 0), count(&shares, 1)), (75, 25));
        let last = split.shares(|found| *found == version(1));
        assert_eq!(last, Some([1; BUCKETS]));
        assert_eq!(split.shares(|_| false), None);
    }

    #[test]
    fn a_bucket_is_read_back_and_nothing_else_is_one() {
        for bucket in Bucket::all() {
            assert_eq!(Bucket::parse(bucket.number().to_string().as_bytes()), Some(bucket));
        }
        for text in ["", "00", "07", "100", "-1", "+1", "1 ", "a", "1.0", "\u{661}"] {
            assert_eq!(Bucket::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn equal_ranges_of_numbers_make_the_buckets() {
        assert_eq!((Bucket::of(0), Bucket::of(u64::MAX)), (Bucket(0), Bucket(99)));
        let step = u64::MAX / 1000;
        let mut counts = [0; BUCKETS];
        (0..1000).for_each(|n| counts[usize::from(Bucket::of(n * step + step / 2).number())] += 1);
        assert_eq!(counts, [10; BUCKETS]);
    }

    #[test]
    fn the_ways_to_keep_a_client_are_read_back() {
        for sticky in [Sticky::Cookie, Sticky::Address] {
            assert_eq!(sticky.as_str().parse(), Ok(sticky));
        }
        assert!("ip".parse::<Sticky>().is_err());
    }

    proptest! {
        #[test]
        fn every_part_has_as_many_buckets_as_its_weight(weights in weights()) {
            let shares = all(&weights);
            for (part, weight) in weights.iter().enumerate() {
                prop_assert_eq!(count(&shares, part), usize::from(*weight));
            }
        }

        #[test]
        fn weight_between_neighbours_moves_that_many_buckets_and_no_other(
            weights in weights(), at in any::<prop::sample::Index>(), by in any::<prop::sample::Index>(), up in any::<bool>(),
        ) {
            let at = at.index(weights.len() - 1);
            let (from, to) = if up { (at, at + 1) } else { (at + 1, at) };
            let by = by.index(usize::from(weights[from])) as u8;
            let mut later = weights.clone();
            later[from] -= by;
            later[to] += by;
            let (before, after) = (all(&weights), all(&later));
            let moved = moved(&before, &after);
            prop_assert_eq!(moved.len(), usize::from(by));
            for bucket in moved {
                prop_assert_eq!((usize::from(before[bucket]), usize::from(after[bucket])), (from, to));
            }
        }

        #[test]
        fn what_is_left_keeps_its_own_and_takes_the_rest_in_proportion(
            weights in weights(), there in prop::collection::vec(any::<bool>(), 8),
        ) {
            let is_there = |found: &AppVersion| (0..weights.len()).any(|n| there[n] && *found == version(n));
            let left: Vec<_> = (0..weights.len()).filter(|n| there[*n]).collect();
            let Some(shares) = split(&weights).shares(is_there) else {
                prop_assert!(left.is_empty());
                return Ok(());
            };
            let before = all(&weights);
            for bucket in 0..BUCKETS {
                prop_assert!(left.contains(&usize::from(shares[bucket])));
                if there[usize::from(before[bucket])] {
                    prop_assert_eq!(shares[bucket], before[bucket]);
                }
            }
            let whole: f64 = left.iter().map(|n| f64::from(weights[*n])).sum();
            for part in left {
                let exact = f64::from(weights[part]) / whole * 100.0;
                prop_assert!((count(&shares, part) as f64 - exact).abs() <= 1.0);
            }
        }
    }
}
