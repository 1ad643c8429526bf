//! How much an archive may hold, and the counting of it.

use super::{Code, PackageError};

/// What is unpacked before the ratio counts, in bytes: small files compress as they like.
const RATIO_FROM: u64 = 1 << 20;

/// The most that is taken of one archive.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Files and directories, also directories that only stand in the path of a file.
    pub entries: u64,
    /// Bytes of all files together.
    pub total: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Unpacked bytes for each packed one, once more than 1 MiB is unpacked.
    pub ratio: u64,
    /// Bytes of a path.
    pub path: usize,
    /// Bytes of one name in a path.
    pub component: usize,
    /// Names in a path.
    pub depth: usize,
    /// The window of a zstd frame is at most 2 to the power of this, in bytes: so much memory it takes to unpack it.
    pub window_log: u32,
}

/// Counts against the limits.
#[derive(Debug)]
pub(super) struct Meter<'l> {
    pub limits: &'l Limits,
    pub entries: u64,
    /// Bytes of files, as they were stated.
    pub total: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            entries: 20_000,
            total: 512 << 20,
            file: 256 << 20,
            ratio: 200,
            path: 1024,
            component: 255,
            depth: 32,
            window_log: 23,
        }
    }
}

impl Limits {
    /// Judges what came out of how much. Called as the bytes come.
    pub(super) fn check_ratio(&self, unpacked: u64, packed: u64) -> Result<(), PackageError> {
        if unpacked <= RATIO_FROM || unpacked <= packed.saturating_mul(self.ratio) {
            return Ok(());
        }
        let message = format!("the archive unpacks to more than {} times its size", self.ratio);
        Err(PackageError::new(Code::Ratio, message))
    }
}

impl<'l> Meter<'l> {
    pub fn new(limits: &'l Limits) -> Meter<'l> {
        Meter { limits, entries: 0, total: 0 }
    }

    /// One more file or directory.
    pub fn entry(&mut self) -> Result<(), PackageError> {
        self.entries += 1;
        if self.entries <= self.limits.entries {
            return Ok(());
        }
        let message = format!("the archive has more than {} entries", self.limits.entries);
        Err(PackageError::new(Code::TooManyEntries, message))
    }

    /// A file of this size. `name` is escaped.
    pub fn file(&mut self, name: &str, size: u64) -> Result<(), PackageError> {
        let Limits { file, total, .. } = self.limits;
        if size > *file {
            let message = format!("`{name}` has {size} bytes, a file may have {file}");
            return Err(PackageError::new(Code::FileTooLarge, message));
        }
        self.total = self.total.saturating_add(size);
        if self.total <= *total {
            return Ok(());
        }
        let message = format!("with `{name}` the archive unpacks to more than {total} bytes");
        Err(PackageError::new(Code::TotalTooLarge, message))
    }
}
