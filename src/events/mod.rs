//! What happens, for whoever wants to watch: a bounded ring of events that every subscriber reads at its own pace.
//!
//! Whoever publishes never waits and never allocates without bound: what falls out of the ring is gone, and a subscriber that
//! had not read it is told how much that was. An id names a place in the ring, so a subscriber that comes back goes on
//! where it was. `docs/events.md` says what each event has.

mod event;
mod filter;
mod hub;
mod id;
mod ring;
#[cfg(test)]
mod tests;

pub use event::{
    AliasAction, AliasEvent, AppAction, AppEvent, DeployAction, DeployEvent, Event, Failure, KeyAction,
    KeyEvent, Kind, LogEvent, PluginAction, PluginEvent, Published, ServerEvent, Step, Stream, Thrown,
    WorkerEvent,
};
pub use filter::Filter;
pub use hub::{Gap, Hub, Item, Reset, Subscription};
pub use id::{Boot, EventId, EventIdError};
pub use ring::Bounds;
