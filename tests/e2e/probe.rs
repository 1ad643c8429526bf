//! What tests see of a supervisor from outside: the gates that hold requests of the app `probe`, its lines in the log,
//! the changes of workers' states, processes.

use super::harness::{Answer, Server};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

/// Holds requests of the app `probe` until it is opened.
pub struct Gate(TempDir);

/// One change of a worker's state, as the log tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Transition {
    pub app: String,
    pub worker: String,
    pub to: String,
    pub reason: String,
}

/// A process, told apart from a later one with the same number by when it was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    pub pid: u32,
    started: u64,
}

impl Gate {
    pub fn new() -> Gate {
        let dir = TempDir::new().unwrap();
        // Workers may run as another user, who looks into it and writes there.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o777)).unwrap();
        Gate(dir)
    }

    /// A path of the app `probe` that ends at this gate: `/probe/hold`.
    pub fn at(&self, path: &str) -> String {
        format!(
            "{path}{}gate={}",
            if path.contains('?') { '&' } else { '?' },
            self.0.path().join("open").display()
        )
    }

    /// A directory that lives as long as the gate.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn open(&self) {
        std::fs::write(self.0.path().join("open"), "").unwrap();
    }
}

impl Server {
    /// Waits until `app` has printed a line that begins with this.
    pub async fn said(&self, app: &str, line: &str) -> Value {
        self.logged(|event| is_output(event, app) && event["message"].as_str().unwrap().starts_with(line))
            .await
    }

    /// How many lines beginning with this `app` has printed so far.
    pub fn times_said(&self, app: &str, line: &str) -> usize {
        self.log(|event| is_output(event, app) && event["message"].as_str().unwrap().starts_with(line)).len()
    }

    /// Waits for a worker of `app` to change to a state for this reason.
    pub async fn transition(&self, app: &str, to: &str, reason: &str) -> Transition {
        let is = |found: &Transition| found.app == app && found.to == to && found.reason == reason;
        let event = self.logged(|event| Transition::of(event).as_ref().is_some_and(is)).await;
        Transition::of(&event).unwrap()
    }

    /// Waits until all that has happened so far is in the log.
    pub async fn caught_up(&self) {
        // The log is written in order: with this request's own line in it, all earlier ones are there too.
        let id = self.get("/.well-known/").await.header("x-request-id").to_owned();
        self.logged(|event| event["request_id"] == id && event["message"] == "request").await;
    }

    /// The changes so far of the workers of `app`.
    pub async fn transitions(&self, app: &str) -> Vec<Transition> {
        self.caught_up().await;
        self.known_transitions(app)
    }

    /// Those that are in the log already.
    pub fn known_transitions(&self, app: &str) -> Vec<Transition> {
        self.log(|event| event["app"] == app).iter().filter_map(Transition::of).collect()
    }

    /// How many times workers of `app` have come to this state so far.
    pub async fn count(&self, app: &str, to: &str) -> usize {
        self.caught_up().await;
        self.known_count(app, to)
    }

    /// As often as the log knows already.
    pub fn known_count(&self, app: &str, to: &str) -> usize {
        self.known_transitions(app).iter().filter(|transition| transition.to == to).count()
    }

    /// The processes whose parent is the supervisor.
    pub fn children(&self) -> Vec<Process> {
        let pids = std::fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter_map(|pid| Process::find(pid, |parent| parent == self.pid)).collect()
    }
}

impl Transition {
    fn of(event: &Value) -> Option<Transition> {
        let text = |name: &str| event[name].as_str().map(str::to_owned);
        (event["message"] == "worker").then_some(())?;
        Some(Transition {
            app: text("app")?,
            worker: text("worker")?,
            to: text("to")?,
            reason: text("reason")?,
        })
    }
}

impl Process {
    pub fn of(pid: u32) -> Option<Process> {
        Process::find(pid, |_| true)
    }

    fn find(pid: u32, parent_is: impl Fn(u32) -> bool) -> Option<Process> {
        // proc_pid_stat(5): what follows the name in parentheses begins with field 3, the state.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let lives = fields[0] != "Z" && parent_is(fields[1].parse().ok()?);
        lives.then_some(Process { pid, started: fields[19].parse().ok()? })
    }

    /// One that has ended and waits to be reaped (by init, where its parent has ended too) does not count.
    pub fn lives(self) -> bool {
        Process::of(self.pid) == Some(self)
    }
}

impl Answer {
    /// The process that answered: what `/probe/` and others say.
    pub fn pid(&self) -> u32 {
        match self.text().split_whitespace().next().map(str::parse) {
            Some(Ok(pid)) => pid,
            _ => self.json()["pid"].as_u64().unwrap_or_else(|| panic!("no pid in {self:?}")) as u32,
        }
    }

    /// Status and problem code: `(503, "queue_full")`. The code is empty where the body is no problem.
    pub fn problem(&self) -> (u16, String) {
        let is_problem = self.header("content-type") == "application/problem+json";
        let code = if is_problem { self.json()["code"].as_str().unwrap().to_owned() } else { String::new() };
        (self.status(), code)
    }
}

pub fn kill(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).unwrap();
}

/// The most memory in bytes that a process ever had resident (`VmHWM`, proc_pid_status(5)).
pub fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status")).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn is_output(event: &Value, app: &str) -> bool {
    event["target"] == "buntime::app" && event["app"] == app
}
