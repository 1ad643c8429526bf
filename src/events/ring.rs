//! The last events, as many as the bounds allow.

use super::event::Published;
use std::collections::VecDeque;
use std::sync::Arc;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub events: usize,
    /// Of memory, about.
    pub bytes: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { events: 10_000, bytes: 8 << 20 }
    }
}

#[derive(Debug)]
pub(super) struct Ring {
    bounds: Bounds,
    kept: VecDeque<(Arc<Published>, usize)>,
    bytes: usize,
    /// The number of the newest event, kept or not.
    last: u64,
}

impl Ring {
    pub fn new(bounds: Bounds) -> Ring {
        Ring { bounds, kept: VecDeque::new(), bytes: 0, last: 0 }
    }

    pub fn last(&self) -> u64 {
        self.last
    }

    /// The number of the oldest event that is kept, or of the next one where none is.
    pub fn first(&self) -> u64 {
        self.last + 1 - self.kept.len() as u64
    }

    /// Adds the event with the number after `last`, and drops what is over the bounds: the event itself, if need be.
    pub fn push(&mut self, event: Arc<Published>) {
        let size = event.event.size();
        self.last += 1;
        self.bytes += size;
        self.kept.push_back((event, size));
        while self.kept.len() > self.bounds.events || self.bytes > self.bounds.bytes {
            let Some((_, size)) = self.kept.pop_front() else { return };
            self.bytes -= size;
        }
    }

    /// The kept events from this number on, the oldest first.
    pub fn from(&self, number: u64) -> impl Iterator<Item = &Arc<Published>> {
        let skipped = number.saturating_sub(self.first());
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(self.kept.len());
        self.kept.range(skipped..).map(|(event, _)| event)
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}
