//! Takes an archive apart: tells its kind by its first bytes and writes its files beneath a directory.

use super::source::{Counted, Gauge, Stream};
use super::tree::Tree;
use super::{Code, Limits, PackageError, tar, zip};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::fd::AsFd;

/// What is read of a source at once, in bytes.
pub(super) const CHUNK: usize = 64 << 10;

/// The kinds of archive. Their names mean nothing here, only their first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Zip,
    /// `.tgz`, `.tar.gz`
    TarGz,
    /// `.tar.zst`
    TarZst,
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    pub kind: Kind,
    /// Files and directories.
    pub entries: u64,
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// The one directory that all entries are in (npm's `package`), if there is one.
    pub top: Option<String>,
}

impl Kind {
    /// The kind of an archive that begins with these bytes; four of them are enough.
    pub fn of(first: &[u8]) -> Option<Kind> {
        match first {
            // A local header, or the end of an archive without entries.
            [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Some(Kind::Zip),
            [0x1f, 0x8b, ..] => Some(Kind::TarGz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Kind::TarZst),
            // A zstd frame to skip may come first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Kind::TarZst),
            _ => None,
        }
    }
}

/// Unpacks `source` from its beginning into a directory that is empty and that nobody else writes to. What is there
/// after an error is a piece of the archive: throw it away.
///
/// Only files and directories are made; of their modes nothing is kept but whether the owner may execute a file.
///
/// # Errors
/// The archive is refused, or (`Code::Io`) the machine failed.
pub fn unpack(
    mut source: impl Read + Seek,
    into: impl AsFd,
    limits: &Limits,
) -> Result<Summary, PackageError> {
    let io = |error: io::Error| PackageError::io("read the archive", error);
    let mut first = Vec::new();
    source.rewind().map_err(io)?;
    source.by_ref().take(4).read_to_end(&mut first).map_err(io)?;
    source.seek(SeekFrom::Start(0)).map_err(io)?;
    let Some(kind) = Kind::of(&first) else {
        return Err(PackageError::new(Code::UnknownKind, "this is not an archive of a known kind")
            .hint("zip, tar.gz (tgz) and tar.zst are taken; `buntime pack` makes one"));
    };
    let mut tree = Tree::new(into.as_fd(), limits);
    let gauge = Gauge::default();
    let counted = BufReader::with_capacity(CHUNK, Counted { inner: &mut source, gauge: &gauge });
    match kind {
        Kind::Zip => {
            drop(counted);
            zip::unpack(&mut source, &mut tree, limits)?;
        }
        Kind::TarGz => {
            let decoder = Box::new(flate2::bufread::MultiGzDecoder::new(counted));
            tar::unpack(Stream::new(decoder, &gauge, limits), &mut tree, limits)?;
        }
        Kind::TarZst => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(counted).map_err(io)?;
            decoder.window_log_max(limits.window_log).map_err(io)?;
            tar::unpack(Stream::new(Box::new(decoder), &gauge, limits), &mut tree, limits)?;
        }
    }
    if tree.files == 0 {
        return Err(PackageError::new(Code::Empty, "the archive has no files"));
    }
    let (entries, bytes) = (tree.meter.entries, tree.meter.total);
    Ok(Summary { kind, entries, files: tree.files, bytes, top: tree.only_top().map(String::from) })
}
