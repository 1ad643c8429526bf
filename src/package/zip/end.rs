//! The end of a zip: where its directory is.

use super::fields::{BIG, Fields};
use super::{corrupt, failed};
use crate::package::{Code, PackageError};
use std::io::{Read, Seek, SeekFrom};

const SIGNATURE: &[u8] = b"PK\x05\x06";
const LOCATOR: u64 = 0x0706_4b50;
const END64: u64 = 0x0606_4b50;
/// Bytes without the comment.
const SIZE: usize = 22;
const LOCATOR_SIZE: u64 = 20;
const END64_SIZE: u64 = 56;
const MAX_COMMENT: usize = 0xffff;

#[derive(Debug)]
pub(super) struct End {
    pub entries: u64,
    /// Where the directory begins, and its size.
    pub directory: u64,
    pub size: u64,
}

/// Finds the end record. It must reach to the very last byte, and the directory to the record.
pub(super) fn find(source: &mut (impl Read + Seek)) -> Result<End, PackageError> {
    let length = source.seek(SeekFrom::End(0)).map_err(failed)?;
    let tail = length.min((SIZE + MAX_COMMENT) as u64);
    source.seek(SeekFrom::Start(length - tail)).map_err(failed)?;
    let mut bytes = Vec::new();
    source.take(tail).read_to_end(&mut bytes).map_err(failed)?;
    let at = position(&bytes)?;
    let start = length - tail + at as u64;
    let mut fields = Fields(&bytes[at + 4..]);
    let disks = (fields.u16(), fields.u16());
    let (here, entries) = (u64::from(fields.u16()), u64::from(fields.u16()));
    let (size, directory) = (fields.u32(), fields.u32());
    let mut end = End { entries, directory, size };
    let mut until = start;
    let big = entries == 0xffff || size == BIG || directory == BIG;
    let mut parts = disks != (0, 0) || here != entries;
    // 65,535 entries need no zip64, and neither does a directory of just that size: then there is no locator.
    if big && let Some((found, at, several)) = end64(source, start)? {
        (end, until, parts) = (found, at, several);
    }
    if parts {
        return Err(PackageError::new(Code::Unsupported, "the archive is one part of several"));
    }
    match end.directory.checked_add(end.size) {
        Some(reach) if reach == until => Ok(end),
        _ => Err(corrupt("its directory is not where its end says")),
    }
}

/// The one record whose comment reaches to the end of the file.
fn position(tail: &[u8]) -> Result<usize, PackageError> {
    let fits = |&at: &usize| {
        let comment = Fields(&tail[at + SIZE - 2..]).u16();
        at + SIZE + usize::from(comment) == tail.len()
    };
    let signed = |&at: &usize| tail[at..].starts_with(SIGNATURE);
    let last = (tail.len() + 1).saturating_sub(SIZE);
    let mut found = (0..last).filter(signed).filter(fits);
    match (found.next(), found.next()) {
        (Some(at), None) => Ok(at),
        (Some(_), Some(_)) => Err(corrupt("it has two ends")),
        _ if tail.windows(4).any(|four| four == SIGNATURE) => {
            let message = "the archive has something behind its end, or its comment is cut off";
            Err(PackageError::new(Code::TrailingData, message))
        }
        _ => Err(PackageError::new(Code::Truncated, "the archive ends too early: its directory is missing")),
    }
}

/// The zip64 record in front of the end, where it begins, and whether it speaks of several parts.
fn end64(source: &mut (impl Read + Seek), end: u64) -> Result<Option<(End, u64, bool)>, PackageError> {
    let Some(locator) = end.checked_sub(LOCATOR_SIZE) else { return Ok(None) };
    let mut bytes = [0; END64_SIZE as usize];
    let bytes = &mut bytes[..LOCATOR_SIZE as usize];
    source.seek(SeekFrom::Start(locator)).map_err(failed)?;
    source.read_exact(bytes).map_err(failed)?;
    let mut fields = Fields(bytes);
    if fields.u32() != LOCATOR {
        return Ok(None);
    }
    let disk = fields.u32();
    let (start, disks) = (fields.u64(), fields.u32());
    let mut bytes = [0; END64_SIZE as usize];
    if start.checked_add(END64_SIZE) != Some(locator) {
        return Err(corrupt("its zip64 end is not where it says"));
    }
    source.seek(SeekFrom::Start(start)).map_err(failed)?;
    source.read_exact(&mut bytes).map_err(failed)?;
    let mut fields = Fields(&bytes);
    if fields.u32() != END64 || fields.u64() != END64_SIZE - 12 {
        return Err(corrupt("its zip64 end is none"));
    }
    let _versions = fields.u32();
    let parts = disk != 0 || disks > 1 || (fields.u32(), fields.u32()) != (0, 0);
    let (here, entries) = (fields.u64(), fields.u64());
    let (size, directory) = (fields.u64(), fields.u64());
    Ok(Some((End { entries, directory, size }, start, parts || here != entries)))
}
