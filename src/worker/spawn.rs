//! Starting processes, on a thread of its own.
//!
//! The kernel sends a child's parent-death signal when the *thread* that forked it ends (prctl(2),
//! PR_SET_PDEATHSIG). So all workers are forked by one thread that lives as long as the process.

use super::domain::Domain;
use super::exec::{Fds, Image, Process};
use super::isolation::{Isolation, Visitor};
use super::progress::Progress;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use tokio::sync::oneshot;

/// What to start.
#[derive(Debug)]
pub struct Order {
    pub program: PathBuf,
    pub args: Vec<OsString>,
    /// The process's whole environment.
    pub env: BTreeMap<String, String>,
    pub dir: PathBuf,
    /// Made for this worker: its `HOME` and its `TMPDIR`.
    pub private: PathBuf,
    /// The data directory of its app, where it has one from its start.
    pub data: Option<String>,
    /// The directory of its plugin, where it is a plugin's from its start.
    pub plugin_dir: Option<PathBuf>,
}

/// A process that runs.
pub struct Spawned {
    pub process: Process,
    pub link: UnixStream,
    pub progress: Progress,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
}

/// A handle to the spawning thread. The thread ends with the last handle.
#[derive(Clone)]
pub struct Spawner {
    orders: mpsc::Sender<(Order, oneshot::Sender<io::Result<Spawned>>)>,
    isolation: Arc<Isolation>,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system allows no further thread.
    pub fn start(isolation: Arc<Isolation>) -> io::Result<Spawner> {
        let (orders, inbox) = mpsc::channel::<(Order, oneshot::Sender<io::Result<Spawned>>)>();
        let room = Arc::clone(&isolation);
        std::thread::Builder::new().name("buntime-spawn".into()).spawn(move || {
            let domain = Domain::new();
            for (order, reply) in inbox {
                // A receiver that has gone gave up on this worker: dropping `Spawned` kills it below.
                if let Err(Ok(unwanted)) = reply.send(spawn(&order, &domain, &room)) {
                    unwanted.process.kill();
                    unwanted.process.reap();
                }
            }
        })?;
        Ok(Spawner { orders, isolation })
    }

    /// Has a worker that was started without an app reach the data directory of the one it gets, and the plugin's own. Takes some
    /// tens of microseconds, in which the calling thread waits: handing it over would take as long.
    ///
    /// # Errors
    /// There is no such directory, or those of setns(2) and move_mount(2).
    pub fn give_dirs(
        &self,
        process: &Process,
        data: Option<&str>,
        plugin_dir: Option<&Path>,
    ) -> io::Result<Visitor> {
        self.isolation.mount(process, data, plugin_dir)
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

/// Starts a process in a private directory that is made for it.
pub fn spawn(order: &Order, domain: &Domain, isolation: &Isolation) -> io::Result<Spawned> {
    // What is there already would be somebody else's.
    DirBuilder::new().mode(0o700).create(&order.private)?;
    start(order, domain, isolation).inspect_err(|_| {
        let _ = std::fs::remove_dir(&order.private);
    })
}

fn start(order: &Order, domain: &Domain, isolation: &Isolation) -> io::Result<Spawned> {
    let (link, theirs) = UnixStream::pair()?;
    link.set_nonblocking(true)?;
    let (progress, page) = Progress::create()?;
    let (stdout, stdout_end) = pipe2(OFlag::O_CLOEXEC)?;
    let (stderr, stderr_end) = pipe2(OFlag::O_CLOEXEC)?;
    let stdin = File::open("/dev/null")?;
    if let Some(identity) = isolation.identity() {
        let (uid, gid) = (Some(identity.uid), Some(identity.gid));
        std::os::unix::fs::chown(&order.private, uid, gid)?;
        // Or it could not open /dev/stderr.
        std::os::unix::fs::fchown(&stdout_end, uid, gid)?;
        std::os::unix::fs::fchown(&stderr_end, uid, gid)?;
    }
    let image = Image::new(&order.program, &order.args, &order.env, &order.dir)?;
    let fds = Fds {
        stdin: stdin.as_raw_fd(),
        stdout: stdout_end.as_raw_fd(),
        stderr: stderr_end.as_raw_fd(),
        link: theirs.as_raw_fd(),
        page: page.as_raw_fd(),
    };
    let room = isolation.room(&order.private, order.data.as_deref(), order.plugin_dir.as_deref())?;
    let entry = room.as_ref().and_then(|room| isolation.entry(room));
    let process = image.start(&fds, domain, entry)?;
    Ok(Spawned { process, link, progress, stdout, stderr })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(program: &str, private: &std::path::Path) -> Order {
        Order {
            program: program.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            dir: "/".into(),
            private: private.to_owned(),
            data: None,
            plugin_dir: None,
        }
    }

    #[tokio::test]
    async fn a_start_that_fails_leaves_nothing_and_takes_nothing_of_others() {
        let temp = tempfile::tempdir().unwrap();
        let spawner = Spawner::start(Arc::new(Isolation::none())).unwrap();
        let private = temp.path().join("w1");
        assert!(spawner.spawn(order("/no/such/program", &private)).await.is_err());
        assert!(!private.exists());

        std::fs::create_dir(&private).unwrap();
        std::fs::write(private.join("file"), "").unwrap();
        let error = spawner.spawn(order("/bin/true", &private)).await.err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(private.join("file").exists());
    }
}
