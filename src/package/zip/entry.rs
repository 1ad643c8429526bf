//! One entry of a zip: its own header, which must say what the directory says, and its contents.

use super::directory::{DEFLATED, Entry, FLAGS, SIZES_BEHIND};
use super::fields::{BIG, Fields, resolve};
use super::{failed, overlap};
use crate::package::names::show;
use crate::package::tree::Tree;
use crate::package::unpack::CHUNK;
use crate::package::{Code, Limits, PackageError};
use flate2::Crc;
use flate2::bufread::DeflateDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};

const SIGNATURE: u64 = 0x0403_4b50;
const SIZE: usize = 30;
/// In front of the sizes behind the contents; it may be left out.
const BEHIND: u64 = 0x0807_4b50;

/// Unpacks an entry whose bytes must end at `until` or before. `packed` and `unpacked` count the bytes of all entries.
pub(super) fn unpack(
    source: &mut (impl Read + Seek),
    entry: &Entry,
    until: u64,
    tree: &mut Tree,
    limits: &Limits,
    packed: &mut u64,
    unpacked: &mut u64,
) -> Result<(), PackageError> {
    let start = header(source, entry)?;
    let end = match start.checked_add(entry.packed) {
        Some(end) if end <= until => end,
        _ => return Err(overlap(entry)),
    };
    if entry.path.slash {
        tree.directory(&entry.path)?;
    } else {
        let mut file = tree.file(&entry.path, entry.size, entry.executable)?;
        *packed += entry.packed;
        let contents = BufReader::with_capacity(CHUNK, source.by_ref().take(entry.packed));
        let checksum = match entry.method {
            DEFLATED => {
                let mut decoder = DeflateDecoder::new(contents);
                let checksum = copy(&mut decoder, &mut file, entry, limits, *packed, unpacked)?;
                if decoder.total_in() != entry.packed {
                    return Err(mismatch(entry, "has something behind its compressed contents"));
                }
                checksum
            }
            _ => copy(contents, &mut file, entry, limits, *packed, unpacked)?,
        };
        if checksum != entry.checksum {
            let message = format!("the contents of `{}` do not fit its checksum", entry.shown());
            return Err(PackageError::new(Code::Checksum, message));
        }
    }
    if entry.flags & SIZES_BEHIND != 0 {
        behind(source, entry, end, until)?;
    }
    Ok(())
}

/// Reads the header in front of the contents and holds it against the directory. Returns where the contents begin.
fn header(source: &mut (impl Read + Seek), entry: &Entry) -> Result<u64, PackageError> {
    source.seek(SeekFrom::Start(entry.offset)).map_err(failed)?;
    let mut head = [0; SIZE];
    source.read_exact(&mut head).map_err(failed)?;
    let mut fields = Fields(&head);
    if fields.u32() != SIGNATURE {
        return Err(disagree(entry, "there is no entry where the directory says"));
    }
    let _needs = fields.u16();
    let (flags, method, _time) = (fields.u16(), fields.u16(), fields.u32());
    let checksum = fields.u32();
    let (mut packed, mut size) = (fields.u32(), fields.u32());
    let lengths = [fields.u16(), fields.u16()];
    let [name, extra] = lengths.map(|length| {
        let mut field = vec![0; usize::from(length)];
        source.read_exact(&mut field).map(|()| field)
    });
    let (name, extra) = (name.map_err(failed)?, extra.map_err(failed)?);
    if name != entry.name {
        return Err(disagree(entry, &format!("its own header calls it `{}`", show(&name))));
    }
    if method != entry.method {
        return Err(disagree(entry, "its two headers name two ways of compressing"));
    }
    if (flags ^ entry.flags) & FLAGS != 0 {
        return Err(disagree(entry, "its two headers have different flags"));
    }
    if packed == BIG || size == BIG {
        resolve(&extra, &mut [&mut size, &mut packed])?;
    }
    let here = (checksum, packed, size);
    let unknown = flags & SIZES_BEHIND != 0;
    let equal = |here: u64, there: u64| here == there || (unknown && here == 0);
    if !equal(here.0, entry.checksum.into()) || !equal(here.1, entry.packed) || !equal(here.2, entry.size) {
        return Err(disagree(entry, "its two headers state two sizes or checksums"));
    }
    Ok(entry.offset + (SIZE + name.len() + extra.len()) as u64)
}

/// Writes the contents to `file`: as many bytes as the directory says, no less and no more. Returns their checksum.
fn copy(
    mut contents: impl Read,
    file: &mut File,
    entry: &Entry,
    limits: &Limits,
    packed: u64,
    unpacked: &mut u64,
) -> Result<u32, PackageError> {
    let mut buffer = vec![0; CHUNK];
    let (mut checksum, mut left) = (Crc::new(), entry.size);
    loop {
        let count = match contents.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if is_corrupt(&error) => {
                let message = format!("`{}` cannot be unpacked: it is damaged", entry.shown());
                return Err(PackageError::new(Code::Corrupt, message));
            }
            Err(error) => return Err(failed(error)),
        };
        *unpacked += count as u64;
        limits.check_ratio(*unpacked, packed)?;
        left = left
            .checked_sub(count as u64)
            .ok_or_else(|| mismatch(entry, "unpacks to more bytes than it states"))?;
        checksum.update(&buffer[..count]);
        let written = file.write_all(&buffer[..count]);
        written.map_err(|error| PackageError::io(format!("write `{}`", entry.shown()), error))?;
    }
    match left {
        0 => Ok(checksum.sum()),
        _ => Err(mismatch(entry, "unpacks to fewer bytes than it states")),
    }
}

/// The sizes behind the contents: with or without a signature, in 4 or in 8 bytes.
fn behind(source: &mut (impl Read + Seek), entry: &Entry, at: u64, until: u64) -> Result<(), PackageError> {
    source.seek(SeekFrom::Start(at)).map_err(failed)?;
    let mut bytes = Vec::new();
    source.take((until - at).min(24)).read_to_end(&mut bytes).map_err(failed)?;
    let wanted = (u64::from(entry.checksum), entry.packed, entry.size);
    for (signed, long, length) in [(true, false, 16), (true, true, 24), (false, false, 12), (false, true, 20)]
    {
        let mut fields = Fields(&bytes);
        let signature = if signed { fields.u32() } else { BEHIND };
        let checksum = fields.u32();
        let mut size = || if long { fields.u64() } else { fields.u32() };
        let stated = (checksum, size(), size());
        if length <= bytes.len() && signature == BEHIND && stated == wanted {
            return Ok(());
        }
    }
    Err(disagree(entry, "the sizes behind its contents are not those of the directory"))
}

/// Whether the decoder is at fault, not the disk.
fn is_corrupt(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
    )
}

fn mismatch(entry: &Entry, what: &str) -> PackageError {
    PackageError::new(Code::SizeMismatch, format!("`{}` {what}", entry.shown()))
}

fn disagree(entry: &Entry, what: &str) -> PackageError {
    PackageError::new(Code::HeadersDisagree, format!("`{}`: {what}", entry.shown()))
}
