//! Why a worker did not become Ready: the steps it took, what it threw, how it ended, what it said last, and what to do.

use super::core::types::Reason;
use super::suggestion::{Cause, suggest};
use crate::events::{self, Step, Thrown};
use crate::shortage::Shortage;
use crate::wire::message::AppError;
use crate::worker::isolation::Unreadable;
use crate::worker::journey::Journey;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// Bytes of a message or a stack that an event repeats.
const IN_EVENT: usize = 16 << 10;

/// Shows itself as its summary.
#[derive(Clone, Debug, Default)]
pub struct StartFailure {
    pub summary: String,
    /// What to do about it, where that can be told.
    pub suggestion: Option<String>,
    pub journey: Journey,
    pub error: Option<AppError>,
    /// The last lines of stderr.
    pub stderr: Vec<String>,
}

impl StartFailure {
    pub(super) fn thrown(journey: Journey, error: AppError, stderr: Vec<String>) -> Self {
        let summary = format!("{}: {}", error.name, error.message);
        let suggestion = suggest(Cause::Thrown { name: &error.name, message: &error.message }, &[]);
        StartFailure { summary, suggestion, journey, error: Some(error), stderr }
    }

    pub(super) fn not_started(error: &std::io::Error) -> Self {
        let suggestion = Shortage::of(error)
            .map(|shortage| shortage.hint().to_owned())
            .or_else(|| suggest(Cause::NotStarted(error.kind()), &[]));
        let summary = format!("the process could not be started: {error}");
        StartFailure { summary, suggestion, ..Self::default() }
    }

    /// With what is the cause of it, most likely.
    pub(super) fn because(mut self, cause: Option<Unreadable>) -> Self {
        if let Some(cause) = cause {
            self.summary = format!("{cause}; {}", self.summary);
            self.suggestion = Some(cause.suggestion());
        }
        self
    }

    /// `told` = why we ended it, if we did.
    pub(super) fn exited(
        journey: Journey,
        status: Option<ExitStatus>,
        stderr: Vec<String>,
        told: Option<Reason>,
    ) -> Self {
        let (code, signal) = status.map_or((None, None), |status| (status.code(), status.signal()));
        let (summary, cause) = match (told, code, signal) {
            (Some(Reason::StartTimeout), ..) => {
                ("the app was not ready within its startTimeout".into(), Some(Cause::Late))
            }
            (Some(Reason::Unresponsive), ..) => {
                ("the process stopped answering before the app was ready".into(), Some(Cause::Late))
            }
            (Some(Reason::Protocol), ..) => {
                ("the process broke the protocol before the app was ready".into(), None)
            }
            (_, Some(code), _) => {
                (format!("the process exited with code {code} before the app was ready"), Some(Cause::Exited))
            }
            (_, _, Some(signal)) => (
                format!("the process was ended by signal {signal} before the app was ready"),
                Some(Cause::Signalled(signal)),
            ),
            _ => ("the process ended before the app was ready".into(), None),
        };
        let suggestion = cause.and_then(|cause| suggest(cause, &stderr));
        StartFailure { summary, suggestion, journey, error: None, stderr }
    }

    /// Nothing more is known.
    pub(super) fn unknown() -> Self {
        StartFailure { summary: "the app could not be started".into(), ..Self::default() }
    }
}

impl std::fmt::Display for StartFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.summary)
    }
}

/// As events tell it.
impl From<&StartFailure> for events::Failure {
    fn from(failure: &StartFailure) -> Self {
        let millis = |took: std::time::Duration| u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let steps = failure.journey.steps().map(|(name, took)| Step { name, ms: millis(took) });
        events::Failure {
            summary: cut(&failure.summary),
            suggestion: failure.suggestion.clone(),
            steps: steps.collect(),
            error: failure.error.as_ref().map(|error| Thrown {
                name: cut(&error.name),
                message: cut(&error.message),
                stack: cut(&error.stack),
            }),
            output: failure.stderr.clone(),
        }
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(IN_EVENT)].to_owned()
}
