//! What only a terminal shows: the live view, questions, progress.

use super::Person;
use crate::harness::{Apps, PATIENCE};
use std::io::{Read, Write};

#[tokio::test]
async fn top_shows_workers_sorts_quits_and_leaves_the_terminal_as_it_was() {
    let server =
        Apps::new().file("shop@1.0.0/index.ts", "export default { fetch: () => new Response('x') };");
    let server = server.lean().start().await;
    server.get("/shop/").await;
    let me = Person::beside(&server);
    assert!(me.types("top").await.failed(2).contains("`buntime ps --json`"));

    let Some(screen) = Screen::open("top_shows_workers", &me) else { return };
    screen.types("runtime top; echo \"ended with $?\"");
    screen.wait("w1    shop          1.0.0 ");
    screen.wait("[c cpu]");
    screen.key("m");
    screen.wait("[m memory]");
    screen.key("q");
    screen.wait("ended with 0");
    assert!(!screen.text().contains("MEMORY"), "the screen of before is not back:\n{}", screen.text());

    // A signal from outside leaves it as well as a key does.
    screen.types("clear; runtime top; echo \"signalled: $?\"");
    screen.wait("[c cpu]");
    nix::sys::signal::kill(screen.child(), nix::sys::signal::Signal::SIGTERM).unwrap();
    screen.wait("signalled: 0");
    screen.types("clear; stty -a | tr ' ' '\\n' | grep -x -e echo -e icanon | sort");
    screen.wait("echo\nicanon\n");
}

/// A runtime that answers once, and then no more.
#[test]
fn top_heeds_keys_and_signals_while_it_waits_for_an_answer() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let me = Person::somewhere();
    let Some(screen) = Screen::open("top_heeds_keys_and_signals", &me) else { return };
    let mut silent = Vec::new();
    for end in ["key", "signal"] {
        screen.types(&format!("clear; buntime top --url {url}; echo \"ended by a {end}: $?\""));
        for answer in [Some("{\"workers\":[]}"), Some("{}"), None] {
            let (mut socket, _) = listener.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            match answer {
                Some(json) => {
                    let head =
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: application/json\r\n\r\n";
                    socket.write_all(format!("{head}{json}").as_bytes()).unwrap();
                }
                None => silent.push(socket),
            }
        }
        match end {
            "key" => {
                screen.key("m");
                screen.wait("[m memory]");
                screen.key("q");
            }
            _ => nix::sys::signal::kill(screen.child(), nix::sys::signal::Signal::SIGTERM).unwrap(),
        }
        screen.wait(&format!("ended by a {end}: 0"));
    }
}

#[tokio::test]
async fn deleting_asks_and_only_yes_is_yes() {
    let server = Apps::new().file("shop@1.0.0/index.html", "hello").lean().start().await;
    let me = Person::beside(&server);
    let Some(screen) = Screen::open("deleting_asks", &me) else { return };
    screen.types("runtime rm shop; echo \"ended with $?\"");
    screen.wait("Delete shop with all its versions and aliases? [y/N]");
    screen.key("Enter");
    screen.wait("error: nothing was deleted");
    screen.wait("ended with 1");
    screen.types("clear; runtime rm shop@1.0.0");
    screen.wait("Delete shop@1.0.0? [y/N]");
    screen.types("y");
    screen.wait("deleted shop@1.0.0");
    assert_eq!(server.get("/shop/").await.status(), 404);
}

#[tokio::test]
async fn a_key_is_typed_unseen() {
    let me = Person::somewhere();
    let Some(screen) = Screen::open("a_key_is_typed_unseen", &me) else { return };
    screen.types("buntime context add prod --url https://apps.example.com");
    screen.wait("Key:");
    screen.types("btk_unseen");
    screen.wait("saved prod for https://apps.example.com");
    assert!(!screen.text().contains("unseen"), "{}", screen.text());
    assert!(
        std::fs::read_to_string(me.path(".config/buntime/contexts.yaml"))
            .unwrap()
            .contains("key: btk_unseen")
    );
    screen.types("clear; echo cleared");
    screen.wait("cleared\n$");
    screen.types("buntime context add other --url https://apps.example.com");
    screen.wait("Key:");
    screen.key("C-c");
    screen.wait("error: cannot read the key");
}

#[tokio::test]
async fn a_deployment_shows_that_it_boots_and_nothing_of_that_stays() {
    let server = Apps::new().lean().start().await;
    let me = Person::beside(&server);
    me.begins("http", "my-app", "1.0.0").await;
    // It boots until the test lets it.
    let gate = me.path("gate");
    let wait = format!(
        "while (!(await Bun.file('{}').exists())) await Bun.sleep(10); export default {{ fetch: () => new Response('x') }};",
        gate.display()
    );
    std::fs::write(me.path("my-app/index.ts"), wait).unwrap();
    let Some(screen) = Screen::open("a_deployment_shows", &me) else { return };
    screen.types("runtime deploy my-app");
    screen.wait(" booting (");
    std::fs::write(gate, "").unwrap();
    screen.wait(&format!("http://{}/my-app/", server.address));
    assert!(!screen.text().contains("booting") && !screen.text().contains("uploading"), "{}", screen.text());
}

/// A shell in a terminal of 80 columns and 24 lines, in tmux. `buntime` is on its path; `runtime` is the same beside the
/// runtime of the test.
struct Screen {
    socket: std::path::PathBuf,
}

impl Screen {
    /// None = there is no tmux here.
    fn open(test: &str, me: &Person) -> Option<Screen> {
        let screen = Screen { socket: me.path("tmux.sock") };
        let program = std::path::Path::new(env!("CARGO_BIN_EXE_buntime"));
        let script = format!(
            "PATH='{}':$PATH; runtime() {{ buntime \"$@\" {}; }}; PS1='$ '; export HOME='{home}'; cd '{home}'\n",
            program.parent().unwrap().display(),
            me.runtime.join(" "),
            home = me.path("").display()
        );
        std::fs::write(me.path("rc"), script).unwrap();
        let shell = format!("bash --noprofile --rcfile '{}' -i", me.path("rc").display());
        let size = ["new-session", "-d", "-x", "80", "-y", "24"];
        if let Err(why) = screen.tmux(&[&["-f", "/dev/null"], &size[..], &[&shell]].concat()) {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "tmux is needed under CI: {why}");
            eprintln!("SKIPPED {test}: no tmux: {why}");
            return None;
        }
        screen.wait("$");
        Some(screen)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = std::process::Command::new("tmux");
        command.arg("-S").arg(&self.socket).args(arguments).env_remove("TMUX").env("TERM", "xterm");
        let output = command.output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A line and Enter.
    fn types(&self, line: &str) {
        self.tmux(&["send-keys", "-l", line]).unwrap();
        self.key("Enter");
    }

    fn key(&self, key: &str) {
        self.tmux(&["send-keys", key]).unwrap();
    }

    fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).unwrap()
    }

    /// Waits until this is on the screen.
    #[track_caller]
    fn wait(&self, text: &str) {
        let end = std::time::Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            assert!(std::time::Instant::now() < end, "{text:?} never came:\n{}", self.text());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// The process that the shell has started.
    fn child(&self) -> nix::unistd::Pid {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", shell.trim());
        let children = std::fs::read_to_string(children).unwrap();
        nix::unistd::Pid::from_raw(children.split_whitespace().next().unwrap().parse().unwrap())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}
