//! Compressed streams that must be refused: damaged, cut, swollen, or no archive at all.

use super::build::{file, gzip, tar, tgz, zstd};
use super::{Limits, World, refusal_within, refused};
use crate::package::{Code, Kind};
use std::io::Write;

fn small() -> Vec<u8> {
    tar(&[file("index.ts", "export default {}")])
}

#[test]
fn what_is_no_archive_is_refused_whatever_it_is_called() {
    for bytes in
        [&b""[..], b"PK", b"hello, world", b"BZh91AY", b"\xfd7zXZ\0", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"]
    {
        refused(bytes, Code::UnknownKind);
    }
    // A tar that is not compressed.
    refused(&small(), Code::UnknownKind);
}

#[test]
fn the_kind_is_told_by_the_first_bytes() {
    assert_eq!(Kind::of(b"PK\x03\x04"), Some(Kind::Zip));
    assert_eq!(Kind::of(&gzip(b"")), Some(Kind::TarGz));
    assert_eq!(Kind::of(&zstd(b"")), Some(Kind::TarZst));
}

#[test]
fn a_gzip_that_is_cut_is_refused() {
    let whole = gzip(&small());
    for length in [3, 9, 20, whole.len() - 9, whole.len() - 8, whole.len() - 1] {
        refused(&whole[..length], Code::Truncated);
    }
}

#[test]
fn a_zstd_that_is_cut_is_refused() {
    let whole = zstd(&small());
    for length in [4, 6, 20, whole.len() - 5, whole.len() - 4, whole.len() - 1] {
        refused(&whole[..length], Code::Truncated);
    }
}

#[test]
fn a_wrong_checksum_is_refused() {
    for mut bytes in [gzip(&small()), zstd(&small())] {
        // Of gzip it stands in front of the length.
        let at = if bytes[0] == 0x1f { bytes.len() - 5 } else { bytes.len() - 1 };
        bytes[at] ^= 1;
        refused(&bytes, Code::Checksum);
    }
}

#[test]
fn a_damaged_stream_is_refused() {
    for whole in [gzip(&small()), zstd(&small())] {
        for at in 4..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            // Some bytes mean nothing (the time in a gzip header); no damage may go unseen or panic.
            let received = World::new().receive(&bytes);
            assert!(received.is_err() || at < 10, "a change at {at} was not seen");
        }
    }
}

#[test]
fn something_behind_the_stream_is_refused() {
    for whole in [gzip(&small()), zstd(&small())] {
        refused(&[&whole[..], b"a long enough tail of garbage"].concat(), Code::TrailingData);
    }
}

#[test]
fn a_second_tar_behind_the_first_is_refused() {
    for whole in [gzip(&small()), zstd(&small())] {
        refused(&[&whole[..], &whole].concat(), Code::TrailingData);
    }
}

#[test]
fn a_stream_in_several_pieces_is_taken() {
    let bytes = small();
    for pack in [gzip, zstd] {
        let archive = [pack(&bytes[..700]), pack(&bytes[700..])].concat();
        assert_eq!(World::new().receive(&archive).unwrap().summary.files, 1);
    }
}

/// A file of zeros, compressed as it is made.
fn bomb(encoder: &mut impl Write, size: u64) {
    encoder.write_all(&super::build::raw_entry(b"zeros", b'0', size, b"")).unwrap();
    for _ in 0..size >> 20 {
        encoder.write_all(&vec![0; 1 << 20]).unwrap();
    }
    encoder.write_all(&[0; 1024]).unwrap();
}

#[test]
fn a_gzip_bomb_is_refused() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    bomb(&mut encoder, 16 << 20);
    refused(&encoder.finish().unwrap(), Code::Ratio);
}

#[test]
fn a_zstd_bomb_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    bomb(&mut encoder, 16 << 20);
    refused(&encoder.finish().unwrap(), Code::Ratio);
}

#[test]
fn a_bomb_in_the_padding_is_refused() {
    let mut bytes = small();
    bytes.resize(bytes.len() + (8 << 20), 0);
    for archive in [gzip(&bytes), zstd(&bytes)] {
        let error = refusal_within(&archive, &Limits::default());
        assert!(matches!(error.code, Code::Ratio | Code::TrailingData), "{error}");
    }
}

#[test]
fn a_zstd_window_beyond_the_limit_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&small()).unwrap();
    let error = refused(&encoder.finish().unwrap(), Code::WindowTooLarge);
    assert!(error.hint.is_some());
}

#[test]
fn a_zstd_frame_that_needs_a_dictionary_is_refused() {
    // A header that names dictionary 7.
    refused(b"\x28\xb5\x2f\xfd\x01\x50\x07\x01\x00\x00", Code::Corrupt);
}

#[test]
fn a_disk_that_fails_is_not_the_archives_fault() {
    struct Failing(std::io::Cursor<Vec<u8>>);
    impl std::io::Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let most = buffer.len().min(16);
            match self.0.position() {
                at if at < 32 => self.0.read(&mut buffer[..most]),
                _ => Err(std::io::Error::from_raw_os_error(5)),
            }
        }
    }
    impl std::io::Seek for Failing {
        fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
            self.0.seek(to)
        }
    }
    for archive in [tgz(&[("index.ts", "export default {}")]), zstd(&small())] {
        let world = World::new();
        let staging = crate::package::Staging::create(&world.dir()).unwrap();
        let source = Failing(std::io::Cursor::new(archive));
        assert_eq!(staging.receive(source, &Limits::default()).unwrap_err().code, Code::Io);
    }
}
