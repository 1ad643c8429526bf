//! `buntime dev` on a terminal: what it prints, and its keys.

use super::harness::{Apps, Client, Launch, PATIENCE, eventually, tool};
use http::Request;
use http_body_util::Full;
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::Child;

/// A supervisor with a terminal of its own.
struct OnTerminal {
    child: Child,
    keys: File,
    terminal: OwnedFd,
    shown: Arc<Mutex<String>>,
    _dirs: (Apps, TempDir),
}

impl OnTerminal {
    /// None = a tool is missing.
    async fn start(launch: Launch) -> Option<OnTerminal> {
        let setsid = tool("setsid", "setsid is missing; Debian: apt-get install util-linux")?;
        let (command, apps, state) = launch.into_command();
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let own = || Stdio::from(slave.try_clone().unwrap());
        // The process must lead a session whose terminal this is.
        let mut outer = tokio::process::Command::new(setsid);
        outer.arg("--ctty").arg(command.as_std().get_program()).args(command.as_std().get_args()).env_clear();
        for (name, value) in command.as_std().get_envs() {
            if let Some(value) = value {
                outer.env(name, value);
            }
        }
        // The log is not what is looked at.
        outer.env_remove("RUNTIME_LOG_FORMAT").env_remove("RUNTIME_LOG_LEVEL").env("TERM", "xterm");
        let child = outer.stdin(own()).stdout(own()).stderr(own()).kill_on_drop(true).spawn().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (mut from, to) = (File::from(master.try_clone().unwrap()), Arc::clone(&shown));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It ends with an error when nobody has the other end any more.
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                to.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
            }
        });
        Some(OnTerminal { child, keys: File::from(master), terminal: slave, shown, _dirs: (apps, state) })
    }

    fn press(&mut self, key: &str) {
        self.keys.write_all(key.as_bytes()).unwrap();
    }

    async fn shows(&self, text: &str) {
        let shown = || self.shown.lock().unwrap().contains(text);
        let what = format!("{text:?} on the terminal");
        eventually(&what, shown).await;
    }

    fn text(&self) -> String {
        self.shown.lock().unwrap().clone()
    }

    /// Whether keys come one by one and unseen.
    fn is_raw(&self) -> bool {
        let flags = tcgetattr(&self.terminal).unwrap().local_flags;
        assert_eq!(flags.contains(LocalFlags::ICANON), flags.contains(LocalFlags::ECHO));
        assert!(flags.contains(LocalFlags::ISIG), "Ctrl-C is a signal in any case");
        !flags.contains(LocalFlags::ICANON)
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let text = self.text();
        let address = text.split("http://").nth(1).unwrap().split('/').next().unwrap();
        let mut client = Client::over(TcpStream::connect(address).await.unwrap()).await;
        let answer = client.send(Request::get(path).body(Full::default()).unwrap()).await.unwrap();
        (answer.status(), answer.text().to_owned())
    }

    async fn exit(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it did not end").unwrap()
    }
}

fn app() -> Launch {
    let pid = "console.log('hello from the app');\nexport default { fetch: () => new Response(String(process.pid)) };";
    Apps::new().file("index.ts", pid).launch().dev()
}

#[tokio::test]
async fn the_terminal_shows_the_address_the_keys_and_a_line_for_each_request() {
    let Some(terminal) = OnTerminal::start(app()).await else { return };
    terminal.shows("r restart").await;
    terminal.get("/some/path").await;
    terminal.shows("/some/path").await;
    terminal.shows("hello from the app").await;
    let text = terminal.text();
    let line = text.lines().find(|line| line.contains("/some/path")).unwrap();
    assert!(line.contains("\u{1b}[32m200\u{1b}[0m") && line.contains("GET"), "{line:?}");
    assert!(!text.contains("creating"), "what the runtime does is not shown until it is asked for:\n{text}");
    terminal.get("/.well-known/buntime/dev.js").await;
    terminal.get("/last").await;
    terminal.shows("/last").await;
    assert!(!terminal.text().contains("dev.js"), "its own addresses are not shown");
}

#[tokio::test]
async fn keys_restart_log_clear_help_open_and_quit() {
    let bin = TempDir::new().unwrap();
    let opened = bin.path().join("opened");
    let script = format!("#!/bin/sh\necho \"$1\" > {}\n", opened.display());
    let program = bin.path().join("xdg-open");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", bin.path().display(), std::env::var("PATH").unwrap());
    let Some(mut terminal) = OnTerminal::start(app().env("PATH", path)).await else { return };
    terminal.shows("r restart").await;
    assert!(terminal.is_raw());
    let (_, first) = terminal.get("/").await;
    terminal.press("h");
    terminal.shows("restart the workers").await;
    terminal.press("r");
    terminal.shows("restarting 1 worker").await;
    let mut other = first.clone();
    while other == first {
        other = terminal.get("/").await.1;
    }
    terminal.press("l");
    terminal.shows("everything is logged").await;
    terminal.press("r");
    terminal.shows("terminated").await;
    terminal.press("o");
    eventually("a browser was opened", || {
        std::fs::read_to_string(&opened).is_ok_and(|url| url.ends_with("/\n"))
    })
    .await;
    assert!(std::fs::read_to_string(&opened).unwrap().starts_with("http://127.0.0.1:"));
    terminal.press("c");
    terminal.shows("\u{1b}[2J").await;
    // What an arrow sends has letters in it that are no keys.
    terminal.press("\u{1b}[q");
    terminal.press("h");
    assert!(terminal.is_raw());
    terminal.press("q");
    assert!(terminal.exit().await.success());
    assert!(!terminal.is_raw());
    assert!(!terminal.text().contains("\nhr"), "keys are not echoed");
}

#[tokio::test]
async fn the_terminal_is_as_before_however_the_process_ends() {
    for (signal, code) in [(Signal::SIGTERM, Some(0)), (Signal::SIGINT, Some(0)), (Signal::SIGQUIT, None)] {
        let Some(mut terminal) = OnTerminal::start(app()).await else { return };
        terminal.shows("r restart").await;
        assert!(terminal.is_raw());
        kill(Pid::from_raw(terminal.child.id().unwrap() as i32), signal).unwrap();
        assert_eq!(terminal.exit().await.code(), code, "{signal}");
        assert!(!terminal.is_raw(), "{signal}");
    }
}

#[tokio::test]
async fn the_terminal_is_left_to_the_shell_while_the_process_is_stopped() {
    let Some(mut terminal) = OnTerminal::start(app()).await else { return };
    terminal.shows("r restart").await;
    let pid = Pid::from_raw(terminal.child.id().unwrap() as i32);
    kill(pid, Signal::SIGTSTP).unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    eventually("it is stopped", || state().rsplit_once(") ").unwrap().1.starts_with('T')).await;
    assert!(!terminal.is_raw());
    kill(pid, Signal::SIGCONT).unwrap();
    eventually("keys are heard again", || terminal.is_raw()).await;
    terminal.press("h");
    terminal.shows("restart the workers").await;
    terminal.press("q");
    assert!(terminal.exit().await.success());
    assert!(!terminal.is_raw());
}

#[tokio::test]
async fn an_error_is_shown_on_the_terminal_with_its_place_and_without_what_terminals_obey() {
    let app = Apps::new().file("index.ts", "export default { fetch: () => new Response('x') };");
    let file = app.path().join("index.ts");
    let Some(terminal) = OnTerminal::start(app.launch().dev().env("NO_COLOR", "1")).await else { return };
    terminal.shows("r restart").await;
    assert_eq!(terminal.get("/").await.1, "x");
    std::fs::write(&file, "throw new Error('\\x1b[2Jcleared')").unwrap();
    terminal.shows("> 1 | throw new Error").await;
    let text = terminal.text();
    assert!(text.contains("\\u{1b}[2Jcleared") && !text.contains("\u{1b}[2J"), "{text:?}");
    assert!(!text.contains('\u{1b}'), "no colours: {text:?}");
}
