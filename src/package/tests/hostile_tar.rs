//! Tars that must be refused.

use super::build::{entry, file, gzip, patch, pax, raw_entry, tar, tgz};
use super::{Limits, World, counts_are_limited, refusal_within, refused};
use crate::package::Code;

#[track_caller]
fn refused_tar(entries: &[Vec<u8>], code: Code) -> String {
    refused(&gzip(&tar(entries)), code).message
}

#[test]
fn an_entry_that_climbs_out_is_refused() {
    for name in ["../outside.txt", "a/../../outside.txt", "..", "a/.."] {
        assert!(refused_tar(&[file("a/ok", ""), file(name, "x")], Code::PathTraversal).contains(name));
    }
}

#[test]
fn an_absolute_path_is_refused() {
    for name in ["/tmp/x", "//x", "/"] {
        refused_tar(&[file(name, "x")], Code::PathAbsolute);
    }
}

#[test]
fn a_name_that_is_no_plain_path_is_refused() {
    for (name, code) in [
        (&b""[..], Code::PathEmpty),
        (b"a//b", Code::PathComponent),
        (b"a/./b", Code::PathComponent),
        (b"C:/x", Code::PathDrive),
        (b"a\\..\\b", Code::PathBackslash),
        (b"a\nb", Code::PathControl),
        (b"caf\xe9", Code::PathNotUtf8),
    ] {
        refused_tar(&[raw_entry(name, b'0', 1, b"x")], code);
    }
}

#[test]
fn a_long_or_deep_path_is_refused() {
    refused_tar(&[pax(&[("path", &"a/".repeat(600))]), file("x", "")], Code::PathTooLong);
    refused_tar(&[pax(&[("path", &"a".repeat(256))]), file("x", "")], Code::ComponentTooLong);
    refused_tar(&[pax(&[("path", &["a"; 33].join("/"))]), file("x", "")], Code::TooDeep);
    refused_tar(&[entry("l", b'L', "a".repeat(1100).as_bytes()), file("x", "")], Code::PathTooLong);
}

#[test]
fn a_link_is_refused_wherever_it_leads() {
    for target in ["ok.ts", "../outside.txt", "/etc/passwd"] {
        for (kind, code) in [(b'2', Code::SymbolicLink), (b'1', Code::HardLink)] {
            let link = patch(entry("link", kind, b""), 157, target.as_bytes());
            refused_tar(&[file("ok.ts", ""), link], code);
        }
    }
}

#[test]
fn a_link_and_a_file_through_it_are_refused() {
    let link = patch(entry("d", b'2', b""), 157, b"/tmp");
    refused_tar(&[link, file("d/x", "x")], Code::SymbolicLink);
}

#[test]
fn a_link_with_a_gnu_long_target_is_refused() {
    let target = entry("././@LongLink", b'K', &[b'a'; 300]);
    refused_tar(&[target, entry("link", b'2', b"")], Code::SymbolicLink);
}

#[test]
fn devices_and_fifos_are_refused() {
    for kind in *b"346" {
        refused_tar(&[entry("dev", kind, b"")], Code::SpecialFile);
    }
}

#[test]
fn sparse_files_are_refused_old_and_new() {
    refused_tar(&[entry("sparse", b'S', b"")], Code::Sparse);
    for key in ["GNU.sparse.major", "GNU.sparse.map", "GNU.sparse.realsize"] {
        refused_tar(&[pax(&[(key, "1")]), file("sparse", "x")], Code::Sparse);
    }
}

#[test]
fn kinds_that_are_not_known_are_refused() {
    for kind in *b"7DMNVXAz" {
        refused_tar(&[entry("x", kind, b"")], Code::Unsupported);
    }
}

#[test]
fn a_set_user_bit_does_not_survive() {
    let world = World::new();
    let archive =
        gzip(&tar(&[patch(file("a", "x"), 100, b"0006755"), patch(file("b", ""), 100, b"0001666")]));
    let staged = world.receive(&archive).unwrap();
    let snapshot = super::snapshot(&staged.path());
    assert_eq!(snapshot[std::path::Path::new("a")], "755 \"x\"");
    assert_eq!(snapshot[std::path::Path::new("b")], "644 \"\"");
}

#[test]
fn one_name_twice_is_refused() {
    refused_tar(&[file("a", "1"), file("b", ""), file("a", "2")], Code::Duplicate);
    refused_tar(&[file("a", "1"), file("./a", "2")], Code::Duplicate);
    refused_tar(&[entry("d/", b'5', b""), file("d/x", ""), entry("d", b'5', b"")], Code::Duplicate);
}

#[test]
fn names_that_are_one_on_some_file_systems_are_refused() {
    for (a, b) in [
        ("Index.ts", "index.ts"),
        ("lib/a", "LIB/b"),
        ("caf\u{e9}", "cafe\u{301}"),
        ("d/stra\u{df}e", "d/STRASSE"),
    ] {
        refused_tar(&[file(a, "1"), file(b, "2")], Code::NameClash);
    }
}

#[test]
fn a_file_in_the_place_of_a_directory_is_refused_and_the_other_way_round() {
    refused_tar(&[file("a", ""), file("a/b", "")], Code::FileAndDirectory);
    refused_tar(&[file("a/b", ""), file("a", "")], Code::FileAndDirectory);
    refused_tar(&[entry("a", b'5', b""), file("a", "")], Code::FileAndDirectory);
    refused_tar(&[file("a", ""), entry("a/", b'5', b"")], Code::FileAndDirectory);
    refused_tar(&[file("a/", "x")], Code::FileAndDirectory);
    refused_tar(&[file("./", "x")], Code::FileAndDirectory);
}

#[test]
fn a_directory_with_contents_is_refused() {
    refused_tar(&[entry("d", b'5', b"hidden")], Code::SizeMismatch);
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let sized = |field: &[u8]| patch(file("a", ""), 124, field);
    // Negative, 2^63, more than 64 bits, and no number.
    refused_tar(&[sized(&[0xff; 12])], Code::Corrupt);
    refused_tar(&[sized(&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0])], Code::Corrupt);
    refused_tar(&[sized(&[0x80, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])], Code::Corrupt);
    refused_tar(&[sized(b"00000000-12\0")], Code::Corrupt);
    refused_tar(&[sized(b"00000000009\0")], Code::Corrupt);
    // 8 GiB in octal, 1 TiB in binary.
    refused_tar(&[sized(b"77777777777\0")], Code::FileTooLarge);
    refused_tar(&[sized(&[0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0])], Code::FileTooLarge);
    for size in ["-1", "1e3", "", "99999999999999999999"] {
        refused_tar(&[pax(&[("size", size)]), file("a", "x")], Code::Corrupt);
    }
    refused_tar(&[pax(&[("size", "1099511627776")]), file("a", "x")], Code::FileTooLarge);
}

#[test]
fn a_size_that_swallows_the_next_entries_ends_too_early() {
    refused_tar(&[raw_entry(b"a", b'0', 100_000, b"x"), file("b", "")], Code::Truncated);
    refused_tar(&[pax(&[("size", "100000")]), file("a", "x"), file("b", "")], Code::Truncated);
}

#[test]
fn a_size_that_is_too_small_leaves_no_header_where_one_must_be() {
    let contents = vec![b'x'; 2000];
    refused_tar(&[raw_entry(b"a", b'0', 10, &contents)], Code::Corrupt);
}

#[test]
fn pax_records_and_long_names_that_break_the_rules_are_refused() {
    for records in
        [&b"x"[..], b"12 path=a\n", b"8 path=a\n", b"99999999999 path=a\n", b"10 patha\n\n\n", b"-9 path=a\n"]
    {
        refused_tar(&[entry("pax", b'x', records), file("a", "")], Code::Corrupt);
    }
    refused_tar(&[pax(&[("path", "../x")]), file("a", "")], Code::PathTraversal);
    refused_tar(&[pax(&[("path", "a\0b")]), file("a", "")], Code::PathControl);
    refused_tar(&[pax(&[("path", "a"), ("path", "b")]), file("a", "")], Code::Corrupt);
    refused_tar(&[entry("l", b'L', b"a\0"), pax(&[("path", "b")]), file("a", "")], Code::Corrupt);
    refused_tar(&[entry("l", b'L', b"/etc/x\0"), file("a", "")], Code::PathAbsolute);
    refused_tar(&[entry("l", b'L', b"a\0b\0"), file("a", "")], Code::PathControl);
    refused_tar(&[file("a", ""), entry("l", b'L', b"b\0")], Code::Corrupt);
    refused_tar(&[raw_entry(b"pax", b'x', 1 << 30, b""), file("a", "")], Code::PathTooLong);
    refused_tar(&[entry("g", b'g', b"10 path=a\n"), file("b", "")], Code::Unsupported);
    let many: Vec<_> = (0..5).map(|_| pax(&[("mtime", "1")])).chain([file("a", "")]).collect();
    refused_tar(&many, Code::Corrupt);
}

#[test]
fn a_wrong_header_checksum_is_refused() {
    let mut bytes = tar(&[file("a", "x"), file("b", "x")]);
    bytes[1024] = b'c';
    refused(&gzip(&bytes), Code::Corrupt);
}

#[test]
fn a_tar_without_its_end_is_refused() {
    let whole = tar(&[file("a", "x")]);
    for length in [100, 512, 513, 1023, 1024, 1025, 1536, whole.len() - 1] {
        refused(&gzip(&whole[..length]), Code::Truncated);
    }
}

#[test]
fn something_behind_the_end_is_refused_and_padding_is_not() {
    let whole = tar(&[file("a", "x")]);
    refused(&gzip(&[&whole[..], &file("b", "hidden")].concat()), Code::TrailingData);
    refused(&gzip(&[&whole[..], &[0; 10_000], b"x"].concat()), Code::TrailingData);
    let world = World::new();
    world.receive(&gzip(&[&whole[..], &[0; 9000]].concat())).unwrap();
}

#[test]
fn an_empty_header_among_entries_is_refused() {
    refused_tar(&[file("a", "x"), vec![0; 512], file("b", "")], Code::Corrupt);
}

#[test]
fn an_archive_without_files_is_refused() {
    refused_tar(&[], Code::Empty);
    refused_tar(&[entry("d", b'5', b""), entry("./", b'5', b"")], Code::Empty);
}

#[test]
fn each_limit_holds() {
    let files: Vec<_> = (0..11).map(|n| file(&format!("f{n}"), "0123456789")).collect();
    let archive = gzip(&tar(&files));
    counts_are_limited(&archive);
    let code = |limits: Limits| refusal_within(&archive, &limits).code;
    assert_eq!(code(Limits { component: 2, ..Limits::default() }), Code::ComponentTooLong);
    assert_eq!(code(Limits { path: 2, ..Limits::default() }), Code::PathTooLong);
}

#[test]
fn directories_on_the_way_to_a_file_count_as_entries() {
    let archive = tgz(&[("a/b/c/d", "x")]);
    let limits = |entries| Limits { entries, ..Limits::default() };
    World::new().receive_within(&archive, &limits(4)).unwrap();
    assert_eq!(refusal_within(&archive, &limits(3)).code, Code::TooManyEntries);
}

#[test]
fn a_message_names_the_entry_and_cannot_act_on_a_terminal() {
    let message = refused_tar(&[raw_entry(b"\x1b[2Jevil", b'0', 0, b"")], Code::PathControl);
    assert!(message.contains("\\u{1b}[2Jevil"), "{message}");
}

#[test]
fn no_damage_to_any_byte_of_a_header_panics_or_escapes() {
    let entries = [pax(&[("path", "long/name")]), file("a", "xyz"), entry("d/", b'5', b"")];
    let world = World::new();
    let before = world.snapshot();
    for (index, entry) in entries.iter().enumerate() {
        for at in (0..entry.len()).filter(|at| !(148..156).contains(at)) {
            let mut damaged = entries.clone();
            damaged[index] = patch(entry.clone(), at, &[entry[at] ^ if at % 2 == 0 { 0x55 } else { 0xff }]);
            drop(world.receive(&gzip(&tar(&damaged))));
        }
    }
    assert_eq!(world.snapshot(), before);
}
