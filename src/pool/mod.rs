//! Many workers: which one takes a request, when one is started, and when one has to go.

pub mod core;
