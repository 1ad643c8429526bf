//! Errors as clients see them: RFC 9457 `application/problem+json`, or a page where the client prefers HTML.

mod code;
mod render;

pub use code::Code;

use super::live::{Excerpt, Tag, first_place};
use crate::wire::message::AppError;
use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

/// An answer that tells what went wrong. What of it is shown depends on the environment: see [`Problem::respond`].
#[derive(Clone, Debug)]
pub struct Problem {
    kind: Kind,
    detail: Option<Cow<'static, str>>,
    hint: Option<Cow<'static, str>>,
    public: bool,
    retry_after: Option<Duration>,
    headers: Vec<(HeaderName, HeaderValue)>,
    report: Option<Box<Report>>,
}

/// What kind of problem it is: one of ours, or a plugin's own.
#[derive(Clone, Debug)]
enum Kind {
    Own(Code),
    Plugin(Box<(StatusCode, Cow<'static, str>)>),
}

/// What a developer needs to find the cause. Shown in development only.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub error: Option<AppError>,
    /// The lines around the place that the error speaks of.
    pub excerpt: Option<Excerpt>,
    /// What makes its page live.
    pub live: Option<Tag>,
    /// The app as it was edited is at fault.
    pub of_edit: bool,
    /// The journey of the start-up, as far as it came.
    pub steps: Vec<Step>,
    /// The last lines that the worker wrote to stderr, oldest first.
    pub stderr: Vec<String>,
}

/// One step of a start-up and how long it took; none = it was not finished.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub name: Cow<'static, str>,
    pub took: Option<Duration>,
}

impl Problem {
    pub fn new(code: Code) -> Problem {
        Problem {
            kind: Kind::Own(code),
            detail: None,
            hint: None,
            public: false,
            retry_after: None,
            headers: Vec::new(),
            report: None,
        }
    }

    /// Whether it says no more than that nothing is at this address.
    pub fn is_nothing_there(&self) -> bool {
        matches!(self.kind, Kind::Own(Code::NotFound | Code::UnknownApp))
    }

    /// Whether a plugin has said it.
    pub fn is_plugins(&self) -> bool {
        matches!(self.kind, Kind::Plugin(_))
    }

    /// What it says, in a sentence.
    pub fn words(&self) -> &str {
        self.detail.as_deref().unwrap_or(self.kind.summary())
    }

    /// What is wrong with this request in particular.
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Problem {
        self.detail = Some(detail.into());
        self
    }

    /// What to do about it.
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    /// Shows detail and hint in production too although the fault is the server's: they tell nothing of the inside.
    pub fn public(mut self) -> Problem {
        self.public = true;
        self
    }

    /// When to come again: `Retry-After`, in whole seconds, rounded up, at least one.
    pub fn retry_after(mut self, after: Duration) -> Problem {
        self.retry_after = Some(after);
        self
    }

    /// A header that belongs to the status: `Allow`, `Content-Range`, `WWW-Authenticate`.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    /// Its page is reloaded when what it speaks of has changed. One that is live already stays as it is.
    pub fn live(mut self, tag: Tag) -> Problem {
        let report = self.report.get_or_insert_default();
        report.live.get_or_insert(Tag { is_problem: true, ..tag });
        self
    }

    /// While apps are edited: one that does not run is at fault, and time alone will not mend it.
    pub fn of_edit(mut self) -> Problem {
        let is_apps = |kind: &Kind| {
            let codes = [Code::AppUnavailable, Code::StartFailed, Code::StartTimeout, Code::BackOff];
            matches!(kind, Kind::Own(code) if codes.contains(code))
        };
        if is_apps(&self.kind) {
            self.report.get_or_insert_default().of_edit = true;
            self.retry_after = None;
        }
        self
    }

    /// Shows the lines around the place that the error speaks of, where they are below `dir`. Reads a file.
    pub fn with_excerpt(mut self, dir: &Path) -> Problem {
        let place = first_place(self.detail.as_deref().unwrap_or_default());
        let report = self.report.get_or_insert_default();
        let error = report.error.as_ref();
        let (stack, inspect) = error.map_or(("", ""), |error| (&error.stack, &error.inspect));
        report.excerpt = Excerpt::find(dir, &[stack, inspect, &report.stderr.join("\n"), &place]);
        self
    }

    fn status(&self) -> StatusCode {
        match &self.report {
            Some(report) if report.of_edit => StatusCode::INTERNAL_SERVER_ERROR,
            _ => self.kind.status(),
        }
    }

    /// What the development page shows beside detail and hint.
    pub fn report(mut self, report: Report) -> Problem {
        self.report = Some(Box::new(report));
        self
    }
}

/// A plugin's own. All of it is meant for the client.
impl From<buntime_plugin::Problem> for Problem {
    fn from(problem: buntime_plugin::Problem) -> Problem {
        let buntime_plugin::Problem { status, code, detail, hint, retry_after, headers } = problem;
        let kind = Kind::Plugin(Box::new((status, code)));
        Problem { kind, detail, hint, public: true, retry_after, headers, report: None }
    }
}

impl Kind {
    fn status(&self) -> StatusCode {
        match self {
            Kind::Own(code) => code.status(),
            Kind::Plugin(plugin) => plugin.0,
        }
    }

    fn code(&self) -> &str {
        match self {
            Kind::Own(code) => code.as_str(),
            Kind::Plugin(plugin) => &plugin.1,
        }
    }

    fn title(&self) -> &'static str {
        match self {
            Kind::Own(code) => code.title(),
            Kind::Plugin(plugin) => plugin.0.canonical_reason().unwrap_or("Refused"),
        }
    }

    fn summary(&self) -> &'static str {
        match self {
            Kind::Own(code) => code.summary(),
            Kind::Plugin(_) => "The request was refused.",
        }
    }
}
