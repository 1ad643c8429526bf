//! Maps keyed by the pool's own counters: versions, workers, tickets.
//!
//! The keys are handed out by us and never chosen from outside, so no one can aim for collisions, and one
//! multiplication does what SipHash would.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

pub(in crate::pool) type Map<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

#[derive(Clone, Copy, Default)]
pub(in crate::pool) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write_u64(&mut self, id: u64) {
        // 2^64 / golden ratio. The table takes its position from the low bits and its tag from the high ones,
        // so both halves of the product go into each.
        let product = u128::from(self.0 ^ id) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
