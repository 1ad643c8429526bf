//! The progress page: memory shared with one worker, in which its shim notes the last request it handed to the app.
//! It outlives the process, however that ends, so a request that was never started is known for certain.

use crate::wire::message::Ready;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

pub const PAGE: usize = 4096;
const MAGIC: u32 = 0x4254_4d31;
/// The greatest whole number that JavaScript is sure of, in the place of none.
const NO_SIZE: u64 = (1 << 53) - 1;

/// The supervisor's view of one page.
pub struct Progress {
    page: NonNull<c_void>,
}

// SAFETY: the page is only ever read, as atomics, and lives as long as the value.
unsafe impl Send for Progress {}
// SAFETY: as above.
unsafe impl Sync for Progress {}

impl Progress {
    /// A zeroed page and the descriptor that the worker maps it from.
    ///
    /// # Errors
    /// Those of memfd_create(2), ftruncate(2) and mmap(2).
    pub fn create() -> nix::Result<(Progress, OwnedFd)> {
        let fd = memfd_create(c"buntime-progress", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        nix::unistd::ftruncate(&fd, PAGE as i64)?;
        // A worker that shrank the page would make our reads fault.
        fcntl(
            &fd,
            FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL),
        )?;
        let len = NonZeroUsize::MIN.saturating_add(PAGE - 1);
        // SAFETY: a new shared mapping at an address of the kernel's choice touches no memory of ours.
        let page = unsafe { mmap(None, len, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, &fd, 0)? };
        Ok((Progress { page }, fd))
    }

    /// The number of the last request that was handed to the app. Where the worker has no page, every request counts.
    pub fn started(&self) -> u32 {
        if self.word(0) == MAGIC { self.word(1) } else { u32::MAX }
    }

    /// What READY says, if anything was handed to the app.
    pub fn ready(&self) -> Option<Ready> {
        if self.word(0) != MAGIC || self.word(1) == 0 {
            return None;
        }
        let size = u64::from(self.word(4)) << 32 | u64::from(self.word(3));
        Some(Ready { hooks: self.word(2), max_request_body_size: (size < NO_SIZE).then_some(size) })
    }

    fn word(&self, index: usize) -> u32 {
        // SAFETY: the mapping is PAGE bytes long and page-aligned; the first words lie inside it. The other process may write
        // at any time, hence an atomic load.
        let word = unsafe { &*self.page.as_ptr().cast::<AtomicU32>().add(index) };
        u32::from_le(word.load(Ordering::Acquire))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `create` with this length and nothing refers to it any more.
        let _ = unsafe { munmap(self.page, PAGE) };
    }
}
