//! Frames: a header of nine bytes, then the payload. Splits a stream of bytes into frames and enforces their limits
//! before any payload is waited for.

use super::{MAX_CALL, MAX_CHUNK, MAX_CONTROL, MAX_EXCHANGE, WireError};
use bytes::{Buf, BufMut, Bytes, BytesMut};

pub const HEADER: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Hello = 0x01,
    Assign = 0x02,
    Ready = 0x03,
    Failed = 0x04,
    Request = 0x10,
    Response = 0x11,
    Body = 0x12,
    End = 0x13,
    Credit = 0x14,
    Cancel = 0x15,
    Error = 0x16,
    Ping = 0x20,
    Pong = 0x21,
    Hook = 0x30,
    HookDone = 0x31,
    Call = 0x40,
    Result = 0x41,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    /// 0 = the link itself.
    pub stream: u32,
    pub payload: Bytes,
}

/// Cuts what a worker sends into frames. Holds no bytes itself: the reader's buffer is the only one.
#[derive(Debug, Default)]
pub struct Decoder;

impl Kind {
    fn from_worker(byte: u8) -> Option<Kind> {
        Some(match byte {
            0x01 => Kind::Hello,
            0x03 => Kind::Ready,
            0x04 => Kind::Failed,
            0x11 => Kind::Response,
            0x12 => Kind::Body,
            0x13 => Kind::End,
            0x14 => Kind::Credit,
            0x15 => Kind::Cancel,
            0x16 => Kind::Error,
            0x21 => Kind::Pong,
            0x31 => Kind::HookDone,
            0x40 => Kind::Call,
            _ => return None,
        })
    }

    fn limit(self) -> usize {
        match self {
            Kind::Hello | Kind::Assign | Kind::Ready | Kind::Failed | Kind::Error => MAX_CONTROL,
            Kind::Request | Kind::Response => MAX_EXCHANGE,
            Kind::Body | Kind::End => MAX_CHUNK,
            Kind::Credit => 4,
            Kind::Ping | Kind::Pong => 8,
            Kind::Cancel | Kind::Hook => 64,
            Kind::HookDone => 64 * 1024,
            Kind::Call | Kind::Result => MAX_CALL,
        }
    }

    fn of_link(self) -> bool {
        matches!(
            self,
            Kind::Hello
                | Kind::Assign
                | Kind::Ready
                | Kind::Failed
                | Kind::Ping
                | Kind::Pong
                | Kind::Hook
                | Kind::HookDone
                | Kind::Call
                | Kind::Result
        )
    }
}

impl Decoder {
    /// The next frame that is whole in `buffer`, taken out of it; `None` = more bytes are needed.
    ///
    /// # Errors
    /// The bytes are no frame a worker may send. Nothing after them can be trusted.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Frame>, WireError> {
        if buffer.len() < HEADER {
            return Ok(None);
        }
        let len = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize;
        let kind = Kind::from_worker(buffer[4]).ok_or(WireError::UnknownType(buffer[4]))?;
        let stream = u32::from_be_bytes([buffer[5], buffer[6], buffer[7], buffer[8]]);
        let limit = kind.limit();
        if len > limit {
            return Err(WireError::TooLarge { kind: kind as u8, len, limit });
        }
        let exact = match kind {
            Kind::Credit => len == 4,
            Kind::Pong => len == 8,
            Kind::Body => len > 0,
            _ => true,
        };
        if !exact {
            return Err(WireError::WrongLength(kind as u8));
        }
        if kind.of_link() != (stream == 0) {
            return Err(WireError::Unexpected("a frame on the wrong kind of stream"));
        }
        if buffer.len() < HEADER + len {
            return Ok(None);
        }
        buffer.advance(HEADER);
        let payload = buffer.split_to(len).freeze();
        Ok(Some(Frame { kind, stream, payload }))
    }

    /// How many bytes the frame that `buffer` begins with still lacks (0 = unknown or none).
    pub fn missing(&self, buffer: &BytesMut) -> usize {
        if buffer.len() < HEADER {
            return 0;
        }
        let len = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize;
        (HEADER + len).saturating_sub(buffer.len())
    }
}

/// Appends a frame's header. The payload of `len` bytes has to follow.
pub fn put_header(out: &mut BytesMut, kind: Kind, stream: u32, len: usize) {
    out.put_u32(len as u32);
    out.put_u8(kind as u8);
    out.put_u32(stream);
}

/// Appends a whole frame.
pub fn put_frame(out: &mut BytesMut, kind: Kind, stream: u32, payload: &[u8]) {
    out.reserve(HEADER + payload.len());
    put_header(out, kind, stream, payload.len());
    out.put_slice(payload);
}
