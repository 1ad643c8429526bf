//! End to end: the real binary, real `bun`, real HTTP. One file a promise.

mod bodies;
mod connections;
mod examples;
mod framing;
mod harness;
mod headers;
mod hostile_worker;
mod http2;
mod mounts;
mod own;
mod paths;
mod raw;
mod responses;
mod serving;
