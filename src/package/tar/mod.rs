//! Reads tar: ustar, GNU and pax.
//!
//! The reader is our own because the common one keeps long names and pax records in memory whatever their size, and
//! because what is refused here must be seen, not interpreted.

pub(super) mod encode;
mod header;
mod pax;
pub(super) mod write;

use self::header::{BLOCK, Header};
use self::pax::Extras;
use super::names::{EntryPath, show};
use super::source::Stream;
use super::tree::Tree;
use super::unpack::CHUNK;
use super::{Code, Limits, PackageError};
use std::io::Write;

/// Longest set of pax records, in bytes.
const MAX_PAX: u64 = 64 << 10;
/// Headers in a row that only say something about the entry behind them.
const MAX_EXTRA: u32 = 4;
/// Zeros behind the end, in bytes: tar fills up its last record, whose size can be chosen.
const MAX_PADDING: usize = 1 << 20;

/// Unpacks the whole stream.
pub(super) fn unpack(mut stream: Stream, tree: &mut Tree, limits: &Limits) -> Result<(), PackageError> {
    let mut extras = Extras::default();
    let mut in_a_row = 0;
    while let Some(header) = next(&mut stream)? {
        match header.kind {
            b'L' | b'K' | b'x' | b'g' => {
                in_a_row += 1;
                if in_a_row > MAX_EXTRA {
                    return Err(corrupt("too many headers in front of one entry"));
                }
                extra(&mut stream, &header, &mut extras, limits)?;
            }
            _ => {
                entry(&mut stream, &header, std::mem::take(&mut extras), tree, limits)?;
                in_a_row = 0;
            }
        }
    }
    if extras.any() {
        return Err(corrupt("a header speaks of an entry that does not follow"));
    }
    finish(&mut stream)
}

/// The next header; none = the end, two blocks of zeros.
fn next(stream: &mut Stream) -> Result<Option<Header>, PackageError> {
    let block = read_block(stream)?;
    if block.iter().any(|&byte| byte != 0) {
        return Header::parse(&block).map(Some);
    }
    match read_block(stream)?.iter().all(|&byte| byte == 0) {
        true => Ok(None),
        false => Err(corrupt("it has an empty header among its entries")),
    }
}

fn read_block(stream: &mut Stream) -> Result<[u8; BLOCK], PackageError> {
    let mut block = [0; BLOCK];
    match stream.fill(&mut block)? {
        BLOCK => Ok(block),
        _ => Err(truncated()),
    }
}

/// Behind the end there may be zeros and nothing else.
fn finish(stream: &mut Stream) -> Result<(), PackageError> {
    let (mut buffer, mut padding) = (vec![0; CHUNK], 0);
    loop {
        let count = stream.read(&mut buffer)?;
        padding += count;
        if count == 0 {
            return Ok(());
        }
        if padding > MAX_PADDING || buffer[..count].iter().any(|&byte| byte != 0) {
            let message = "the archive has something behind its end";
            return Err(PackageError::new(Code::TrailingData, message));
        }
    }
}

/// Reads a header that speaks of the next entry.
fn extra(
    stream: &mut Stream,
    header: &Header,
    extras: &mut Extras,
    limits: &Limits,
) -> Result<(), PackageError> {
    let most = if matches!(header.kind, b'L' | b'K') { limits.path as u64 + 1 } else { MAX_PAX };
    if header.size > most {
        let message = format!("a long name, or a set of pax records, has more than {most} bytes");
        return Err(PackageError::new(Code::PathTooLong, message));
    }
    let mut bytes = vec![0; header.size as usize];
    if stream.fill(&mut bytes)? < bytes.len() {
        return Err(truncated());
    }
    skip_padding(stream, header.size)?;
    match header.kind {
        b'L' => extras.set_path(bytes.strip_suffix(b"\0").unwrap_or(&bytes)),
        // Of a link, which is refused when it comes.
        b'K' => Ok(()),
        b'x' => pax::read(&bytes, extras),
        _ => pax::check_global(&bytes),
    }
}

fn entry(
    stream: &mut Stream,
    header: &Header,
    extras: Extras,
    tree: &mut Tree,
    limits: &Limits,
) -> Result<(), PackageError> {
    let name = extras.path.as_ref().unwrap_or(&header.name);
    let size = extras.size.unwrap_or(header.size);
    let refuse = |code, what: &str| Err(PackageError::new(code, format!("`{}` {what}", show(name))));
    match header.kind {
        b'0' | b'\0' | b'5' => {}
        b'1' => return refuse(Code::HardLink, "is a hard link"),
        b'2' => return refuse(Code::SymbolicLink, "is a symbolic link"),
        b'3' | b'4' => return refuse(Code::SpecialFile, "is a device"),
        b'6' => return refuse(Code::SpecialFile, "is a fifo"),
        b'S' => return refuse(Code::Sparse, "is a sparse file"),
        other => {
            let kind = show(&[other]);
            return refuse(Code::Unsupported, &format!("is a record of a kind not known here (`{kind}`)"));
        }
    }
    if extras.sparse {
        return refuse(Code::Sparse, "is a sparse file");
    }
    let path = EntryPath::parse(name, limits)?;
    if header.kind == b'5' {
        return match size {
            0 => tree.directory(&path),
            _ => refuse(Code::SizeMismatch, "is a directory with contents"),
        };
    }
    let mut file = tree.file(&path, size, header.mode & 0o100 != 0)?;
    let (mut buffer, mut left) = (vec![0; CHUNK.min(size as usize)], size);
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = stream.read(&mut buffer[..most])?;
        if count == 0 {
            return Err(truncated());
        }
        let written = file.write_all(&buffer[..count]);
        written.map_err(|error| PackageError::io(format!("write `{}`", show(name)), error))?;
        left -= count as u64;
    }
    skip_padding(stream, size)
}

/// Contents fill whole blocks.
fn skip_padding(stream: &mut Stream, size: u64) -> Result<(), PackageError> {
    let mut block = [0; BLOCK];
    let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    let wanted = &mut block[..padding as usize];
    match stream.fill(wanted)? == wanted.len() {
        true => Ok(()),
        false => Err(truncated()),
    }
}

fn corrupt(message: &str) -> PackageError {
    PackageError::new(Code::Corrupt, format!("the archive is damaged: {message}"))
}

fn truncated() -> PackageError {
    PackageError::new(Code::Truncated, "the archive ends too early")
}
