//! Packing, and unpacking what was packed.

use super::{World, files, snapshot};
use crate::package::{Code, Kind, PackageError, pack};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// An app's directory with these files.
fn app(list: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("app");
    fs::create_dir(&dir).unwrap();
    for (file, text) in list {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    (temp, dir)
}

fn packed(dir: &Path, kind: Kind) -> Result<Vec<u8>, PackageError> {
    let mut bytes = Vec::new();
    pack(dir, kind, &mut bytes)?;
    Ok(bytes)
}

/// The names in the package of a directory.
fn names(dir: &Path) -> Vec<String> {
    let world = World::new();
    let staged = world.receive(&packed(dir, Kind::TarZst).unwrap()).unwrap();
    files(&staged.path()).into_keys().collect()
}

#[track_caller]
fn refused(dir: &Path, code: Code) {
    let error = packed(dir, Kind::TarGz).unwrap_err();
    assert_eq!(error.code, code, "{error}");
}

#[test]
fn what_was_packed_unpacks_to_the_same_tree() {
    let long = format!("node_modules/{}/{}", "d".repeat(150), "f".repeat(150));
    let text = "export default {}\n".repeat(10_000);
    let (_temp, dir) =
        app(&[("index.ts", &text), ("a/empty", ""), ("a/caf\u{e9}", "x"), (&long, "long"), ("run", "#!")]);
    fs::set_permissions(dir.join("run"), fs::Permissions::from_mode(0o700)).unwrap();
    for kind in [Kind::TarGz, Kind::TarZst] {
        let world = World::new();
        let archive = packed(&dir, kind).unwrap();
        let staged = world.receive(&archive).unwrap();
        assert_eq!(staged.summary.kind, kind);
        assert_eq!(files(&staged.path()), files(&dir));
        let modes = snapshot(&staged.path());
        assert_eq!(modes[Path::new("run")], "755 \"#!\"");
        assert_eq!(modes[Path::new("a/empty")], "644 \"\"");
    }
}

#[test]
fn the_same_files_give_the_same_bytes() {
    let list = [("b", "2"), ("a", "1"), ("c/d", "3")];
    let (_one, one) = app(&list);
    let (_two, two) = app(&[list[2], list[1], list[0]]);
    fs::File::open(two.join("a")).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    fs::set_permissions(two.join("b"), fs::Permissions::from_mode(0o600)).unwrap();
    for kind in [Kind::TarGz, Kind::TarZst] {
        assert_eq!(packed(&one, kind).unwrap(), packed(&two, kind).unwrap());
    }
}

#[test]
fn another_reader_reads_what_is_packed() {
    let long = format!("d/{}", "f".repeat(200));
    let (_temp, dir) = app(&[("index.ts", "hello"), (&long, "long")]);
    let archive = packed(&dir, Kind::TarGz).unwrap();
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(&archive[..]));
    let mut found = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        let (header, path) = (entry.header(), entry.path().unwrap().display().to_string());
        assert_eq!((header.mtime().unwrap(), header.uid().unwrap(), header.mode().unwrap()), (0, 0, 0o644));
        found.push((path, text));
    }
    assert_eq!(found, [(long, "long".into()), ("index.ts".into(), "hello".into())]);
}

#[test]
fn hidden_directories_and_secrets_stay_and_modules_go_along() {
    let (_temp, dir) = app(&[
        (".git/config", ""),
        (".env", "A=1"),
        (".env.local", "SECRET=1"),
        ("sub/.env.production.local", "SECRET=1"),
        ("node_modules/a/index.js", ""),
        ("node_modules/.cache/x", ""),
        ("index.ts", ""),
    ]);
    assert_eq!(names(&dir), [".env", "index.ts", "node_modules/a/index.js"]);
}

#[test]
fn the_ignore_list_decides() {
    let list = [(".buntimeignore", "node_modules\n*.log\n!keep.log\n"), ("node_modules/a", "")];
    let (_temp, dir) = app(&[list[0], list[1], ("x.log", ""), ("keep.log", ""), ("index.ts", "")]);
    assert_eq!(names(&dir), ["index.ts", "keep.log"]);
    fs::write(dir.join(".buntimeignore"), "[a]").unwrap();
    refused(&dir, Code::IgnoreList);
}

#[test]
fn a_link_to_a_file_of_the_package_becomes_that_file() {
    let (_temp, dir) = app(&[("a.ts", "a"), ("sub/b.ts", "b")]);
    symlink("sub/b.ts", dir.join("link.ts")).unwrap();
    symlink(dir.join("a.ts"), dir.join("sub/absolute.ts")).unwrap();
    let world = World::new();
    let staged = world.receive(&packed(&dir, Kind::TarGz).unwrap()).unwrap();
    let found = files(&staged.path());
    assert_eq!((found["link.ts"].as_str(), found["sub/absolute.ts"].as_str()), ("\"b\"", "\"a\""));
}

#[test]
fn a_link_that_leaves_the_package_is_refused() {
    for target in ["/etc/passwd", "../secret", "gone", "../appendix/x", ".env.local", ".git/config"] {
        let (temp, dir) = app(&[("index.ts", ""), (".env.local", "SECRET=1"), (".git/config", "")]);
        fs::write(temp.path().join("secret"), "secret").unwrap();
        fs::create_dir(temp.path().join("appendix")).unwrap();
        fs::write(temp.path().join("appendix/x"), "x").unwrap();
        symlink(target, dir.join("link")).unwrap();
        refused(&dir, Code::LinkOutside);
    }
}

#[test]
fn a_link_to_a_directory_is_refused() {
    let (_temp, dir) = app(&[("a/index.ts", "")]);
    symlink("a", dir.join("link")).unwrap();
    refused(&dir, Code::LinkToDirectory);
    fs::remove_file(dir.join("link")).unwrap();
    symlink(".", dir.join("loop")).unwrap();
    refused(&dir, Code::LinkToDirectory);
}

#[test]
fn what_could_not_be_unpacked_is_not_packed() {
    let (_temp, dir) = app(&[("index.ts", "")]);
    let fifo = dir.join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused(&dir, Code::SpecialFile);
    fs::remove_file(fifo).unwrap();
    fs::write(dir.join("a\nb"), "").unwrap();
    refused(&dir, Code::PathControl);
    assert_eq!(packed(&dir, Kind::Zip).unwrap_err().code, Code::Unsupported);
}
