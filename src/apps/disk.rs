//! The only door to the file system for the index and its watcher; counts what goes through.

use nix::unistd::AccessFlags;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    reads: Arc<AtomicU64>,
}

/// What a directory holds, by name.
pub(crate) struct Listing {
    pub items: Vec<Item>,
    /// There was more than the caller wanted to read.
    pub cut: bool,
}

pub(crate) struct Item {
    pub name: OsString,
    /// Of a symbolic link it is unknown; ask for what it leads to.
    pub is_dir: Option<bool>,
}

/// Tells one directory from another that was put in its place. The time of birth is there because file systems use an
/// inode number again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    born: Option<std::time::SystemTime>,
}

impl Disk {
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// What `path` leads to, links followed.
    pub fn stat(&self, path: &Path) -> io::Result<Metadata> {
        self.count();
        fs::metadata(path)
    }

    pub fn stat_link(&self, path: &Path) -> io::Result<Metadata> {
        self.count();
        fs::symlink_metadata(path)
    }

    pub fn is_file(&self, path: &Path) -> bool {
        self.stat(path).is_ok_and(|meta| meta.is_file())
    }

    /// Absolute, all links resolved.
    pub fn canonical(&self, path: &Path) -> io::Result<PathBuf> {
        self.count();
        path.canonicalize()
    }

    /// At most `most` entries of a directory, sorted by name.
    pub fn list(&self, dir: &Path, most: usize) -> io::Result<Listing> {
        self.count();
        let mut listing = Listing { items: Vec::new(), cut: false };
        for entry in fs::read_dir(dir)? {
            if listing.items.len() == most {
                listing.cut = true;
                break;
            }
            let entry = entry?;
            let kind = entry.file_type()?;
            let is_dir = (!kind.is_symlink()).then_some(kind.is_dir());
            listing.items.push(Item { name: entry.file_name(), is_dir });
        }
        listing.items.sort_unstable_by(|a, b| a.name.as_bytes().cmp(b.name.as_bytes()));
        Ok(listing)
    }

    /// The first `most` bytes and one more of a file in `dir` (absolute, links resolved).
    ///
    /// An app may be able to write its own directory, and what is read here reaches it again, as variables or in an
    /// error: so a link that leads out of `dir` (to the supervisor's `/proc/self/environ`, say) is not followed.
    /// Nothing but a regular file is opened to the end: a pipe would block.
    pub fn read_inside(&self, dir: &Path, name: &str, most: usize) -> io::Result<Vec<u8>> {
        let path = self.canonical(&dir.join(name))?;
        let leads_out = || io::Error::new(io::ErrorKind::PermissionDenied, "it leads out of its directory");
        let inside = path.strip_prefix(dir).map_err(|_| leads_out())?;
        self.count();
        // What was looked at may be a link by now.
        let file = open_beneath(dir, inside).map_err(|error| match error {
            Errno::LOOP | Errno::XDEV => leads_out(),
            error => error.into(),
        })?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(most as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn count(&self) {
        self.reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Opens a file through no link, neither on the way to `dir` nor in it.
fn open_beneath(dir: &Path, inside: &Path) -> Result<File, Errno> {
    let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat2(CWD, dir, way, Mode::empty(), ResolveFlags::NO_SYMLINKS)?;
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    openat2(dir, inside, flags, Mode::empty(), resolve).map(File::from)
}

/// The first of these directories that this process can make entries in: its permissions allow it (access(2), with the
/// effective ids), and its file system is not mounted read-only. Uploads go there.
pub fn first_writable(dirs: &[PathBuf]) -> Option<PathBuf> {
    let writable = |dir: &&PathBuf| {
        dir.is_dir() && nix::unistd::eaccess(dir.as_path(), AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
    };
    dirs.iter().find(writable).cloned()
}

impl Listing {
    /// Whether the directory may hold this name: without doubt unless the listing was cut.
    pub fn may_have(&self, name: &str) -> bool {
        self.cut || self.items.binary_search_by(|item| item.name.as_bytes().cmp(name.as_bytes())).is_ok()
    }
}

impl Identity {
    pub fn of(meta: &Metadata) -> Identity {
        Identity { device: meta.dev(), inode: meta.ino(), born: meta.created().ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_first_directory_that_can_be_written_is_found() {
        let temp = tempfile::tempdir().unwrap();
        let [locked, one, two] = ["locked", "one", "two"].map(|name| temp.path().join(name));
        for dir in [&locked, &one, &two] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(temp.path().join("file"), "").unwrap();
        fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
        // Nothing is locked for root.
        let first = if nix::unistd::geteuid().is_root() { &locked } else { &one };
        let dirs = [temp.path().join("missing"), temp.path().join("file"), locked.clone(), one.clone(), two];
        assert_eq!(first_writable(&dirs), Some(first.clone()));
        assert_eq!(first_writable(&dirs[..2]), None);
    }

    /// As an app could do it that writes to its own directory.
    #[test]
    fn a_directory_that_becomes_a_link_between_two_steps_does_not_lead_out() {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path().canonicalize().unwrap();
        for (file, text) in [("hidden/file", "secret"), ("app/conf/file", "own")] {
            fs::create_dir_all(top.join(file).parent().unwrap()).unwrap();
            fs::write(top.join(file), text).unwrap();
        }
        std::os::unix::fs::symlink(top.join("hidden"), top.join("link")).unwrap();
        let (app, exchange) = (top.join("app"), rustix::fs::RenameFlags::EXCHANGE);
        let swap = |a: &Path| rustix::fs::renameat_with(CWD, a, CWD, top.join("link"), exchange).unwrap();
        for (swapped, inside) in [(app.join("conf"), "conf/file"), (app.clone(), "file")] {
            assert!(open_beneath(&app, Path::new("conf/file")).is_ok());
            swap(&swapped);
            assert_eq!(open_beneath(&app, Path::new(inside)).unwrap_err(), Errno::LOOP);
            assert!(Disk::default().read_inside(&app, inside, 10).is_err());
            swap(&swapped);
        }
        assert_eq!(Disk::default().read_inside(&app, "conf/file", 10).unwrap(), b"own");
    }

    #[test]
    fn what_is_mounted_read_only_cannot_be_written_not_even_by_root() {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        // `ro` of an overlay's lower layers stands behind other options; that of the mount itself comes first.
        let read_only = fields.filter(|fields| fields[3].split(',').next() == Some("ro"));
        let dirs: Vec<_> = read_only.map(|fields| PathBuf::from(fields[1])).collect();
        assert_eq!(first_writable(&dirs), None, "{mounts}");
    }
}
