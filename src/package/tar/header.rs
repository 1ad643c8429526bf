//! One header of a tar: POSIX ustar, GNU, or the form that is older than both.

use super::corrupt;
pub(super) use super::encode::BLOCK;
use crate::package::PackageError;

const CHECKSUM: std::ops::Range<usize> = 148..156;
const KIND: usize = 156;

pub(super) struct Header {
    pub name: Vec<u8>,
    pub mode: u32,
    pub size: u64,
    pub kind: u8,
}

impl Header {
    pub fn parse(block: &[u8; BLOCK]) -> Result<Header, PackageError> {
        let stated = number(&block[CHECKSUM])?;
        let sum = |(index, &byte): (usize, &u8)| {
            if CHECKSUM.contains(&index) { u64::from(b' ') } else { u64::from(byte) }
        };
        if stated != block.iter().enumerate().map(sum).sum::<u64>() {
            return Err(corrupt("the checksum of a header is wrong"));
        }
        let mut name = text(&block[..100]).to_vec();
        // Only POSIX has a prefix; GNU keeps other things there.
        let prefix = text(&block[345..500]);
        if &block[257..263] == b"ustar\0" && !prefix.is_empty() {
            name = [prefix, b"/", &name].concat();
        }
        let mode = number(&block[100..108])? as u32;
        Ok(Header { name, mode, size: number(&block[124..136])?, kind: block[KIND] })
    }
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Octal digits, or (GNU) binary with the highest bit set.
fn number(field: &[u8]) -> Result<u64, PackageError> {
    let wrong = || corrupt("a header has a number that is none, is negative, or is too large");
    if field[0] & 0x80 != 0 {
        // 0xff is the sign of a negative number.
        let (low, high) = (&field[field.len() - 8..], &field[1..(field.len() - 8).max(1)]);
        let low: [u8; 8] = low.try_into().map_err(|_| wrong())?;
        let short = field.len() == 8;
        let value = u64::from_be_bytes(low) & if short { u64::MAX >> 8 } else { u64::MAX };
        let fits = field[0] == 0x80 && high.iter().all(|&byte| byte == 0) && value <= i64::MAX as u64;
        return fits.then_some(value).ok_or_else(wrong);
    }
    let digits = text(field).trim_ascii();
    let mut value = 0u64;
    for digit in digits {
        if !(b'0'..=b'7').contains(digit) {
            return Err(wrong());
        }
        value = value << 3 | u64::from(digit - b'0');
    }
    Ok(value)
}
