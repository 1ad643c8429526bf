//! The pool's decisions, pure: `step(state, event, now) → actions`. No clock, no process, no channel.
#![deny(clippy::disallowed_methods)]

pub mod types;
