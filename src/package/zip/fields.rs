//! Numbers in the headers of a zip, least byte first, and its extra fields.

use super::corrupt;
use crate::package::PackageError;

/// Stands for a number that is in the zip64 field.
pub(super) const BIG: u64 = 0xffff_ffff;
const ZIP64: u16 = 1;

/// Takes numbers off the front of bytes. Beyond the end there are zeros, which nobody asks for: headers have fixed sizes.
pub(super) struct Fields<'b>(pub &'b [u8]);

impl Fields<'_> {
    pub fn u16(&mut self) -> u16 {
        self.take() as u16 | (self.take() as u16) << 8
    }

    pub fn u32(&mut self) -> u64 {
        u64::from(self.u16()) | u64::from(self.u16()) << 16
    }

    pub fn u64(&mut self) -> u64 {
        self.u32() | self.u32() << 32
    }

    fn take(&mut self) -> u8 {
        let (&first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first
    }
}

/// Puts the numbers of the zip64 field in the place of those that stand for them, in their order.
pub(super) fn resolve(extra: &[u8], numbers: &mut [&mut u64]) -> Result<(), PackageError> {
    if numbers.iter().all(|number| **number != BIG) {
        return Ok(());
    }
    let mut rest = extra;
    while rest.len() >= 4 {
        let mut head = Fields(rest);
        let (id, size) = (head.u16(), usize::from(head.u16()));
        let body =
            rest.get(4..4 + size).ok_or_else(|| corrupt("an extra field is longer than all of them"))?;
        rest = &rest[4 + size..];
        if id != ZIP64 {
            continue;
        }
        let mut fields = Fields(body);
        for number in numbers.iter_mut().filter(|number| ***number == BIG) {
            if fields.0.len() < 8 {
                return Err(corrupt("a zip64 field lacks a number"));
            }
            **number = fields.u64();
        }
        return Ok(());
    }
    Err(corrupt("a number is in a zip64 field that is not there"))
}
