//! A split as requests meet it: which version each bucket gets, and what keeps a client in its bucket.

use super::App;
use crate::model::mix::mix;
use crate::model::route::{BUCKETS, Shares};
use crate::model::{AliasName, AppName, Bucket, Sticky};
use std::net::IpAddr;
use std::sync::Arc;

/// What the names of the cookies begin with that keep clients in their bucket. They prove nothing of anybody.
pub const SPLIT_COOKIE: &str = "buntime-split-";

/// An alias that stands for more than one version.
#[derive(Debug)]
pub struct Fork {
    sticky: Sticky,
    /// Of this app and alias: so clients that are in one bucket here are spread over all of them in another split.
    salt: u64,
    cookie: Box<str>,
    ways: Box<[Arc<App>; BUCKETS]>,
}

impl Fork {
    /// `parts` are what is served for the parts of the split, none = not there; `shares` gives buckets only to those
    /// that are.
    pub(super) fn new(
        app: &AppName,
        alias: &AliasName,
        sticky: Sticky,
        shares: &Shares,
        parts: &[Option<Arc<App>>],
    ) -> Option<Fork> {
        let ways: Option<Vec<_>> =
            shares.iter().map(|part| parts.get(usize::from(*part)).cloned().flatten()).collect();
        let salt = [app.as_str(), "@", alias.as_str()]
            .iter()
            .fold(FNV_OFFSET, |hash, text| fnv(hash, text.as_bytes()));
        let cookie = format!("{SPLIT_COOKIE}{:08x}", mix(salt) >> 32).into();
        Some(Fork { sticky, salt, cookie, ways: Box::new(ways?.try_into().ok()?) })
    }

    pub fn app(&self, bucket: Bucket) -> &Arc<App> {
        &self.ways[usize::from(bucket.number())]
    }

    /// What each bucket gets.
    pub fn apps(&self) -> &[Arc<App>] {
        &*self.ways
    }

    pub fn sticky(&self) -> Sticky {
        self.sticky
    }

    /// The name of the cookie that says a client's bucket: another one for each app and alias, because under one host a
    /// cookie of the app at `/` reaches all others.
    pub fn cookie(&self) -> &str {
        &self.cookie
    }

    /// The bucket of a client's address: the same on every machine and in every version of Buntime.
    pub fn bucket_of(&self, address: IpAddr) -> Bucket {
        let hash = match address {
            IpAddr::V4(address) => fnv(self.salt, &address.octets()),
            IpAddr::V6(address) => fnv(self.salt, &address.octets()),
        };
        // FNV leaves the upper bits of short texts alike.
        Bucket::of(mix(hash))
    }
}

/// FNV-1a in 64 bits.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apps::fixture::worker;

    fn fork(app: &str, alias: &str) -> Fork {
        let shares = [0; BUCKETS];
        let parts = [Some(worker(1, "a@1.0.0"))];
        Fork::new(&app.parse().unwrap(), &alias.parse().unwrap(), Sticky::Address, &shares, &parts).unwrap()
    }

    /// Neighbours, as in one network.
    fn addresses() -> impl Iterator<Item = IpAddr> {
        let v4 = (0..5000u32).map(|n| IpAddr::from((0x0a00_0000 + n).to_be_bytes()));
        v4.chain((0..5000u128).map(|n| IpAddr::from((0x2001_0db8 << 96 | n).to_be_bytes())))
    }

    #[test]
    fn addresses_are_spread_over_all_buckets() {
        let fork = fork("shop", "latest");
        let mut counts = [0i32; BUCKETS];
        addresses().for_each(|address| counts[usize::from(fork.bucket_of(address).number())] += 1);
        // 100 each with a standard deviation of 10; six of them.
        assert!(counts.iter().all(|count| (40..160).contains(count)), "{counts:?}");
    }

    #[test]
    fn splits_are_independent_of_each_other() {
        let (one, other) = (fork("shop", "latest"), fork("shop", "beta"));
        let both = addresses().filter(|address| one.bucket_of(*address) == other.bucket_of(*address)).count();
        assert!((40..160).contains(&both), "{both}");
    }

    #[test]
    fn the_bucket_of_an_address_never_changes() {
        let fork = fork("@team/shop", "latest");
        let of = |address: &str| fork.bucket_of(address.parse().unwrap()).number();
        assert_eq!([of("192.0.2.1"), of("192.0.2.2"), of("2001:db8::1")], [18, 3, 73]);
        assert_eq!(fork.cookie(), "buntime-split-c90d8f72");
    }

    #[test]
    fn each_app_and_alias_has_a_cookie_of_its_own() {
        let names = [("shop", "latest"), ("shop", "beta"), ("@team/shop", "latest"), ("blog", "latest")];
        let cookies: std::collections::BTreeSet<_> =
            names.iter().map(|(app, alias)| fork(app, alias).cookie().to_owned()).collect();
        assert_eq!(cookies.len(), names.len());
    }
}
