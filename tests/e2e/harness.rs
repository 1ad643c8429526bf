//! Starts a supervisor on apps of the test's own, speaks HTTP to it, and reads its log.

use buntime::store::{Limits, Store};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::watch;

/// How long a test waits for what must come. Generous: it only bounds a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory of apps, written by the test.
pub struct Apps(TempDir);

/// A running supervisor. Killed when dropped.
pub struct Server {
    pub address: SocketAddr,
    pub pid: u32,
    child: Child,
    log: Arc<Log>,
    pub cache: PathBuf,
    dirs: (Apps, TempDir),
}

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
    script: Option<String>,
    /// In a mount namespace of its own, after these commands.
    mounts: Option<String>,
    /// A capability that it has not.
    without: Option<&'static str>,
    binary: PathBuf,
    /// What a service manager passes, with their names.
    sockets: Vec<(String, OwnedFd)>,
    dev: bool,
}

type Decide = Box<dyn FnOnce(&Store)>;

struct Log {
    lines: Mutex<Vec<Value>>,
    count: watch::Sender<usize>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub struct Answer {
    pub head: http::response::Parts,
    pub body: Bytes,
}

/// One connection to a supervisor.
pub struct Client(hyper::client::conn::http1::SendRequest<Full<Bytes>>);

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
            script: None,
            mounts: None,
            without: None,
            binary: env!("CARGO_BIN_EXE_buntime").into(),
            sockets: Vec::new(),
            dev: false,
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

    /// The command, to be started in another way, and what must live as long as its process.
    pub fn into_command(self) -> (Command, Apps, TempDir) {
        let (command, apps, state, ..) = self.command();
        (command, apps, state)
    }

    /// With a directory of plugins.
    pub fn plugins(self, dir: &Path) -> Launch {
        self.env("RUNTIME_PLUGIN_DIRS", dir.to_str().unwrap())
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
                    script += &format!("exec {}<&{}; ", 3 + at, high.as_raw_fd());
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

impl Server {
    pub async fn connect(&self) -> Client {
        Client::over(TcpStream::connect(self.address).await.unwrap()).await
    }

    /// GET on a connection of its own.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Full::default()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Answer {
        self.send(Request::post(path).body(Full::new(body.into())).unwrap()).await
    }

    /// One request on a connection of its own.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> Answer {
        self.connect().await.send(request).await.unwrap()
    }

    /// The first line of the log, past or future, that `is` says yes to.
    pub async fn logged(&self, is: impl Fn(&Value) -> bool) -> Value {
        self.log.wait(is).await
    }

    /// All lines so far that `is` says yes to.
    pub fn log(&self, is: impl Fn(&Value) -> bool) -> Vec<Value> {
        self.log.lines.lock().unwrap().iter().filter(|line| is(line)).cloned().collect()
    }

    /// The directory of apps, to change it while it is served.
    pub fn apps(&self) -> &Apps {
        &self.dirs.0
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dirs.1.path().join("state")
    }

    /// A path as the supervisor sees it, in its own mounts.
    pub fn inside(&self, path: &Path) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string()).join("root").join(path.strip_prefix("/").unwrap())
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid as i32), signal).unwrap();
    }

    /// Kills it at once, to be started again with the same directories.
    pub async fn killed(mut self) -> Launch {
        // One that has ended by itself cannot be killed.
        let _ = self.child.start_kill();
        self.exit().await;
        self.dirs.0.launch().state_in(self.dirs.1)
    }

    /// Ends it, to be started again with the same directories.
    pub async fn stop(mut self) -> Launch {
        self.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(self.exit().await.success());
        self.dirs.0.launch().state_in(self.dirs.1)
    }

    /// Waits for the process to end.
    pub async fn exit(&mut self) -> std::process::ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("the supervisor did not end").unwrap()
    }
}

impl Client {
    /// On a connection that is there.
    pub async fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Client {
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.unwrap();
        tokio::spawn(connection);
        Client(sender)
    }

    pub async fn send(&mut self, mut request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        request.headers_mut().entry("host").or_insert("test".parse().unwrap());
        let response = self.begin(request).await?;
        let (head, body) = response.into_parts();
        Ok(Answer { head, body: body.collect().await?.to_bytes() })
    }

    /// Waits for the server to close it.
    pub async fn closed(&mut self) {
        let closed = async {
            while self.0.ready().await.is_ok() {
                tokio::task::yield_now().await
            }
        };
        tokio::time::timeout(PATIENCE, closed).await.expect("it stays open");
    }

    /// Sends a request and returns when the head of the answer is there.
    pub async fn begin(&mut self, mut request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        request.headers_mut().entry("host").or_insert("test".parse().unwrap());
        self.0.ready().await?;
        self.0.send_request(request).await
    }
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {:?}", self.body))
    }

    pub fn header(&self, name: &str) -> &str {
        self.head.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Log {
    async fn read(self: Arc<Self>, stderr: impl AsyncRead + Unpin) {
        let mut lines = BufReader::new(stderr).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
            self.lines.lock().unwrap().push(value);
            self.count.send_modify(|count| *count += 1);
        }
    }

    async fn wait(&self, is: impl Fn(&Value) -> bool) -> Value {
        let mut count = self.count.subscribe();
        let mut seen = 0;
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                {
                    let lines = self.lines.lock().unwrap();
                    if let Some(line) = lines[seen..].iter().find(|line| is(line)) {
                        return line.clone();
                    }
                    seen = lines.len();
                }
                count.changed().await.unwrap();
            }
        });
        found.await.unwrap_or_else(|_| {
            let lines = self.lines.lock().unwrap();
            let last: Vec<String> = lines.iter().rev().take(200).rev().map(Value::to_string).collect();
            panic!("no such line in the log, which ends:\n{}", last.join("\n"))
        })
    }
}

/// A GET request with `Accept`.
pub fn get_accepting(path: &str, accept: &str) -> Request<Full<Bytes>> {
    Request::builder().method(Method::GET).uri(path).header("accept", accept).body(Full::default()).unwrap()
}

/// The `bun` that tests run.
pub fn bun() -> PathBuf {
    if let Some(bun) = std::env::var_os("BUNTIME_TEST_BUN") {
        return bun.into();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|dir| dir.join("bun")).find(|bun| bun.exists()).expect("no bun on PATH")
}

/// A program on `PATH`, or in `.tools/NAME/bin`, that a test can do without; then `scripts/test` counts it as skipped.
///
/// # Panics
/// In CI (`CI=true`) none is missing.
pub fn tool(name: &str, missing: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools").join(name).join("bin");
    let found =
        std::env::split_paths(&path).chain([own]).map(|dir| dir.join(name)).find(|file| file.exists());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "{missing}");
        eprintln!("SKIPPED: {missing}");
    }
    found
}

/// Waits until `is` holds, looking again after a moment: for what only the system knows (processes, files).
pub async fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !is() {
        assert!(tokio::time::Instant::now() < end, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
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
