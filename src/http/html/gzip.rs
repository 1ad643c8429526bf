//! The frame around a deflate stream that gzip is (RFC 1952): members, each a header, data and a trailer.

use super::decode::{Inflate, Step, invalid};
use flate2::Crc;
use std::io;

/// Longest header that is taken. Those that are in use have ten bytes, and perhaps a file name.
const HEADER: usize = 4 << 10;
const TRAILER: usize = 8;

pub struct Gzip {
    part: Part,
    /// What came of a header or trailer so far.
    held: Vec<u8>,
    inflate: Inflate,
    checksum: Crc,
    members: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Header,
    Data,
    Trailer,
    /// What follows the last member is no gzip, and is ignored.
    Garbage,
}

impl Gzip {
    pub fn new() -> Gzip {
        Gzip {
            part: Part::Header,
            held: Vec::new(),
            inflate: Inflate::raw(),
            checksum: Crc::new(),
            members: 0,
        }
    }

    pub fn step(&mut self, input: &[u8], output: &mut [u8]) -> io::Result<Step> {
        let mut step = Step { taken: 0, given: 0 };
        match self.part {
            Part::Header => step.taken = self.header(input)?,
            Part::Trailer => step.taken = self.trailer(input)?,
            Part::Garbage => step.taken = input.len(),
            Part::Data => {
                step = self.inflate.step(input, output)?;
                self.checksum.update(&output[..step.given]);
                if self.inflate.ended() {
                    self.part = Part::Trailer;
                    step.taken += self.trailer(&input[step.taken..])?;
                }
            }
        }
        Ok(step)
    }

    /// True where the stream may end: behind a member, or before anything came.
    pub fn may_end(&self) -> bool {
        self.part == Part::Garbage || (self.part == Part::Header && self.held.is_empty())
    }

    fn header(&mut self, input: &[u8]) -> io::Result<usize> {
        let before = self.held.len();
        self.held.extend_from_slice(&input[..input.len().min(HEADER)]);
        let magic = [0x1f, 0x8b, 8];
        let seen = self.held.len().min(magic.len());
        if self.held[..seen] != magic[..seen] {
            if self.members == 0 {
                return Err(invalid("no gzip header"));
            }
            self.part = Part::Garbage;
            return Ok(input.len());
        }
        match header_length(&self.held) {
            Some(length) => {
                self.held.clear();
                self.inflate = Inflate::raw();
                self.checksum.reset();
                self.part = Part::Data;
                Ok(length - before)
            }
            None if self.held.len() > HEADER => Err(invalid("a gzip header that does not end")),
            None => Ok(self.held.len() - before),
        }
    }

    fn trailer(&mut self, input: &[u8]) -> io::Result<usize> {
        let taken = input.len().min(TRAILER - self.held.len());
        self.held.extend_from_slice(&input[..taken]);
        if self.held.len() == TRAILER {
            let (sum, length) = (self.checksum.sum().to_le_bytes(), self.checksum.amount().to_le_bytes());
            if self.held != [sum, length].concat() {
                return Err(invalid("the checksum of the gzip stream does not fit"));
            }
            self.held.clear();
            self.members += 1;
            self.part = Part::Header;
        }
        Ok(taken)
    }
}

/// Length of a header (RFC 1952 §2.3); none = there is more to come.
fn header_length(bytes: &[u8]) -> Option<usize> {
    const HEADER_CHECKSUM: u8 = 1 << 1;
    const EXTRA: u8 = 1 << 2;
    const NAME: u8 = 1 << 3;
    const COMMENT: u8 = 1 << 4;
    let flags = *bytes.get(3)?;
    let mut at = 10;
    if flags & EXTRA != 0 {
        let length = bytes.get(at..at + 2)?;
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            at += 1 + memchr::memchr(0, bytes.get(at..)?)?;
        }
    }
    if flags & HEADER_CHECKSUM != 0 {
        at += 2;
    }
    (at <= bytes.len()).then_some(at)
}
