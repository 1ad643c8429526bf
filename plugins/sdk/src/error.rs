//! What can go wrong: a fault of a plugin ([`Error`]), and an answer that tells a client what is wrong ([`Problem`]).

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A plugin could not do what it should. Where a request waits for it the client gets 503 (unless the plugin's manifest
/// says `failOpen`); its words go to the log, not to the client.
#[derive(Debug)]
pub struct Error {
    message: Cow<'static, str>,
    hint: Option<Cow<'static, str>>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// What is wrong, in a sentence without a full stop.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Error {
        Error { message: message.into(), hint: None, source: None }
    }

    /// What to do about it.
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    /// What it came from.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// An answer that tells what is wrong: `application/problem+json` (RFC 9457), or a page where the client prefers HTML. The
/// runtime renders it. All of it is shown to the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub status: StatusCode,
    /// Stable, in snake_case: programs compare it.
    pub code: Cow<'static, str>,
    pub detail: Option<Cow<'static, str>>,
    pub hint: Option<Cow<'static, str>>,
    /// `Retry-After`, in whole seconds, rounded up.
    pub retry_after: Option<Duration>,
    /// Headers that belong to the status, such as `WWW-Authenticate`.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    pub fn new(status: StatusCode, code: impl Into<Cow<'static, str>>) -> Problem {
        Problem {
            status,
            code: code.into(),
            detail: None,
            hint: None,
            retry_after: None,
            headers: Vec::new(),
        }
    }

    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Problem {
        self.detail = Some(detail.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Problem {
        self.hint = Some(hint.into());
        self
    }

    pub fn retry_after(mut self, after: Duration) -> Problem {
        self.retry_after = Some(after);
        self
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }
}
