//! `buntime dev` on a terminal: what it prints, and its keys.

use super::harness::{Apps, Client, Launch, PATIENCE, eventually, tool};
use http::Request;
use http_body_util::Full;
use nix::pty::{OpenptyResult, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, tcgetattr};
use nix::unistd::{Pid, getpgid};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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

/// What stands in for the browser. Ended with the test, whatever its parent does.
struct Stand(TempDir);

impl OnTerminal {
    /// None = a tool is missing.
    async fn start(launch: Launch) -> Option<OnTerminal> {
        OnTerminal::start_by(launch, None).await
    }

    /// The same from a shell that somebody sits at, which controls jobs.
    async fn start_from_shell(launch: Launch) -> Option<OnTerminal> {
        let bash = tool("bash", "bash is missing; Debian: apt-get install bash")?;
        OnTerminal::start_by(launch, Some(&bash)).await
    }

    async fn start_by(launch: Launch, shell: Option<&Path>) -> Option<OnTerminal> {
        let setsid = tool("setsid", "setsid is missing; Debian: apt-get install util-linux")?;
        let (command, apps, state) = launch.into_command();
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let own = || Stdio::from(slave.try_clone().unwrap());
        // The process must lead a session whose terminal this is.
        let mut outer = tokio::process::Command::new(setsid);
        let line = || std::iter::once(command.as_std().get_program()).chain(command.as_std().get_args());
        outer.arg("--ctty").env_clear();
        match shell {
            Some(shell) => outer.arg(shell).args(["--noediting", "--norc", "--noprofile", "-i"]),
            None => outer.args(line()),
        };
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
        let mut keys = File::from(master);
        if shell.is_some() {
            let words: Vec<_> = line().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
            keys.write_all(format!("{}\n", words.join(" ")).as_bytes()).unwrap();
        }
        Some(OnTerminal { child, keys, terminal: slave, shown, _dirs: (apps, state) })
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

    fn address(&self) -> String {
        self.text().split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned()
    }

    async fn get(&self, path: &str) -> (u16, String) {
        let address = self.address();
        let mut client = Client::over(TcpStream::connect(address).await.unwrap()).await;
        let sending = client.send(Request::get(path).body(Full::default()).unwrap());
        let answer = tokio::time::timeout(PATIENCE, sending).await.expect("it does not answer").unwrap();
        (answer.status(), answer.text().to_owned())
    }

    async fn exit(&mut self) -> ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it did not end").unwrap()
    }
}

impl Stand {
    fn new(last: &str) -> Stand {
        let bin = TempDir::new().unwrap();
        let place = bin.path().display();
        let script = format!("#!/bin/sh\necho $$ > {place}/pid\necho \"$1\" > {place}/opened\n{last}\n");
        let program = bin.path().join("xdg-open");
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Stand(bin)
    }

    fn path(&self) -> String {
        format!("{}:{}", self.0.path().display(), std::env::var("PATH").unwrap())
    }

    async fn opened(&self) -> String {
        let read = || std::fs::read_to_string(self.0.path().join("opened")).unwrap_or_default();
        eventually("a browser was opened", || read().ends_with('\n')).await;
        read()
    }

    fn pid(&self) -> Option<Pid> {
        let text = std::fs::read_to_string(self.0.path().join("pid")).ok()?;
        text.trim().parse().ok().map(Pid::from_raw)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = kill(pid, Signal::SIGKILL); // most have ended
        }
    }
}

/// What a page is told, as it comes.
async fn news(address: &str, query: &str) -> Arc<Mutex<String>> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let ask = format!("GET /.well-known/buntime/dev/events?{query} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    let told = Arc::new(Mutex::new(String::new()));
    let to = Arc::clone(&told);
    tokio::spawn(async move {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut bytes).await {
            to.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    });
    told
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
    let browser = Stand::new("");
    let Some(mut terminal) = OnTerminal::start(app().env("PATH", browser.path())).await else { return };
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
    let opened = browser.opened().await;
    assert!(opened.starts_with("http://127.0.0.1:") && opened.ends_with("/\n"), "{opened}");
    terminal.press("c");
    terminal.shows("\u{1b}[2J").await;
    // What an arrow sends has letters in it that are no keys.
    terminal.press("\u{1b}[q");
    terminal.press("h");
    assert!(terminal.is_raw());
    terminal.press("q");
    assert!(terminal.exit().await.success());
    assert!(!terminal.is_raw());
}

/// The process waited for it, and Ctrl-C ended it.
#[tokio::test]
async fn a_browser_that_stays_neither_keeps_the_process_nor_ends_with_it() {
    let browser = Stand::new("exec sleep 300");
    let Some(mut terminal) = OnTerminal::start(app().env("PATH", browser.path())).await else { return };
    terminal.shows("r restart").await;
    terminal.press("o");
    browser.opened().await;
    let pid = browser.pid().unwrap();
    assert_eq!(getpgid(Some(pid)).unwrap(), pid, "a signal from the terminal does not reach it");
    terminal.press("q");
    assert!(terminal.exit().await.success());
    assert!(kill(pid, None).is_ok());
}

/// It was no longer read once the first one was heard.
#[tokio::test]
async fn a_second_q_ends_at_once() {
    let endless = "export default { fetch: () => new Promise(() => {}) };";
    let launch = Apps::new().file("index.ts", endless).launch().dev();
    let launch = launch.env("RUNTIME_SHUTDOWN_TIMEOUT", "1h");
    let Some(mut terminal) = OnTerminal::start(launch).await else { return };
    terminal.shows("r restart").await;
    terminal.press("l");
    terminal.shows("everything is logged").await;
    let mut stream = TcpStream::connect(terminal.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    terminal.shows("active").await;
    terminal.press("q");
    terminal.shows("shutting down").await;
    terminal.press("r");
    terminal.shows("it is ending").await;
    terminal.press("q");
    terminal.exit().await;
    assert!(terminal.text().contains("ending at once"));
}

/// What was typed next stopped the process, and in the foreground again it heard no key.
#[tokio::test]
async fn in_the_background_what_is_typed_is_the_shells_and_in_the_foreground_keys_are_heard_again() {
    let Some(mut terminal) = OnTerminal::start_from_shell(app()).await else { return };
    terminal.shows("r restart").await;
    let (_, worker) = terminal.get("/").await;
    assert!(terminal.is_raw());
    terminal.press("\u{1a}");
    terminal.shows("Stopped").await;
    terminal.press("bg %1\n");
    assert_eq!(terminal.get("/").await.1, worker);
    terminal.press("echo ty''ped\n");
    terminal.shows("typed").await;
    assert_eq!(terminal.get("/").await.1, worker);
    assert!(!terminal.is_raw());
    terminal.press("fg %1\n");
    eventually("keys are heard again", || terminal.is_raw()).await;
    assert!(!terminal.text().contains("tty input"), "{}", terminal.text());
    terminal.press("h");
    terminal.shows("restart the workers").await;
    terminal.press("q");
    eventually("it is the shell's", || !terminal.is_raw()).await;
    terminal.press("exit\n");
    terminal.exit().await;
}

/// Pages stayed as they were, and a restart that failed said nothing.
#[tokio::test]
async fn a_restart_by_key_reloads_open_pages_or_shows_why_it_failed_while_what_ran_goes_on() {
    let elsewhere = TempDir::new().unwrap();
    let fault = elsewhere.path().join("fault");
    let text = format!(
        "import {{ existsSync }} from 'node:fs';\n\
         if (existsSync('{}')) throw new Error('not this time');\n\
         const headers = {{ 'content-type': 'text/html' }};\n\
         export default {{ fetch: () => new Response('<!doctype html>', {{ headers }}) }};",
        fault.display()
    );
    let launch = Apps::new().file("shop/index.ts", text).launch().dev();
    let Some(mut terminal) = OnTerminal::start(launch).await else { return };
    terminal.shows("r restart").await;
    assert_eq!(terminal.get("/shop/").await.0, 200);
    let told = news(&terminal.address(), "app=shop@latest&seen=1000").await;
    let count = |event: &str| told.lock().unwrap().matches(&format!("event: {event}\n")).count();
    // Seen is more than there was: what it is told first is what comes of the key.
    eventually("it listens", || told.lock().unwrap().contains("retry:")).await;
    std::fs::write(&fault, "").unwrap();
    terminal.press("r");
    eventually("the page is told why", || count("fault") == 1).await;
    terminal.shows("not this time").await;
    assert!(told.lock().unwrap().contains("not this time"));
    assert_eq!(terminal.get("/shop/").await.0, 200, "the old worker goes on");
    terminal.press("r");
    eventually("it is told again", || count("fault") == 2).await;
    std::fs::remove_file(&fault).unwrap();
    let seen = news(&terminal.address(), "app=shop@latest&seen=0").await;
    eventually("the news of the start", || !seen.lock().unwrap().is_empty()).await;
    terminal.press("r");
    let reloaded = || seen.lock().unwrap().matches("event: reload\n").count();
    eventually("the page is loaded again", || reloaded() >= 1).await;
}

#[tokio::test]
async fn the_terminal_is_as_before_however_the_process_ends() {
    let clean = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].map(|signal| (signal, Some(0)));
    for (signal, code) in clean.into_iter().chain([(Signal::SIGQUIT, None)]) {
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
