//! The executable as a file: laid out and read so that workers can map its code in huge pages.
//!
//! A start of bun and the first request of a worker run through megabytes of code that is cold to the processor. In pages
//! of 4 KiB every few instructions want another page found; in pages of 2 MiB a few dozen hold all of it. The kernel maps a
//! file so where the page cache has it in pieces of that size, and offset and address agree modulo that size.

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, munmap};
use rustix::io::ReadWriteFlags;
use std::fs::File;
use std::io::{self, IoSliceMut};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;

/// A huge page, where small ones have 4 KiB.
const HUGE: u64 = 2 << 20;
/// How much is read or written at once.
const PIECE: usize = 4 << 20;

/// Offsets and sizes of elf(5), 64 bits.
const EHDR_SIZE: usize = 64;
const PHDR_SIZE: usize = 56;
const PT_LOAD: u32 = 1;
const PF_X: u32 = 1;

/// Bytes that are to be put in before an offset.
#[derive(Debug, PartialEq)]
struct Gap {
    before: u64,
    size: u64,
}

/// Copies an executable to `target` with its code moved to where huge pages can map it. False = its code lies there already, or
/// it is of a kind that is not known here; nothing was written.
///
/// # Errors
/// The one cannot be read or the other not written.
pub fn lay_out(source: &File, target: &File) -> io::Result<bool> {
    let len = source.metadata()?.len();
    let mut piece = vec![0; PIECE];
    let head = PIECE.min(len as usize);
    source.read_exact_at(&mut piece[..head], 0)?;
    let Some(gap) = gap(&piece[..head], len) else { return Ok(false) };
    let (end, after) = (len + gap.size, gap.before + gap.size);
    let mut at = 0;
    while at < end {
        let size = (end - at).min(PIECE as u64);
        let piece = &mut piece[..size as usize];
        piece.fill(0);
        if at < gap.before {
            source.read_exact_at(&mut piece[..size.min(gap.before - at) as usize], at)?;
        }
        if at + size > after {
            let from = at.max(after);
            source.read_exact_at(&mut piece[(from - at) as usize..], from - gap.size)?;
        }
        if at == 0 {
            widen(piece, &gap);
        }
        // Such a piece comes into the page cache as what it is, if the file system can.
        target.write_all_at(piece, at)?;
        at += size;
    }
    Ok(true)
}

/// The gap that `file`, of which `head` is the beginning, needs before its code.
fn gap(head: &[u8], len: u64) -> Option<Gap> {
    // 64 bits, little-endian.
    if head.len() < EHDR_SIZE || !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let loads: Vec<_> = segments(head)?.filter(|at| word(head, *at) == PT_LOAD).collect();
    let code = loads.iter().copied().find(|at| word(head, at + 4) & PF_X != 0)?;
    let (offset, address) = (long(head, code + 8), long(head, code + 16));
    let size = address.wrapping_sub(offset) % HUGE;
    // Whatever lies before it stays before it, and all that comes after it moves by whole pages.
    let apart = loads.iter().all(|at| {
        let (begin, size) = (long(head, at + 8), long(head, at + 32));
        begin >= offset || begin.checked_add(size).is_some_and(|end| end <= offset)
    });
    let headers = segments(head)?.map(|at| at + PHDR_SIZE).max()? as u64;
    let fits = headers <= offset && offset < len && size.is_multiple_of(4096);
    (size > 0 && apart && fits).then_some(Gap { before: offset, size })
}

/// Tells the headers of the gap. The table of sections, which nothing needs to run, is forgotten.
fn widen(head: &mut [u8], gap: &Gap) {
    let Some(segments) = segments(head).map(Iterator::collect::<Vec<_>>) else { return };
    for at in segments {
        let offset = long(head, at + 8);
        if offset >= gap.before {
            put(head, at + 8, &(offset + gap.size).to_le_bytes());
        }
        // Where the kernel chooses the address.
        if word(head, at) == PT_LOAD && word(head, at + 4) & PF_X != 0 {
            put(head, at + 48, &HUGE.to_le_bytes());
        }
    }
    put(head, 40, &[0; 8]);
    put(head, 60, &[0; 4]);
}

/// Where the program headers are.
fn segments(head: &[u8]) -> Option<impl Iterator<Item = usize> + use<>> {
    let table = usize::try_from(long(head, 32)).ok()?;
    let count = usize::from(u16::from_le_bytes([head[56], head[57]]));
    let end = table.checked_add(count * PHDR_SIZE)?;
    let known = usize::from(u16::from_le_bytes([head[54], head[55]])) == PHDR_SIZE;
    (known && end <= head.len()).then(|| (0..count).map(move |index| table + index * PHDR_SIZE))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut long = [0; 8];
    long.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(long)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Has all of a file in the page cache, in pieces as large as its file system can. Otherwise workers read, each what it
/// happens to need, and what is read so is kept in small pages.
///
/// # Errors
/// The file cannot be read.
pub fn read_into_memory(file: &File) -> io::Result<()> {
    match is_in_memory(file) {
        Ok(true) => return Ok(()),
        // What is there is in small pieces. What other processes have mapped stays.
        Ok(false) => drop(rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)),
        // A file system that cannot tell (overlayfs, tmpfs).
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
        Err(error) => return Err(error),
    }
    let Some(len) = NonZeroUsize::new(file.metadata()?.len() as usize) else { return Ok(()) };
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours, and nothing reads it: `madvise`
    // reports what a read would be a signal for.
    unsafe {
        let map = mmap(None, len, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, file, 0)?;
        let _ = madvise(map, len.get(), MmapAdvise::MADV_HUGEPAGE); // not every kernel has them
        let read = madvise(map, len.get(), MmapAdvise::MADV_POPULATE_READ);
        munmap(map, len.get())?;
        read?;
    }
    Ok(())
}

/// Whether all of a file can be read without its disk (preadv2(2), RWF_NOWAIT).
fn is_in_memory(file: &File) -> io::Result<bool> {
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        match rustix::io::preadv2(file, &mut [IoSliceMut::new(&mut piece)], at, ReadWriteFlags::NOWAIT) {
            Ok(0) => return Ok(true),
            Ok(read) => at += read as u64,
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use tempfile::tempfile;

    /// Type, flags, offset, address, size of each segment.
    type Segment = (u32, u32, u64, u64, u64);

    fn elf(segments: &[Segment], len: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..len).map(|at| (at / 7) as u8).collect();
        bytes[..EHDR_SIZE].fill(0);
        put(&mut bytes, 0, b"\x7fELF\x02\x01");
        put(&mut bytes, 32, &(EHDR_SIZE as u64).to_le_bytes());
        put(&mut bytes, 40, &(len as u64 - 64).to_le_bytes());
        put(&mut bytes, 54, &(PHDR_SIZE as u16).to_le_bytes());
        put(&mut bytes, 56, &(segments.len() as u16).to_le_bytes());
        put(&mut bytes, 60, &9_u16.to_le_bytes());
        for (index, (kind, flags, offset, address, size)) in segments.iter().enumerate() {
            let at = EHDR_SIZE + index * PHDR_SIZE;
            bytes[at..at + PHDR_SIZE].fill(0);
            put(&mut bytes, at, &kind.to_le_bytes());
            put(&mut bytes, at + 4, &flags.to_le_bytes());
            for (field, value) in [(8, offset), (16, address), (32, size)] {
                put(&mut bytes, at + field, &value.to_le_bytes());
            }
        }
        bytes
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn laid_out(bytes: &[u8]) -> Option<Vec<u8>> {
        let target = tempfile().unwrap();
        lay_out(&file(bytes), &target).unwrap().then(|| {
            let mut out = vec![0; target.metadata().unwrap().len() as usize];
            target.read_exact_at(&mut out, 0).unwrap();
            out
        })
    }

    const DATA: u32 = 0b110;
    const CODE: u32 = 0b101;
    const REST: u32 = 0b100;

    #[test]
    fn code_moves_to_where_huge_pages_can_map_it_and_the_rest_moves_along() {
        let (cut, len) = (0x40_0d00, 0x90_0000);
        let segments = [
            (PT_LOAD, REST, 0, 0x20_0000, 0x40_0100),
            (PT_LOAD, CODE, cut, 0xa4_1d00, 0x10_0000),
            (PT_LOAD, DATA, 0x50_0d00, 0xb4_2d00, 0x1000),
            (7, REST, 0x50_0d00, 0xb4_2d00, 0x10),
            (4, REST, 0x200, 0x20_0200, 0x10),
        ];
        let source = elf(&segments, len);
        let out = laid_out(&source).unwrap();
        let (before, gap) = (cut as usize, 0x4_1000);
        assert_eq!(out.len(), len + gap);
        let headers = EHDR_SIZE + segments.len() * PHDR_SIZE;
        assert!(out[headers..before] == source[headers..before], "what lies before it");
        assert!(out[before..before + gap].iter().all(|byte| *byte == 0));
        assert!(out[before + gap..] == source[before..], "what comes after it");
        for (index, (.., offset, address, _)) in segments.into_iter().enumerate() {
            let at = EHDR_SIZE + index * PHDR_SIZE;
            let moved = if offset < cut { offset } else { offset + gap as u64 };
            assert_eq!((long(&out, at + 8), long(&out, at + 16)), (moved, address));
        }
        assert_eq!((0xa4_1d00 - (cut + gap as u64)) % HUGE, 0);
        assert_eq!((long(&out, 40), word(&out, 60)), (0, 0), "a table of sections that is elsewhere now");
        assert_eq!(laid_out(&out), None, "there is nothing left to do");
    }

    #[test]
    fn what_is_not_understood_is_left_as_it_is() {
        let code = |offset, address| (PT_LOAD, CODE, offset, address, 0x1000);
        let sound = elf(&[code(0x1000, 0x3000)], 0x4000);
        assert!(laid_out(&sound).is_some());
        let mut kinds = vec![
            Vec::new(),
            b"#!/bin/sh\n".to_vec(),
            sound[..EHDR_SIZE].to_vec(),
            elf(&[], 0x4000),
            elf(&[(PT_LOAD, DATA, 0x1000, 0x3000, 0x1000)], 0x4000),
            // Congruent, not by whole pages, outside of the file, within another segment, over the headers.
            elf(&[code(0x1000, 0x20_1000)], 0x4000),
            elf(&[code(0x1000, 0x3010)], 0x4000),
            elf(&[code(0x8000, 0x3000)], 0x4000),
            elf(&[(PT_LOAD, REST, 0, 0, 0x2000), code(0x1000, 0x3000)], 0x4000),
            elf(&[code(0, 0x3000)], 0x4000),
        ];
        for at in [4, 5, 54] {
            let mut other = sound.clone();
            other[at] += 1;
            kinds.push(other);
        }
        let mut outside = sound.clone();
        put(&mut outside, 32, &u64::MAX.to_le_bytes());
        kinds.push(outside);
        for (index, kind) in kinds.iter().enumerate() {
            assert_eq!(laid_out(kind), None, "the kind {index}");
        }
    }

    #[test]
    fn what_the_page_cache_has_lost_is_read_again() {
        let mut file = tempfile().unwrap();
        file.write_all(&vec![1; 3 * PIECE + 5]).unwrap();
        file.sync_all().unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let kept = is_in_memory(&file);
        read_into_memory(&file).unwrap();
        match kept {
            Ok(kept) => assert!(!kept && is_in_memory(&file).unwrap()),
            Err(error) => {
                eprintln!("skipped: the file system of {:?} does not tell: {error}", std::env::temp_dir())
            }
        }
    }
}
