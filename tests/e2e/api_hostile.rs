//! Hostile packages, sent to the management API.

#![allow(dead_code)] // of what builds them, not everything is needed here

use super::api::{packed, snapshot};
use super::harness::Apps;
use buntime::package::Kind;
use std::io::Write;

#[path = "../../src/package/tests/build.rs"]
pub mod build;
#[path = "../../src/package/tar/encode.rs"]
mod encode;

use build::{
    ZipEntry, entry, file, gzip, patch, pax, raw_entry, tar, zip, zip_body, zip_commented, zip_end, zip64,
    zstd,
};

/// What it is, the code that it is refused with, its bytes.
type Hostile = (&'static str, &'static str, Vec<u8>);

fn sound() -> Vec<u8> {
    tar(&[file("index.ts", "export default {}")])
}

fn tars() -> Vec<Hostile> {
    let of = |what, code, entries: &[Vec<u8>]| -> Hostile {
        let all: Vec<_> = [file("index.html", "x")].into_iter().chain(entries.iter().cloned()).collect();
        (what, code, gzip(&tar(&all)))
    };
    let link = |kind, target: &str| patch(entry("link", kind, b""), 157, target.as_bytes());
    vec![
        of("climbs out", "package_path_traversal", &[file("../../../../outside.txt", "x")]),
        of("climbs out and in again", "package_path_traversal", &[file("a/../../../../x", "x")]),
        of("climbs out by a pax name", "package_path_traversal", &[pax(&[("path", "../x")]), file("a", "")]),
        of("absolute", "package_path_absolute", &[file("/tmp/hostile", "x")]),
        of(
            "absolute by a long name",
            "package_path_absolute",
            &[entry("l", b'L', b"/etc/x\0"), file("a", "")],
        ),
        of("a drive", "package_path_drive", &[file("C:/x", "x")]),
        of("a backslash", "package_path_backslash", &[file("a\\..\\b", "x")]),
        of("a control character", "package_path_control", &[file("a\nb", "x")]),
        of("not UTF-8", "package_path_not_utf8", &[raw_entry(b"caf\xe9", b'0', 1, b"x")]),
        of("no name", "package_path_empty", &[raw_entry(b"", b'0', 1, b"x")]),
        of("an empty component", "package_path_component", &[file("a//b", "x")]),
        of("too long", "package_path_too_long", &[pax(&[("path", &"a/".repeat(600))]), file("x", "")]),
        of(
            "a long component",
            "package_component_too_long",
            &[pax(&[("path", &"a".repeat(256))]), file("x", "")],
        ),
        of("too deep", "package_too_deep", &[pax(&[("path", &["a"; 33].join("/"))]), file("x", "")]),
        of("a link inside", "package_symbolic_link", &[link(b'2', "index.html")]),
        of("a link out", "package_symbolic_link", &[link(b'2', "../../../outside.txt")]),
        of("a file through a link", "package_symbolic_link", &[link(b'2', "/tmp"), file("link/x", "x")]),
        of("a hard link", "package_hard_link", &[link(b'1', "/etc/passwd")]),
        of("a device", "package_special_file", &[entry("dev", b'3', b"")]),
        of("a fifo", "package_special_file", &[entry("fifo", b'6', b"")]),
        of("a sparse file", "package_sparse", &[entry("sparse", b'S', b"")]),
        of("an unknown kind", "package_unsupported", &[entry("x", b'V', b"")]),
        of("one name twice", "package_duplicate", &[file("index.html", "2")]),
        of("a name in another case", "package_name_clash", &[file("INDEX.html", "2")]),
        of("a file as a directory", "package_file_and_directory", &[file("index.html/x", "")]),
        of("a negative size", "package_corrupt", &[patch(file("a", ""), 124, &[0xff; 12])]),
        of("a size of 1 TiB", "package_file_too_large", &[pax(&[("size", "1099511627776")]), file("a", "x")]),
        of(
            "a size that swallows",
            "package_truncated",
            &[raw_entry(b"a", b'0', 100_000, b"x"), file("b", "")],
        ),
        ("no files", "package_empty", gzip(&tar(&[entry("d", b'5', b"")]))),
    ]
}

fn streams() -> Vec<Hostile> {
    let bomb = |mut encoder: Box<dyn Write>| {
        encoder.write_all(&raw_entry(b"zeros", b'0', 16 << 20, b"")).unwrap();
        (0..16).for_each(|_| encoder.write_all(&vec![0; 1 << 20]).unwrap());
        encoder.write_all(&[0; 1024]).unwrap();
    };
    let mut bytes = gzip(&sound());
    let cut = bytes[..bytes.len() - 20].to_vec();
    let at = bytes.len() - 5;
    bytes[at] ^= 1;
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    bomb(Box::new(&mut gz));
    let mut zst = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
    bomb(Box::new(&mut zst));
    let mut wide = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    wide.window_log(27).unwrap();
    wide.write_all(&sound()).unwrap();
    let tail = |whole: Vec<u8>| [whole, b"a long enough tail of garbage".to_vec()].concat();
    vec![
        ("no archive", "package_unknown_kind", b"hello, world".to_vec()),
        ("a bare tar", "package_unknown_kind", sound()),
        ("a rar", "package_unknown_kind", b"Rar!\x1a\x07".to_vec()),
        ("cut", "package_truncated", cut),
        ("a wrong checksum", "package_checksum", bytes),
        ("a tail behind gzip", "package_trailing_data", tail(gzip(&sound()))),
        ("a tail behind zstd", "package_trailing_data", tail(zstd(&sound()))),
        ("a second archive", "package_trailing_data", [gzip(&sound()), gzip(&sound())].concat()),
        ("a gzip bomb", "package_ratio", gz.finish().unwrap()),
        ("a zstd bomb", "package_ratio", zst.finish().unwrap()),
        ("a zstd window", "package_window_too_large", wide.finish().unwrap()),
    ]
}

fn zips() -> Vec<Hostile> {
    let stored = ZipEntry::stored;
    let of = |what, code, one: ZipEntry| -> Hostile { (what, code, zip(&[stored("index.html", "x"), one])) };
    let mut twin = stored("index.html", "x");
    twin.offset = Some(0);
    let big = stored("a", "xyz").both(|head| {
        (head.size, head.packed) = (u32::MAX, u32::MAX);
        head.extra = zip64(&[u64::MAX, u64::MAX]);
    });
    let (body, start) = zip_body(&[stored("a", "x"), stored("b", "y")]);
    let count = [&body[..], &zip_end(40_000, (body.len() - start) as u32, start as u32, b"")].concat();
    vec![
        of("zip: climbs out", "package_path_traversal", stored("../../../../outside.txt", "x")),
        of("zip: absolute", "package_path_absolute", stored("/tmp/hostile", "x")),
        of("zip: a backslash", "package_path_backslash", stored("..\\x", "x")),
        of("zip: a link", "package_symbolic_link", stored("link", "/etc/passwd").mode(0o120_777)),
        of("zip: a device", "package_special_file", stored("special", "").mode(0o020_644)),
        of("zip: encrypted", "package_encrypted", stored("a", "x").both(|head| head.flags = 1)),
        of("zip: bzip2", "package_unsupported", stored("a", "x").both(|head| head.method = 12)),
        of("zip: a wrong checksum", "package_checksum", stored("a", "x").both(|head| head.checksum ^= 1)),
        of(
            "zip: two names",
            "package_headers_disagree",
            stored("a", "x").local(|head| head.name = b"../x".to_vec()),
        ),
        of("zip: a small size", "package_size_mismatch", stored("a", "xyz").both(|head| head.size = 2)),
        of("zip: shared bytes", "package_overlap", twin),
        of("zip: 64 bits", "package_overlap", big),
        of("zip: a bomb", "package_ratio", ZipEntry::deflated("zeros", &vec![0; 8 << 20])),
        ("zip: a count that lies", "package_too_many_entries", count),
        (
            "zip: an end in a comment",
            "package_corrupt",
            zip_commented(&[stored("a", "x")], &zip_end(0, 0, 0, b"")),
        ),
    ]
}

/// Packages that are whole and no apps.
fn apps_that_are_none() -> Vec<Hostile> {
    let of = |what, code, files: &[(&str, &str)]| -> Hostile { (what, code, packed(Kind::TarZst, files)) };
    let manifest = |text| [("index.html", ""), ("manifest.yaml", text)];
    vec![
        of("a wrong manifest", "package_manifest_invalid", &manifest("tll: 5m")),
        of("no entrypoint", "package_entrypoint_missing", &[("readme.md", "")]),
        of(
            "an entrypoint outside",
            "package_manifest_invalid",
            &manifest("entrypoint: ../../../outside.txt"),
        ),
        of("an entrypoint that is missing", "package_entrypoint_invalid", &manifest("entrypoint: a.ts")),
    ]
}

/// Sends each one, as a new app or over one that serves.
async fn each_is_refused(all: Vec<Hostile>) {
    let world = Apps::new().file("outside.txt", "outside").file("dirs/apps/shop@1.0.0/index.html", "shop");
    let (root, dir) = (world.path().to_owned(), world.path().join("dirs/apps"));
    let server = world.lean().managed().worker_dirs(&dir).start().await;
    let api = server.api();
    assert_eq!(server.get("/shop/").await.text(), "shop");
    let apps = api.get("/apps").await.json();
    let before = snapshot(&root);
    for (number, (what, code, bytes)) in all.into_iter().enumerate() {
        let queries = ["name=evil&version=1.0.0", "name=shop&version=1.0.0&replace=true"];
        let answer = api.deploy(queries[number % 2], bytes).await;
        let (status, said) = answer.problem();
        assert_eq!(said, code, "{what}: {answer:?}");
        assert!((400..500).contains(&status), "{what}: {status}");
        assert_eq!(snapshot(&root), before, "{what}");
    }
    assert_eq!(api.get("/apps").await.json(), apps);
    assert_eq!(server.get("/shop/").await.text(), "shop");
    assert_eq!(server.get("/evil/").await.status(), 404);
    let leftovers = std::fs::read_dir(dir.join(".buntime-staging")).unwrap().count();
    assert_eq!(leftovers, 0);
}

#[tokio::test]
async fn a_hostile_tar_is_refused_with_its_code_and_leaves_no_trace() {
    each_is_refused(tars()).await;
}

#[tokio::test]
async fn a_hostile_zip_is_refused_with_its_code_and_leaves_no_trace() {
    each_is_refused(zips()).await;
}

#[tokio::test]
async fn a_hostile_stream_is_refused_with_its_code_and_leaves_no_trace() {
    each_is_refused(streams()).await;
}

#[tokio::test]
async fn a_package_that_is_no_app_is_refused_with_its_code_and_leaves_no_trace() {
    each_is_refused(apps_that_are_none()).await;
}
