//! Deadlines, kept so that a request costs nothing.
//!
//! Each subject remembers the one time at which it will be looked at (`armed`). A deadline that moves later leaves
//! that be: the look comes early, finds nothing to do and arms again. Only one that moves earlier adds an entry, and
//! the old entry, no longer what the subject remembers, is stale.

use super::types::Now;
use crate::model::{VersionKey, WorkerId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is looked at when its time comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    Worker(WorkerId),
    Version(VersionKey),
    Spares,
    Shutdown,
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Now, Subject)>>,
}

impl Timers {
    /// Has `subject` looked at no later than `at`. `armed` is what it remembers.
    pub fn arm(&mut self, armed: &mut Option<Now>, subject: Subject, at: Now) {
        if armed.is_none_or(|armed| armed > at) {
            *armed = Some(at);
            self.heap.push(Reverse((at, subject)));
        }
    }

    pub fn next(&self) -> Option<(Now, Subject)> {
        self.heap.peek().map(|Reverse(entry)| *entry)
    }

    pub fn pop(&mut self) {
        self.heap.pop();
    }

    pub fn len(&self) -> usize {
        self.heap.len()
    }

    pub fn retain(&mut self, mut live: impl FnMut(Now, Subject) -> bool) {
        self.heap.retain(|Reverse((at, subject))| live(*at, *subject));
    }
}
