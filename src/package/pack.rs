//! Makes an archive of an app's directory: the same bytes for the same files, whoever packs them and when.

use super::ignore::{FILE, Ignore};
use super::names::{EntryPath, show};
use super::tar::write;
use super::{Code, Kind, Limits, PackageError};
use flate2::{Compression, GzBuilder};
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
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
    let mut walk =
        Walk { ignore: read_ignore(&root)?, root, limits: Limits::default(), packed: Packed::default() };
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
        for entry in fs::read_dir(self.root.join(path)).map_err(io)? {
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
        let mut file = self.root.join(path);
        let mut meta = file.symlink_metadata().map_err(io)?;
        if self.ignore.leaves_out(path, meta.is_dir()) {
            return Ok(());
        }
        EntryPath::parse(path.as_bytes(), &self.limits)?;
        if meta.is_symlink() {
            (file, meta) = self.follow(path, &file)?;
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
    fn follow(&self, path: &str, link: &Path) -> Result<(PathBuf, Metadata), PackageError> {
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
        Ok((target, meta))
    }

    fn file(&mut self, path: &str, file: &Path, out: &mut impl Write) -> Result<(), PackageError> {
        let io = |error: io::Error| PackageError::io(format!("read `{}`", show(path.as_bytes())), error);
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
        let file = File::options().read(true).custom_flags(flags).open(file).map_err(io)?;
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

fn read_ignore(root: &Path) -> Result<Ignore, PackageError> {
    let io = |error: io::Error| PackageError::io(format!("read {FILE}"), error);
    let file = match File::open(root.join(FILE)) {
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

fn hint_ignore() -> String {
    format!("leave it out in {FILE}")
}
