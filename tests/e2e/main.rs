//! End to end: the real binary, real `bun`, real HTTP. One file a promise.

mod bodies;
mod connections;
mod framing;
mod harness;
mod headers;
mod http2;
mod paths;
mod raw;
mod responses;
mod serving;
