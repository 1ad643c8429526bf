//! Stamps of directory trees: two looks that give the same number saw the same tree.

use super::disk::Disk;
use super::ignored::Ignored;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

/// Entries of a tree that a stamp takes in. What lies beyond, deeper down, is not noticed.
const MAX_ENTRIES: usize = 50_000;
/// Entries of one directory.
const MAX_LISTED: usize = 10_000;

/// What tools make of the sources; editing them is not done there.
const OUTPUT: [&str; 5] = ["dist", "build", "out", "coverage", "target"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// Everything (inside `node_modules` only the directories): has somebody finished copying?
    Whole,
    /// What a developer edits: without `node_modules`, without what is written by what runs, and without dot names, but with `.env`.
    Source(Ignored),
    /// The same without build output, but for that which is served.
    Edited(Served, Ignored),
}

/// What of an app's directory is served, relative to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Served {
    #[default]
    Unknown,
    /// This module.
    Module(PathBuf),
    /// All that is in here.
    Site(PathBuf),
}

/// The style sheets of a tree by their path in it, each with its part of the tree's stamp.
pub(super) type Sheets = BTreeMap<PathBuf, u64>;

/// A number for the tree below `dir`; it changes with names, sizes and times of what `view` takes in. A tree that
/// cannot be read has one, too.
pub(super) fn stamp(disk: &Disk, dir: &Path, view: &View) -> u64 {
    stamp_with_sheets(disk, dir, view).0
}

/// The same, and what of it is style sheets.
pub(super) fn stamp_with_sheets(disk: &Disk, dir: &Path, view: &View) -> (u64, Sheets) {
    let (mut sum, mut sheets) = (0u64, Sheets::new());
    walk(disk, dir, view, |path, is_dir| {
        // Inside `node_modules` there are too many files; what is added there changes its directories.
        if is_dir || !path.ancestors().any(is_modules) {
            let part = of_one(disk, path, view, is_dir);
            sum = sum.wrapping_add(part);
            if !is_dir && path.extension().is_some_and(|extension| extension == "css") {
                sheets.insert(path.strip_prefix(dir).unwrap_or(path).to_owned(), part);
            }
        }
    });
    (sum, sheets)
}

/// Which style sheets differ between two looks at a tree; none = something else does, too, or nothing does.
pub(super) fn restyled(before: (u64, &Sheets), after: (u64, &Sheets)) -> Option<Vec<PathBuf>> {
    let without =
        |(sum, sheets): (u64, &Sheets)| sheets.values().fold(sum, |sum, part| sum.wrapping_sub(*part));
    // One that comes or goes changes what else it is named in.
    if without(before) != without(after) || !before.1.keys().eq(after.1.keys()) {
        return None;
    }
    let differs = |(path, part): (&PathBuf, &u64)| (before.1.get(path) != Some(part)).then(|| path.clone());
    let sheets: Vec<_> = after.1.iter().filter_map(differs).collect();
    (!sheets.is_empty()).then_some(sheets)
}

/// The directories below and including `dir` whose changes a developer wants to see, at most `most`.
pub(super) fn source_dirs(disk: &Disk, dir: &Path, view: &View, most: usize) -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    walk(disk, dir, view, |path, is_dir| {
        if is_dir && dirs.len() < most {
            dirs.push(path.to_owned());
        }
    });
    dirs
}

/// Shows `visit` the directory and what is below it; links are not followed. Where that is too much, it is said once.
fn walk(disk: &Disk, top: &Path, view: &View, visit: impl FnMut(&Path, bool)) {
    static WARNED: Once = Once::new();
    let cut = walk_over(disk, top, view, MAX_ENTRIES, visit);
    if let Some(dir) = cut.filter(|_| *view != View::Whole) {
        WARNED.call_once(|| {
            tracing::warn!(
                target: "buntime::apps",
                dir = %dir.display(),
                "there are too many files to look at all of them: some changes in {} are not noticed", top.display()
            );
        });
    }
}

/// The same of about `most` entries, nearest first. Gives the first directory of which some were left out.
fn walk_over(
    disk: &Disk,
    top: &Path,
    view: &View,
    most: usize,
    mut visit: impl FnMut(&Path, bool),
) -> Option<PathBuf> {
    visit(top, true);
    let (mut open, mut seen, mut cut) = (VecDeque::from([top.to_owned()]), 0, None);
    while let Some(dir) = open.pop_front() {
        let Ok(listing) = disk.list(&dir, MAX_LISTED) else { continue };
        if listing.cut {
            cut.get_or_insert_with(|| dir.clone());
        }
        for item in listing.items {
            let is_dir = item.is_dir == Some(true);
            if !view.takes_in(&item.name, is_dir) {
                continue;
            }
            let path = dir.join(&item.name);
            if is_dir && view.passes_over(&item.name, path.strip_prefix(top).unwrap_or(&path)) {
                continue;
            }
            seen += 1;
            if seen > most {
                return Some(cut.unwrap_or(dir));
            }
            visit(&path, is_dir);
            if is_dir {
                open.push_back(path);
            }
        }
    }
    cut
}

/// Addition makes the order of the walk irrelevant.
fn of_one(disk: &Disk, path: &Path, view: &View, is_dir: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    if let Ok(meta) = disk.stat_link(path) {
        meta.ino().hash(&mut hasher);
        match view {
            // The time of change cannot be set, so a copy that keeps times is noticed, too.
            View::Whole => (meta.len(), meta.ctime(), meta.ctime_nsec()).hash(&mut hasher),
            // What is listed says enough of a directory; files that do not count change its times.
            View::Source(_) | View::Edited(..) if is_dir => {}
            View::Source(_) | View::Edited(..) => {
                (meta.len(), meta.mtime(), meta.mtime_nsec()).hash(&mut hasher)
            }
        }
    }
    hasher.finish()
}

impl View {
    fn takes_in(&self, name: &OsStr, is_dir: bool) -> bool {
        match self {
            View::Whole => true,
            View::Source(ignored) | View::Edited(_, ignored) => is_source(name, is_dir) && !ignored.has(name),
        }
    }

    /// Whether this directory (its path within the tree) is build output that is not served.
    fn passes_over(&self, name: &OsStr, path: &Path) -> bool {
        let View::Edited(served, _) = self else { return false };
        let is_served = match served {
            Served::Unknown => false,
            Served::Module(module) => module.starts_with(path),
            Served::Site(root) => root.starts_with(path) || path.starts_with(root),
        };
        !is_served && OUTPUT.iter().any(|output| name == *output)
    }
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
        (stamp(&disk, dir, &View::Whole), stamp(&disk, dir, &View::Source(Ignored::default())))
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
        assert_eq!(source_dirs(&disk, dir.path(), &View::Source(Ignored::default()), 10), expected);
        assert_eq!(source_dirs(&disk, dir.path(), &View::Source(Ignored::default()), 2), expected[..2]);
    }

    #[test]
    fn build_output_counts_only_where_it_is_served() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["dist/assets", "lib/build", "src"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        let disk = Disk::default();
        let of =
            |served: &Served| stamp(&disk, dir.path(), &View::Edited(served.clone(), Ignored::default()));
        let module = |path: &str| Served::Module(path.into());
        let site = |path: &str| Served::Site(path.into());
        for (served, counts) in [
            (Served::Unknown, [false, false, true]),
            (module("src/index.ts"), [false, false, true]),
            (module("dist/index.js"), [true, false, true]),
            (site("dist"), [true, false, true]),
            (site(""), [true, true, true]),
        ] {
            let files = ["dist/assets/a.js", "lib/build/b.js", "src/c.ts"];
            let changed = files.map(|file| {
                let before = of(&served);
                grow(&dir.path().join(file));
                of(&served) != before
            });
            assert_eq!(changed, counts, "{served:?}");
        }
    }

    #[test]
    fn a_change_of_style_sheets_alone_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let look =
            || stamp_with_sheets(&disk, dir.path(), &View::Edited(Served::Unknown, Ignored::default()));
        let mut before = look();
        let mut change = |files: &[&str]| {
            files.iter().for_each(|file| grow(&dir.path().join(file)));
            let after = look();
            let told = restyled((before.0, &before.1), (after.0, &after.1));
            before = after;
            told
        };
        assert_eq!(change(&["a.css"]), None, "it is new");
        assert_eq!(change(&["a.css"]), Some(vec!["a.css".into()]));
        assert_eq!(change(&["b.css", "c.ts"]), None);
        assert_eq!(change(&["b.css", "c.ts"]), None);
        assert_eq!(change(&["a.css", "b.css"]), Some(vec!["a.css".into(), "b.css".into()]));
        assert_eq!(change(&[]), None, "nothing has changed");
    }

    #[test]
    fn a_tree_that_is_not_there_has_a_stamp() {
        both(Path::new("/nowhere/at/all"));
    }

    /// Depth first, one directory of data above the sources took all that a look takes in.
    #[test]
    fn of_too_many_files_the_nearest_count_and_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["src", "uploads/deep"] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        (0..20).for_each(|n| grow(&dir.path().join(format!("uploads/deep/{n}"))));
        grow(&dir.path().join("src/index.ts"));
        let seen = |most| {
            let mut seen = Vec::new();
            let view = View::Source(Ignored::default());
            let cut = walk_over(&Disk::default(), dir.path(), &view, most, |path, _| {
                seen.push(path.strip_prefix(dir.path()).unwrap().to_owned());
            });
            (seen.contains(&"src/index.ts".into()), cut)
        };
        assert_eq!(seen(10), (true, Some(dir.path().join("uploads/deep"))));
        assert_eq!(seen(100), (true, None));
    }

    #[test]
    fn what_runs_may_write_among_the_sources() {
        let dir = tempfile::tempdir().unwrap();
        let look = || stamp(&Disk::default(), dir.path(), &View::Source(Ignored::with(&["cache".into()])));
        let before = look();
        fs::create_dir(dir.path().join("cache")).unwrap();
        for name in ["data.db", "data.db-wal", "server.log", "cache/a.ts"] {
            grow(&dir.path().join(name));
        }
        assert_eq!(look(), before);
    }
}
