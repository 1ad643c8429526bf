//! The keys: what whoever sits at the terminal can have done.

use super::{Workbench, print, terminal};
use crate::pool::Pool;
use crate::telemetry::verbosity;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::unistd::Pid;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe, stdin};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
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

/// How often a process in the background looks whether the terminal is its own again, in milliseconds: a shell tells only one that
/// was stopped.
const BACKGROUND: u16 = 300;

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
    ending: Arc<AtomicBool>,
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
        let (awaited, stop) = pipe().ok()?;
        let (pressed, mut keys) = unbounded_channel();
        std::thread::Builder::new().name("keys".into()).spawn(move || read(awaited, &pressed)).ok()?;
        let ending = Arc::new(AtomicBool::new(false));
        let is_ending = Arc::clone(&ending);
        let obeying = tokio::spawn(async move {
            while let Some(key) = keys.recv().await {
                desk.obey(key, is_ending.load(Ordering::Relaxed));
            }
        });
        let look_again = stop.try_clone().ok()?;
        let tasks =
            vec![obeying, tokio::spawn(suspend()), tokio::spawn(resume(look_again)), tokio::spawn(abort())];
        Some(Keys { _stop: stop, tasks, ending })
    }

    /// From now on there is nothing to be restarted or opened.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Desk {
    fn obey(&self, key: u8, is_ending: bool) {
        match key.to_ascii_lowercase() {
            b'r' | b'o' if is_ending => print("  it is ending; q ends it at once\n"),
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
            if self.bench.live.fault_of(&app, app.key).is_some() {
                self.pool.prove(app.key);
                continue;
            }
            self.bench.restarts(&app);
            match self.pool.restart_in_doubt(app.key) {
                0 => self.bench.restarted_nothing(&app),
                workers => count += workers,
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
        // It may be the browser itself, which stays. Neither does the end of this process wait for it then, nor does Ctrl-C end it.
        let opening = std::thread::Builder::new().name("browser".into()).spawn(move || {
            let opened = ["xdg-open", "open"].iter().any(|program| {
                let mut command = Command::new(program);
                command.arg(&url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
                command.process_group(0).status().is_ok_and(|status| status.success())
            });
            if !opened {
                print(&format!("  no browser could be opened; the address is {url}\n"));
            }
        });
        if let Err(error) = opening {
            tracing::warn!(%error, "no browser can be opened");
        }
    }
}

/// As Ctrl-C does.
fn quit() {
    let _ = kill(Pid::this(), Signal::SIGTERM); // there is this process
}

/// Passes on what is pressed until the other end of `awaited` is closed; what comes through it means that the process was stopped.
/// In the background what is typed is not for this process: to read it would stop the process (SIGTTIN).
fn read(mut awaited: PipeReader, pressed: &UnboundedSender<u8>) {
    let stdin = stdin();
    let mut bytes = [0; 64];
    // Blocked, the signal is an error of the read: the terminal may be another's between the look and the read.
    let _ = SigSet::from_iter([Signal::SIGTTIN, Signal::SIGTTOU]).thread_block();
    loop {
        let is_others = terminal::is_others();
        let mut fds =
            [PollFd::new(awaited.as_fd(), PollFlags::POLLIN), PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        let (watched, wait) = match is_others {
            true => (1, PollTimeout::from(BACKGROUND)),
            false => (2, PollTimeout::NONE),
        };
        let _ = poll(&mut fds[..watched], wait); // an interrupted wait is a short one
        let is_awaited = |fd: &PollFd<'_>| fd.revents().is_some_and(|events| !events.is_empty());
        let (told, typed) = (is_awaited(&fds[0]), is_awaited(&fds[1]));
        if told {
            match awaited.read(&mut [0; 16]) {
                Ok(1..) => continue,
                _ => return,
            }
        }
        if is_others {
            if !terminal::is_others() {
                terminal::listen();
            }
            continue;
        }
        if !typed || terminal::is_others() {
            continue;
        }
        match nix::unistd::read(stdin.as_fd(), &mut bytes) {
            Err(nix::Error::EINTR | nix::Error::EAGAIN) => {}
            Err(_) if terminal::is_others() => {}
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

/// The process goes on, in the foreground if the terminal is its own. What else stops a process than Ctrl-Z is not heard before. Who
/// waits for keys is told: where it waits, it is not seen that the terminal is another's meanwhile.
async fn resume(mut look_again: PipeWriter) {
    let Ok(mut continues) = signal(SignalKind::from_raw(Signal::SIGCONT as i32)) else { return };
    while continues.recv().await.is_some() {
        terminal::listen();
        let _ = look_again.write(&[0]); // its reader may have ended
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
