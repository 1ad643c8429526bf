//! The user that workers run as where the supervisor is root, and what that user cannot read.

use nix::unistd::{Group, User};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fchown, openat, statat};
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The operator may make this one for it.
const NAME: &str = "buntime-worker";
const NOBODY: u32 = 65_534;
/// Entries of an app's directory that are looked at for one that cannot be read.
const MOST: usize = 5000;
/// Each level of a data directory that changes hands costs a descriptor.
const DEEPEST: usize = 100;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub name: String,
}

/// Something that the workers' user would have to read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{} cannot be read by the user that workers run as, {user}", .path.display())]
pub struct Unreadable {
    pub path: PathBuf,
    pub user: String,
}

impl Unreadable {
    pub fn suggestion(&self) -> String {
        let bits = if self.path.is_dir() { "o+rx" } else { "o+r" };
        format!("let them read it: chmod {bits} {}", self.path.display())
    }
}

impl Identity {
    pub fn of_workers() -> Identity {
        let known = |name: &str| User::from_name(name).ok().flatten().filter(|user| !user.uid.is_root());
        match known(NAME).or_else(|| known("nobody")) {
            Some(User { name, uid, gid, .. }) => Identity { uid: uid.as_raw(), gid: gid.as_raw(), name },
            None => Identity { uid: NOBODY, gid: NOBODY, name: NOBODY.to_string() },
        }
    }

    /// Of the three bits (read 4, write 2, execute 1) those that hold for this user. Access control lists (acl(5)) are not looked at.
    fn has(&self, meta: &Metadata, bits: u32) -> bool {
        let shift = match meta {
            meta if meta.uid() == self.uid => 6,
            meta if meta.gid() == self.gid => 3,
            _ => 0,
        };
        meta.mode() >> shift & bits == bits
    }

    /// What lies in this directory is within reach.
    pub fn can_pass(&self, dir: &Path) -> bool {
        // What cannot even be looked at is told elsewhere.
        std::fs::metadata(dir).map_or(true, |meta| self.has(&meta, 1))
    }

    /// It can be read and what is in it is within reach, or it is a program that can be run.
    pub fn can_enter(&self, path: &Path) -> bool {
        std::fs::metadata(path).map_or(true, |meta| self.has(&meta, 5))
    }

    /// The first thing on the way from `from` down to the app's directory `dir`, or in it, that this user cannot read. Packages
    /// are not looked at.
    pub fn unreadable(&self, from: &Path, dir: &Path) -> Option<PathBuf> {
        let way: Vec<&Path> = dir.ancestors().take_while(|above| above.starts_with(from)).collect();
        let barred = way.into_iter().rev().find(|above| !self.can_pass(above));
        barred.map(Path::to_owned).or_else(|| self.unreadable_in(dir))
    }

    fn unreadable_in(&self, dir: &Path) -> Option<PathBuf> {
        let mut dirs = vec![dir.to_owned()];
        let mut looked = 0;
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).ok()?.flatten() {
                looked += 1;
                let Ok(meta) = std::fs::metadata(entry.path()) else { continue };
                let bits = if meta.is_dir() { 5 } else { 4 };
                if !self.has(&meta, bits) {
                    return Some(entry.path());
                }
                let real = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if real && entry.file_name() != "node_modules" {
                    dirs.push(entry.path());
                }
                if looked == MOST {
                    return None;
                }
            }
        }
        None
    }

    /// Makes a data directory this user's, with all that is in it: it was another one's, or is new. What has several names stays as
    /// it is, because one of them may be elsewhere.
    ///
    /// # Errors
    /// Something in it cannot be read or handed over.
    pub fn take_over(&self, dir: &Path) -> io::Result<()> {
        let top = File::open(dir)?;
        if top.metadata()?.uid() == self.uid {
            return Ok(());
        }
        self.take_over_in(top.as_fd(), 0)?;
        // Last of all: if this is interrupted it is begun again.
        Ok(fchown(&top, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?)
    }

    fn take_over_in(&self, dir: BorrowedFd<'_>, depth: usize) -> io::Result<()> {
        let (uid, gid) = (Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)));
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                if depth == DEEPEST {
                    return Err(io::Error::other("its directories are too deep in each other"));
                }
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let inner = openat(dir, name, flags, Mode::empty())?;
                self.take_over_in(inner.as_fd(), depth + 1)?;
                fchown(&inner, uid, gid)?;
            } else if stat.st_nlink == 1 {
                chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(())
    }

    /// As it is written to the operator.
    pub fn shown(&self) -> String {
        let group = Group::from_gid(self.gid.into()).ok().flatten().map(|group| group.name);
        format!("{} (uid {}, group {})", self.name, self.uid, group.unwrap_or_else(|| self.gid.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir_all, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_cannot_be_read_on_the_way_to_an_app_and_in_it_is_found() {
        let temp = tempfile::tempdir().unwrap();
        let top = temp.path();
        let mode = |path: &str, mode| set_permissions(top.join(path), Permissions::from_mode(mode)).unwrap();
        let app = top.join("team/shop");
        create_dir_all(app.join("src")).unwrap();
        create_dir_all(app.join("node_modules/x")).unwrap();
        write(app.join("src/a.ts"), "").unwrap();
        write(app.join("node_modules/x/y"), "").unwrap();
        for (path, bits) in [("", 0o755), ("team", 0o755), ("team/shop", 0o755), ("team/shop/src", 0o755)] {
            mode(path, bits);
        }
        mode("team/shop/src/a.ts", 0o644);
        mode("team/shop/node_modules", 0o755);
        mode("team/shop/node_modules/x/y", 0o600);
        // Neither the owner nor of the group.
        let other = Identity { uid: 4_000_000, gid: 4_000_000, name: "other".into() };
        assert_eq!(other.unreadable(top, &app), None);
        for (path, bits) in
            [("team/shop/src/a.ts", 0o600), ("team/shop/src", 0o751), ("team", 0o744), ("", 0o700)]
        {
            mode(path, bits);
            assert_eq!(other.unreadable(top, &app), Some(top.join(path)));
        }
        let meta = std::fs::metadata(top).unwrap();
        let owner = Identity { uid: meta.uid(), gid: meta.gid(), name: "owner".into() };
        assert_eq!(owner.unreadable(top, &app), None, "the owner may");
    }
}
