//! The namespaces that every worker starts from: made once by a child that leaves their descriptors to us, and ends.
//!
//! A worker enters the template and copies it, which costs less than half of what making it anew would.

use super::calls;
use super::plan::{Handle, Plan, Root, Step};
use super::registry::{Desk, Registry};
use super::user::Identity;
use crate::worker::child::{self, Child};
use std::ffi::{CStr, CString, c_int, c_void};
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// How a namespace for mounts may be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With the capability for it.
    Privileged,
    /// In a user namespace, in which everybody has it.
    UserNamespace,
}

#[derive(Debug)]
pub struct Template {
    pub user_ns: Option<OwnedFd>,
    pub mount_ns: OwnedFd,
    /// The supervisor's own, where its threads can come back to it from another one.
    pub home: Option<OwnedFd>,
    /// Real directories as the template has them, under what covers them.
    pub workers: OwnedFd,
    pub data: OwnedFd,
    /// What covers the state directory, here to be written to.
    pub cover: OwnedFd,
    pub plugin_dirs: Vec<Root<OwnedFd>>,
}

/// What the child reads, and what it leaves.
struct Orders<'a> {
    way: Way,
    steps: &'a [Step],
    handles: &'a mut [RawFd],
    maps: [CString; 2],
    /// Where to ask for other maps than those.
    desk: Option<Desk>,
    user_ns: RawFd,
    mount_ns: RawFd,
    error: c_int,
    /// The number of the step it failed at. None = before the first one or after the last one.
    failed_at: Option<usize>,
}

impl Template {
    /// # Errors
    /// What is not allowed here, and at what.
    pub fn make(plan: &Plan, way: Way, identity: Option<&Identity>) -> io::Result<Template> {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        let mut handles = vec![-1; plan.handles];
        let registry = identity.filter(|_| way == Way::UserNamespace).map(Registry::open).transpose()?;
        let mut orders = Orders {
            way,
            steps: &plan.steps,
            handles: &mut handles,
            maps: [CString::new(format!("{uid} {uid} 1\n"))?, CString::new(format!("{gid} {gid} 1\n"))?],
            desk: registry.as_ref().map(Registry::desk),
            user_ns: -1,
            mount_ns: -1,
            error: 0,
            failed_at: None,
        };
        // SAFETY: `make` makes only system calls and takes these orders, which nobody else touches. It shares our
        // descriptors, so that what it opens is ours.
        let made = unsafe { child::start(make, (&raw mut orders).cast(), libc::CLONE_FILES) };
        drop(registry);
        let (error, failed_at) = (orders.error, orders.failed_at);
        let [user_ns, mount_ns] = [orders.user_ns, orders.mount_ns].map(own);
        let mut kept: Vec<Option<OwnedFd>> = handles.into_iter().map(own).collect();
        made?.reap();
        if error != 0 {
            let error = io::Error::from_raw_os_error(error);
            let at = failed_at.map_or("a namespace".to_owned(), |at| format!("{:?}", plan.steps[at]));
            return Err(io::Error::new(error.kind(), format!("{at}: {error}")));
        }
        let gone = || io::Error::other("the child ended early");
        let home = match way {
            Way::Privileged => Some(std::fs::File::open("/proc/self/ns/mnt")?.into()),
            Way::UserNamespace => None,
        };
        let mut take = |handle: Handle| kept[handle].take().ok_or_else(gone);
        let mut root = |root: &Root| {
            Ok(Root { dir: root.dir.clone(), real: take(root.real)?, cover: take(root.cover)? })
        };
        let plugin_dirs = plan.plugin_dirs.iter().map(&mut root).collect::<io::Result<_>>()?;
        Ok(Template {
            user_ns,
            mount_ns: mount_ns.ok_or_else(gone)?,
            home,
            workers: take(plan.workers)?,
            data: take(plan.data)?,
            cover: take(plan.cover)?,
            plugin_dirs,
        })
    }
}

fn own(fd: RawFd) -> Option<OwnedFd> {
    // SAFETY: the child has opened this descriptor in our table and has left it to us.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}

extern "C" fn make(orders: *mut c_void) -> c_int {
    // SAFETY: `Template::make` passes its orders, which outlive the child, and does not touch them meanwhile.
    let orders = unsafe { &mut *orders.cast::<Orders<'_>>() };
    if let Err(error) = carry_out(orders) {
        orders.error = error;
    }
    // SAFETY: ends this process without running anything of the borrowed one.
    unsafe { libc::_exit(0) }
}

fn carry_out(orders: &mut Orders<'_>) -> Result<(), c_int> {
    match orders.way {
        Way::Privileged => calls::unshare(libc::CLONE_NEWNS)?,
        Way::UserNamespace => {
            calls::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
            match &orders.desk {
                Some(desk) => desk.ask()?,
                None => stay_who_we_are(&orders.maps)?,
            }
            orders.user_ns = calls::open(c"/proc/self/ns/user", libc::O_RDONLY)?;
        }
    }
    calls::follow_only()?;
    calls::forget_umask();
    for (number, step) in orders.steps.iter().enumerate() {
        orders.failed_at = Some(number);
        perform(step, orders.handles)?;
    }
    orders.failed_at = None;
    orders.mount_ns = calls::open(c"/proc/self/ns/mnt", libc::O_RDONLY)?;
    Ok(())
}

/// Our one user and group are in the new user namespace what they are outside.
fn stay_who_we_are(maps: &[CString; 2]) -> Result<(), c_int> {
    let names = [c"/proc/self/setgroups", c"/proc/self/uid_map", c"/proc/self/gid_map"];
    let mut files = [-1; 3];
    // The files of a process that nobody may look into are root's. It takes microseconds, and no worker runs yet.
    calls::set_dumpable(true);
    for (file, name) in files.iter_mut().zip(names) {
        *file = calls::open(name, libc::O_WRONLY).unwrap_or_else(|error| -error);
    }
    calls::set_dumpable(false);
    let texts = [c"deny", &maps[0], &maps[1]];
    let mut result = Ok(());
    for (file, text) in files.into_iter().zip(texts) {
        let written = if file < 0 { Err(-file) } else { calls::write(file, text.to_bytes()) };
        result = result.and(written);
        if file >= 0 {
            calls::close(file);
        }
    }
    result
}

fn perform(step: &Step, handles: &mut [RawFd]) -> Result<(), c_int> {
    match step {
        Step::Open { dir, into } => {
            handles[*into] = calls::open(dir, libc::O_PATH | libc::O_DIRECTORY)?;
        }
        Step::Cover { dir } => calls::cover(dir)?,
        Step::Take { of, path, into } => {
            let of = of.map_or(libc::AT_FDCWD, |of| handles[of]);
            handles[*into] = calls::open_tree(of, path)?;
        }
        Step::MakeDir { path } => calls::make_dir(path)?,
        Step::MakeFile { path } => calls::close(calls::open(path, libc::O_CREAT | libc::O_WRONLY)?),
        Step::Attach { tree, path, read_only } => {
            if *read_only {
                calls::make_read_only(handles[*tree], c"")?;
            }
            calls::attach(handles[*tree], path)?;
        }
        Step::Seal { dir } => calls::make_read_only(libc::AT_FDCWD, dir)?,
    }
    Ok(())
}

/// So much is mounted in one copy at most: private, data and plugin directory.
pub const MOUNTS: usize = 3;

/// How a child comes from here into a copy of the template. It makes only system calls.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a> {
    pub user_ns: Option<RawFd>,
    pub mount_ns: RawFd,
    /// What is mounted in the copy, and where: a directory of the template's, and the path in it.
    pub mounts: [Option<Bind<'a>>; MOUNTS],
}

#[derive(Clone, Copy, Debug)]
pub struct Bind<'a> {
    pub of: RawFd,
    pub name: &'a CStr,
    pub to: &'a CStr,
    pub read_only: bool,
}

/// What is on its way to where it is mounted.
type Trees = [Option<RawFd>; MOUNTS];

impl Passage<'_> {
    /// Into the template itself, where the mounts are copied that go elsewhere.
    fn enter_template(&self) -> Result<Trees, c_int> {
        if let Some(user_ns) = self.user_ns {
            calls::setns(user_ns, libc::CLONE_NEWUSER)?;
            // As anybody's memory is that takes another identity; whatever suid_dumpable says.
            calls::set_dumpable(false);
        }
        calls::setns(self.mount_ns, libc::CLONE_NEWNS)?;
        let mut trees = [None; MOUNTS];
        match self.take(&mut trees) {
            Ok(()) => Ok(trees),
            Err(error) => {
                trees.into_iter().flatten().for_each(calls::close);
                Err(error)
            }
        }
    }

    fn take(&self, trees: &mut Trees) -> Result<(), c_int> {
        for (tree, bind) in trees.iter_mut().zip(self.mounts.iter().flatten()) {
            let taken = calls::open_tree(bind.of, bind.name)?;
            *tree = Some(taken);
            if bind.read_only {
                calls::make_read_only(taken, c"")?;
            }
        }
        Ok(())
    }

    fn attach(&self, trees: Trees) -> Result<(), c_int> {
        let mut attached = Ok(());
        for (tree, bind) in trees.into_iter().flatten().zip(self.mounts.iter().flatten()) {
            attached = attached.and_then(|()| calls::attach(tree, bind.to));
            calls::close(tree);
        }
        attached
    }

    /// Into a copy of the template.
    pub fn enter(&self) -> Result<(), c_int> {
        let trees = self.enter_template()?;
        calls::unshare(libc::CLONE_NEWNS)?;
        self.attach(trees)
    }

    /// Mounts something in the copy that another process is in, and lets a child end that had to go there for it.
    ///
    /// # Errors
    /// That process has ended (ESRCH), or what the calls have.
    pub fn mount_for(&self, process: RawFd, home: Option<RawFd>) -> io::Result<Visitor> {
        if let Some(home) = home {
            return self.mount_by_thread(process, home).map(|()| Visitor(None));
        }
        let mut visit = Visit { passage: self, process, error: 0 };
        // SAFETY: `visit` makes only system calls and takes these orders, which nobody else touches.
        let child = unsafe { child::start(visit_process, (&raw mut visit).cast(), 0) }?;
        let visitor = Visitor(Some(child));
        if visit.error == 0 { Ok(visitor) } else { Err(io::Error::from_raw_os_error(visit.error)) }
    }

    /// The calling thread goes there itself, which takes a third of what a child does, and comes back to the mount namespace
    /// `home`. Its working directory is `/` from then on.
    fn mount_by_thread(&self, process: RawFd, home: RawFd) -> io::Result<()> {
        let error = io::Error::from_raw_os_error;
        // A thread that shares its root with others cannot have other mounts than they; those it has started since do.
        calls::unshare(libc::CLONE_FS).map_err(error)?;
        let done = self.visit(process);
        if calls::setns(home, libc::CLONE_NEWNS).is_err() {
            // This thread would go on among files that are not there.
            std::process::abort();
        }
        done.map_err(error)
    }

    fn visit(&self, process: RawFd) -> Result<(), c_int> {
        let trees = self.enter_template()?;
        if let Err(error) = calls::setns(process, libc::CLONE_NEWNS) {
            trees.into_iter().flatten().for_each(calls::close);
            return Err(error);
        }
        self.attach(trees)
    }
}

/// What has mounted something for another process, and may still be ending. Dropping it waits for that.
#[derive(Debug, Default)]
#[must_use]
pub struct Visitor(Option<Child>);

impl Drop for Visitor {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            child.reap();
        }
    }
}

struct Visit<'a> {
    passage: &'a Passage<'a>,
    process: RawFd,
    error: c_int,
}

extern "C" fn visit_process(visit: *mut c_void) -> c_int {
    // SAFETY: `mount_for` passes its own, which outlives the child, and does not touch it meanwhile.
    let visit = unsafe { &mut *visit.cast::<Visit<'_>>() };
    let done = visit.passage.visit(visit.process);
    if let Err(error) = done {
        visit.error = error;
    }
    // SAFETY: ends this process without running anything of the borrowed one.
    unsafe { libc::_exit(0) }
}
