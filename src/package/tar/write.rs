//! Writes tar: ustar, with a pax record where a name does not fit. Times and owners are always the same.

use super::encode::{header, record};
use super::header::BLOCK;
use crate::package::unpack::CHUNK;
use std::io::{self, Read, Write};

/// Longest name in a header, in bytes.
const MAX_NAME: usize = 100;
/// Largest size in a header: eleven octal digits.
const MAX_SIZE: u64 = (8 << 30) - 1;

/// Writes a file. Returns how many bytes came; if it is not `size`, the archive is of no use.
pub(in crate::package) fn file(
    out: &mut impl Write,
    path: &str,
    size: u64,
    executable: bool,
    mut contents: impl Read,
) -> io::Result<u64> {
    if size > MAX_SIZE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "a file has more than 8 GiB"));
    }
    let name = path.as_bytes();
    if name.len() > MAX_NAME {
        let record = record("path", path);
        out.write_all(&header(b"././@PaxHeader", record.len() as u64, 0o644, b'x'))?;
        out.write_all(record.as_bytes())?;
        pad(out, record.len() as u64)?;
    }
    let mode = if executable { 0o755 } else { 0o644 };
    out.write_all(&header(&name[..name.len().min(MAX_NAME)], size, mode, b'0'))?;
    let (mut buffer, mut written) = (vec![0; CHUNK], 0);
    loop {
        let count = match contents.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        out.write_all(&buffer[..count])?;
        written += count as u64;
    }
    pad(out, written)?;
    Ok(written)
}

/// Writes the two empty blocks that end an archive.
pub(in crate::package) fn end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK])
}

fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    let padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
    out.write_all(&[0; BLOCK][..padding as usize])
}
