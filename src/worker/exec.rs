//! Making a child process run another program.
//!
//! fork(2) copies the page tables of the whole supervisor, which costs a worker's start a millisecond. So the child borrows
//! our memory until it calls execve(2) (`CLONE_VM | CLONE_VFORK`, as posix_spawn(3) does), while the calling thread
//! waits. Everything it needs is prepared before: between clone and exec it makes nothing but system calls.

use super::domain::{self, Domain};
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::ptr;

/// Where the shim finds its end of the link and its progress page.
const LINK_FD: RawFd = 3;
const PAGE_FD: RawFd = 4;
/// Above every descriptor number that the child moves something to.
const SAFE_FD: RawFd = 16;
/// Linux has 41 capabilities today; dropping one that does not exist is an error we ignore.
const CAPABILITIES: libc::c_ulong = 64;
/// `_LINUX_CAPABILITY_VERSION_3` (capset(2)).
const CAPABILITY_VERSION: u32 = 0x2008_0522;
const SIGNALS: c_int = 64;
/// What the child's few calls need is a fraction of this.
const STACK: usize = 64 * 1024;

/// A program with its arguments, environment and working directory, in the form that execve(2) takes.
pub struct Image {
    path: CString,
    dir: CString,
    args: Vec<CString>,
    env: Vec<CString>,
}

/// The descriptors that the child gets, by their numbers here.
pub struct Fds {
    pub stdin: RawFd,
    pub stdout: RawFd,
    pub stderr: RawFd,
    pub link: RawFd,
    pub page: RawFd,
}

/// A child that was started and not yet reaped. It leads a session and a process group of its own.
pub struct Process {
    pid: libc::pid_t,
    pidfd: OwnedFd,
}

/// What the child reads, and the one thing that it writes.
struct Plan {
    path: *const c_char,
    dir: *const c_char,
    args: *const *const c_char,
    env: *const *const c_char,
    fds: [RawFd; 5],
    /// Of the domain to enter; −1 = there is none.
    ruleset: RawFd,
    parent: libc::pid_t,
    as_root: bool,
    error: c_int,
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilitySet {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

impl Image {
    /// # Errors
    /// A NUL byte in one of the texts.
    pub fn new(
        path: &Path,
        args: &[OsString],
        env: &BTreeMap<String, String>,
        dir: &Path,
    ) -> io::Result<Image> {
        let text = |text: &OsStr| Ok::<_, io::Error>(CString::new(text.as_bytes())?);
        let name = std::iter::once(path.as_os_str());
        Ok(Image {
            path: text(path.as_os_str())?,
            dir: text(dir.as_os_str())?,
            args: name.chain(args.iter().map(OsString::as_os_str)).map(text).collect::<Result<_, _>>()?,
            env: env
                .iter()
                .map(|(name, value)| Ok(CString::new(format!("{name}={value}"))?))
                .collect::<io::Result<_>>()?,
        })
    }

    /// Starts it. The child dies with the calling thread (prctl(2), PR_SET_PDEATHSIG).
    ///
    /// # Errors
    /// Those of clone(2) and execve(2), and of what the child does in between.
    pub fn start(&self, fds: &Fds, domain: &Domain) -> io::Result<Process> {
        // Out of the way of the numbers that the child will use.
        let lifted = [fds.stdin, fds.stdout, fds.stderr, fds.link, fds.page].map(lift);
        let mut numbers = [0; 5];
        for (number, fd) in numbers.iter_mut().zip(&lifted) {
            *number = fd.as_ref().map_err(|error| io::Error::from(error.kind()))?.as_raw_fd();
        }
        let ruleset = domain.fd().map(lift).transpose()?;
        let pointers = |texts: &[CString]| -> Vec<*const c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
        };
        let (args, env) = (pointers(&self.args), pointers(&self.env));
        let mut plan = Plan {
            path: self.path.as_ptr(),
            dir: self.dir.as_ptr(),
            args: args.as_ptr(),
            env: env.as_ptr(),
            fds: numbers,
            ruleset: ruleset.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            parent: std::process::id() as libc::pid_t,
            as_root: nix::unistd::geteuid().is_root(),
            error: 0,
        };
        let mut stack = vec![0_u128; STACK / size_of::<u128>()];
        let top = stack.as_mut_ptr_range().end.cast::<c_void>();
        let mut pidfd: c_int = -1;
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        let pid = {
            let _blocked = BlockedSignals::new();
            // SAFETY: `top` is the aligned end of a stack that lives until the child has called execve or _exit, which is when
            // CLONE_VFORK lets this thread go on. The same holds for `plan` and all that it points to. `child` makes
            // only system calls, with all signals blocked, so it disturbs nothing in the memory it borrows.
            unsafe { libc::clone(child, top, flags, (&raw mut plan).cast(), &raw mut pidfd) }
        };
        if pid == -1 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: clone has just made this descriptor and nothing else owns it.
        let process = Process { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } };
        if plan.error != 0 {
            process.reap();
            return Err(io::Error::from_raw_os_error(plan.error));
        }
        Ok(process)
    }
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.pid as u32
    }

    /// Readable once the process has ended (pidfd_open(2)).
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn exit_fd(&self) -> io::Result<OwnedFd> {
        self.pidfd.try_clone()
    }

    /// Ends its whole process group at once.
    pub fn kill(&self) {
        self.signal(nix::sys::signal::Signal::SIGKILL);
    }

    /// Signals its process group. It is not reaped yet, so its number is still its own.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        // ESRCH = it has just ended, which is what a signal was to bring about.
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(self.pid), signal);
    }

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

fn lift(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the caller's descriptor is open while it borrows it to us.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let lifted = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(SAFE_FD))?;
    // SAFETY: fcntl has just made this descriptor and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(lifted) })
}

/// The child's whole life before exec.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: `start` passes its plan, which outlives the child's use of it, and does not touch it meanwhile.
    let plan = unsafe { &mut *plan.cast::<Plan>() };
    plan.error = become_worker(plan);
    // SAFETY: ends this process without running anything of the borrowed one.
    unsafe { libc::_exit(127) }
}

/// Only returns if it fails, with the error's number.
fn become_worker(plan: &Plan) -> c_int {
    // SAFETY: system calls on plain integers, on C strings that `Image` owns, and on structures of this frame in the layout
    // that capset(2) and sigaction(2) give.
    unsafe {
        if libc::setsid() == -1 || libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) == -1 {
            return errno();
        }
        // The parent may have died before the signal was asked for.
        if libc::getppid() != plan.parent {
            return libc::ESRCH;
        }
        if libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1 {
            return errno();
        }
        if plan.ruleset != -1 && domain::enter(plan.ruleset) == -1 {
            return errno();
        }
        let to = [0, 1, 2, LINK_FD, PAGE_FD];
        for (from, to) in plan.fds.into_iter().zip(to) {
            if libc::dup2(from, to) == -1 {
                return errno();
            }
        }
        let all_others = libc::close_range(PAGE_FD as u32 + 1, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as c_int);
        if all_others == -1 || libc::chdir(plan.dir) == -1 || drop_capabilities(plan.as_root) == -1 {
            return errno();
        }
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=SIGNALS {
            // Fails for SIGKILL, SIGSTOP and what the C library keeps for itself.
            libc::sigaction(signal, &raw const default, ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        libc::execve(plan.path, plan.args, plan.env);
        errno()
    }
}

/// A worker has no capability, whatever its user: so it cannot trace its supervisor. What exec could give it comes from the
/// ambient, the inheritable and, for root, the bounding set (capabilities(7)). −1 = `errno` tells why not.
fn drop_capabilities(as_root: bool) -> libc::c_long {
    let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
    let none = [CapabilitySet::default(); 2];
    // SAFETY: system calls on plain integers and on structures in the layout that capset(2) gives.
    unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        if as_root {
            for capability in 0..CAPABILITIES {
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
            }
        }
        libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr())
    }
}

fn errno() -> c_int {
    // SAFETY: the calling thread's errno; the child uses that of the thread whose memory it borrows.
    unsafe { *libc::__errno_location() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;

    fn run(script: &str, env: &BTreeMap<String, String>) -> (String, ExitStatus) {
        let args = ["-c".into(), script.into()];
        let image = Image::new(Path::new("/bin/sh"), &args, env, Path::new("/")).unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let (output, end) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let null = null.as_raw_fd();
        let fds = Fds { stdin: null, stdout: end.as_raw_fd(), stderr: null, link: null, page: null };
        let process = image.start(&fds, &Domain::new()).unwrap();
        drop(end);
        let mut text = String::new();
        File::from(output).read_to_string(&mut text).unwrap();
        (text, process.reap().unwrap())
    }

    #[test]
    fn a_child_gets_its_environment_its_directory_and_its_descriptors_alone() {
        let env = BTreeMap::from([("A".to_owned(), "b c".to_owned())]);
        let (text, _) = run("echo $A; pwd; exec ls /proc/self/fd", &env);
        // 5 is the directory that ls reads.
        assert_eq!(text, "b c\n/\n0\n1\n2\n3\n4\n5\n");
        assert_eq!(run("exit 3", &env).1.code(), Some(3));
    }

    #[test]
    fn a_child_has_no_capability_no_new_privileges_and_no_blocked_or_ignored_signal() {
        let (text, _) = run("grep -E '^(Cap|NoNewPrivs|SigBlk|SigIgn)' /proc/self/status", &BTreeMap::new());
        let value =
            |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        for name in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:", "SigBlk:"] {
            assert_eq!(value(name), "0000000000000000", "{name}");
        }
        // The C library keeps 32 and 33 for itself.
        let ignored = u64::from_str_radix(&value("SigIgn:"), 16).unwrap();
        assert_eq!(ignored & 0x7fff_ffff, 0, "{ignored:x}");
        assert_eq!(value("NoNewPrivs:"), "1");
    }

    #[test]
    fn a_child_leads_a_session_and_a_group_of_its_own() {
        let (text, _) = run("cut -d' ' -f1,5,6 /proc/$$/stat", &BTreeMap::new());
        let numbers: Vec<&str> = text.split_whitespace().collect();
        assert_eq!(numbers, [numbers[0]; 3]);
    }

    #[test]
    fn a_program_that_is_not_there_is_an_error_and_leaves_no_child() {
        let image = Image::new(Path::new("/no/such/program"), &[], &BTreeMap::new(), Path::new("/")).unwrap();
        let error = image
            .start(&Fds { stdin: 0, stdout: 1, stderr: 2, link: 0, page: 0 }, &Domain::new())
            .err()
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let image =
            Image::new(Path::new("/bin/sh"), &[], &BTreeMap::new(), Path::new("/no/such/dir")).unwrap();
        assert!(
            image.start(&Fds { stdin: 0, stdout: 1, stderr: 2, link: 0, page: 0 }, &Domain::new()).is_err()
        );
    }
}
