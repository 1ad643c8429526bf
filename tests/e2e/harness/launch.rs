//! What is to be started: apps of the test's own, and how they are served.

use super::{Log, PATIENCE, Server, bun};
use buntime::store::{Limits, Store};
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::watch;

/// A directory of apps, written by the test.
pub struct Apps(TempDir);

/// What is to be started, and how.
pub struct Launch {
    apps: Apps,
    env: Vec<(String, String)>,
    state_among_apps: bool,
    decide: Option<Decide>,
    /// That of an earlier supervisor.
    state: Option<TempDir>,
    user: Option<u32>,
    worker_dirs: Option<PathBuf>,
    /// It is started in the directory of apps.
    inside: bool,
    script: Option<String>,
    /// In a mount namespace of its own, after these commands.
    mounts: Option<String>,
    /// A capability that it has not.
    without: Option<&'static str>,
    binary: PathBuf,
    /// What a service manager passes, with their names.
    sockets: Vec<(String, OwnedFd)>,
    dev: bool,
    arguments: Vec<String>,
}

type Decide = Box<dyn FnOnce(&Store)>;

impl Apps {
    pub fn new() -> Apps {
        let dir = TempDir::new().unwrap();
        // Workers may run as another user, who may read what is served.
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        Apps(dir)
    }

    /// Writes a file: `file("hello/index.ts", "export default …")`.
    pub fn file(self, path: &str, text: impl AsRef<[u8]>) -> Apps {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    /// Copies one of the apps in `tests/apps`.
    pub fn with(self, name: &str) -> Apps {
        self.with_as(name, name)
    }

    /// Copies one of the apps in `tests/apps` to another name.
    pub fn with_as(self, name: &str, to: &str) -> Apps {
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apps").join(name), &self.0.path().join(to));
        self
    }

    /// Copies the apps in a directory of this repository.
    pub fn all_of(self, dir: &str) -> Apps {
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), self.0.path());
        self
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn launch(self) -> Launch {
        Launch {
            apps: self,
            env: Vec::new(),
            state_among_apps: false,
            decide: None,
            state: None,
            user: None,
            worker_dirs: None,
            inside: false,
            script: None,
            mounts: None,
            without: None,
            binary: env!("CARGO_BIN_EXE_buntime").into(),
            sockets: Vec::new(),
            dev: false,
            arguments: Vec::new(),
        }
    }

    /// Without spares: fewer processes for tests that are not about them.
    pub fn lean(self) -> Launch {
        self.launch().env("RUNTIME_SPARE_WORKERS", "0")
    }

    /// Starts a supervisor with the settings of a test environment.
    pub async fn serve(self) -> Server {
        self.launch().start().await
    }
}

impl Launch {
    /// Sets a variable of the supervisor.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Launch {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Has the state directory where it is by default: beside the apps.
    pub fn state_among_apps(mut self) -> Launch {
        self.state_among_apps = true;
        self
    }

    /// Has the operator have decided something before the start.
    pub fn decided(mut self, decide: impl FnOnce(&Store) + 'static) -> Launch {
        self.decide = Some(Box::new(decide));
        self
    }

    /// As another user than the one that the tests run as, who is root.
    pub fn run_by(mut self, uid: u32) -> Launch {
        self.user = Some(uid);
        self
    }

    /// In a user namespace of its own (user_namespaces(7)), where it is root, and after these commands of a shell.
    pub fn in_user_namespace(mut self, script: &str) -> Launch {
        self.script = Some(format!("{script}\nexec \"$0\" \"$@\""));
        self
    }

    /// In a mount namespace of its own, which goes with it, after these commands of a shell. `{state}` and `{apps}` stand for the
    /// directory that the state directory is made in, and that of the apps; from outside they are seen by [`Server::inside`].
    pub fn after_mounting(mut self, script: &str) -> Launch {
        self.mounts = Some(script.to_owned());
        self
    }

    /// As root without a capability: `sys_admin`, which namespaces take, or `kill`.
    pub fn without(mut self, capability: &'static str) -> Launch {
        self.without = Some(capability);
        self
    }

    /// As this file.
    pub fn binary(mut self, path: &Path) -> Launch {
        self.binary = path.to_owned();
        self
    }

    /// With a listening socket that a service manager has opened.
    pub fn socket(mut self, name: &str, socket: impl Into<OwnedFd>) -> Launch {
        self.sockets.push((name.to_owned(), socket.into()));
        self
    }

    /// As `buntime dev` with the directory of apps, or the app that it is.
    pub fn dev(mut self) -> Launch {
        self.dev = true;
        self
    }

    /// With flags of its own.
    pub fn arguments(mut self, arguments: &[&str]) -> Launch {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// The command, to be started in another way, and what must live as long as its process.
    pub fn into_command(self) -> (Command, Apps, TempDir) {
        let (command, apps, state, ..) = self.command();
        (command, apps, state)
    }

    /// With a directory of plugins.
    pub fn plugins(self, dir: &Path) -> Launch {
        self.env("RUNTIME_PLUGIN_DIRS", dir.to_str().unwrap())
    }

    /// In the directory of apps, which it is told as `.`.
    pub fn inside(mut self) -> Launch {
        self.inside = true;
        self.worker_dirs(Path::new("."))
    }

    /// With another directory of apps.
    pub fn worker_dirs(mut self, dir: &Path) -> Launch {
        self.worker_dirs = Some(dir.to_owned());
        self
    }

    /// With the state directory of an earlier supervisor, or another one; it is `state` in this.
    pub fn state_in(mut self, dir: TempDir) -> Launch {
        self.state = Some(dir);
        self
    }

    /// The state directory of an earlier supervisor.
    pub fn state_dir(&self) -> PathBuf {
        self.state.as_ref().unwrap().path().join("state")
    }

    /// The directory of apps.
    pub fn apps_path(&self) -> &Path {
        self.apps.path()
    }

    /// What it says that does not even start.
    pub async fn fail(self) -> String {
        let (mut command, _apps, _state, _, _sockets) = self.command();
        let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it started").unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    }

    fn command(self) -> (Command, Apps, TempDir, PathBuf, Vec<OwnedFd>) {
        let state = match (self.state, self.state_among_apps) {
            (Some(state), _) => state,
            (None, true) => TempDir::with_prefix_in(".state-", self.apps.path()).unwrap(),
            (None, false) => TempDir::new().unwrap(),
        };
        if let Some(decide) = self.decide {
            let dir = state.path().join("state");
            std::fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
            decide(&Store::open(&dir, Limits::default()).unwrap());
        }
        // Compiled once for all tests.
        let mut cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
        let mounts = self.mounts.map(|script| {
            let place = |path: &Path| path.to_str().unwrap().to_owned();
            let script =
                script.replace("{state}", &place(state.path())).replace("{apps}", &place(self.apps.path()));
            format!("set -e\n{script}\nexec \"$0\" \"$@\"")
        });
        let binary = self.binary.as_os_str();
        let mut passed = Vec::new();
        let mut command = match &self.script {
            None if !self.sockets.is_empty() => {
                // As sd_listen_fds(3) says: from 3 on, for the process of this number. A shell can count; one of the usual ones
                // knows no descriptor above 9.
                let names: Vec<_> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
                let mut script = String::new();
                for (at, (_, socket)) in self.sockets.iter().enumerate() {
                    let high = rustix::io::fcntl_dupfd_cloexec(socket, 100).unwrap();
                    rustix::io::fcntl_setfd(&high, rustix::io::FdFlags::empty()).unwrap();
                    script += &format!("exec {0}<&{1} {1}<&-; ", 3 + at, high.as_raw_fd());
                    passed.push(high);
                }
                script += &format!(
                    "LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={} exec \"$0\" \"$@\"",
                    names.len(),
                    names.join(":")
                );
                let mut command = Command::new("bash");
                command.arg("-c").arg(script).arg(binary);
                command
            }
            None if mounts.is_some() => {
                let mut command = Command::new("unshare");
                command.args(["-m", "sh", "-c", &mounts.unwrap_or_default()]).arg(binary);
                command
            }
            None => match self.without {
                Some(capability) => {
                    let without = format!("-{capability}");
                    let mut command = Command::new("setpriv");
                    command.args(["--bounding-set", &without, "--inh-caps", &without]).arg(binary);
                    command
                }
                None => Command::new(binary),
            },
            Some(script) => {
                let mut command = Command::new("unshare");
                command.args(["-Ur", "sh", "-c", script]).arg(binary);
                command
            }
        };
        if let Some(uid) = self.user {
            cache.set_file_name("cache-of-user");
            std::fs::create_dir_all(&cache).unwrap();
            for dir in [self.apps.path(), state.path()] {
                give(dir, uid);
            }
            // Other tests may be using it.
            std::os::unix::fs::chown(&cache, Some(uid), Some(uid)).unwrap();
            command.uid(uid).gid(uid);
        }
        command
            .args(if self.dev { &["dev"][..] } else { &["run", "--worker-dirs"] })
            .arg(self.worker_dirs.as_deref().unwrap_or(self.apps.path()))
            .args(self.arguments)
            .arg("--state-dir")
            .arg(state.path().join("state"))
            .arg("--cache-dir")
            .arg(&cache)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("RUNTIME_BUN", bun())
            .env("NODE_ENV", "test")
            .env("PORT", "0")
            .env("RUNTIME_LOG_FORMAT", "json")
            .env("RUNTIME_LOG_LEVEL", "debug")
            // The default is beside the sources of this repository, which a test may change and delete.
            .env("RUNTIME_PLUGIN_DIRS", state.path().join("plugins"))
            .envs(self.env)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if self.inside {
            command.current_dir(self.apps.path());
        }
        (command, self.apps, state, cache, passed)
    }

    pub async fn start(self) -> Server {
        let mut server = self.begin();
        let serving = server.logged(|line| line["message"] == "serving").await;
        server.address = serving["listen"].as_str().unwrap().split_once("://").unwrap().1.parse().unwrap();
        server
    }

    /// Waits for nothing: where it listens is not known then.
    pub fn begin(self) -> Server {
        let (mut command, apps, state, cache, passed) = self.command();
        let mut child = command.spawn().unwrap();
        drop(passed);
        let log = Arc::new(Log { lines: Mutex::default(), count: watch::Sender::new(0) });
        let stderr = child.stderr.take().unwrap();
        tokio::spawn(Arc::clone(&log).read(stderr));
        let pid = child.id().unwrap();
        let address = SocketAddr::from(([0, 0, 0, 0], 0));
        Server { address, pid, child, log, cache, dirs: (apps, state) }
    }
}

/// Hands a directory over, with all that is in it.
fn give(dir: &Path, uid: u32) {
    std::os::unix::fs::lchown(dir, Some(uid), Some(uid)).unwrap();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => give(&entry.path(), uid),
            false => std::os::unix::fs::lchown(entry.path(), Some(uid), Some(uid)).unwrap(),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
