//! Makes an archive of an app's directory: the same bytes for the same files, whoever packs them and when.

use super::ignore::{FILE, Ignore};
use super::names::{EntryPath, show};
use super::tar::write;
use super::{Code, Kind, Limits, PackageError, tree};
use flate2::{Compression, GzBuilder};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const ZSTD_LEVEL: i32 = 9;
/// In a gzip header: no system in particular.
const ANY_SYSTEM: u8 = 255;
/// Longest `.buntimeignore` read, in bytes.
const MAX_IGNORE: u64 = 64 << 10;

/// What was packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    pub files: u64,
    /// Bytes of all files.
    pub bytes: u64,
}

/// Packs `dir` and writes the archive to `out`. Left out are hidden directories, `.env.local` and its like, and what
/// `.buntimeignore` says; `node_modules` is in it. Directories are in it only as far as they hold files.
///
/// # Errors
/// A link out of `dir`, to something that is left out, or to a directory; a device and the like; a name that no
/// package may have; a zip, which is not written; or `Io`.
pub fn pack(dir: &Path, kind: Kind, out: impl Write) -> Result<Packed, PackageError> {
    let io = |error: io::Error| PackageError::io(format!("pack {}", dir.display()), error);
    let root = dir.canonicalize().map_err(io)?;
    let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = openat2(CWD, &root, way, Mode::empty(), ResolveFlags::NO_SYMLINKS)
        .map_err(|error| io(error.into()))?;
    let (limits, packed) = (Limits::default(), Packed::default());
    let mut walk = Walk { root, open, ignore: Ignore::default(), limits, packed };
    walk.ignore = walk.read_ignore()?;
    match kind {
        Kind::TarGz => {
            let gzip = GzBuilder::new().mtime(0).operating_system(ANY_SYSTEM);
            let mut out = gzip.write(out, Compression::default());
            walk.all(&mut out)?;
            out.finish().map_err(io)?;
        }
        Kind::TarZst => {
            let mut out = zstd::stream::write::Encoder::new(out, ZSTD_LEVEL).map_err(io)?;
            out.include_checksum(true).map_err(io)?;
            out.window_log(walk.limits.window_log).map_err(io)?;
            walk.all(&mut out)?;
            out.finish().map_err(io)?;
        }
        Kind::Zip => return Err(PackageError::new(Code::Unsupported, "a zip cannot be made here")),
    }
    Ok(walk.packed)
}

struct Walk {
    root: PathBuf,
    /// The same. All is opened by way of it and through no link: what was looked at may be one by now.
    open: OwnedFd,
    ignore: Ignore,
    limits: Limits,
    packed: Packed,
}

impl Walk {
    fn all(&mut self, out: &mut impl Write) -> Result<(), PackageError> {
        self.directory("", out)?;
        write::end(out).map_err(|error| PackageError::io("write the archive", error))
    }

    /// Packs what is in a directory, in the order of names. `path` is relative, and empty for the top.
    fn directory(&mut self, path: &str, out: &mut impl Write) -> Result<(), PackageError> {
        let io = |error: io::Error| PackageError::io(format!("read the directory `{path}`"), error);
        let mut names = Vec::new();
        let dir = match path {
            "" => self.opened(".", OFlags::DIRECTORY),
            path => self.opened(path, OFlags::DIRECTORY),
        };
        let dir = dir.map_err(io)?;
        for entry in fs::read_dir(format!("/proc/self/fd/{}", dir.as_raw_fd())).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            let name = name.into_string().map_err(|name| {
                let message = format!("`{}` is not UTF-8", show(name.as_encoded_bytes()));
                PackageError::new(Code::PathNotUtf8, message)
            })?;
            names.push(name);
        }
        names.sort_unstable();
        for name in names {
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            self.entry(&path, out)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &str, out: &mut impl Write) -> Result<(), PackageError> {
        let io = |error: io::Error| PackageError::io(format!("read `{}`", show(path.as_bytes())), error);
        let mut file = path.to_owned();
        let mut meta = self.root.join(path).symlink_metadata().map_err(io)?;
        if self.ignore.leaves_out(path, meta.is_dir()) {
            return Ok(());
        }
        EntryPath::parse(path.as_bytes(), &self.limits)?;
        if meta.is_symlink() {
            (file, meta) = self.follow(path, &self.root.join(path))?;
        }
        if meta.is_dir() {
            return self.directory(path, out);
        }
        if !meta.is_file() {
            let message = format!("`{}` is a device, a fifo or a socket", show(path.as_bytes()));
            return Err(PackageError::new(Code::SpecialFile, message).hint(hint_ignore()));
        }
        self.file(path, &file, out)
    }

    /// What a link leads to: a file that is in the package itself.
    fn follow(&self, path: &str, link: &Path) -> Result<(String, Metadata), PackageError> {
        let shown = show(path.as_bytes());
        let outside = || {
            let message = format!("`{shown}` is a link to something that is not in the package");
            PackageError::new(Code::LinkOutside, message).hint(hint_ignore())
        };
        let target = link.canonicalize().map_err(|_| outside())?;
        let inside = target.strip_prefix(&self.root).ok().and_then(Path::to_str).ok_or_else(outside)?;
        let meta = target.metadata().map_err(|_| outside())?;
        if meta.is_dir() {
            let message = format!("`{shown}` is a link to a directory");
            return Err(PackageError::new(Code::LinkToDirectory, message)
                .hint("packages hold no links: install with `bun install --linker hoisted`, or leave it out in .buntimeignore"));
        }
        if self.ignore.leaves_out_any(inside) {
            return Err(outside());
        }
        Ok((inside.to_owned(), meta))
    }

    fn opened(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let flags = flags | OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(File::from(tree::open(self.open.as_fd(), path, flags, Mode::empty())?))
    }

    fn read_ignore(&self) -> Result<Ignore, PackageError> {
        let io = |error: io::Error| PackageError::io(format!("read {FILE}"), error);
        let file = match self.opened(FILE, OFlags::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ignore::default()),
            file => file.map_err(io)?,
        };
        let mut text = String::new();
        file.take(MAX_IGNORE + 1).read_to_string(&mut text).map_err(io)?;
        if text.len() as u64 > MAX_IGNORE {
            let message = format!("{FILE} has more than {MAX_IGNORE} bytes");
            return Err(PackageError::new(Code::IgnoreList, message));
        }
        Ignore::parse(&text)
    }

    fn file(&mut self, path: &str, file: &str, out: &mut impl Write) -> Result<(), PackageError> {
        let io = |error: io::Error| PackageError::io(format!("read `{}`", show(path.as_bytes())), error);
        let file = self.opened(file, OFlags::empty()).map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        let changed = || {
            let message = format!("`{}` changed while it was packed", show(path.as_bytes()));
            PackageError::new(Code::Changed, message)
        };
        if !meta.is_file() {
            return Err(changed());
        }
        let executable = meta.permissions().mode() & 0o100 != 0;
        let written = write::file(out, path, meta.size(), executable, file.take(meta.size()));
        let written = written.map_err(|error| PackageError::io("write the archive", error))?;
        if written != meta.size() {
            return Err(changed());
        }
        self.packed.files += 1;
        self.packed.bytes += written;
        Ok(())
    }
}

fn hint_ignore() -> String {
    format!("leave it out in {FILE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_becomes_a_link_while_it_is_packed_does_not_lead_out() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap().join("app");
        fs::create_dir_all(root.join("conf")).unwrap();
        fs::create_dir(temp.path().join("hidden")).unwrap();
        fs::write(temp.path().join("hidden/secret"), "secret").unwrap();
        let open = File::open(&root).unwrap().into();
        let (limits, packed) = (Limits::default(), Packed::default());
        let mut walk = Walk { root: root.clone(), open, ignore: Ignore::default(), limits, packed };
        fs::remove_dir(root.join("conf")).unwrap();
        std::os::unix::fs::symlink(temp.path().join("hidden"), root.join("conf")).unwrap();
        let mut out = Vec::new();
        assert!(walk.directory("conf", &mut out).is_err());
        assert!(walk.file("conf/secret", "conf/secret", &mut out).is_err());
        std::os::unix::fs::symlink(temp.path().join("hidden/secret"), root.join(FILE)).unwrap();
        assert!(walk.read_ignore().is_err());
        assert!(out.is_empty());
    }
}
