//! What keeps an app from running, as an open page and the terminal show it.

use super::Excerpt;
use crate::http::problem::{Code, Problem};
use crate::model::{App, VersionKey};
use crate::pool::StartFailure;
use serde::Serialize;

/// Bytes of a text that are shown.
const SHOWN: usize = 16 << 10;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Fault {
    /// The number of the change that brought it.
    pub id: u64,
    /// Whose it is, and never that of another reading of the same directory.
    #[serde(skip)]
    pub revision: Option<VersionKey>,
    /// Older workers of it answer.
    #[serde(skip)]
    pub is_served: bool,
    /// `shop@1.2.0`; empty for plugins.
    pub of: String,
    pub title: String,
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<Excerpt>,
    /// With source-mapped frames.
    pub stack: String,
    /// The last lines on stderr.
    pub output: Vec<String>,
}

impl Fault {
    /// A worker of the app did not start. Reads a file of it.
    pub fn of_start(app: &App, failure: &StartFailure) -> Fault {
        let error = failure.error.as_ref();
        let (stack, inspect) = error.map_or(("", ""), |error| (&error.stack, &error.inspect));
        let output = failure.stderr.join("\n");
        let excerpt = Excerpt::find(&app.dir, &[stack, inspect, &output]);
        let stack = if has_frames(stack) || inspect.is_empty() { stack } else { inspect };
        // Of several errors of the compiler the first is worth more than their number.
        let first = inspect.lines().find(|line| line.starts_with("error: "));
        let first =
            first.filter(|_| failure.error.as_ref().is_some_and(|error| error.name == "AggregateError"));
        Fault {
            id: 0,
            revision: Some(app.key),
            is_served: false,
            of: format!("{}@{}", app.name, app.version),
            title: "The app does not start".into(),
            detail: cut(first.unwrap_or(&failure.summary)),
            hint: failure.suggestion.clone(),
            excerpt,
            stack: cut(stack),
            output: failure.stderr.clone(),
        }
    }

    /// Its manifest, or another file that it is read from, is wrong. Reads that file.
    pub fn of_reading(app: &App, error: &str) -> Fault {
        Fault {
            revision: Some(app.key),
            of: format!("{}@{}", app.name, app.version),
            title: "The app cannot be served as it is".into(),
            detail: cut(error),
            excerpt: Excerpt::find(&app.dir, &[&first_place(error)]),
            ..Fault::default()
        }
    }

    /// The plugins were not loaded anew.
    pub fn of_plugins(error: &str) -> Fault {
        Fault {
            title: "The plugins stay as they were".into(),
            detail: cut(error),
            hint: Some("what is on disk does not load; what served before goes on".into()),
            ..Fault::default()
        }
    }

    /// As the answer to a request.
    pub fn problem(&self) -> Problem {
        let problem = Problem::new(Code::StartFailed).detail(self.detail.clone()).of_edit();
        match &self.hint {
            Some(hint) => problem.hint(hint.clone()),
            None => problem,
        }
    }

    /// As on a terminal.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.title, self.detail);
        if let Some(excerpt) = &self.excerpt {
            text.push_str(&format!("{}:{}:{}\n", excerpt.file, excerpt.line, excerpt.column));
            text.push_str(&excerpt.text());
        } else if !self.stack.is_empty() {
            text.push_str(self.stack.trim_end());
            text.push('\n');
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
        text
    }
}

/// Whether a stack says where: the compiler's errors have their places in what `inspect` makes of them.
pub fn has_frames(stack: &str) -> bool {
    stack.lines().any(|line| line.trim_start().starts_with("at "))
}

/// `/srv/app/manifest.yaml:3:1` of `/srv/app/manifest.yaml:3:1: unknown key`.
pub fn first_place(error: &str) -> String {
    let line = error.lines().find(|line| line.trim_start().starts_with('/')).unwrap_or_default().trim_start();
    let mut parts = line.split(':');
    let file = parts.next().unwrap_or_default();
    let numbers = parts.take_while(|part| part.parse::<usize>().is_ok()).take(2);
    std::iter::once(file).chain(numbers).collect::<Vec<_>>().join(":")
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(SHOWN)].to_owned()
}
