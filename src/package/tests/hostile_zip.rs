//! Zips that must be refused.

use super::build::{ZipEntry, deflate, zip, zip_body, zip_commented, zip_end, zip64, zip64_end};
use super::{World, counts_are_limited, refused};
use crate::package::Code;

const STORED: fn(&str, &str) -> ZipEntry = ZipEntry::stored;

#[track_caller]
fn refused_zip(entries: &[ZipEntry], code: Code) -> String {
    refused(&zip(entries), code).message
}

#[test]
fn names_that_are_no_plain_path_are_refused() {
    for (name, code) in [
        ("../outside.txt", Code::PathTraversal),
        ("a/../../x", Code::PathTraversal),
        ("/etc/x", Code::PathAbsolute),
        ("C:\\x", Code::PathBackslash),
        ("C:/x", Code::PathDrive),
        ("..\\x", Code::PathBackslash),
        ("a//b", Code::PathComponent),
        ("a\0.ts", Code::PathControl),
        ("", Code::PathEmpty),
    ] {
        refused_zip(&[STORED("ok", ""), STORED(name, "x")], code);
    }
    let latin = STORED("x", "").both(|head| head.name = b"caf\xe9".to_vec());
    refused_zip(&[latin], Code::PathNotUtf8);
    refused_zip(&[STORED(&"a/".repeat(600), "")], Code::PathTooLong);
}

#[test]
fn links_devices_and_the_like_are_refused() {
    refused_zip(&[STORED("link", "/etc/passwd").mode(0o120_777)], Code::SymbolicLink);
    for mode in [0o010_644, 0o020_644, 0o060_644, 0o140_644] {
        refused_zip(&[STORED("special", "").mode(mode)], Code::SpecialFile);
    }
}

#[test]
fn a_set_user_bit_does_not_survive() {
    let world = World::new();
    let staged = world.receive(&zip(&[STORED("a", "x").mode(0o106_755), STORED("b", "y")])).unwrap();
    let snapshot = super::snapshot(&staged.path());
    assert_eq!(snapshot[std::path::Path::new("a")], "755 \"x\"");
    assert_eq!(snapshot[std::path::Path::new("b")], "644 \"y\"");
}

#[test]
fn a_name_and_a_kind_that_do_not_fit_are_refused() {
    refused_zip(&[STORED("d/", "").mode(0o100_644)], Code::FileAndDirectory);
    refused_zip(&[STORED("d", "").mode(0o040_755)], Code::FileAndDirectory);
    let mut dos = STORED("d", "");
    dos.attributes = 0x10;
    refused_zip(&[dos], Code::FileAndDirectory);
    refused_zip(&[STORED("d/", "hidden")], Code::SizeMismatch);
}

#[test]
fn one_name_twice_is_refused() {
    refused_zip(&[STORED("a", "1"), STORED("b", ""), STORED("a", "2")], Code::Duplicate);
    refused_zip(&[STORED("Index.ts", "1"), STORED("index.ts", "2")], Code::NameClash);
    refused_zip(&[STORED("caf\u{e9}", "1"), STORED("cafe\u{301}", "2")], Code::NameClash);
    refused_zip(&[STORED("a", "1"), STORED("a/b", "2")], Code::FileAndDirectory);
}

#[test]
fn encrypted_entries_are_refused() {
    for flags in [1, 1 | 1 << 6, 1 << 13] {
        refused_zip(&[STORED("a", "x").both(|head| head.flags = flags)], Code::Encrypted);
    }
    refused_zip(&[STORED("a", "x").both(|head| head.method = 99)], Code::Encrypted);
}

#[test]
fn ways_of_compressing_that_are_not_known_are_refused() {
    for method in [1, 6, 9, 12, 14, 93, 95, 98] {
        refused_zip(&[STORED("a", "x").both(|head| head.method = method)], Code::Unsupported);
    }
    refused_zip(&[STORED("a", "x").both(|head| head.flags = 1 << 5)], Code::Unsupported);
}

#[test]
fn a_wrong_checksum_is_refused() {
    for entry in [STORED("a", "xyz"), ZipEntry::deflated("a", b"xyz")] {
        refused_zip(&[entry.both(|head| head.checksum ^= 1)], Code::Checksum);
    }
}

#[test]
fn contents_that_are_damaged_are_refused() {
    let mut entry = ZipEntry::deflated("a", b"hello, hello, hello");
    entry.data[0] = 0xff;
    refused_zip(&[entry], Code::Corrupt);
}

#[test]
fn sizes_that_lie_are_refused() {
    let entry = || ZipEntry::deflated("a", &[b'x'; 1000]);
    refused_zip(&[entry().both(|head| head.size = 999)], Code::SizeMismatch);
    refused_zip(&[entry().both(|head| head.size = 1001)], Code::SizeMismatch);
    refused_zip(&[STORED("a", "xyz").both(|head| head.size = 2)], Code::SizeMismatch);
    // Something stands behind the compressed contents.
    let mut tail = entry().both(|head| head.packed += 4);
    tail.data.extend(b"tail");
    refused_zip(&[tail], Code::SizeMismatch);
    // The compressed contents are cut.
    refused_zip(&[entry().both(|head| head.packed -= 1)], Code::Corrupt);
}

#[test]
fn two_headers_that_disagree_are_refused() {
    let entry = || STORED("a.ts", "xyz");
    let says = refused_zip(&[entry().local(|head| head.name = b"../x".to_vec())], Code::HeadersDisagree);
    assert!(says.contains("`../x`"), "{says}");
    refused_zip(&[entry().central(|head| head.name = b"b.ts".to_vec())], Code::HeadersDisagree);
    refused_zip(&[entry().local(|head| head.method = 8)], Code::HeadersDisagree);
    refused_zip(&[entry().local(|head| head.flags = 1)], Code::HeadersDisagree);
    refused_zip(&[entry().local(|head| head.size = 2)], Code::HeadersDisagree);
    refused_zip(&[entry().local(|head| head.packed = 2)], Code::HeadersDisagree);
    refused_zip(&[entry().local(|head| head.checksum = 2)], Code::HeadersDisagree);
    let mut moved = entry();
    moved.offset = Some(1);
    refused_zip(&[moved], Code::HeadersDisagree);
}

/// With the sizes behind the contents.
fn streamed(behind: impl Fn(&ZipEntry) -> Vec<u8>) -> ZipEntry {
    let mut entry = ZipEntry::deflated("a", b"hello, hello").both(|head| head.flags = 8);
    entry.local.checksum = 0;
    entry.local.packed = 0;
    entry.local.size = 0;
    entry.behind = behind(&entry);
    entry
}

fn sizes(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

#[test]
fn sizes_behind_the_contents_are_read_and_must_be_right() {
    let head = |entry: &ZipEntry| (entry.central.checksum, entry.central.packed, entry.central.size);
    let world = World::new();
    let signed = streamed(|entry| {
        let (checksum, packed, size) = head(entry);
        sizes(&[0x0807_4b50, checksum, packed, size])
    });
    let bare = streamed(|entry| {
        let (checksum, packed, size) = head(entry);
        sizes(&[checksum, packed, size])
    });
    let long = streamed(|entry| {
        let (checksum, packed, size) = head(entry);
        sizes(&[0x0807_4b50, checksum, packed, 0, size, 0])
    });
    for entry in [signed, bare, long] {
        assert_eq!(world.receive(&zip(&[entry])).unwrap().summary.bytes, 12);
    }
    let wrong = streamed(|entry| sizes(&[0x0807_4b50, entry.central.checksum, 1, 1]));
    refused_zip(&[wrong], Code::HeadersDisagree);
    refused_zip(&[streamed(|_| Vec::new())], Code::HeadersDisagree);
}

#[test]
fn entries_that_share_bytes_are_refused() {
    // Two names for one header.
    let mut twin = STORED("a", "xyz");
    twin.offset = Some(0);
    refused_zip(&[STORED("a", "xyz"), twin], Code::Overlap);
    // The first takes in the second: its contents are the other's header.
    let inner = zip_body(&[STORED("b", "x")]);
    let (whole, at) = (String::from_utf8_lossy(&inner.0[..inner.1]).into_owned(), 30 + 1);
    if whole.len() == inner.1 {
        let mut second = STORED("b", "x");
        second.offset = Some(at as u32);
        refused_zip(&[STORED("a", &whole), second], Code::Overlap);
    }
    // The last reaches into the directory.
    let long = STORED("a", "xyz").both(|head| (head.packed, head.size) = (60, 60));
    refused_zip(&[long], Code::Overlap);
    let mut behind = STORED("a", "xyz");
    behind.offset = Some(100_000);
    refused_zip(&[behind], Code::Overlap);
}

#[test]
fn a_quoted_bomb_is_refused_at_its_first_overlap() {
    // Many entries whose contents all end in the same swollen bytes.
    let data = deflate(&vec![0; 1 << 20]);
    let kernel = ZipEntry { data, ..ZipEntry::deflated("k", &vec![0; 1 << 20]) };
    let quoted = |n: usize| {
        let mut entry = kernel.clone().both(|head| head.name = format!("f{n}").into_bytes());
        entry.offset = Some(0);
        entry.data.clear();
        entry
    };
    let entries: Vec<_> = std::iter::once(kernel.clone()).chain((0..50).map(quoted)).collect();
    refused_zip(&entries, Code::Overlap);
}

#[test]
fn a_bomb_is_refused() {
    refused_zip(&[ZipEntry::deflated("zeros", &vec![0; 8 << 20])], Code::Ratio);
    let many: Vec<_> = (0..40).map(|n| ZipEntry::deflated(&format!("z{n}"), &vec![0; 1 << 20])).collect();
    refused_zip(&many, Code::Ratio);
    // It says that it is small.
    let lying = ZipEntry::deflated("zeros", &vec![0; 8 << 20]).both(|head| head.size = 10);
    refused_zip(&[lying], Code::SizeMismatch);
}

#[test]
fn absurd_sizes_in_64_bits_are_refused_before_anything_is_read() {
    let big = |numbers: &[u64]| {
        let field = zip64(numbers);
        STORED("a", "xyz").both(|head| {
            (head.size, head.packed) = (u32::MAX, u32::MAX);
            head.extra = field.clone();
        })
    };
    refused_zip(&[big(&[u64::MAX, u64::MAX])], Code::Overlap);
    refused_zip(&[big(&[1 << 40, 1 << 40])], Code::Overlap);
    refused_zip(&[big(&[1 << 40, 3])], Code::SizeMismatch);
    refused_zip(&[big(&[3])], Code::Corrupt);
    refused_zip(&[STORED("a", "xyz").both(|head| head.size = u32::MAX)], Code::Corrupt);
    let swollen = ZipEntry::deflated("a", b"xyz").both(|head| head.size = u32::MAX - 1);
    refused_zip(&[swollen], Code::FileTooLarge);
    // Right sizes in 64 bits are taken.
    assert_eq!(World::new().receive(&zip(&[big(&[3, 3])])).unwrap().summary.bytes, 3);
}

#[test]
fn a_count_that_lies_is_refused() {
    let (body, start) = zip_body(&[STORED("a", "x"), STORED("b", "y")]);
    let end = |count, size: usize| zip_end(count, size as u32, start as u32, b"");
    let size = body.len() - start;
    refused(&[&body[..], &end(1, size)].concat(), Code::Corrupt);
    refused(&[&body[..], &end(3, size)].concat(), Code::Corrupt);
    refused(&[&body[..], &end(2, size - 1)].concat(), Code::Corrupt);
    refused(&[&body[..], &end(40_000, size)].concat(), Code::TooManyEntries);
    refused(&zip64_end(&[STORED("a", "x")], 1 << 60), Code::TooManyEntries);
    assert_eq!(World::new().receive(&zip64_end(&[STORED("a", "x")], 1)).unwrap().summary.files, 1);
}

#[test]
fn an_archive_that_is_cut_is_refused() {
    let whole = zip(&[STORED("a", "xyz"), ZipEntry::deflated("b", b"hello")]);
    for length in [4, 30, 60, whole.len() - 22] {
        refused(&whole[..length], Code::Truncated);
    }
    for length in [whole.len() - 1, whole.len() - 10] {
        refused(&whole[..length], Code::TrailingData);
    }
}

#[test]
fn something_in_front_or_behind_is_refused() {
    let whole = zip(&[STORED("a", "xyz")]);
    refused(&[&whole[..], b"tail"].concat(), Code::TrailingData);
    refused(&[b"PK\x03\x04 a program that unpacks itself", &whole[..]].concat(), Code::Corrupt);
    refused(&[&whole[..], &whole[..]].concat(), Code::Corrupt);
}

#[test]
fn an_end_within_the_comment_of_another_is_refused() {
    let inner = zip_end(0, 0, 0, b"");
    refused(&zip_commented(&[STORED("a", "xyz")], &inner), Code::Corrupt);
    World::new().receive(&zip_commented(&[STORED("a", "xyz")], b"a comment")).unwrap();
}

#[test]
fn one_part_of_several_is_refused() {
    let mut bytes = zip(&[STORED("a", "xyz")]);
    let at = bytes.len() - 22 + 4;
    bytes[at] = 1;
    refused(&bytes, Code::Unsupported);
}

#[test]
fn an_archive_without_files_is_refused() {
    refused(&zip(&[]), Code::Empty);
    refused(&zip(&[STORED("d/", "")]), Code::Empty);
}

#[test]
fn each_limit_holds() {
    let files: Vec<_> = (0..11).map(|n| STORED(&format!("f{n}"), "0123456789")).collect();
    let archive = zip(&files);
    counts_are_limited(&archive);
}

#[test]
fn no_damage_to_any_byte_panics_or_escapes() {
    let whole = zip(&[STORED("a", "xyz"), ZipEntry::deflated("b/c", b"hello")]);
    let world = World::new();
    let before = world.snapshot();
    for at in 0..whole.len() {
        for change in [0x01, 0x55, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            drop(world.receive(&bytes));
            assert_eq!(world.snapshot(), before);
        }
    }
}
