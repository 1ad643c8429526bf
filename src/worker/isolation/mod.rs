//! Keeping apps from files: the state, the cache and the runtime directory are not there for a worker, but for what is its own.
//!
//! `plan` decides what is mounted over what; `template` has it done once, in a mount namespace (mount_namespaces(7)) that each
//! worker starts from a copy of. A worker's private directory is mounted in its copy when it starts, its app's data directory, and
//! a plugin's own directory, when it gets an app. Where the supervisor is root, workers run as another `user`; elsewhere the namespaces belong to a user
//! namespace (user_namespaces(7)), and no worker has a capability in it.

mod aliases;
mod calls;
mod plan;
mod registry;
mod template;
mod user;

use self::plan::text;
pub use self::plan::{Layout, LayoutError};
pub use self::template::Visitor;
use self::template::{Bind, MOUNTS, Passage, Template, Way};
pub use self::user::{Identity, Unreadable};
use super::domain::Domain;
use super::exec::{Process, Step, StepError};
use super::spawn::{self, Order};
use crate::shortage::of_no_disk;
use std::collections::BTreeMap;
use std::ffi::{CString, OsString, c_int};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

/// What is enforced for every worker of this process.
#[derive(Debug)]
pub struct Isolation {
    layout: Layout,
    files: Option<Files>,
}

#[derive(Debug)]
struct Files {
    template: Template,
    identity: Option<Identity>,
}

/// What a worker's own namespace is made from.
#[derive(Debug, Default)]
pub struct Room {
    private: CString,
    home: CString,
    data: Option<[CString; 2]>,
    plugin: Option<Part>,
}

/// A plugin's directory, mounted for its own workers.
#[derive(Debug)]
struct Part {
    of: RawFd,
    name: CString,
    to: CString,
}

/// The way of one worker into its room, for a child that makes only system calls.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    passage: Passage<'a>,
    user: Option<(u32, u32)>,
}

impl Entry<'_> {
    pub fn enter(&self) -> Result<(), c_int> {
        self.passage.enter()
    }

    /// Whether [`Entry::become_user`] leaves nothing of root's.
    pub fn changes_user(&self) -> bool {
        self.user.is_some()
    }

    /// The kernel forgets about the signal at a parent's death when the user changes: it is to be asked for after this.
    pub fn become_user(&self) -> Result<(), c_int> {
        let Some((uid, gid)) = self.user else { return Ok(()) };
        calls::become_user(uid, gid)?;
        calls::set_dumpable(false);
        Ok(())
    }
}

impl Isolation {
    /// Nothing is enforced.
    pub fn none() -> Isolation {
        Isolation { layout: Layout::default(), files: None }
    }

    /// The best that is allowed here, tried with `program`. Where nothing is, a warning says why.
    ///
    /// # Errors
    /// The layout cannot be.
    pub fn establish(
        mut layout: Layout,
        program: &Path,
        args: &[OsString],
    ) -> Result<Isolation, LayoutError> {
        layout.check()?;
        let hidden: Vec<PathBuf> = layout.all_hidden().cloned().collect();
        layout.hidden.extend(hidden.iter().flat_map(|dir| aliases::of(dir)));
        let files: Vec<PathBuf> = layout.hidden_files.iter().flat_map(|file| aliases::of(file)).collect();
        layout.hidden_files.extend(files);
        layout.check()?;
        let mut isolation = Isolation { layout, files: None };
        let mut causes = Vec::new();
        for (number, (way, identity)) in ways().into_iter().enumerate() {
            match Files::make(&isolation.layout, way, identity) {
                Ok(files) => isolation.files = Some(files),
                Err(error) => {
                    causes.push(error.to_string());
                    continue;
                }
            }
            match isolation.probe(number, program, args) {
                Ok(()) => {
                    isolation.warn_of_second_best(&causes.join("; "));
                    isolation.warn_of_unreadable();
                    return Ok(isolation);
                }
                Err(error) => causes.push(error.to_string()),
            }
            isolation.files = None;
        }
        let cause = causes.join("; ");
        tracing::warn!(
            cause = &*cause,
            hint = hint(),
            "apps are not kept from the state directory, from each other's data and from the cache"
        );
        if nix::unistd::geteuid().is_root() {
            isolation.warn_of_second_best(&cause);
        }
        Ok(isolation)
    }

    /// Starts a process as a worker is started. The one before it may still have its directory.
    fn probe(&self, number: usize, program: &Path, args: &[OsString]) -> io::Result<()> {
        let order = Order {
            program: program.to_owned(),
            args: args.to_vec(),
            env: BTreeMap::new(),
            dir: self.layout.run.join("empty"),
            private: self.layout.run.join(format!("workers/probe-{number}")),
            data: None,
            plugin_dir: None,
        };
        let started = match spawn::spawn(&order, &Domain::none(), self) {
            Ok(started) => started,
            // It would not start anywhere else either, or the workers' user may not run it: no worker will start.
            Err(error) if failed_at(&error) == Some(Step::Program) => {
                tracing::error!(%error, program = %program.display(), "workers cannot be started");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if !started.process.can_be_signalled() {
            // It ends by itself when it hears no more of us.
            drop(started.link);
            std::thread::spawn(move || {
                started.process.reap();
                let _ = crate::uproot::remove(&order.private); // it goes with the runtime's directory
            });
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "a worker of another user could not be ended (CAP_KILL)",
            ));
        }
        let mounted = self.mount(&started.process, Some(""), None);
        started.process.kill();
        started.process.reap();
        crate::uproot::remove(&order.private)?;
        match mounted {
            // It has ended, which is for others to find out why.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            mounted => mounted.map(drop),
        }
    }

    /// `cause` = why nothing better is allowed; empty = this is the best.
    fn warn_of_second_best(&self, cause: &str) {
        match self.identity() {
            _ if cause.is_empty() => {}
            Some(identity) => tracing::warn!(
                cause,
                user = identity.shown(),
                "workers run as another user by way of a user namespace, because they cannot without"
            ),
            None => tracing::warn!(
                cause,
                hint = "start Buntime as a user of its own, or allow it CAP_SYS_ADMIN, CAP_SYS_CHROOT, CAP_SETUID, CAP_SETGID, CAP_SYS_PTRACE, CAP_CHOWN and CAP_KILL",
                "APPS RUN AS ROOT: they can write what root can"
            ),
        }
    }

    fn warn_of_unreadable(&self) {
        let Some(identity) = self.identity() else { return };
        let needed = self.layout.worker_dirs.iter().chain(&self.layout.needed);
        for path in needed.filter(|path| !identity.can_enter(path)) {
            let unreadable = Unreadable { path: path.clone(), user: identity.shown() };
            tracing::warn!(hint = unreadable.suggestion(), "{unreadable}");
        }
    }

    /// Whether apps reach nothing of the state directory but what is their own.
    pub fn hides_files(&self) -> bool {
        self.files.is_some()
    }

    /// Whether no app reaches what is at a path, for certain.
    pub fn hides(&self, path: &Path) -> bool {
        let real = path.parent().and_then(|dir| dir.canonicalize().ok());
        let real = real.zip(path.file_name()).map(|(dir, name)| dir.join(name));
        self.hides_files() && self.layout.hides(real.as_deref().unwrap_or(path))
    }

    /// The user that workers run as, where it is not the supervisor's.
    pub fn identity(&self) -> Option<&Identity> {
        self.files.as_ref()?.identity.as_ref()
    }

    /// What keeps an app in `dir` from being read by the workers' user.
    pub fn unreadable(&self, dir: &Path) -> Option<Unreadable> {
        let identity = self.identity()?;
        let real = dir.canonicalize().ok()?;
        let mut from = self.layout.worker_dirs.iter().chain(&self.layout.plugin_dirs);
        let from = from.find(|from| real.starts_with(from))?;
        let path = identity.unreadable(from, &real)?;
        Some(Unreadable { path, user: identity.shown() })
    }

    /// The path of a worker's private directory, as the worker sees it.
    pub fn home(&self, private: &Path) -> PathBuf {
        if self.hides_files() { self.layout.run.join("home") } else { private.to_owned() }
    }

    /// Where a data directory is to be mounted has to be there, as an empty one.
    ///
    /// # Errors
    /// Those of mkdirat(2).
    pub fn prepare_data(&self, name: &str) -> io::Result<()> {
        let Some(files) = &self.files else { return Ok(()) };
        make_dirs(files.template.cover.as_fd(), PathBuf::from("data"), Path::new(name))
    }

    /// Has a worker's process reach its app's data directory, of this name, and a plugin's directory.
    ///
    /// # Errors
    /// There is none, the process has ended (ESRCH), or what setns(2) and move_mount(2) have.
    pub fn mount(
        &self,
        process: &Process,
        data: Option<&str>,
        plugin_dir: Option<&Path>,
    ) -> io::Result<Visitor> {
        let Some(files) = &self.files else { return Ok(Visitor::default()) };
        let data = data.map(|name| self.data(name)).transpose()?;
        let plugin = plugin_dir.map(|dir| files.part(dir)).transpose()?.flatten();
        if data.is_none() && plugin.is_none() {
            return Ok(Visitor::default());
        }
        let home = files.template.home.as_ref().map(AsRawFd::as_raw_fd);
        let mounts = [data.as_ref().map(|data| files.bind_data(data)), plugin.as_ref().map(Part::bind), None];
        files.passage(mounts).mount_for(process.fd(), home).map_err(of_no_disk)
    }

    fn data(&self, name: &str) -> io::Result<[CString; 2]> {
        let to = self.layout.state.join("data").join(name);
        Ok([CString::new(if name.is_empty() { "." } else { name })?, text(&to)?])
    }

    /// `private` = the real path of the private directory; `data` = the name of a data directory; `plugin_dir` = the real
    /// path of a plugin's.
    ///
    /// # Errors
    /// A NUL byte in a path, or those of mkdirat(2).
    pub fn room(
        &self,
        private: &Path,
        data: Option<&str>,
        plugin_dir: Option<&Path>,
    ) -> io::Result<Option<Room>> {
        let Some(files) = &self.files else { return Ok(None) };
        Ok(Some(Room {
            private: text(Path::new(private.file_name().unwrap_or_default()))?,
            home: text(&self.home(private))?,
            data: data.map(|name| self.data(name)).transpose()?,
            plugin: plugin_dir.map(|dir| files.part(dir)).transpose()?.flatten(),
        }))
    }

    pub fn entry<'a>(&self, room: &'a Room) -> Option<Entry<'a>> {
        let files = self.files.as_ref()?;
        let workers = files.template.workers.as_raw_fd();
        let private = Bind { of: workers, name: &room.private, to: &room.home, read_only: false };
        let data = room.data.as_ref().map(|data| files.bind_data(data));
        let plugin = room.plugin.as_ref().map(Part::bind);
        let user = files.identity.as_ref().map(|identity| (identity.uid, identity.gid));
        Some(Entry { passage: files.passage([Some(private), data, plugin]), user })
    }
}

impl Files {
    fn make(layout: &Layout, way: Way, identity: Option<Identity>) -> io::Result<Files> {
        // What a link leads to is looked at by its own name.
        let is_barred = |dir: &Path| {
            let linked = dir.canonicalize().is_ok_and(|real| real != dir);
            !linked && identity.as_ref().is_some_and(|identity| !identity.can_pass(dir))
        };
        let plan = layout.plan(is_barred, Path::is_dir)?;
        let template = Template::make(&plan, way, identity.as_ref())?;
        Ok(Files { template, identity })
    }

    fn bind_data<'a>(&self, [name, to]: &'a [CString; 2]) -> Bind<'a> {
        Bind { of: self.template.data.as_raw_fd(), name, to, read_only: false }
    }

    /// A plugin's directory, with the empty one made that it is mounted over. None = it is not hidden.
    fn part(&self, dir: &Path) -> io::Result<Option<Part>> {
        let roots = self.template.plugin_dirs.iter().filter(|root| dir.starts_with(&root.dir));
        let Some(root) = roots.max_by_key(|root| root.dir.as_os_str().len()) else { return Ok(None) };
        let name = dir.strip_prefix(&root.dir).unwrap_or(dir);
        make_dirs(root.cover.as_fd(), PathBuf::new(), name)?;
        let name = if name.as_os_str().is_empty() { Path::new(".") } else { name };
        Ok(Some(Part { of: root.real.as_raw_fd(), name: text(name)?, to: text(dir)? }))
    }

    fn passage<'a>(&self, mounts: [Option<Bind<'a>>; MOUNTS]) -> Passage<'a> {
        let user_ns: Option<RawFd> = self.template.user_ns.as_ref().map(AsRawFd::as_raw_fd);
        Passage { user_ns, mount_ns: self.template.mount_ns.as_raw_fd(), mounts }
    }
}

impl Part {
    fn bind(&self) -> Bind<'_> {
        Bind { of: self.of, name: &self.name, to: &self.to, read_only: true }
    }
}

/// Makes `name` in `from`, a directory of a cover.
fn make_dirs(cover: BorrowedFd<'_>, from: PathBuf, name: &Path) -> io::Result<()> {
    let (mut path, mode) = (from, rustix::fs::Mode::from_raw_mode(0o755));
    for part in name {
        path.push(part);
        match rustix::fs::mkdirat(cover, &path, mode) {
            // Whatever the process's umask is.
            Ok(()) => rustix::fs::chmodat(cover, &path, mode, rustix::fs::AtFlags::empty())?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn failed_at(error: &io::Error) -> Option<Step> {
    Some(error.get_ref()?.downcast_ref::<StepError>()?.step)
}

/// The ways to go, the better one first.
fn ways() -> Vec<(Way, Option<Identity>)> {
    let own = (Way::UserNamespace, None);
    if !nix::unistd::geteuid().is_root() {
        return vec![own];
    }
    let other = |way| (way, Some(Identity::of_workers()));
    vec![other(Way::Privileged), other(Way::UserNamespace), own]
}

/// What most likely forbids namespaces here.
fn hint() -> String {
    let says = |name: &str, value: &str| {
        std::fs::read_to_string(format!("/proc/sys/{name}")).is_ok_and(|text| text.trim() == value)
    };
    for (name, value, better) in [
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("user/max_user_namespaces", "0", "10000"),
        ("user/max_mnt_namespaces", "0", "10000"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
    ] {
        if says(name, value) {
            return format!("sysctl {}={better}, or start Buntime as root", name.replace('/', "."));
        }
    }
    "in a container, allow it CAP_SYS_ADMIN, or user namespaces by its seccomp profile".into()
}

#[cfg(test)]
mod tests;
