//! Starting a process, on a thread of its own.
//!
//! The kernel sends a child's parent-death signal when the *thread* that forked it ends (prctl(2),
//! PR_SET_PDEATHSIG). So all workers are forked by one thread that lives as long as the process.

use super::progress::Progress;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use tokio::sync::oneshot;

/// The directories inside a worker's private one.
pub const HOME: &str = "home";
pub const TMP: &str = "tmp";

/// Where the shim finds its end of the link and its progress page.
const LINK_FD: RawFd = 3;
const PAGE_FD: RawFd = 4;
/// Above every descriptor number that the child moves something to.
const SAFE_FD: RawFd = 16;
/// Linux has 41 capabilities today; dropping one that does not exist is an error we ignore.
const CAPABILITIES: libc::c_ulong = 64;
/// `_LINUX_CAPABILITY_VERSION_3` (capset(2)).
const CAPABILITY_VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: libc::c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilitySet {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// What to start.
#[derive(Debug)]
pub struct Order {
    pub bun: PathBuf,
    pub args: Vec<OsString>,
    /// The process's whole environment.
    pub env: BTreeMap<String, String>,
    pub dir: PathBuf,
    /// Made for this worker: holds the directories `HOME` and `TMPDIR` point to.
    pub private: PathBuf,
}

/// A process that runs.
pub struct Spawned {
    pub child: Child,
    pub pidfd: OwnedFd,
    pub link: UnixStream,
    pub progress: Progress,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// A handle to the spawning thread. The thread ends with the last handle.
#[derive(Clone)]
pub struct Spawner {
    orders: mpsc::Sender<(Order, oneshot::Sender<io::Result<Spawned>>)>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system allows no further thread.
    pub fn start() -> io::Result<Spawner> {
        let (orders, inbox) = mpsc::channel::<(Order, oneshot::Sender<io::Result<Spawned>>)>();
        std::thread::Builder::new().name("buntime-spawn".into()).spawn(move || {
            for (order, reply) in inbox {
                // A receiver that has gone gave up on this worker: dropping `Spawned` kills it below.
                if let Err(Ok(mut unwanted)) = reply.send(spawn(order)) {
                    let _ = unwanted.child.kill();
                    let _ = unwanted.child.wait();
                }
            }
        })?;
        Ok(Spawner { orders })
    }

    /// Starts one process.
    ///
    /// # Errors
    /// Those of fork(2), execve(2) and of making the descriptors.
    pub async fn spawn(&self, order: Order) -> io::Result<Spawned> {
        let (reply, answer) = oneshot::channel();
        self.orders.send((order, reply)).map_err(|_| io::Error::other("the spawning thread has ended"))?;
        answer.await.map_err(|_| io::Error::other("the spawning thread has ended"))?
    }
}

fn spawn(order: Order) -> io::Result<Spawned> {
    // Not recursively: what is there already would be somebody else's.
    for dir in [order.private.clone(), order.private.join(HOME), order.private.join(TMP)] {
        DirBuilder::new().mode(0o700).create(dir)?;
    }
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let (progress, page) = Progress::create()?;
    let theirs = lift(theirs.into())?;
    let page = lift(page)?;
    let (link_fd, page_fd) = (theirs.as_raw_fd(), page.as_raw_fd());
    let parent = std::process::id();
    let as_root = nix::unistd::geteuid().is_root();

    let mut command = Command::new(&order.bun);
    command
        .args(&order.args)
        .env_clear()
        .envs(&order.env)
        .current_dir(&order.dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: `in_child` only makes system calls that are async-signal-safe; it neither allocates nor locks.
    unsafe { command.pre_exec(move || in_child(link_fd, page_fd, parent, as_root)) };
    let mut child = command.spawn()?;
    // Piped stdio is always there after a successful spawn.
    let stdout = child.stdout.take().map(OwnedFd::from).ok_or(io::ErrorKind::BrokenPipe)?;
    let stderr = child.stderr.take().map(OwnedFd::from).ok_or(io::ErrorKind::BrokenPipe)?;
    let pidfd = match pidfd(&child) {
        Ok(pidfd) => pidfd,
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
    };
    Ok(Spawned { child, pidfd, link: ours, progress, stdout, stderr })
}

fn pidfd(child: &Child) -> io::Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(child.id() as i32).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::NONBLOCK)?)
}

/// Moves a descriptor out of the way of the numbers that the child will use.
fn lift(fd: OwnedFd) -> io::Result<OwnedFd> {
    let lifted = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(SAFE_FD))?;
    // SAFETY: fcntl has just made this descriptor and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(lifted) })
}

/// Runs between fork and exec, where only plain system calls are allowed.
fn in_child(link: RawFd, page: RawFd, parent: u32, as_root: bool) -> io::Result<()> {
    // SAFETY: system calls on plain integers and on structures of this frame, in the layout that capset(2) gives.
    // `link` and `page` are open and lie above `SAFE_FD`.
    unsafe {
        check(libc::setsid())?;
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0))?;
        // The parent may have died before the signal was asked for.
        if libc::getppid() as u32 != parent {
            libc::_exit(1);
        }
        check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        // A worker has no capability, whatever its user: so it cannot trace its supervisor. What exec could give it comes
        // from the ambient, the inheritable and, for root, the bounding set (capabilities(7)).
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        if as_root {
            for capability in 0..CAPABILITIES {
                libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0);
            }
        }
        let header = CapabilityHeader { version: CAPABILITY_VERSION, pid: 0 };
        let none = [CapabilitySet::default(); 2];
        if libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) == -1 {
            return Err(io::Error::last_os_error());
        }
        check(libc::dup2(link, LINK_FD))?;
        check(libc::dup2(page, PAGE_FD))?;
        check(libc::close_range(PAGE_FD as u32 + 1, u32::MAX, libc::CLOSE_RANGE_CLOEXEC as i32))?;
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &none, std::ptr::null_mut()))?;
    }
    Ok(())
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
