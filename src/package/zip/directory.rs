//! The directory of a zip: what it says of each entry, judged before anything is unpacked.

use super::end::End;
use super::fields::{Fields, resolve};
use super::{corrupt, failed};
use crate::package::names::{EntryPath, show};
use crate::package::unpack::CHUNK;
use crate::package::{Code, Limits, PackageError};
use std::io::{BufReader, Read, Seek, SeekFrom};

const SIGNATURE: u64 = 0x0201_4b50;
const SIZE: usize = 46;

/// Bit 0: encrypted. 6: strongly so. 13: so that the headers are, too.
const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
/// A patch for another file.
const PATCH: u16 = 1 << 5;
/// The sizes and the checksum stand behind the contents.
pub(super) const SIZES_BEHIND: u16 = 1 << 3;
/// What is to be equal in both headers of an entry: the above, and whether the name is UTF-8.
pub(super) const FLAGS: u16 = ENCRYPTED | PATCH | SIZES_BEHIND | 1 << 11;

pub(super) const STORED: u16 = 0;
pub(super) const DEFLATED: u16 = 8;

#[derive(Debug)]
pub(super) struct Entry {
    /// As it is in the archive.
    pub name: Vec<u8>,
    pub path: EntryPath,
    pub flags: u16,
    pub method: u16,
    pub checksum: u32,
    pub packed: u64,
    pub size: u64,
    /// Where its own header is.
    pub offset: u64,
    pub executable: bool,
}

impl Entry {
    pub fn shown(&self) -> String {
        show(&self.name)
    }

    fn refuse(&self, code: Code, what: &str) -> PackageError {
        PackageError::new(code, format!("`{}` {what}", self.shown()))
    }
}

/// Reads the directory, which must have just as many entries, and be just as long, as the end says.
pub(super) fn read(
    source: &mut (impl Read + Seek),
    end: &End,
    limits: &Limits,
) -> Result<Vec<Entry>, PackageError> {
    source.seek(SeekFrom::Start(end.directory)).map_err(failed)?;
    let mut bytes = BufReader::with_capacity(CHUNK, source).take(end.size);
    let mut entries = Vec::new();
    while bytes.limit() > 0 {
        if entries.len() as u64 == end.entries {
            return Err(corrupt("its directory has more entries than its end says"));
        }
        let entry = one(&mut bytes, limits)?;
        if entry.offset >= end.directory {
            return Err(entry.refuse(Code::Overlap, "begins behind the directory"));
        }
        entries.push(entry);
    }
    match entries.len() as u64 == end.entries {
        true => Ok(entries),
        false => Err(corrupt("its directory has fewer entries than its end says")),
    }
}

fn one(bytes: &mut impl Read, limits: &Limits) -> Result<Entry, PackageError> {
    let cut = |_| corrupt("its directory ends within an entry");
    let mut head = [0; SIZE];
    bytes.read_exact(&mut head).map_err(cut)?;
    let mut fields = Fields(&head);
    if fields.u32() != SIGNATURE {
        return Err(corrupt("its directory has something that is no entry"));
    }
    let _made_by = fields.u16();
    let _needs = fields.u16();
    let (flags, method, _time) = (fields.u16(), fields.u16(), fields.u32());
    let checksum = fields.u32() as u32;
    let (mut packed, mut size) = (fields.u32(), fields.u32());
    let lengths = [fields.u16(), fields.u16(), fields.u16()];
    let (disk, _internal) = (fields.u16(), fields.u16());
    let (attributes, mut offset) = (fields.u32(), fields.u32());
    // At most 64 KiB each, and of the name no more is kept than a path may have.
    let [name, extra, _comment] = lengths.map(|length| {
        let mut field = Vec::new();
        bytes.take(u64::from(length)).read_to_end(&mut field).map(|_| field)
    });
    let (mut name, extra) = (name.map_err(failed)?, extra.map_err(failed)?);
    resolve(&extra, &mut [&mut size, &mut packed, &mut offset])?;
    name.truncate(limits.path + 1);
    let path = EntryPath::parse(&name, limits)?;
    let mode = (attributes >> 16) as u32;
    let executable = mode & 0o100 != 0;
    let entry = Entry { name, path, flags, method, checksum, packed, size, offset, executable };
    judge(&entry, mode, attributes & 0x10 != 0, disk)?;
    // Also of directories: contents would be hidden in them.
    if entry.path.slash && (entry.size != 0 || entry.packed > 2) {
        return Err(entry.refuse(Code::SizeMismatch, "is a directory with contents"));
    }
    if entry.method == STORED && entry.size != entry.packed {
        return Err(entry.refuse(Code::SizeMismatch, "is not compressed and yet has two sizes"));
    }
    Ok(entry)
}

/// What kind of entry this is. `mode` is that of Unix where there is one, else zero.
fn judge(entry: &Entry, mode: u32, dos_directory: bool, disk: u16) -> Result<(), PackageError> {
    const KIND: u32 = 0o170_000;
    let directory = entry.path.slash;
    match mode & KIND {
        0 if dos_directory && !directory => {
            return Err(entry.refuse(Code::FileAndDirectory, "is a directory with the name of a file"));
        }
        0o100_000 if directory => {
            return Err(entry.refuse(Code::FileAndDirectory, "is a file with the name of a directory"));
        }
        0o040_000 if !directory => {
            return Err(entry.refuse(Code::FileAndDirectory, "is a directory with the name of a file"));
        }
        0 | 0o100_000 | 0o040_000 => {}
        0o120_000 => return Err(entry.refuse(Code::SymbolicLink, "is a symbolic link")),
        _ => return Err(entry.refuse(Code::SpecialFile, "is a device, a fifo or a socket")),
    }
    if entry.flags & ENCRYPTED != 0 || entry.method == 99 {
        return Err(entry.refuse(Code::Encrypted, "is encrypted"));
    }
    if entry.flags & PATCH != 0 || !matches!(entry.method, STORED | DEFLATED) {
        let method = entry.method;
        return Err(entry
            .refuse(Code::Unsupported, &format!("is compressed in a way not known here ({method})"))
            .hint("only stored and deflated entries are taken"));
    }
    match disk {
        0 => Ok(()),
        _ => Err(entry.refuse(Code::Unsupported, "is in another part of the archive")),
    }
}
