//! Where events come in and go out.
//!
//! One lock guards the ring and the list of those who wait. It is held for a push or for the copying of a few references, never
//! while an event is made, filtered or sent.

use super::event::{Event, Published};
use super::filter::Filter;
use super::id::{Boot, EventId};
use super::ring::{Bounds, Ring};
use futures_util::Stream;
use serde::Serialize;
use slab::Slab;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

/// How many events a subscriber takes out of the ring at a time, and of how many bytes: it holds them when it stalls.
const BATCH: usize = 64;
const BATCH_BYTES: usize = 256 << 10;
/// After so many events that its filter says no to, a subscriber lets other tasks run.
const PASSED_OVER: usize = 1024;

/// One for the process. Publishing costs a lock that is held for moments; subscribers cost each other nothing but that.
pub struct Hub {
    boot: Boot,
    state: Mutex<State>,
}

struct State {
    ring: Ring,
    /// One for each subscription: whom to wake when there is something new.
    sleepers: Slab<Option<Waker>>,
    asleep: usize,
}

/// What a subscriber gets.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Item {
    Event(#[serde(serialize_with = "shared")] Arc<Published>),
    /// Events between the last item and the next are lost. They may have been such as the filter says no to.
    Gap(Gap),
    /// The id to go on after is of another process, or of the future: nobody knows what was missed. What follows begins with the
    /// first event of this process.
    Reset(Reset),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "gap")]
pub struct Gap {
    /// The last one that is lost: to go on after it.
    pub id: EventId,
    pub lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename = "reset")]
pub struct Reset {
    /// Before the first event of this process.
    pub id: EventId,
}

/// The events from one place on, in order, without end. Reads from the ring at its own pace; dropping it leaves nothing behind.
pub struct Subscription {
    hub: Arc<Hub>,
    filter: Filter,
    /// The number of the event to read next.
    next: u64,
    /// Read, and not yet given out.
    batch: VecDeque<Arc<Published>>,
    reset: bool,
    slot: usize,
}

impl Item {
    /// Where to go on after this item.
    pub fn id(&self) -> EventId {
        match self {
            Item::Event(event) => event.id,
            Item::Gap(gap) => gap.id,
            Item::Reset(reset) => reset.id,
        }
    }
}

impl Hub {
    pub fn new(bounds: Bounds) -> Arc<Hub> {
        let state = State { ring: Ring::new(bounds), sleepers: Slab::new(), asleep: 0 };
        Arc::new(Hub { boot: Boot::new(), state: Mutex::new(state) })
    }

    /// Adds an event. Never waits for a subscriber.
    pub fn publish(&self, event: Event) {
        let at = SystemTime::now();
        let woken = {
            let mut state = self.lock();
            let id = EventId { boot: self.boot, number: state.ring.last() + 1 };
            state.ring.push(Arc::new(Published { id, at, event }));
            state.wake()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Before the first event: to subscribe after it is to get everything that is kept.
    pub fn beginning(&self) -> EventId {
        EventId { boot: self.boot, number: 0 }
    }

    /// The newest event, or the beginning.
    pub fn newest(&self) -> EventId {
        EventId { boot: self.boot, number: self.lock().ring.last() }
    }

    /// What comes after `after`, or from now on.
    pub fn subscribe(self: &Arc<Self>, after: Option<EventId>, filter: Filter) -> Subscription {
        let mut state = self.lock();
        let last = state.ring.last();
        let (next, reset) = match after {
            None => (last + 1, false),
            Some(id) if id.boot == self.boot && id.number <= last => (id.number + 1, false),
            Some(_) => (1, true),
        };
        let slot = state.sleepers.insert(None);
        drop(state);
        Subscription { hub: Arc::clone(self), filter, next, batch: VecDeque::new(), reset, slot }
    }

    /// How many subscriptions there are.
    pub fn subscribers(&self) -> usize {
        self.lock().sleepers.len()
    }

    #[cfg(test)]
    pub(super) fn kept_bytes(&self) -> usize {
        self.lock().ring.bytes()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self) -> Vec<Waker> {
        // Empty, and so without an allocation, unless somebody sleeps.
        let mut woken = Vec::new();
        if self.asleep > 0 {
            woken.reserve(self.asleep);
            woken.extend(self.sleepers.iter_mut().filter_map(|(_, sleeper)| sleeper.take()));
            self.asleep = 0;
        }
        woken
    }
}

impl Subscription {
    /// The next item. There is always one, later at the latest. May be dropped and called again: nothing is lost.
    pub async fn next(&mut self) -> Item {
        std::future::poll_fn(|context| self.poll_item(context)).await
    }

    /// Up to where it has read, also over what its filter says no to: to go on after this id is to miss nothing.
    pub fn position(&self) -> EventId {
        let before_next = self.batch.front().map_or(self.next, |event| event.id.number) - 1;
        EventId { boot: self.hub.boot, number: before_next }
    }

    /// The same where it can be gone on after now: none while it has yet to be told that the id it began with is of another
    /// process, which who goes on after a position of this one would never learn.
    pub fn resumable(&self) -> Option<EventId> {
        (!self.reset).then(|| self.position())
    }

    fn poll_item(&mut self, context: &mut Context<'_>) -> Poll<Item> {
        let start = self.hub.beginning();
        if std::mem::take(&mut self.reset) {
            return Poll::Ready(Item::Reset(Reset { id: start }));
        }
        let mut passed_over = 0;
        loop {
            while let Some(event) = self.batch.pop_front() {
                if self.filter.takes(&event.event) {
                    return Poll::Ready(Item::Event(event));
                }
                passed_over += 1;
            }
            if passed_over >= PASSED_OVER {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut state = self.hub.lock();
            let lost = state.ring.first().saturating_sub(self.next);
            if lost > 0 {
                self.next += lost;
                return Poll::Ready(Item::Gap(Gap { id: EventId { number: self.next - 1, ..start }, lost }));
            }
            if self.next > state.ring.last() {
                let State { sleepers, asleep, .. } = &mut *state;
                // The slot is this subscription's until it is dropped.
                if sleepers[self.slot].replace(context.waker().clone()).is_none() {
                    *asleep += 1;
                }
                return Poll::Pending;
            }
            let mut bytes = 0;
            let batch = state.ring.from(self.next).take(BATCH).take_while(|event| {
                let first = bytes == 0;
                bytes += event.event.size();
                first || bytes <= BATCH_BYTES
            });
            self.batch.extend(batch.cloned());
            self.next += self.batch.len() as u64;
        }
    }
}

fn shared<S: serde::Serializer>(event: &Arc<Published>, serializer: S) -> Result<S::Ok, S::Error> {
    (**event).serialize(serializer)
}

impl Stream for Subscription {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Item>> {
        self.get_mut().poll_item(context).map(Some)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.hub.lock();
        let waker = state.sleepers.remove(self.slot);
        state.asleep -= usize::from(waker.is_some());
    }
}
