//! What the kernel tells of directories (inotify(7)), asked for changes alone: events for what is merely opened or read would
//! wake us for each file that an app looks at, and crowd out the others.

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

const CHANGES: AddWatchFlags = AddWatchFlags::IN_ATTRIB
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MODIFY)
    .union(AddWatchFlags::IN_MOVE)
    .union(AddWatchFlags::IN_DELETE_SELF)
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_ONLYDIR);

/// More than so many notices at once are not told one by one.
const MOST: usize = 10_000;

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Something happened to this directory or to this entry of it.
    Touched(PathBuf),
    /// There was more than the kernel keeps.
    Lost,
}

/// Directories under watch, without what is below them.
pub(super) struct Notices {
    inotify: Inotify,
    /// The kernel has one watch for a directory, whatever paths lead to it.
    dirs: HashMap<WatchDescriptor, Vec<PathBuf>>,
}

impl Notices {
    /// # Errors
    /// The system grants no further instance.
    pub fn new() -> nix::Result<Notices> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Notices { inotify, dirs: HashMap::new() })
    }

    /// # Errors
    /// It is no directory, or the system grants no further watch.
    pub fn watch(&mut self, dir: &Path) -> nix::Result<WatchDescriptor> {
        let watch = self.inotify.add_watch(dir, CHANGES)?;
        let paths = self.dirs.entry(watch).or_default();
        if !paths.iter().any(|path| path == dir) {
            paths.push(dir.to_owned());
        }
        Ok(watch)
    }

    pub fn unwatch(&mut self, dir: &Path, watch: WatchDescriptor) {
        let Some(paths) = self.dirs.get_mut(&watch) else { return };
        paths.retain(|path| path != dir);
        if paths.is_empty() {
            self.dirs.remove(&watch);
            // It fails for a directory that no longer exists, whose watch went with it.
            let _ = self.inotify.rm_watch(watch);
        }
    }

    /// What has happened since the last call. Does not wait.
    pub fn take(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        loop {
            if notices.len() > MOST {
                // A look at everything costs less.
                return vec![Notice::Lost];
            }
            let events = match self.inotify.read_events() {
                Ok(events) => events,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => return notices,
                Err(_) => {
                    notices.push(Notice::Lost);
                    return notices;
                }
            };
            for event in events {
                if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
                    notices.push(Notice::Lost);
                    continue;
                }
                for dir in self.dirs.get(&event.wd).into_iter().flatten() {
                    let name = event.name.as_ref();
                    notices.push(Notice::Touched(name.map_or_else(|| dir.clone(), |name| dir.join(name))));
                }
            }
        }
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn watched() -> (tempfile::TempDir, Notices) {
        let temp = tempfile::tempdir().unwrap();
        let mut notices = Notices::new().unwrap();
        notices.watch(temp.path()).unwrap();
        (temp, notices)
    }

    #[test]
    fn changes_are_told_and_reading_is_not() {
        let (temp, mut notices) = watched();
        let file = temp.path().join("file");
        fs::write(&file, "text").unwrap();
        assert!(notices.take().contains(&Notice::Touched(file.clone())));

        fs::read(&file).unwrap();
        fs::read_dir(temp.path()).unwrap().for_each(drop);
        assert_eq!(notices.take(), []);

        fs::remove_file(&file).unwrap();
        assert_eq!(notices.take(), [Notice::Touched(file)]);
    }

    #[test]
    fn a_directory_that_is_no_longer_watched_is_silent() {
        let (temp, mut notices) = watched();
        let watch = notices.watch(temp.path()).unwrap();
        notices.unwatch(temp.path(), watch);
        fs::write(temp.path().join("file"), "text").unwrap();
        assert_eq!(notices.take(), []);
    }

    #[test]
    fn a_directory_with_two_paths_is_watched_until_both_are_given_up() {
        let (temp, mut notices) = watched();
        let (dir, link) = (temp.path().join("dir"), temp.path().join("link"));
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        notices.take();
        let [one, two] = [&dir, &link].map(|path| notices.watch(path).unwrap());
        fs::write(dir.join("file"), "").unwrap();
        let touched = |path: &Path| Notice::Touched(path.join("file"));
        assert_eq!(notices.take(), [touched(&dir), touched(&link)]);
        notices.unwatch(&dir, one);
        fs::remove_file(dir.join("file")).unwrap();
        assert_eq!(notices.take(), [touched(&link)]);
        notices.unwatch(&link, two);
        fs::write(dir.join("file"), "").unwrap();
        assert_eq!(notices.take(), []);
    }

    #[test]
    fn more_than_the_kernel_keeps_is_told_as_lost() {
        let (temp, mut notices) = watched();
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let (one, two) = (temp.path().join("one"), temp.path().join("two"));
        fs::write(&one, "text").unwrap();
        // Two events each, and never the same one twice in a row, which the kernel would count as one.
        for _ in 0..most.trim().parse::<usize>().unwrap() / 4 + 1 {
            fs::rename(&one, &two).unwrap();
            fs::rename(&two, &one).unwrap();
        }
        assert_eq!(notices.take().last(), Some(&Notice::Lost));
    }
}
