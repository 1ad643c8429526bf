//! End to end: the real binary, real `bun`, real HTTP. One file a promise.

mod blocked;
mod bodies;
mod cold;
mod crash_loop;
mod failures;
mod harness;
mod isolation;
mod killed;
mod load;
mod lossless;
mod no_downloads;
mod output;
mod probe;
mod queue;
mod serving;
mod shutdown;
mod spares;
mod states;
mod time_limits;
