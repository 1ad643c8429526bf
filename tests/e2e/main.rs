//! End to end: the real binary, real `bun`, real HTTP. One file a promise.

mod harness;
mod serving;
