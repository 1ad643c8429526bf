//! The wire between supervisor and worker: frames and the values inside them. The protocol itself is written down in
//! `worker-shim/PROTOCOL.md`; this module depends on nothing else of ours and does no I/O.

pub mod call;
pub mod frame;
pub mod message;
mod pack;
#[cfg(test)]
mod tests;

pub use frame::{Decoder, Frame, Kind};

/// Bytes of body that may be on their way in one direction of one stream.
pub const WINDOW: u32 = 256 * 1024;
/// Largest payload of REQUEST and RESPONSE frames.
pub const MAX_EXCHANGE: usize = 512 * 1024;
/// Largest head inside a REQUEST or RESPONSE.
pub const MAX_HEAD: usize = 256 * 1024;
/// Largest payload of BODY and END frames.
pub const MAX_CHUNK: usize = 256 * 1024;
/// Largest payload of control frames.
pub const MAX_CONTROL: usize = 1024 * 1024;
/// Largest payload of CALL and RESULT frames.
pub const MAX_CALL: usize = 1024 * 1024;
/// Most calls of a worker that are open at once, and bytes of their arguments.
pub const MAX_CALLS: usize = 1000;
pub const MAX_CALLS_BYTES: usize = 16 * 1024 * 1024;
/// Deepest nesting of the values in a CALL or RESULT, and the most values in one: each takes some fifty bytes in memory.
pub const MAX_DEPTH: usize = 64;
pub const MAX_VALUES: usize = 64 * 1024;
/// Most header pairs in a head.
pub const MAX_HEADERS: usize = 512;

/// Why bytes from a worker are not a message of this protocol. The worker that sent them has to go.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone, Copy)]
pub enum WireError {
    #[error("unknown frame type {0:#04x}")]
    UnknownType(u8),
    #[error("frame type {kind:#04x} announces {len} bytes, {limit} are allowed")]
    TooLarge { kind: u8, len: usize, limit: usize },
    #[error("frame type {0:#04x} is not of the length it must have")]
    WrongLength(u8),
    #[error("a message ends before it is complete")]
    Truncated,
    #[error("wrong type in a message: expected {0}")]
    WrongType(&'static str),
    #[error("{0} is out of its range")]
    OutOfRange(&'static str),
    #[error("{0}")]
    Unexpected(&'static str),
}
