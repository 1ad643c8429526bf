//! Making a child process run another program, as a worker: in its room, without privileges, with its own descriptors.

use super::child::{self, Child, errno};
use super::domain::{self, Domain};
use super::isolation::Entry;
use crate::shortage::of_no_disk;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
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
pub struct Process(Child);

/// What a child does before it is a worker, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Session,
    Room,
    User,
    Signal,
    Privileges,
    Domain,
    Descriptors,
    Directory,
    Program,
}

/// Why a child did not become a worker.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", .step.shown())]
pub struct StepError {
    pub step: Step,
    source: io::Error,
}

/// What the child reads, and the one thing that it writes.
struct Plan<'a> {
    path: *const c_char,
    dir: *const c_char,
    args: *const *const c_char,
    env: *const *const c_char,
    fds: [RawFd; 5],
    /// Of the domain to enter; −1 = there is none.
    ruleset: RawFd,
    parent: libc::pid_t,
    as_root: bool,
    entry: Option<Entry<'a>>,
    failed: Option<(Step, c_int)>,
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
    /// Those of clone(2), and a [`StepError`].
    pub fn start(&self, fds: &Fds, domain: &Domain, entry: Option<Entry<'_>>) -> io::Result<Process> {
        // Out of the way of the numbers that the child will use.
        let lifted = [fds.stdin, fds.stdout, fds.stderr, fds.link, fds.page].map(lift);
        let mut numbers = [0; 5];
        for (number, fd) in numbers.iter_mut().zip(&lifted) {
            *number = fd.as_ref().map_err(again)?.as_raw_fd();
        }
        let ruleset = domain.fd().map(lift).transpose()?;
        let pointers = |texts: &[CString]| -> Vec<*const c_char> {
            texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
        };
        let (args, env) = (pointers(&self.args), pointers(&self.env));
        let stays = entry.is_none_or(|entry| !entry.changes_user());
        let mut plan = Plan {
            path: self.path.as_ptr(),
            dir: self.dir.as_ptr(),
            args: args.as_ptr(),
            env: env.as_ptr(),
            fds: numbers,
            ruleset: ruleset.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            parent: std::process::id() as libc::pid_t,
            as_root: nix::unistd::geteuid().is_root() && stays,
            entry,
            failed: None,
        };
        // SAFETY: `life` makes only system calls and takes this plan, which with all that it points to lives until the child
        // has called execve or _exit.
        let process = Process(unsafe { child::start(life, (&raw mut plan).cast(), 0) }?);
        if let Some((step, error)) = plan.failed {
            process.reap();
            let source = of_no_disk(io::Error::from_raw_os_error(error));
            return Err(io::Error::new(source.kind(), StepError { step, source }));
        }
        Ok(process)
    }
}

impl Step {
    fn shown(self) -> &'static str {
        match self {
            Step::Session => "a session of its own",
            Step::Room => "a view of the files of its own",
            Step::User => "another user",
            Step::Signal => "an end with its supervisor",
            Step::Privileges => "no privileges",
            Step::Domain => "a Landlock domain",
            Step::Descriptors => "its descriptors",
            Step::Directory => "its working directory",
            Step::Program => "its program",
        }
    }
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.0.pid as u32
    }

    /// Of the process (pidfd_open(2)).
    pub fn fd(&self) -> RawFd {
        self.0.pidfd.as_raw_fd()
    }

    /// Readable once the process has ended (pidfd_open(2)).
    ///
    /// # Errors
    /// No descriptor is free.
    pub fn exit_fd(&self) -> io::Result<OwnedFd> {
        self.0.pidfd.try_clone()
    }

    /// Ends its whole process group at once.
    pub fn kill(&self) {
        self.signal(nix::sys::signal::Signal::SIGKILL);
    }

    /// Whether it can be ended, which takes CAP_KILL where it runs as another user (kill(2)).
    pub fn can_be_signalled(&self) -> bool {
        use nix::errno::Errno;
        nix::sys::signal::killpg(nix::unistd::Pid::from_raw(self.0.pid), None) != Err(Errno::EPERM)
    }

    /// Signals its process group. It is not reaped yet, so its number is still its own.
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        // ESRCH = it has just ended, which is what a signal was to bring about.
        let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(self.0.pid), signal);
    }

    /// Waits until it has ended and takes its exit status. `None` = somebody else has.
    pub fn reap(self) -> Option<ExitStatus> {
        self.0.reap()
    }
}

/// Whether this kernel closes a range of descriptors when a program begins, without which no worker starts (close_range(2), Linux 5.11).
pub fn can_close_range() -> bool {
    // SAFETY: it changes flags of descriptors that nobody can have, and touches no memory.
    unsafe { libc::close_range(u32::MAX, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as c_int) == 0 }
}

/// The same error of the system, for one more who wants it.
fn again(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

fn lift(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the caller's descriptor is open while it borrows it to us.
    let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    let lifted = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(SAFE_FD))?;
    // SAFETY: fcntl has just made this descriptor and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(lifted) })
}

/// The child's whole life before exec.
extern "C" fn life(plan: *mut c_void) -> c_int {
    // SAFETY: `start` passes its plan, which outlives the child's use of it, and does not touch it meanwhile.
    let plan = unsafe { &mut *plan.cast::<Plan<'_>>() };
    plan.failed = become_worker(plan).err();
    // SAFETY: ends this process without running anything of the borrowed one.
    unsafe { libc::_exit(127) }
}

/// Only returns if it fails, with the step and the error's number.
fn become_worker(plan: &Plan<'_>) -> Result<(), (Step, c_int)> {
    let done = |step, result| if result == -1 { Err((step, errno())) } else { Ok(()) };
    // SAFETY: system calls on plain integers, on C strings that `Image` owns, and on structures of this frame in the layout
    // that capset(2) and sigaction(2) give.
    unsafe {
        done(Step::Session, libc::setsid())?;
        if let Some(entry) = &plan.entry {
            entry.enter().map_err(|error| (Step::Room, error))?;
            entry.become_user().map_err(|error| (Step::User, error))?;
        }
        done(Step::Signal, libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))?;
        // The parent may have died before the signal was asked for.
        if libc::getppid() != plan.parent {
            return Err((Step::Signal, libc::ESRCH));
        }
        done(Step::Privileges, libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        if plan.ruleset != -1 {
            done(Step::Domain, domain::enter(plan.ruleset) as c_int)?;
        }
        let to = [0, 1, 2, LINK_FD, PAGE_FD];
        for (from, to) in plan.fds.into_iter().zip(to) {
            done(Step::Descriptors, libc::dup2(from, to))?;
        }
        let all_others = libc::close_range(PAGE_FD as u32 + 1, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as c_int);
        done(Step::Descriptors, all_others)?;
        done(Step::Privileges, drop_capabilities(plan.as_root) as c_int)?;
        done(Step::Directory, libc::chdir(plan.dir))?;
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=SIGNALS {
            // Fails for SIGKILL, SIGSTOP and what the C library keeps for itself.
            libc::sigaction(signal, &raw const default, ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        done(Step::Program, libc::execve(plan.path, plan.args, plan.env))
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
        let process = image.start(&fds, &Domain::new(), None).unwrap();
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
            .start(&Fds { stdin: 0, stdout: 1, stderr: 2, link: 0, page: 0 }, &Domain::new(), None)
            .err()
            .unwrap();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let image =
            Image::new(Path::new("/bin/sh"), &[], &BTreeMap::new(), Path::new("/no/such/dir")).unwrap();
        assert!(
            image
                .start(&Fds { stdin: 0, stdout: 1, stderr: 2, link: 0, page: 0 }, &Domain::new(), None)
                .is_err()
        );
    }
}
