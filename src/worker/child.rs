//! A child process that borrows our memory: until it calls execve(2) or ends, the calling thread waits.
//!
//! fork(2) copies the page tables of the whole supervisor, which costs a millisecond. This is `CLONE_VM | CLONE_VFORK`, as
//! posix_spawn(3) does it. What such a child needs is prepared before: it makes nothing but system calls, and those
//! that the C library would carry to all threads (setresuid(2) and its like) not by its wrappers.

use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;

/// What the child's few calls need is a fraction of this.
const STACK: usize = 64 * 1024;

/// A child that has begun another program or has ended, and is not yet reaped.
#[derive(Debug)]
pub struct Child {
    pub pid: libc::pid_t,
    pub pidfd: OwnedFd,
}

/// Runs `life` in a child. `flags` are further ones of clone(2).
///
/// # Errors
/// Those of clone(2).
///
/// # Safety
/// `life` makes only system calls and returns its exit status or calls execve(2); it takes what `plan` points to, which nobody
/// else touches meanwhile.
pub unsafe fn start(
    life: extern "C" fn(*mut c_void) -> c_int,
    plan: *mut c_void,
    flags: c_int,
) -> io::Result<Child> {
    // Nobody reads what was there.
    let mut stack = Vec::<u128>::with_capacity(STACK / size_of::<u128>());
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end.cast::<c_void>();
    let mut pidfd: c_int = -1;
    let flags = flags | libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: a system call on a plain integer.
    let dumpable = unsafe { libc::prctl(libc::PR_GET_DUMPABLE) };
    let pid = {
        let _blocked = BlockedSignals::new();
        // SAFETY: `top` is the aligned end of a stack that lives until the child has called execve or _exit, which is when
        // CLONE_VFORK lets this thread go on. The caller promises the same of `plan`, and that `life` makes only system
        // calls: with all signals blocked it disturbs nothing in the memory it borrows.
        unsafe { libc::clone(life, top, flags, plan, &raw mut pidfd) }
    };
    let cloned = if pid == -1 { Err(io::Error::last_os_error()) } else { Ok(()) };
    // A child that takes another identity sets this for the memory, which is ours, to what /proc/sys/fs/suid_dumpable says.
    // SAFETY: as above.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, c_int::from(dumpable == 1), 0, 0, 0) };
    cloned?;
    // SAFETY: clone has just made this descriptor and nothing else owns it.
    Ok(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })
}

impl Child {
    /// Waits until it has ended and takes its exit status. `None` = somebody else has.
    pub fn reap(self) -> Option<ExitStatus> {
        let mut status = 0;
        loop {
            // SAFETY: `status` is a place for an int.
            match unsafe { libc::waitpid(self.pid, &raw mut status, 0) } {
                pid if pid == self.pid => return Some(ExitStatus::from_raw(status)),
                _ if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                _ => return None,
            }
        }
    }
}

/// All signals of this thread, blocked until it is dropped: a handler must not run in a child that borrows our memory.
struct BlockedSignals(libc::sigset_t);

impl BlockedSignals {
    fn new() -> BlockedSignals {
        // SAFETY: both sets are places of the right type; a zeroed set is a valid one.
        unsafe {
            let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, &raw mut before);
            BlockedSignals(before)
        }
    }
}

impl Drop for BlockedSignals {
    fn drop(&mut self) {
        // SAFETY: the set was filled in by pthread_sigmask.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, ptr::null_mut()) };
    }
}

/// Why the system call before failed.
pub fn errno() -> c_int {
    // SAFETY: the calling thread's errno; a child uses that of the thread whose memory it borrows.
    unsafe { *libc::__errno_location() }
}
