//! End to end: the real binary, real `bun`, real HTTP. One file a promise.

mod blocked;
mod cold;
mod crash_loop;
mod harness;
mod isolation;
mod killed;
mod large_bodies;
mod load;
mod lossless;
mod no_downloads;
mod output;
mod probe;
mod queue;
mod redeploy;
mod serving;
mod shutdown;
mod spares;
mod states;
mod time_limits;
