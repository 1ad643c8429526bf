//! One bun process: how it is started, spoken to, and ended.

pub mod actor;
mod child;
mod domain;
mod exec;
pub mod isolation;
pub mod journey;
pub mod link;
pub mod orders;
mod outbox;
mod output;
mod progress;
mod socket;
pub mod spawn;
pub mod usage;

pub use domain::abi as landlock_abi;
pub use exec::can_close_range;
