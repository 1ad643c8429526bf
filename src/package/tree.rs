//! The tree that an archive unpacks to: makes its files and directories, and remembers what was made.

use super::identity::Likeness;
use super::limits::Meter;
use super::names::{EntryPath, show};
use super::{Code, Limits, PackageError, step};
use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Not one step of a path may be a link, and none may leave the directory.
pub(super) const INSIDE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
const TOP: u32 = 0;

/// Writes below a directory that was empty.
pub(super) struct Tree<'a> {
    root: BorrowedFd<'a>,
    pub meter: Meter<'a>,
    pub files: u64,
    /// By the directory they are in and what they look like.
    nodes: HashMap<(u32, String), Vec<Node>>,
    next: u32,
}

struct Node {
    id: u32,
    name: String,
    likeness: Likeness,
    is_dir: bool,
    /// An entry of its own, not only a step in the path of another.
    stated: bool,
}

impl<'a> Tree<'a> {
    pub fn new(root: BorrowedFd<'a>, limits: &'a Limits) -> Tree<'a> {
        Tree { root, meter: Meter::new(limits), files: 0, nodes: HashMap::new(), next: TOP + 1 }
    }

    /// Makes a directory; for the top itself there is nothing to make.
    pub fn directory(&mut self, path: &EntryPath) -> Result<(), PackageError> {
        let Some((last, above)) = path.parts.split_last() else { return Ok(()) };
        let parent = self.enter(above)?;
        let node = match self.find(parent, last, &path.parts)? {
            None => return self.make(parent, &path.parts, true).map(|_| ()),
            Some(node) => node,
        };
        if !node.is_dir {
            return Err(file_and_directory(&path.parts));
        }
        if std::mem::replace(&mut node.stated, true) {
            return Err(duplicate(&path.parts));
        }
        Ok(())
    }

    /// Makes a file of a size that was stated, and opens it for writing.
    pub fn file(&mut self, path: &EntryPath, size: u64, executable: bool) -> Result<File, PackageError> {
        let Some((last, above)) = path.parts.split_last().filter(|_| !path.slash) else {
            let message = format!("`{}/` is a file with the name of a directory", joined(&path.parts));
            return Err(PackageError::new(Code::FileAndDirectory, message));
        };
        let parent = self.enter(above)?;
        if let Some(node) = self.find(parent, last, &path.parts)? {
            let is_dir = node.is_dir;
            return Err(if is_dir { file_and_directory(&path.parts) } else { duplicate(&path.parts) });
        }
        self.meter.entry()?;
        self.meter.file(&joined(&path.parts), size)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let io = |error: Errno| PackageError::io(format!("create `{}`", joined(&path.parts)), error);
        let file = open(self.root, &path.parts.join("/"), flags, Mode::RUSR | Mode::WUSR).map_err(io)?;
        let mode = Mode::from_raw_mode(if executable { 0o755 } else { 0o644 });
        rustix::fs::fchmod(&file, mode).map_err(io)?;
        self.remember(parent, last, false, true);
        self.files += 1;
        step::reached();
        Ok(File::from(file))
    }

    /// The one directory that everything is in, if there is one.
    pub fn only_top(&self) -> Option<&str> {
        let mut top =
            self.nodes.iter().filter(|((parent, _), _)| *parent == TOP).flat_map(|(_, nodes)| nodes);
        match (top.next(), top.next()) {
            (Some(node), None) if node.is_dir => Some(&node.name),
            _ => None,
        }
    }

    /// Goes down a path and makes the directories that are missing.
    fn enter(&mut self, parts: &[String]) -> Result<u32, PackageError> {
        let mut at = TOP;
        for (index, part) in parts.iter().enumerate() {
            let path = &parts[..=index];
            at = match self.find(at, part, path)? {
                Some(node) if node.is_dir => node.id,
                Some(_) => return Err(file_and_directory(path)),
                None => self.make(at, path, false)?,
            };
        }
        Ok(at)
    }

    /// What has this very name. One that merely looks like it is an error.
    fn find(&mut self, parent: u32, name: &str, path: &[String]) -> Result<Option<&mut Node>, PackageError> {
        let likeness = Likeness::of(name);
        let Some(nodes) = self.nodes.get_mut(&(parent, likeness.signs.clone())) else { return Ok(None) };
        if let Some(other) = nodes.iter().find(|node| node.name != name && node.likeness.clashes(&likeness)) {
            let (path, other) = (joined(path), show(other.name.as_bytes()));
            let message = format!("`{path}` and `{other}` beside it are one name on some file systems");
            return Err(PackageError::new(Code::NameClash, message));
        }
        Ok(nodes.iter_mut().find(|node| node.name == name))
    }

    fn make(&mut self, parent: u32, path: &[String], stated: bool) -> Result<u32, PackageError> {
        self.meter.entry()?;
        let io = |error: Errno| PackageError::io(format!("create the directory `{}`", joined(path)), error);
        let (last, above) = path.split_last().ok_or(Errno::INVAL).map_err(io)?;
        let directory = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let holder = match above {
            [] => None,
            above => Some(open(self.root, &above.join("/"), directory, Mode::empty()).map_err(io)?),
        };
        let holder = holder.as_ref().map_or(self.root, |holder| holder.as_fd());
        mkdirat(holder, last.as_str(), Mode::RWXU).map_err(io)?;
        let made = open(holder, last, directory, Mode::empty()).map_err(io)?;
        rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755)).map_err(io)?;
        step::reached();
        Ok(self.remember(parent, last, true, stated))
    }

    fn remember(&mut self, parent: u32, name: &str, is_dir: bool, stated: bool) -> u32 {
        let (id, likeness) = (self.next, Likeness::of(name));
        self.next += 1;
        let node = Node { id, name: name.to_owned(), likeness, is_dir, stated };
        self.nodes.entry((parent, node.likeness.signs.clone())).or_default().push(node);
        id
    }
}

/// Opens beneath a directory, through no link.
pub(super) fn open(at: BorrowedFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    loop {
        match openat2(at, path, flags, mode, INSIDE) {
            Err(Errno::INTR | Errno::AGAIN) => {}
            opened => return opened,
        }
    }
}

fn joined(parts: &[String]) -> String {
    show(parts.join("/").as_bytes())
}

fn duplicate(path: &[String]) -> PackageError {
    PackageError::new(Code::Duplicate, format!("`{}` is in the archive twice", joined(path)))
}

fn file_and_directory(path: &[String]) -> PackageError {
    let message = format!("`{}` is a file and a directory", joined(path));
    PackageError::new(Code::FileAndDirectory, message)
}
