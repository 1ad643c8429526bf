//! Stamps of directory trees: two looks that give the same number saw the same tree.

use super::disk::Disk;
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Entries of a tree that a stamp takes in. What lies beyond is not noticed.
const MAX_ENTRIES: usize = 50_000;
/// Entries of one directory.
const MAX_LISTED: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Everything (inside `node_modules` only the directories): has somebody finished copying?
    Whole,
    /// What a developer edits: without `node_modules` and without dot names, but with `.env`.
    Source,
}

/// A number for the tree below `dir`; it changes with names, sizes and times of what `view` takes in. A tree that
/// cannot be read has one, too.
pub(super) fn stamp(disk: &Disk, dir: &Path, view: View) -> u64 {
    let mut sum = 0u64;
    walk(disk, dir, view, |path, is_dir| {
        // Inside `node_modules` there are too many files; what is added there changes its directories.
        if is_dir || !path.ancestors().any(is_modules) {
            sum = sum.wrapping_add(of_one(disk, path, view, is_dir));
        }
    });
    sum
}

/// The directories below and including `dir` whose changes a developer wants to see, at most `most`.
pub(super) fn source_dirs(disk: &Disk, dir: &Path, most: usize) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    walk(disk, dir, View::Source, |path, is_dir| {
        if is_dir && dirs.len() < most {
            dirs.push(path.to_owned());
        }
    });
    dirs
}

/// Shows `visit` the directory and what is below it; links are not followed.
fn walk(disk: &Disk, dir: &Path, view: View, mut visit: impl FnMut(&Path, bool)) {
    visit(dir, true);
    let (mut open, mut seen) = (vec![dir.to_owned()], 0);
    while let Some(dir) = open.pop() {
        let Ok(listing) = disk.list(&dir, MAX_LISTED) else { continue };
        for item in listing.items {
            let is_dir = item.is_dir == Some(true);
            if view == View::Source && !is_source(&item.name, is_dir) {
                continue;
            }
            seen += 1;
            if seen > MAX_ENTRIES {
                return;
            }
            let path = dir.join(&item.name);
            visit(&path, is_dir);
            if is_dir {
                open.push(path);
            }
        }
    }
}

/// Addition makes the order of the walk irrelevant.
fn of_one(disk: &Disk, path: &Path, view: View, is_dir: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    if let Ok(meta) = disk.stat_link(path) {
        meta.ino().hash(&mut hasher);
        match view {
            // The time of change cannot be set, so a copy that keeps times is noticed, too.
            View::Whole => (meta.len(), meta.ctime(), meta.ctime_nsec()).hash(&mut hasher),
            // What is listed says enough of a directory; files that do not count change its times.
            View::Source if is_dir => {}
            View::Source => (meta.len(), meta.mtime(), meta.mtime_nsec()).hash(&mut hasher),
        }
    }
    hasher.finish()
}

fn is_source(name: &OsStr, is_dir: bool) -> bool {
    match name.to_str() {
        Some("node_modules") => !is_dir,
        Some(".env") => true,
        Some(name) => !name.starts_with('.'),
        None => true,
    }
}

fn is_modules(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "node_modules")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn both(dir: &Path) -> (u64, u64) {
        let disk = Disk::default();
        (stamp(&disk, dir, View::Whole), stamp(&disk, dir, View::Source))
    }

    /// Writes so that size differs: two writes may share a time stamp.
    fn grow(path: &Path) {
        let old = fs::read(path).unwrap_or_default();
        fs::write(path, [old, b"x".to_vec()].concat()).unwrap();
    }

    #[test]
    fn an_untouched_tree_keeps_its_stamp_and_any_write_changes_it() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        grow(&dir.path().join("src/a.ts"));
        let before = both(dir.path());
        assert_eq!(both(dir.path()), before);
        grow(&dir.path().join("src/a.ts"));
        let after = both(dir.path());
        assert!(after.0 != before.0 && after.1 != before.1);
        fs::rename(dir.path().join("src/a.ts"), dir.path().join("src/b.ts")).unwrap();
        assert!(both(dir.path()).0 != after.0 && both(dir.path()).1 != after.1);
    }

    #[test]
    fn the_developers_view_passes_over_modules_and_dot_names_but_not_env() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("node_modules/x")).unwrap();
        fs::create_dir_all(dir.path().join(".git")).unwrap();
        let before = both(dir.path());
        for name in [".git/HEAD", "node_modules/x/index.js", ".index.ts.swp"] {
            grow(&dir.path().join(name));
        }
        assert_eq!(both(dir.path()).1, before.1);
        assert_ne!(both(dir.path()).0, before.0);
        grow(&dir.path().join(".env"));
        assert_ne!(both(dir.path()).1, before.1);
    }

    #[test]
    fn source_directories_are_those_a_developer_edits_up_to_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a/b", "node_modules/x", ".git/y"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let disk = Disk::default();
        let expected = [dir.path().to_owned(), dir.path().join("a"), dir.path().join("a/b")];
        assert_eq!(source_dirs(&disk, dir.path(), 10), expected);
        assert_eq!(source_dirs(&disk, dir.path(), 2), expected[..2]);
    }

    #[test]
    fn a_tree_that_is_not_there_has_a_stamp() {
        both(Path::new("/nowhere/at/all"));
    }
}
