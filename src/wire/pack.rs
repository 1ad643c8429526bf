//! The few MessagePack forms that heads are made of, written and read without a copy.
//! Control messages go through `rmp-serde` instead.

use super::WireError;
use bytes::{BufMut, BytesMut};

pub fn put_array(out: &mut BytesMut, len: usize) {
    match len {
        0..=15 => out.put_u8(0x90 | len as u8),
        16..=0xffff => {
            out.put_u8(0xdc);
            out.put_u16(len as u16);
        }
        _ => {
            out.put_u8(0xdd);
            out.put_u32(len as u32);
        }
    }
}

pub fn put_uint(out: &mut BytesMut, value: u32) {
    match value {
        0..=0x7f => out.put_u8(value as u8),
        0x80..=0xff => out.put_slice(&[0xcc, value as u8]),
        0x100..=0xffff => {
            out.put_u8(0xcd);
            out.put_u16(value as u16);
        }
        _ => {
            out.put_u8(0xce);
            out.put_u32(value);
        }
    }
}

pub fn put_str(out: &mut BytesMut, value: &[u8]) {
    put_str_parts(out, &[value]);
}

pub fn put_bin(out: &mut BytesMut, value: &[u8]) {
    match value.len() {
        len @ 0..=0xff => out.put_slice(&[0xc4, len as u8]),
        len @ 0x100..=0xffff => {
            out.put_u8(0xc5);
            out.put_u16(len as u16);
        }
        len => {
            out.put_u8(0xc6);
            out.put_u32(len as u32);
        }
    }
    out.put_slice(value);
}

/// One str made of several pieces.
pub fn put_str_parts(out: &mut BytesMut, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    match len {
        0..=31 => out.put_u8(0xa0 | len as u8),
        32..=0xff => out.put_slice(&[0xd9, len as u8]),
        0x100..=0xffff => {
            out.put_u8(0xda);
            out.put_u16(len as u16);
        }
        _ => {
            out.put_u8(0xdb);
            out.put_u32(len as u32);
        }
    }
    for part in parts {
        out.put_slice(part);
    }
}

/// Room for an array whose length is known only after its elements are written.
pub fn reserve_array(out: &mut BytesMut) -> usize {
    let at = out.len();
    out.put_slice(&[0xdc, 0, 0]);
    at
}

/// Fills in the length of an array begun with `reserve_array`.
pub fn fill_array(out: &mut BytesMut, at: usize, len: u16) {
    out[at + 1..at + 3].copy_from_slice(&len.to_be_bytes());
}

/// The length of the one value that `bytes` begin with.
///
/// # Errors
/// It is no value, is nested deeper than `depth`, or is made of more than `values`.
pub fn measure(bytes: &[u8], depth: usize, values: usize) -> Result<usize, WireError> {
    let mut reader = Reader::new(bytes);
    let mut left = values;
    reader.skip_value(depth, &mut left)?;
    Ok(reader.at)
}

fn deeper(depth: usize) -> Result<usize, WireError> {
    depth.checked_sub(1).ok_or(WireError::OutOfRange("the nesting of values"))
}

/// Reads forward through one head.
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// Offset of the first byte not read yet.
    pub fn position(&self) -> usize {
        self.at
    }

    pub fn array(&mut self) -> Result<usize, WireError> {
        match self.byte()? {
            marker @ 0x90..=0x9f => Ok(usize::from(marker & 0x0f)),
            0xdc => self.be(2),
            0xdd => self.be(4),
            _ => Err(WireError::WrongType("array")),
        }
    }

    pub fn uint(&mut self) -> Result<usize, WireError> {
        match self.byte()? {
            value @ 0..=0x7f => Ok(usize::from(value)),
            0xcc => self.be(1),
            0xcd => self.be(2),
            0xce => self.be(4),
            _ => Err(WireError::WrongType("unsigned integer")),
        }
    }

    /// The range of a str's bytes. UTF-8 is not checked: names are checked as header names, texts where they are used.
    pub fn str(&mut self) -> Result<std::ops::Range<usize>, WireError> {
        let len = match self.byte()? {
            marker @ 0xa0..=0xbf => usize::from(marker & 0x1f),
            0xd9 => self.be(1)?,
            0xda => self.be(2)?,
            0xdb => self.be(4)?,
            _ => return Err(WireError::WrongType("str")),
        };
        self.take(len)
    }

    pub fn str_or_nil(&mut self) -> Result<Option<std::ops::Range<usize>>, WireError> {
        if self.bytes.get(self.at) == Some(&0xc0) {
            self.at += 1;
            return Ok(None);
        }
        self.str().map(Some)
    }

    pub fn bin(&mut self) -> Result<std::ops::Range<usize>, WireError> {
        let len = match self.byte()? {
            0xc4 => self.be(1)?,
            0xc5 => self.be(2)?,
            0xc6 => self.be(4)?,
            _ => return Err(WireError::WrongType("bin")),
        };
        self.take(len)
    }

    /// Passes over one value of any kind but extensions. Texts are UTF-8, and keys are texts.
    fn skip_value(&mut self, depth: usize, left: &mut usize) -> Result<(), WireError> {
        *left = left.checked_sub(1).ok_or(WireError::OutOfRange("the number of values"))?;
        let Some(marker) = self.bytes.get(self.at).copied() else { return Err(WireError::Truncated) };
        let skipped = match marker {
            0xa0..=0xbf | 0xd9..=0xdb => return self.text().map(drop),
            0xc4..=0xc6 => return self.bin().map(drop),
            0x90..=0x9f | 0xdc | 0xdd => {
                let depth = deeper(depth)?;
                for _ in 0..self.array()? {
                    self.skip_value(depth, left)?;
                }
                return Ok(());
            }
            0x80..=0x8f | 0xde | 0xdf => {
                let depth = deeper(depth)?;
                for _ in 0..self.map()? {
                    self.text()?;
                    self.skip_value(depth, left)?;
                }
                return Ok(());
            }
            0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => 1,
            0xcc | 0xd0 => 2,
            0xcd | 0xd1 => 3,
            0xca | 0xce | 0xd2 => 5,
            0xcb | 0xcf | 0xd3 => 9,
            _ => return Err(WireError::WrongType("a plain value")),
        };
        self.take(skipped).map(drop)
    }

    /// A str that is UTF-8.
    pub fn text(&mut self) -> Result<&'a str, WireError> {
        let range = self.str()?;
        std::str::from_utf8(&self.bytes[range]).map_err(|_| WireError::WrongType("UTF-8"))
    }

    fn map(&mut self) -> Result<usize, WireError> {
        match self.byte()? {
            marker @ 0x80..=0x8f => Ok(usize::from(marker & 0x0f)),
            0xde => self.be(2),
            0xdf => self.be(4),
            _ => Err(WireError::WrongType("map")),
        }
    }

    fn byte(&mut self) -> Result<u8, WireError> {
        let byte = *self.bytes.get(self.at).ok_or(WireError::Truncated)?;
        self.at += 1;
        Ok(byte)
    }

    fn be(&mut self, width: usize) -> Result<usize, WireError> {
        let range = self.take(width)?;
        Ok(self.bytes[range].iter().fold(0, |value, byte| value << 8 | usize::from(*byte)))
    }

    fn take(&mut self, len: usize) -> Result<std::ops::Range<usize>, WireError> {
        let end =
            self.at.checked_add(len).filter(|end| *end <= self.bytes.len()).ok_or(WireError::Truncated)?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }
}
