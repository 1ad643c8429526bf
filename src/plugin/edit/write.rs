//! Puts a text in the place of a file so that there is always the old one or the new one, also after a power cut.

use rustix::fs::{Gid, Mode, OFlags, Uid};
use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Of a file that was not there, and of directories that had to be made: settings may hold secrets.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

#[derive(Debug, thiserror::Error)]
#[error("cannot write {}: {error}", path.display())]
pub struct WriteError {
    pub path: PathBuf,
    pub error: io::Error,
}

/// Writes a file by a temporary one beside it and a rename. The mode stays, and the owner where that is allowed. A
/// symbolic link stays one: what it leads to is replaced. Directories that are missing are made.
pub fn write_atomically(path: &Path, text: &str) -> Result<(), WriteError> {
    write_for(path, text, Reader::AsBefore)
}

/// Who may read what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Whoever could read the file before.
    AsBefore,
    /// Likewise, but not everybody: it holds a secret.
    NotAll,
    /// The owner.
    Owner,
}

/// As [`write_atomically`].
pub fn write_for(path: &Path, text: &str, reader: Reader) -> Result<(), WriteError> {
    write(path, text, reader).map_err(|error| WriteError { path: path.to_owned(), error })
}

/// The mode for a secret where there was this one. One that lets everybody in was nobody's choice; one for a group was.
pub fn private(before: &Permissions) -> Permissions {
    let mode = before.mode() & 0o7777;
    Permissions::from_mode(if mode & 0o007 == 0 { mode } else { FILE_MODE })
}

fn write(path: &Path, text: &str, reader: Reader) -> io::Result<()> {
    let target = match path.canonicalize() {
        Ok(target) => target,
        // A link that leads nowhere is not replaced by a file.
        Err(error) if error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => {
            path.to_owned()
        }
        Err(error) => return Err(error),
    };
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_dir(dir)?;
    let old = match target.metadata() {
        Ok(old) if !old.is_file() => {
            return Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file"));
        }
        Ok(old) => Some(old),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let name = target.file_name().ok_or(ErrorKind::InvalidInput)?.to_string_lossy();
    // A name that no directory of plugins is read for, and that nobody else uses at once.
    let random = getrandom::u64().map_err(io::Error::other)?;
    let beside = dir.join(format!(".{name}.{random:016x}"));
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(&beside, flags, Mode::from_raw_mode(FILE_MODE))?);
    let written = (|| {
        file.write_all(text.as_bytes())?;
        if let Some(old) = &old {
            let owner = (Uid::from_raw(old.uid()), Gid::from_raw(old.gid()));
            // Only root can; for others the file is theirs, as after any editor.
            let _ = rustix::fs::fchown(&file, Some(owner.0), Some(owner.1));
            file.set_permissions(match reader {
                Reader::AsBefore => Permissions::from_mode(old.mode() & 0o7777),
                Reader::NotAll => private(&old.permissions()),
                Reader::Owner => Permissions::from_mode(FILE_MODE),
            })?;
        }
        file.sync_all()?;
        std::fs::rename(&beside, &target)
    })();
    if let Err(error) = written {
        // What matters is the first error; a file with a dot is nobody's plugin.
        let _ = std::fs::remove_file(&beside);
        return Err(error);
    }
    File::open(dir)?.sync_all()
}

fn make_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn a_file_is_replaced_with_its_mode_and_nothing_is_left_beside_it() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("manifest.yaml");
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let before = fs::metadata(&file).unwrap();
        write_atomically(&file, "new").unwrap();
        let after = fs::metadata(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
        assert_ne!(after.ino(), before.ino(), "another file took its place");
        assert_eq!(names(temp.path()), ["manifest.yaml"]);
    }

    #[test]
    fn one_that_was_not_there_and_its_directories_are_made_for_the_owner_alone() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("plugins/@team/hello.yaml");
        write_atomically(&file, "enabled: true\n").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_link_stays_and_what_it_leads_to_is_replaced() {
        let temp = tempfile::tempdir().unwrap();
        let (target, link) = (temp.path().join("real/m.yaml"), temp.path().join("manifest.yaml"));
        fs::create_dir(temp.path().join("real")).unwrap();
        fs::write(&target, "old").unwrap();
        std::os::unix::fs::symlink("real/m.yaml", &link).unwrap();
        write_atomically(&link, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        let nowhere = temp.path().join("nowhere.yaml");
        std::os::unix::fs::symlink("gone", &nowhere).unwrap();
        assert!(write_atomically(&nowhere, "new").is_err());
        assert!(fs::symlink_metadata(&nowhere).unwrap().is_symlink());
    }

    #[test]
    fn what_cannot_be_written_stays_and_nothing_is_left_beside_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("manifest.yaml");
        fs::create_dir(&dir).unwrap();
        let error = write_atomically(&dir, "new").unwrap_err();
        assert!(error.to_string().ends_with("it is not a regular file"), "{error}");
        assert_eq!(names(temp.path()), ["manifest.yaml"]);
    }
}
