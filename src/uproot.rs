//! Removing a tree that an app has worked in: however deep it is, and whatever its directories allow. Links in it are removed,
//! not followed.
//!
//! `std::fs::remove_dir_all` takes a stack frame and a descriptor for each level, and an app can make tens of thousands. Here
//! a few directories are open at a time, and those that are deeper are moved up to the top first.

use rustix::fs::{
    AtFlags, CWD, Dir, DirEntry, FileType, Mode, OFlags, chmod, fchmod, fstat, openat, renameat, unlinkat,
};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Levels that are open at a time.
const DEEPEST: usize = 16;
/// Looks from the top: somebody may still be writing, and some file systems leave out names while others are removed.
const LOOKS: usize = 3;

/// Removes what is at a path; a link itself.
///
/// # Errors
/// It is not there, or something in it cannot be removed. What can be is removed all the same.
pub fn remove(path: &Path) -> io::Result<()> {
    remove_at(CWD, path)
}

/// The same, by its name in a directory.
///
/// # Errors
/// As `remove`.
pub fn remove_at(holder: BorrowedFd<'_>, name: impl AsRef<Path>) -> io::Result<()> {
    let name = CString::new(name.as_ref().as_os_str().as_bytes())?;
    match unlinkat(holder, &name, AtFlags::REMOVEDIR) {
        // Nearly always it is empty, which costs a fifth of a look at what is in it.
        Ok(()) => return Ok(()),
        Err(Errno::NOTDIR) => return Ok(unlinkat(holder, &name, AtFlags::empty())?),
        Err(Errno::NOTEMPTY | Errno::EXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let top = open(holder, &name)?;
    let mut removal = Removal { top: top.as_fd(), moved: VecDeque::new(), next: 0, failed: None };
    let mut failed = Errno::NOTEMPTY;
    for _ in 0..LOOKS {
        removal.empty_top();
        let left = removal.failed.take();
        match unlinkat(holder, &name, AtFlags::REMOVEDIR) {
            Ok(()) => return Ok(()),
            Err(error) => failed = left.unwrap_or(error),
        }
    }
    Err(failed.into())
}

struct Removal<'a> {
    top: BorrowedFd<'a>,
    /// The names of what was moved to the top and was not looked at since.
    moved: VecDeque<CString>,
    /// What the next one may be called.
    next: u64,
    /// The first thing that could not be done.
    failed: Option<Errno>,
}

/// An open directory.
struct Level {
    /// In the one above.
    name: CString,
    fd: OwnedFd,
    entries: Dir,
}

impl Level {
    fn open(above: BorrowedFd<'_>, name: &CStr) -> Result<Level, Errno> {
        let fd = open(above, name)?;
        let entries = Dir::read_from(&fd)?;
        Ok(Level { name: name.to_owned(), fd, entries })
    }
}

impl Removal<'_> {
    fn empty_top(&mut self) {
        let top = self.top;
        self.empty(c".");
        while let Some(name) = self.moved.pop_front() {
            self.empty(&name);
            self.note(unlinkat(top, &name, AtFlags::REMOVEDIR));
        }
    }

    /// Empties a directory in the top, or the top itself.
    fn empty(&mut self, name: &CStr) {
        let mut levels = match Level::open(self.top, name) {
            Ok(first) => vec![first],
            Err(error) => return self.note(Err(error)),
        };
        loop {
            let may_open = levels.len() < DEEPEST;
            let Some(level) = levels.last_mut() else { return };
            match level.entries.next() {
                Some(Ok(entry)) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                Some(Ok(entry)) => match self.entry(level.fd.as_fd(), &entry, may_open) {
                    Ok(inner) => levels.extend(inner),
                    Err(error) => self.note(Err(error)),
                },
                Some(Err(error)) => {
                    self.note(Err(error));
                    self.leave(&mut levels);
                }
                None => self.leave(&mut levels),
            }
        }
    }

    fn leave(&mut self, levels: &mut Vec<Level>) {
        if let (Some(done), Some(above)) = (levels.pop(), levels.last()) {
            self.note(unlinkat(&above.fd, &done.name, AtFlags::REMOVEDIR));
        }
    }

    /// Removes an entry, or gives it open where it has to be emptied first, or moves it to the top where it is too deep for that.
    fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        entry: &DirEntry,
        may_open: bool,
    ) -> Result<Option<Level>, Errno> {
        let name = entry.file_name();
        if entry.file_type() != FileType::Directory {
            match unlinkat(dir, name, AtFlags::empty()) {
                // Not every file system tells the type.
                Err(Errno::ISDIR) => {}
                removed => return removed.map(|()| None),
            }
        }
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            removed => return removed.map(|()| None),
        }
        if may_open {
            return Level::open(dir, name).map(Some);
        }
        self.move_up(dir, name).map(|()| None)
    }

    fn move_up(&mut self, dir: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let mut opened = false;
        loop {
            let new = CString::new(self.next.to_string()).unwrap_or_default();
            match renameat(dir, name, self.top, &new) {
                Ok(()) => {
                    self.next += 1;
                    self.moved.push_back(new);
                    return Ok(());
                }
                // The name is taken.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => self.next += 1,
                // Moving a directory changes its `..`, which takes leave to write to it.
                Err(Errno::ACCESS) if !std::mem::replace(&mut opened, true) => drop(open(dir, name)?),
                Err(error) => return Err(error),
            }
        }
    }

    fn note(&mut self, done: Result<(), Errno>) {
        if let Err(error) = done
            && error != Errno::NOENT
        {
            self.failed.get_or_insert(error);
        }
    }
}

/// Opens a directory whose entries can be removed then, whatever mode the app has given it.
fn open(above: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let readable = || openat(above, name, flags | OFlags::RDONLY, Mode::empty());
    let dir = match readable() {
        Err(Errno::ACCESS) => {
            let itself = openat(above, name, flags | OFlags::PATH, Mode::empty())?;
            chmod(format!("/proc/self/fd/{}", itself.as_raw_fd()), Mode::RWXU)?;
            readable()?
        }
        dir => dir?,
    };
    if !Mode::from_raw_mode(fstat(&dir)?.st_mode).contains(Mode::RWXU) {
        // If it is another one's, what then fails says more.
        let _ = fchmod(&dir, Mode::RWXU);
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{mkdirat, symlinkat};
    use std::fs::{Permissions, create_dir, create_dir_all, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    /// Set for the process that has few descriptors.
    const FEW: &str = "BUNTIME_TEST_FEW_DESCRIPTORS";

    /// Directories in each other, in some of which is what `fill` makes.
    fn dig(top: &Path, levels: usize, fill: impl Fn(BorrowedFd<'_>)) {
        create_dir(top).unwrap();
        let mut dir = OwnedFd::from(std::fs::File::open(top).unwrap());
        for level in 0..levels {
            if level % 20 == 0 {
                fill(dir.as_fd());
            }
            mkdirat(&dir, "d", Mode::RWXU).unwrap();
            dir = openat(&dir, "d", OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn a_tree_of_20000_levels_is_removed_with_a_small_stack_and_few_descriptors() {
        let name = "uproot::tests::a_tree_of_20000_levels_is_removed_with_a_small_stack_and_few_descriptors";
        if std::env::var_os(FEW).is_none() {
            let mut shell = Command::new("sh");
            shell.args(["-c", "ulimit -n 40 && exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
            let output = shell.args(["--exact", name, "--nocapture"]).env(FEW, "yes").output().unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && told.contains("1 passed"), "{output:?}");
            return;
        }
        // In memory: a disk may take a minute for it.
        let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (outside, top) = (temp.path().join("outside"), temp.path().join("top"));
        create_dir(&outside).unwrap();
        write(outside.join("file"), "").unwrap();
        dig(&top, 20_000, |dir| {
            symlinkat(&outside, dir, "link").unwrap();
            mkdirat(dir, "0", Mode::RWXU).unwrap();
        });
        let small = std::thread::Builder::new().stack_size(64 * 1024);
        small.spawn(move || remove(&top)).unwrap().join().unwrap().unwrap();
        assert!(outside.join("file").exists());
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn whatever_is_in_a_tree_goes_with_it_and_what_a_link_leads_to_stays() {
        let temp = tempfile::tempdir().unwrap();
        let (outside, top) = (temp.path().join("outside"), temp.path().join("top"));
        for wide in 0..40 {
            create_dir_all(top.join(format!("{wide}/a/{wide}"))).unwrap();
            write(top.join(format!("{wide}/a/{wide}/file")), "").unwrap();
        }
        // Deep enough to be moved, to names that are taken.
        create_dir_all(top.join(["x"; 40].join("/"))).unwrap();
        write(&outside, "stays").unwrap();
        std::os::unix::fs::symlink(&outside, top.join("link")).unwrap();
        std::os::unix::fs::symlink(temp.path(), top.join("1/above")).unwrap();
        nix::unistd::mkfifo(&top.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        remove(&top).unwrap();
        assert!(!top.exists() && outside.exists());
        std::os::unix::fs::symlink(&outside, &top).unwrap();
        remove(&top).unwrap();
        assert!(top.symlink_metadata().is_err() && outside.exists());
        remove(&outside).unwrap();
        assert_eq!(remove(&outside).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn directories_that_nobody_may_read_or_write_go_too() {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path().join("top");
        for (number, mode) in [0o000, 0o500, 0o300, 0o600].into_iter().enumerate() {
            // Those with 15 levels above are moved, others opened.
            let dir = top.join([&*number.to_string(); 12].join("/"));
            create_dir_all(dir.join("e/e/e/e/e")).unwrap();
            for dir in dir.join("e/e/e/e").ancestors().take(5) {
                set_permissions(dir, Permissions::from_mode(mode)).unwrap();
            }
        }
        // Nothing is locked for root.
        if nix::unistd::geteuid().is_root() {
            nix::unistd::chown(temp.path(), Some(31_873.into()), None).unwrap();
            own(&top);
            let done = std::thread::spawn(move || {
                // Of this thread alone.
                rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(31_873)).unwrap();
                remove(&top)
            });
            done.join().unwrap().unwrap();
        } else {
            remove(&top).unwrap();
        }
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
    }

    fn own(dir: &Path) {
        nix::unistd::chown(dir, Some(31_873.into()), None).unwrap();
        for entry in std::fs::read_dir(dir).unwrap() {
            own(&entry.unwrap().path());
        }
    }
}
