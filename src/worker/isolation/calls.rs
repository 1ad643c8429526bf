//! The system calls about namespaces and mounts, for children that borrow our memory: they allocate nothing, and none is carried
//! to other threads. Each is what its name says in section 2 of the manual; an error is its number.

use crate::worker::child::errno;
use std::ffi::{CStr, c_int};
use std::os::fd::RawFd;

/// As of mount_setattr(2).
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_ns: u64,
}

const RDONLY: u64 = 1;
const NOSUID: u64 = 2;
const OPEN_TREE_CLONE: c_int = 1;
const MOVE_MOUNT_F_EMPTY_PATH: c_int = 4;
const AT_RECURSIVE: c_int = 0x8000;

pub fn checked(result: libc::c_long) -> Result<c_int, c_int> {
    if result < 0 { Err(errno()) } else { Ok(result as c_int) }
}

pub fn unshare(kinds: c_int) -> Result<(), c_int> {
    // SAFETY: a system call on plain integers.
    checked(unsafe { libc::syscall(libc::SYS_unshare, kinds) }).map(drop)
}

/// `fd` = of a namespace, or of a process whose namespaces are meant.
pub fn setns(fd: RawFd, kinds: c_int) -> Result<(), c_int> {
    // SAFETY: a system call on plain integers.
    checked(unsafe { libc::syscall(libc::SYS_setns, fd, kinds) }).map(drop)
}

/// Mounts made elsewhere later are seen here too, and none made here is seen elsewhere.
pub fn follow_only() -> Result<(), c_int> {
    let (none, flags) = (std::ptr::null::<u8>(), libc::MS_REC | libc::MS_SLAVE);
    // SAFETY: the path is a C string, and with these flags nothing else is read.
    checked(unsafe { libc::syscall(libc::SYS_mount, none, c"/".as_ptr(), none, flags, none) }).map(drop)
}

/// Mounts an empty tmpfs over a directory.
pub fn cover(dir: &CStr) -> Result<(), c_int> {
    let kind = c"tmpfs".as_ptr();
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    // Room for no file, and for as many empty directories as there may be apps.
    let options = c"size=4k,nr_inodes=64k,mode=0755".as_ptr();
    // SAFETY: all are C strings.
    checked(unsafe {
        libc::syscall(libc::SYS_mount, c"buntime".as_ptr(), dir.as_ptr(), kind, flags, options)
    })
    .map(drop)
}

/// A copy, mounted nowhere, of the tree of mounts at `path`, which is relative to `dir`.
pub fn open_tree(dir: RawFd, path: &CStr) -> Result<RawFd, c_int> {
    let flags = OPEN_TREE_CLONE | AT_RECURSIVE | libc::O_CLOEXEC;
    // SAFETY: the path is a C string.
    checked(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

/// Mounts what `open_tree` has copied.
pub fn attach(tree: RawFd, to: &CStr) -> Result<(), c_int> {
    // SAFETY: both paths are C strings.
    checked(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree,
            c"".as_ptr(),
            libc::AT_FDCWD,
            to.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}

/// Lets nothing be written through the mount at `path` of `dir`; an empty one = that of `dir`, and all mounts in it.
pub fn make_read_only(dir: RawFd, path: &CStr) -> Result<(), c_int> {
    let attr = MountAttr { set: RDONLY | NOSUID, ..MountAttr::default() };
    let flags = if path.is_empty() { libc::AT_EMPTY_PATH | AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a C string, and `attr` has the layout of the kernel's structure and the size that is given.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir,
            path.as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

pub fn make_dir(path: &CStr) -> Result<(), c_int> {
    // SAFETY: the path is a C string.
    match checked(unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path.as_ptr(), 0o755) }) {
        Err(libc::EEXIST) => Ok(()),
        result => result.map(drop),
    }
}

pub fn open(path: &CStr, flags: c_int) -> Result<RawFd, c_int> {
    // SAFETY: the path is a C string; the mode is read where a file is made.
    checked(unsafe {
        libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags | libc::O_CLOEXEC, 0o644)
    })
}

pub fn write(fd: RawFd, text: &[u8]) -> Result<(), c_int> {
    // SAFETY: the bytes are as many as is said.
    checked(unsafe { libc::syscall(libc::SYS_write, fd, text.as_ptr(), text.len()) }).map(drop)
}

/// Fewer than there is room for = the other end was closed.
pub fn read(fd: RawFd, room: &mut [u8]) -> Result<usize, c_int> {
    // SAFETY: there is room for as many bytes as is said.
    checked(unsafe { libc::syscall(libc::SYS_read, fd, room.as_mut_ptr(), room.len()) }).map(|n| n as usize)
}

pub fn own_number() -> libc::pid_t {
    // SAFETY: a system call without arguments.
    unsafe { libc::syscall(libc::SYS_getpid) as libc::pid_t }
}

pub fn close(fd: RawFd) {
    // SAFETY: the callers close what they have opened themselves.
    unsafe { libc::syscall(libc::SYS_close, fd) };
}

/// What is made has the mode that is given.
pub fn forget_umask() {
    // SAFETY: a system call on a plain integer.
    unsafe { libc::umask(0) };
}

/// Gives every identity of the process up for this one, for good.
pub fn become_user(uid: u32, gid: u32) -> Result<(), c_int> {
    // SAFETY: system calls on plain integers; of no groups none is read.
    unsafe {
        checked(libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<u32>()))?;
        checked(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        checked(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// Whether others of this user may look into the process (prctl(2)).
pub fn set_dumpable(dumpable: bool) {
    // SAFETY: a system call on plain integers.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, libc::c_int::from(dumpable), 0, 0, 0) };
}
