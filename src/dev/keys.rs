//! The keys: what whoever sits at the terminal can have done.

use super::{Workbench, print, terminal};
use crate::pool::Pool;
use crate::telemetry::verbosity;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;
use std::io::{PipeReader, PipeWriter, pipe, stdin};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

pub const SHORT: &str = "r restart · o open · l log · c clear · q quit · h help";

const HELP: &str = "
  r  restart the workers; each serves until another one is ready
  o  open the site in a browser
  l  log everything, or only what apps say and what is wrong
  c  clear the screen
  q  quit; requests in flight are finished, and a second q ends at once
  h  this
";

const CLEAR: &str = "\u{1b}[2J\u{1b}[3J\u{1b}[H";

/// Whether somebody can press keys.
static HEARD: AtomicBool = AtomicBool::new(false);

/// What keys are about.
pub struct Desk {
    pub bench: Arc<Workbench>,
    pub pool: Arc<Pool>,
    /// None = no browser reaches it.
    pub url: Option<String>,
    pub banner: String,
}

/// Hears keys until it is dropped.
pub struct Keys {
    _stop: PipeWriter,
    tasks: Vec<JoinHandle<()>>,
}

pub fn are_heard() -> bool {
    HEARD.load(Ordering::Relaxed)
}

/// Takes the terminal, if there is one to be had.
pub fn begin() {
    HEARD.store(terminal::listen(), Ordering::Relaxed);
}

impl Keys {
    /// None = stdin is no terminal.
    pub fn listen(desk: Desk) -> Option<Keys> {
        if !are_heard() {
            return None;
        }
        let (stopped, stop) = pipe().ok()?;
        let (pressed, mut keys) = unbounded_channel();
        std::thread::Builder::new().name("keys".into()).spawn(move || read(&stopped, &pressed)).ok()?;
        let obeying = tokio::spawn(async move {
            while let Some(key) = keys.recv().await {
                desk.obey(key);
            }
        });
        Some(Keys { _stop: stop, tasks: vec![obeying, tokio::spawn(suspend()), tokio::spawn(abort())] })
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Desk {
    fn obey(&self, key: u8) {
        match key.to_ascii_lowercase() {
            b'r' => self.restart(),
            b'o' => self.open(),
            b'l' => print(match verbosity::toggle() {
                true => "  everything is logged\n",
                false => "  what apps say is logged, and what is wrong\n",
            }),
            b'c' => print(&format!("{CLEAR}{}", self.banner)),
            b'q' => quit(),
            b'h' | b'?' => print(HELP),
            _ => {}
        }
    }

    fn restart(&self) {
        let mut count = 0;
        for app in self.bench.index.apps() {
            match self.bench.live.fault_of(&app, app.key) {
                Some(_) => self.pool.prove(app.key),
                None => count += self.pool.restart(app.key),
            }
        }
        print(&match count {
            0 => "  no worker to restart\n".to_owned(),
            1 => "  restarting 1 worker\n".to_owned(),
            count => format!("  restarting {count} workers\n"),
        });
    }

    fn open(&self) {
        let Some(url) = self.url.as_ref().map(|url| format!("{url}/")) else {
            return print("  no browser reaches a Unix socket\n");
        };
        tokio::task::spawn_blocking(move || {
            let opened = ["xdg-open", "open"].iter().any(|program| {
                let mut command = Command::new(program);
                command.arg(&url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                command.status().is_ok_and(|status| status.success())
            });
            if !opened {
                print(&format!("  no browser could be opened; the address is {url}\n"));
            }
        });
    }
}

/// As Ctrl-C does.
fn quit() {
    let _ = kill(Pid::this(), Signal::SIGTERM); // there is this process
}

/// Passes on what is pressed until the other end of `stopped` is closed.
fn read(stopped: &PipeReader, pressed: &UnboundedSender<u8>) {
    let stdin = stdin();
    let mut bytes = [0; 64];
    loop {
        let mut fds =
            [PollFd::new(stopped.as_fd(), PollFlags::POLLIN), PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut fds, PollTimeout::NONE); // an interrupted wait is a short one
        if fds[0].revents().is_some_and(|events| !events.is_empty()) {
            return;
        }
        if fds[1].revents().is_none_or(|events| events.is_empty()) {
            continue;
        }
        match nix::unistd::read(stdin.as_fd(), &mut bytes) {
            Err(nix::Error::EINTR) => {}
            // The terminal has gone, and with it whoever could end this.
            Ok(0) | Err(_) => return quit(),
            Ok(length) => {
                for key in keys(&bytes[..length]) {
                    let _ = pressed.send(key); // its reader ends with the process
                }
            }
        }
    }
}

/// What was pressed, without what arrows and the like send, of which no letter is meant (ECMA-48 §5.4).
fn keys(bytes: &[u8]) -> Vec<u8> {
    let mut keys = Vec::new();
    let mut rest = bytes.iter().copied();
    while let Some(byte) = rest.next() {
        match byte {
            0x1b => match rest.next() {
                Some(b'[') => drop(rest.find(|byte| matches!(byte, 0x40..=0x7e))),
                Some(b'O') => drop(rest.next()),
                _ => {}
            },
            byte => keys.push(byte),
        }
    }
    keys
}

/// Leaves the terminal to the shell while it has the process stopped (Ctrl-Z), and takes it back after.
async fn suspend() {
    let stop = SignalKind::from_raw(Signal::SIGTSTP as i32);
    let Ok(mut stops) = signal(stop) else { return };
    while stops.recv().await.is_some() {
        terminal::restore();
        // It returns when the process goes on.
        let _ = raise(Signal::SIGSTOP);
        terminal::listen();
    }
}

/// Ctrl-\ ends a process without a word; the terminal is put back before.
async fn abort() {
    let Ok(mut quits) = signal(SignalKind::quit()) else { return };
    if quits.recv().await.is_some() {
        terminal::restore();
        let _ = signal_hook::low_level::emulate_default_handler(Signal::SIGQUIT as i32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_arrow_sends_is_no_key() {
        for (bytes, pressed) in [
            ("rq", "rq"),
            ("\u{1b}[Aq", "q"),
            ("\u{1b}[1;5qh", "h"),
            ("r\u{1b}OQl", "rl"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
        ] {
            assert_eq!(keys(bytes.as_bytes()), pressed.as_bytes(), "{bytes:?}");
        }
    }
}
