//! `buntime top`: the workers, live.

mod screen;
mod state;

use super::client::Client;
use super::failure::Failure;
use super::remote::Common;
use super::session::Session;
use crate::api::types::{Runtime, Worker};
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use state::{Sort, State};
use std::io::{self, IsTerminal};
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

const REFRESH: Duration = Duration::from_secs(1);

pub async fn run(arguments: &Common, session: &Session) -> Result<(), Failure> {
    if arguments.output.json || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(no_terminal());
    }
    let mut state = State::default();
    // What is wrong from the start is an error like that of any other command.
    let (workers, runtime) = look(&session.client).await?;
    state.update(workers, runtime, Instant::now());
    let stop = Stop::register().map_err(|error| Failure::io("wait for signals", &error))?;
    let mut terminal = ratatui::try_init().map_err(|error| Failure::io("use the terminal", &error))?;
    let ended = watch(&session.client, &mut terminal, &mut state, stop).await;
    ratatui::restore();
    ended.map_err(|error| Failure::io("use the terminal", &error))
}

fn no_terminal() -> Failure {
    Failure::usage("`buntime top` needs a terminal").hint("for programs there is `buntime ps --json`")
}

async fn watch(
    client: &Client,
    terminal: &mut ratatui::DefaultTerminal,
    state: &mut State,
    mut stop: Stop,
) -> io::Result<()> {
    let mut keys = keys();
    let later = || async {
        tokio::time::sleep(REFRESH).await;
        look(client).await
    };
    // Beside the keys: an answer may be long in coming.
    let mut looking = pin!(later());
    loop {
        terminal.draw(|frame| screen::draw(frame, state))?;
        tokio::select! {
            () = stop.asked() => return Ok(()),
            event = keys.recv() => match event {
                Some(Event::Key(key)) => if press(key, state) { return Ok(()) },
                Some(_) => {} // a new size: drawn anew
                None => return Ok(()),
            },
            seen = &mut looking => {
                match seen {
                    Ok((workers, runtime)) => state.update(workers, runtime, Instant::now()),
                    Err(failure) => state.fail(failure.text(str::to_owned)),
                }
                looking.set(later());
            }
        }
    }
}

async fn look(client: &Client) -> Result<(Vec<Worker>, Option<Runtime>), Failure> {
    let workers = client.workers().await?.value.workers;
    // Who may see workers may not always see the runtime.
    let runtime = client.runtime().await.ok().map(|answer| answer.value);
    Ok((workers, runtime))
}

/// Whether the key means the end.
fn press(key: KeyEvent, state: &mut State) -> bool {
    if key.kind == KeyEventKind::Release {
        return false;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Up | KeyCode::Char('k') => state.scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => state.scroll(1),
        KeyCode::PageUp => state.scroll(-10),
        KeyCode::PageDown => state.scroll(10),
        KeyCode::Home => state.scroll(isize::MIN),
        KeyCode::Char(c) => {
            if let Some(sort) = Sort::of_key(c) {
                state.sort_by(sort);
            }
        }
        _ => {}
    }
    false
}

/// Reads the terminal on a thread of its own. It ends with the process: a read cannot be broken off.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What ends it from outside.
struct Stop([tokio::signal::unix::Signal; 3]);

impl Stop {
    fn register() -> io::Result<Stop> {
        Ok(Stop([
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn asked(&mut self) {
        let [terminate, interrupt, hang_up] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hang_up.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_it_says_what_to_use() {
        insta::assert_snapshot!(no_terminal().text(str::to_owned), @r"
        error: `buntime top` needs a terminal

        hint: for programs there is `buntime ps --json`
        ");
    }

    #[test]
    fn keys_sort_scroll_and_quit() {
        let mut state = State::default();
        let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
        assert!(!press(key(KeyCode::Char('m')), &mut state));
        assert_eq!(state.sort, Sort::Memory);
        assert!(!press(key(KeyCode::Char('x')), &mut state) && !press(key(KeyCode::Home), &mut state));
        assert!(press(key(KeyCode::Char('q')), &mut state));
        assert!(press(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), &mut state));
    }
}
