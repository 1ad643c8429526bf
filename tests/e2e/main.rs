//! End to end: the real binary, real `bun`, real HTTP. One file a promise.

mod connections;
mod framing;
mod harness;
mod http2;
mod paths;
mod raw;
mod serving;
