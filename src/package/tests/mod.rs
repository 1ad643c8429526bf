//! Tests of whole packages: hostile archives, ordinary ones, installing, kills at every step, packing.

mod build;
mod checking;
mod hostile_streams;
mod hostile_tar;
mod hostile_zip;
mod installing;
pub(super) mod killed;
mod ordinary;
mod packing;
mod removing;

use super::tar::encode;
use super::{Code, Limits, PackageError, Staged, Staging, unpack};
use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A worker directory with an app in it, and files around it that nobody may touch.
struct World {
    temp: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let temp = tempfile::tempdir().unwrap();
        for (file, text) in [("outside.txt", "outside"), ("w/other@1.0.0/index.ts", "other"), ("w/x/y", "y")]
        {
            let path = temp.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let world = World { temp };
        // So that the directory for stagings is there.
        drop(Staging::create(&world.dir()).unwrap());
        world
    }

    /// The worker directory.
    fn dir(&self) -> PathBuf {
        self.temp.path().join("w")
    }

    fn receive(&self, archive: &[u8]) -> Result<Staged, PackageError> {
        self.receive_within(archive, &Limits::default())
    }

    fn receive_within(&self, archive: &[u8], limits: &Limits) -> Result<Staged, PackageError> {
        Staging::create(&self.dir()).unwrap().receive(Cursor::new(archive), limits)
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.dir().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        snapshot(self.temp.path())
    }
}

/// Everything below a directory: kind, mode, contents.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![dir.to_owned()];
    while let Some(path) = open.pop() {
        for entry in fs::read_dir(&path).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let contents = match () {
                () if meta.is_dir() => "directory".to_owned(),
                () if meta.is_file() => format!("{:?}", String::from_utf8_lossy(&fs::read(&path).unwrap())),
                () => format!("link to {:?}", fs::read_link(&path)),
            };
            let mode = meta.permissions().mode() & 0o7777;
            found.insert(path.strip_prefix(dir).unwrap().to_owned(), format!("{mode:o} {contents}"));
            if meta.is_dir() {
                open.push(path);
            }
        }
    }
    found
}

/// The files of a tree and their contents, without modes.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let all = snapshot(dir).into_iter().filter(|(_, what)| !what.ends_with("directory"));
    all.map(|(path, what)| (path.display().to_string(), what.split_once(' ').unwrap().1.to_owned())).collect()
}

/// An archive of eleven files of ten bytes is taken, and refused where any of these is one less.
#[track_caller]
fn counts_are_limited(archive: &[u8]) {
    let limits = || Limits { entries: 11, total: 110, file: 10, ..Limits::default() };
    World::new().receive_within(archive, &limits()).unwrap();
    let code = |limits: Limits| refusal_within(archive, &limits).code;
    assert_eq!(code(Limits { entries: 10, ..limits() }), Code::TooManyEntries);
    assert_eq!(code(Limits { total: 109, ..limits() }), Code::TotalTooLarge);
    assert_eq!(code(Limits { file: 9, ..limits() }), Code::FileTooLarge);
}

/// Receives an archive that must be refused: nothing outside of the staging was touched, and nothing is left in it.
#[track_caller]
fn refusal_within(archive: &[u8], limits: &Limits) -> PackageError {
    let world = World::new();
    let before = world.snapshot();
    let error = world.receive_within(archive, limits).map(|staged| staged.summary).unwrap_err();
    assert_eq!(world.snapshot(), before, "something was left behind");
    // The same without the cleaning up: what was written is below the directory, and is no link.
    let into = world.temp.path().join("into");
    fs::create_dir(&into).unwrap();
    let again = unpack(Cursor::new(archive), fs::File::open(&into).unwrap(), limits).unwrap_err();
    assert_eq!(again.code, error.code);
    let (inside, outside): (BTreeMap<_, _>, BTreeMap<_, _>) =
        world.snapshot().into_iter().partition(|(path, _)| path.starts_with("into"));
    assert_eq!(outside, before, "something was written outside");
    assert!(inside.values().all(|what| !what.contains("link to")), "a link was made: {inside:?}");
    assert!(!error.message.chars().any(char::is_control), "{:?}", error.message);
    error
}

#[track_caller]
fn refused(archive: &[u8], code: Code) -> PackageError {
    let error = refusal_within(archive, &Limits::default());
    assert_eq!(error.code, code, "{error}");
    error
}
