//! Starts a supervisor on apps of the test's own (`launch`), speaks HTTP to it, and reads its log.

mod launch;

pub use launch::{Apps, Launch};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::sync::watch;

/// How long a test waits for what must come. Generous: it only bounds a failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running supervisor. Killed when dropped.
pub struct Server {
    pub address: SocketAddr,
    pub pid: u32,
    child: Child,
    log: Arc<Log>,
    pub cache: PathBuf,
    dirs: (Apps, TempDir),
}

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
            // Of requests there may be thousands.
            let (requests, others): (Vec<_>, Vec<_>) =
                lines.iter().rev().partition(|line| line["message"] == "request");
            let last = others.into_iter().take(150).rev().chain(requests.into_iter().take(50).rev());
            let last: Vec<String> = last.map(Value::to_string).collect();
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
