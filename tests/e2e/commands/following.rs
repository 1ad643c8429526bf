//! Logs, and the live view.

use super::Person;
use crate::harness::{Apps, PATIENCE};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

const CHATTY: &str = "console.log('loaded'); export default { fetch: (request: Request) => {
    console.log('asked for', new URL(request.url).pathname); console.error('\\u001b[2Jred'); return new Response('x'); } };";

#[tokio::test]
async fn what_apps_printed_is_shown_and_what_they_print_is_followed() {
    let server = Apps::new().file("chatty@1.0.0/index.ts", CHATTY).lean().start().await;
    let me = Person::beside(&server);
    server.get("/chatty/first").await;
    server.logged(|line| line["message"] == "asked for /first").await;
    // The line is in the log when it was published.
    let kept = me.types("logs chatty").await;
    let lines: Vec<_> = kept.ok().lines().collect();
    assert!(lines[0].ends_with(" chatty@1.0.0 w1 | loaded"), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with(" | asked for /first")), "{lines:?}");
    assert!(kept.stdout.contains(" ! \\u{1b}[2Jred\n") && !kept.stdout.contains('\u{1b}'), "{}", kept.stdout);
    assert_eq!(me.types("logs chatty@2.0.0").await.ok(), "");

    let state = server.state_dir();
    let mut follow =
        me.command(&["logs", "-f", "--json", "--state-dir", state.to_str().unwrap()]).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    // Only what is printed after it has connected comes, so it is asked until something does.
    let line = tokio::time::timeout(PATIENCE, async {
        loop {
            server.get("/chatty/second").await;
            let soon = tokio::time::timeout(std::time::Duration::from_millis(100), lines.next_line());
            if let Ok(line) = soon.await {
                break line.unwrap().unwrap();
            }
        }
    });
    let event: serde_json::Value = serde_json::from_str(&line.await.unwrap()).unwrap();
    assert_eq!((event["type"].as_str(), event["app"].as_str()), (Some("log"), Some("chatty")));
    follow.kill().await.unwrap();
}

/// A runtime that breaks the stream off, and lost something meanwhile.
#[tokio::test]
async fn a_stream_that_breaks_is_gone_on_with_where_it_was() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let runtime = async {
        let mut heads = Vec::new();
        for events in [
            "id: b-1\nevent: log\ndata: {\"at\":\"2026-01-31T12:00:00Z\",\"worker\":\"w1\",\"app\":\"shop\",\"text\":\"one\"}\n\n",
            "id: b-9\nevent: gap\ndata: {\"lost\":7}\n\nid: b-10\nevent: log\ndata: {\"at\":\"2026-01-31T12:00:01Z\",\"worker\":\"w1\",\"text\":\"ten\"}\n\n",
        ] {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(socket.read_u8().await.unwrap());
            }
            heads.push(String::from_utf8(head).unwrap().to_lowercase());
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{events}");
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        heads
    };
    let me = Person::somewhere();
    let mut follow = me.command(&["logs", "-f", "--url", &url]).spawn().unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let work = async {
        let (heads, lines) = tokio::join!(runtime, async {
            [lines.next_line().await.unwrap().unwrap(), lines.next_line().await.unwrap().unwrap()]
        });
        (heads, lines)
    };
    let (heads, lines) = tokio::time::timeout(PATIENCE, work).await.unwrap();
    assert_eq!(lines, ["2026-01-31 12:00:00 shop w1 | one", "2026-01-31 12:00:01 (spare) w1 | ten"]);
    assert!(!heads[0].contains("last-event-id") && heads[1].contains("last-event-id: b-1\r\n"), "{heads:?}");
    follow.start_kill().unwrap();
    let mut said = String::new();
    follow.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert!(said.contains("connecting again") && said.contains("(7 events)"), "{said}");
}

#[tokio::test]
async fn top_shows_workers_sorts_quits_and_leaves_the_terminal_as_it_was() {
    let server = Apps::new().file("shop@1.0.0/index.ts", CHATTY).lean().start().await;
    server.get("/shop/").await;
    let me = Person::beside(&server);
    assert!(me.types("top").await.failed(2).contains("`buntime ps --json`"));

    let Some(screen) = Screen::open(&me, &server.state_dir()) else { return };
    screen.wait("w1    shop          1.0.0 ");
    screen.wait("[c cpu]");
    screen.keys(&["m"]);
    screen.wait("[m memory]");
    screen.keys(&["q"]);
    screen.wait("ended with 0");
    assert!(!screen.text().contains("MEMORY"), "the screen of before is back:\n{}", screen.text());

    // A signal from outside leaves it as well as a key does.
    screen.keys(&["again", "Enter"]);
    screen.wait("[c cpu]");
    nix::sys::signal::kill(screen.top(), nix::sys::signal::Signal::SIGTERM).unwrap();
    screen.wait("ended with 0");
    screen.keys(&["stty -a | tr ' ' '\\n' | grep -x -e echo -e icanon | sort", "Enter"]);
    screen.wait("echo\nicanon\n");
}

/// A terminal of 80 columns and 24 lines, in tmux.
struct Screen {
    socket: std::path::PathBuf,
}

impl Screen {
    /// With `again` as the command that starts `top`, which it does at once. None = there is no tmux here.
    fn open(me: &Person, state: &std::path::Path) -> Option<Screen> {
        let screen = Screen { socket: me.path("tmux.sock") };
        let program = env!("CARGO_BIN_EXE_buntime");
        let script = format!(
            "again() {{ '{program}' top --state-dir '{}'; echo \"ended with $?\"; }}; PS1='$ '; export HOME='{}'\n",
            state.display(),
            me.path("").display()
        );
        std::fs::write(me.path("rc"), script).unwrap();
        let shell = format!("bash --noprofile --rcfile '{}' -i", me.path("rc").display());
        let started = screen.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", &shell]);
        if let Err(why) = started {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "tmux is needed under CI: {why}");
            eprintln!("SKIPPED top_shows_workers_sorts_quits_and_leaves_the_terminal_as_it_was: {why}");
            return None;
        }
        screen.keys(&["again", "Enter"]);
        Some(screen)
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String, String> {
        let mut command = std::process::Command::new("tmux");
        let output = command.arg("-S").arg(&self.socket).args(arguments).env("TERM", "xterm").output();
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn keys(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat()).unwrap();
    }

    fn text(&self) -> String {
        self.tmux(&["capture-pane", "-p"]).unwrap()
    }

    /// Waits until this is on the screen.
    fn wait(&self, text: &str) {
        let end = std::time::Instant::now() + PATIENCE;
        while !self.text().contains(text) {
            assert!(std::time::Instant::now() < end, "{text:?} never came:\n{}", self.text());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// The process that runs in the terminal.
    fn top(&self) -> nix::unistd::Pid {
        let shell = self.tmux(&["display-message", "-p", "#{pane_pid}"]).unwrap();
        let children = format!("/proc/{0}/task/{0}/children", shell.trim());
        let child = std::fs::read_to_string(children).unwrap();
        nix::unistd::Pid::from_raw(child.split_whitespace().next().unwrap().parse().unwrap())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.tmux(&["kill-server"]);
    }
}
