//! Where a command's words go: data to stdout, talk to stderr.

use super::client::Answer;
use super::failure::Failure;
use crate::config::Environment;
use serde_json::Value;
use std::io::{self, IsTerminal, Write};

/// How to print. Colour is put on single words, and only on a terminal without `NO_COLOR`.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    pub json: bool,
    pub quiet: bool,
    pub stdout_is_terminal: bool,
    pub stderr_is_terminal: bool,
    colour: bool,
}

impl Console {
    pub fn new(json: bool, quiet: bool, environment: &Environment) -> Console {
        let stderr_is_terminal = io::stderr().is_terminal();
        // https://no-color.org: set and not empty.
        let refused = environment.get("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = environment.get("TERM").is_some_and(|term| term == "dumb");
        Console {
            json,
            quiet,
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal,
            colour: !refused && !dumb,
        }
    }

    /// Whether something that moves may be shown.
    pub fn shows_progress(&self) -> bool {
        self.stderr_is_terminal && !self.quiet && !self.json
    }

    /// Data.
    ///
    /// # Errors
    /// Stdout cannot be written to. If nobody reads it any more, the process ends here: there is nobody to tell.
    pub fn data(&self, text: &str) -> Result<(), Failure> {
        let shown = match self.json && self.stdout_is_terminal {
            true => crate::cli::text::in_json(text),
            false => text.into(),
        };
        let mut out = io::stdout().lock();
        match out.write_all(shown.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            written => written.map_err(|error| Failure::io("write to stdout", &error)),
        }
    }

    /// What the runtime answered: as a text, or with `--json` just as it came.
    pub fn answer<T>(&self, answer: &Answer<T>, render: impl FnOnce(&T) -> String) -> Result<(), Failure> {
        if self.json { self.raw(&answer.raw) } else { self.data(&render(&answer.value)) }
    }

    /// JSON of the runtime: as it came, on a terminal over several lines.
    pub fn raw(&self, json: &[u8]) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(json);
        match serde_json::from_slice::<Value>(json) {
            Ok(value) if self.stdout_is_terminal => self.data(&format!("{value:#}\n")),
            _ => self.data(&format!("{}\n", text.trim_end())),
        }
    }

    /// Says what was done. Left out with `--quiet` and with `--json`.
    pub fn talk(&self, text: &str) {
        if !self.quiet && !self.json {
            self.stderr(text);
        }
    }

    /// Says what to look after. With `--json` nothing but a problem document goes to stderr.
    pub fn warn(&self, text: &str) {
        if !self.json {
            self.stderr(&format!("{} {text}", self.paint("warning:")));
        }
    }

    pub fn failure(&self, failure: &Failure) {
        if self.json {
            self.stderr(&failure.json().to_string());
        } else {
            self.stderr(&failure.text(|word| self.paint(word)));
        }
    }

    /// A word for stderr, in its colour.
    fn paint(&self, word: &str) -> String {
        paint(word, self.colour && self.stderr_is_terminal)
    }

    /// A word for stdout, in its colour.
    pub fn paint_data(&self, word: &str) -> String {
        paint(word, self.colour && self.stdout_is_terminal)
    }

    fn stderr(&self, text: &str) {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(io::stderr(), "{}", text.trim_end());
    }
}

fn paint(word: &str, colour: bool) -> String {
    let colour = match word {
        _ if !colour => return word.to_owned(),
        "error:" | "fail" => "31;1",
        "warning:" | "warn" => "33;1",
        "hint:" => "36;1",
        "ok" => "32",
        _ => return word.to_owned(),
    };
    format!("\u{1b}[{colour}m{word}\u{1b}[0m")
}
