//! Archives as people make them.

use super::build::{ZipEntry, entry, file, gzip, pax, tar, tgz, zip, zstd};
use super::{World, files, snapshot};
use crate::package::{Kind, Staging};
use std::io::Write;
use std::process::Command;

#[test]
fn a_package_of_any_kind_gives_the_same_tree() {
    let list = [("index.ts", "export default {}"), ("src/deep/a.ts", "a"), ("empty", "")];
    let bare = tar(&list.map(|(name, text)| file(name, text)));
    let zipped = zip(&list.map(|(name, text)| ZipEntry::deflated(name, text.as_bytes())));
    let mut trees = Vec::new();
    for (archive, kind) in [(gzip(&bare), Kind::TarGz), (zstd(&bare), Kind::TarZst), (zipped, Kind::Zip)] {
        let world = World::new();
        let staged = world.receive(&archive).unwrap();
        let summary = &staged.summary;
        assert_eq!((summary.kind, summary.files, summary.bytes), (kind, 3, 18));
        assert_eq!((summary.entries, &summary.top), (5, &None));
        trees.push(snapshot(&staged.path()));
    }
    assert!(trees.iter().all(|tree| *tree == trees[0]), "{trees:?}");
    let expected = [("empty", "\"\""), ("index.ts", "\"export default {}\""), ("src/deep/a.ts", "\"a\"")];
    let found: Vec<_> = trees[0].iter().filter(|(_, what)| what.starts_with("644")).collect();
    let found: Vec<_> = found.iter().map(|(path, what)| (path.to_str().unwrap(), &what[4..])).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_top_directory_that_everything_is_in_is_left_out() {
    let top = |list: &[(&str, &str)]| {
        let world = World::new();
        let staged = world.receive(&tgz(list)).unwrap();
        files(&staged.path()).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(
        top(&[("package/package.json", "{}"), ("package/src/a.ts", "")]),
        ["package.json", "src/a.ts"]
    );
    assert_eq!(top(&[("./package/a", ""), ("package/b", "")]), ["a", "b"]);
    assert_eq!(top(&[("package/a", ""), ("b", "")]), ["b", "package/a"]);
    // Only one.
    assert_eq!(top(&[("a/b/c", "")]), ["b/c"]);
    assert_eq!(top(&[("a", "")]), ["a"]);
}

#[test]
fn long_names_of_both_kinds_are_taken() {
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    let gnu = entry("././@LongLink", b'L', format!("{long}\0").as_bytes());
    for extra in [gnu, pax(&[("path", &long), ("mtime", "1.5")])] {
        let world = World::new();
        let staged = world.receive(&gzip(&tar(&[file("a", ""), extra, file("short", "x")]))).unwrap();
        assert!(files(&staged.path()).contains_key(&long));
    }
}

#[test]
fn directories_may_come_before_or_behind_their_files_or_not_at_all() {
    let world = World::new();
    let list = [
        entry("./", b'5', b""),
        entry("a/", b'5', b""),
        file("a/x", ""),
        file("b/y", ""),
        entry("b", b'5', b""),
    ];
    let staged = world.receive(&gzip(&tar(&list))).unwrap();
    assert_eq!(files(&staged.path()).into_keys().collect::<Vec<_>>(), ["a/x", "b/y"]);
}

#[test]
fn a_comment_for_all_entries_as_git_writes_it_is_taken() {
    let world = World::new();
    let comment = entry("pax_global_header", b'g', b"18 comment=0123ab\n");
    world.receive(&gzip(&tar(&[comment, file("a", "x")]))).unwrap();
}

/// Runs a program in a directory with a small app; none = it is not there.
fn made_by(program: &str, arguments: &[&str], out: &str) -> Option<Vec<u8>> {
    let temp = tempfile::tempdir().unwrap();
    let app = temp.path().join("app");
    std::fs::create_dir_all(app.join("src/caf\u{e9}")).unwrap();
    std::fs::write(app.join("package.json"), r#"{"name":"shop","version":"1.0.0"}"#).unwrap();
    std::fs::write(app.join("src/caf\u{e9}/index.ts"), "export default {}".repeat(1000)).unwrap();
    let status = match Command::new(program).args(arguments).current_dir(&app).output() {
        Ok(output) => output,
        Err(error) => {
            crate::testing::skip(program, &error.to_string());
            return None;
        }
    };
    assert!(status.status.success(), "{program}: {}", String::from_utf8_lossy(&status.stderr));
    Some(std::fs::read(app.join(out)).unwrap())
}

#[test]
fn what_common_programs_make_is_taken() {
    const PYTHON: &str = "import zipfile,sys,os
out = open('o.zip', 'wb')
class Pipe:
    def write(self, b): return out.write(b)
    def flush(self): out.flush()
with zipfile.ZipFile(Pipe(), 'w', zipfile.ZIP_DEFLATED) as z:
    z.write('package.json'); z.write('src/caf\\u00e9/index.ts')
    with z.open('big', 'w', force_zip64=True) as f: f.write(os.urandom(2000))
";
    for (program, arguments, out) in [
        ("tar", &["--format=gnu", "-czf", "../o", "."][..], "../o"),
        ("tar", &["--format=posix", "-czf", "../o", "package.json", "src"], "../o"),
        ("tar", &["--format=ustar", "-czf", "../o", "package.json", "src"], "../o"),
        ("tar", &["--format=v7", "-czf", "../o", "package.json", "src"], "../o"),
        ("tar", &["--zstd", "-cf", "../o", "package.json", "src"], "../o"),
        ("zip", &["-qr", "../o.zip", "."], "../o.zip"),
        ("zip", &["-q0r", "../o.zip", "package.json", "src"], "../o.zip"),
        ("sh", &["-c", "zip -qr - . > ../o.zip"], "../o.zip"),
        ("python3", &["-c", PYTHON], "o.zip"),
    ] {
        let Some(archive) = made_by(program, arguments, out) else { continue };
        let world = World::new();
        let staged =
            world.receive(&archive).unwrap_or_else(|error| panic!("{program} {arguments:?}: {error}"));
        let found = files(&staged.path());
        assert!(found.contains_key("package.json"), "{program} {arguments:?}: {found:?}");
        assert_eq!(found["src/caf\u{e9}/index.ts"].len(), 17_002, "{program} {arguments:?}");
    }
}

#[test]
fn a_large_package_is_taken_in_little_memory() {
    let before = memory();
    let mut noise = 1u64;
    let mut bytes = vec![0; 32 << 20];
    for chunk in bytes.chunks_mut(8) {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        chunk.copy_from_slice(&noise.to_le_bytes());
    }
    let temp = tempfile::tempfile().unwrap();
    let mut gz = flate2::write::GzEncoder::new(&temp, flate2::Compression::none());
    gz.write_all(&tar(&[super::build::raw_entry(b"noise", b'0', 32 << 20, &bytes)])).unwrap();
    gz.finish().unwrap();
    drop(bytes);
    let world = World::new();
    let peak = memory();
    let staged = Staging::create(&world.dir()).unwrap().receive(&temp, &Default::default()).unwrap();
    assert_eq!(staged.summary.bytes, 32 << 20);
    assert!(memory() < peak + (8 << 20), "{before} {peak} {}", memory());
}

/// The most memory that this process had at once, in bytes. Each test is a process of its own under nextest.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
