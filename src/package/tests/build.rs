//! Builds archives byte by byte, so that they can lie. Also used by the tests of the whole program.

use super::encode;
use std::io::Write;

/// An entry of a tar: its header, its contents, filled up.
pub fn entry(name: &str, kind: u8, contents: &[u8]) -> Vec<u8> {
    raw_entry(name.as_bytes(), kind, contents.len() as u64, contents)
}

pub fn file(name: &str, contents: &str) -> Vec<u8> {
    entry(name, b'0', contents.as_bytes())
}

/// With a size that need not be that of the contents.
pub fn raw_entry(name: &[u8], kind: u8, size: u64, contents: &[u8]) -> Vec<u8> {
    let mut bytes = encode::header(name, size, 0o644, kind).to_vec();
    bytes.extend(contents);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Changes a header and makes its checksum right again.
pub fn patch(mut entry: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    entry[at..at + bytes.len()].copy_from_slice(bytes);
    entry[148..156].copy_from_slice(b"        ");
    let sum: u32 = entry[..512].iter().map(|&byte| u32::from(byte)).sum();
    entry[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    entry
}

/// A pax header with these records.
pub fn pax(records: &[(&str, &str)]) -> Vec<u8> {
    let text: String = records.iter().map(|(key, value)| encode::record(key, value)).collect();
    entry("pax", b'x', text.as_bytes())
}

/// With the two empty blocks at the end.
pub fn tar(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = entries.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A tar of these files, gzipped.
pub fn tgz(files: &[(&str, &str)]) -> Vec<u8> {
    gzip(&tar(&files.iter().map(|(name, text)| file(name, text)).collect::<Vec<_>>()))
}

/// What one of the two headers of an entry says.
#[derive(Clone)]
pub struct Head {
    pub name: Vec<u8>,
    pub flags: u16,
    pub method: u16,
    pub checksum: u32,
    pub packed: u32,
    pub size: u32,
    pub extra: Vec<u8>,
}

#[derive(Clone)]
pub struct ZipEntry {
    pub local: Head,
    pub central: Head,
    pub data: Vec<u8>,
    /// Behind the data: the sizes once more.
    pub behind: Vec<u8>,
    pub attributes: u32,
    /// In place of the true one.
    pub offset: Option<u32>,
}

impl ZipEntry {
    fn new(name: &str, method: u16, contents: &[u8], data: Vec<u8>) -> ZipEntry {
        let mut crc = flate2::Crc::new();
        crc.update(contents);
        let head = Head {
            name: name.into(),
            flags: 0,
            method,
            checksum: crc.sum(),
            packed: data.len() as u32,
            size: contents.len() as u32,
            extra: Vec::new(),
        };
        let (local, central) = (head.clone(), head);
        ZipEntry { local, central, data, behind: Vec::new(), attributes: 0, offset: None }
    }

    pub fn stored(name: &str, contents: &str) -> ZipEntry {
        ZipEntry::new(name, 0, contents.as_bytes(), contents.into())
    }

    pub fn deflated(name: &str, contents: &[u8]) -> ZipEntry {
        ZipEntry::new(name, 8, contents, deflate(contents))
    }

    pub fn mode(mut self, mode: u32) -> ZipEntry {
        self.attributes = mode << 16;
        self
    }

    /// The same in both headers.
    pub fn both(mut self, change: impl Fn(&mut Head)) -> ZipEntry {
        change(&mut self.local);
        change(&mut self.central);
        self
    }

    pub fn local(mut self, change: impl Fn(&mut Head)) -> ZipEntry {
        change(&mut self.local);
        self
    }

    pub fn central(mut self, change: impl Fn(&mut Head)) -> ZipEntry {
        change(&mut self.central);
        self
    }
}

fn put16(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend((number as u16).to_le_bytes());
}

fn put32(bytes: &mut Vec<u8>, number: u32) {
    bytes.extend(number.to_le_bytes());
}

fn put_head(bytes: &mut Vec<u8>, head: &Head) {
    put16(bytes, 20);
    put16(bytes, head.flags.into());
    put16(bytes, head.method.into());
    put32(bytes, 0x5a21_0000);
    put32(bytes, head.checksum);
    put32(bytes, head.packed);
    put32(bytes, head.size);
    put16(bytes, head.name.len());
    put16(bytes, head.extra.len());
}

/// The entries and the directory, and where the directory begins.
pub fn zip_body(entries: &[ZipEntry]) -> (Vec<u8>, usize) {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let offset = entry.offset.unwrap_or(bytes.len() as u32);
        bytes.extend(b"PK\x03\x04");
        put_head(&mut bytes, &entry.local);
        bytes.extend([&entry.local.name[..], &entry.local.extra, &entry.data, &entry.behind].concat());
        directory.extend(b"PK\x01\x02");
        put16(&mut directory, 3 << 8 | 20);
        put_head(&mut directory, &entry.central);
        directory.extend([0; 6]);
        put32(&mut directory, entry.attributes);
        put32(&mut directory, offset);
        directory.extend([&entry.central.name[..], &entry.central.extra].concat());
    }
    let start = bytes.len();
    bytes.extend(directory);
    (bytes, start)
}

pub fn zip_end(entries: usize, size: u32, directory: u32, comment: &[u8]) -> Vec<u8> {
    let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
    put16(&mut end, entries);
    put16(&mut end, entries);
    put32(&mut end, size);
    put32(&mut end, directory);
    put16(&mut end, comment.len());
    end.extend(comment);
    end
}

pub fn zip(entries: &[ZipEntry]) -> Vec<u8> {
    zip_commented(entries, b"")
}

pub fn zip_commented(entries: &[ZipEntry], comment: &[u8]) -> Vec<u8> {
    let (mut bytes, start) = zip_body(entries);
    let size = (bytes.len() - start) as u32;
    bytes.extend(zip_end(entries.len(), size, start as u32, comment));
    bytes
}

/// The extra field for numbers of 64 bits.
pub fn zip64(numbers: &[u64]) -> Vec<u8> {
    let mut field = Vec::new();
    put16(&mut field, 1);
    put16(&mut field, numbers.len() * 8);
    field.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    field
}

/// An archive whose end is a zip64 one.
pub fn zip64_end(entries: &[ZipEntry], count: u64) -> Vec<u8> {
    let (mut bytes, start) = zip_body(entries);
    let (end, size) = (bytes.len() as u64, (bytes.len() - start) as u64);
    bytes.extend(b"PK\x06\x06");
    bytes.extend(44u64.to_le_bytes());
    bytes.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([count, count, size, start as u64].into_iter().flat_map(u64::to_le_bytes));
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(end.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend(zip_end(0xffff, u32::MAX, u32::MAX, b""));
    bytes
}
