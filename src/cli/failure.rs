//! Why a command ended without success: an exit code, and words for people and for programs.

use super::client::ClientError;
use super::start;
use super::text::{escape, escape_lines};
use crate::api::types::ProblemDocument;
use serde_json::{Value, json};

/// What the exit codes mean. They are part of the interface: `docs/cli.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Something failed for which there is no code of its own.
    Failure = 1,
    /// The command line, the environment or a configuration file is wrong.
    Usage = 2,
    /// The runtime cannot be reached.
    Unreachable = 3,
    /// There is no key, it is not taken, or it may not do this.
    Denied = 4,
    /// There is no such app, version, alias, worker, key or context.
    Missing = 5,
    /// It is there already, or something else stands against it.
    Conflict = 6,
    /// The new version did not start; what served before still does.
    NotStarted = 7,
    /// The new version serves, and requests are still in flight on the one before.
    NotDrained = 8,
}

/// Why a command ended without success.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    /// What programs compare, where the runtime gave none.
    code: &'static str,
    /// What happened and why. Escaped.
    message: String,
    /// Lines between the message and the hint. Escaped.
    details: Option<String>,
    /// What to do about it. Escaped.
    hint: Option<String>,
    /// What the runtime said.
    problem: Option<Box<ProblemDocument>>,
}

impl Failure {
    /// `message` must have no control characters of others in it.
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        let code = match exit {
            Exit::Usage => "usage",
            Exit::Unreachable => "unreachable",
            Exit::NotDrained => "not_drained",
            _ => "failed",
        };
        Failure { exit, code, message: message.into(), details: None, hint: None, problem: None }
    }

    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }

    /// Of this machine while it did `what` ("read FILE").
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Failure {
        Failure::new(Exit::Failure, format!("cannot {what}: {error}"))
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    pub fn details(mut self, details: impl Into<String>) -> Failure {
        self.details = Some(details.into()).filter(|details: &String| !details.is_empty());
        self
    }

    /// What the runtime said the code of the problem is.
    pub fn problem(&self) -> Option<&ProblemDocument> {
        self.problem.as_deref()
    }

    /// What goes to stderr for people. `paint` puts colour on a word.
    pub fn text(&self, paint: impl Fn(&str) -> String) -> String {
        let mut text = format!("{} {}\n", paint("error:"), self.message);
        if let Some(details) = &self.details {
            text += "\n";
            text += details.trim_end();
            text += "\n";
        }
        if let Some(hint) = &self.hint {
            text += &format!("\n{} {hint}\n", paint("hint:"));
        }
        text
    }

    /// What goes to stderr for programs: a problem document (RFC 9457), the runtime's own where there is one.
    pub fn json(&self) -> Value {
        if let Some(problem) = &self.problem {
            // A struct of texts and numbers is always JSON.
            return serde_json::to_value(problem).unwrap_or_default();
        }
        let mut value = json!({
            "type": format!("urn:buntime:problem:{}", self.code),
            "title": title(self.exit),
            "detail": self.message,
            "code": self.code,
        });
        if let (Some(hint), Some(map)) = (&self.hint, value.as_object_mut()) {
            map.insert("hint".into(), hint.as_str().into());
        }
        value
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Unreachable { at, why } => Failure::new(
                Exit::Unreachable,
                format!("the runtime at {at} cannot be reached: {}", escape(&why)),
            )
            .hint("look whether it runs there; `buntime run` starts one"),
            ClientError::Nonsense { at, what } => {
                let message =
                    format!("{at} does not answer as the management API of Buntime does: {}", escape(&what));
                Failure::new(Exit::Failure, message).hint(
                    "look whether the address is right, and whether the runtime has another --api-prefix",
                )
            }
            ClientError::Problem(problem) => Failure::from(problem),
        }
    }
}

impl From<Box<ProblemDocument>> for Failure {
    fn from(problem: Box<ProblemDocument>) -> Failure {
        let exit = match problem.status {
            _ if ["start_failed", "plugin_not_loaded"].contains(&&*problem.code) => Exit::NotStarted,
            401 | 403 => Exit::Denied,
            404 => Exit::Missing,
            409 => Exit::Conflict,
            _ => Exit::Failure,
        };
        let mut failure = Failure::new(exit, escape_lines(&problem.detail));
        failure.hint = problem.hint.as_deref().map(escape_lines);
        if let Some(start) = &problem.start {
            failure.details = Some(start::failed(start));
            failure.hint = failure.hint.or_else(|| start.suggestion.as_deref().map(escape_lines));
        }
        failure.problem = Some(problem);
        failure
    }
}

fn title(exit: Exit) -> &'static str {
    match exit {
        Exit::Failure => "The command failed",
        Exit::Usage => "The command line is wrong",
        Exit::Unreachable => "The runtime cannot be reached",
        Exit::Denied => "Not allowed",
        Exit::Missing => "Not found",
        Exit::Conflict => "Conflict",
        Exit::NotStarted => "The new version did not start",
        Exit::NotDrained => "The version before is still in use",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    fn problem(status: u16, detail: &str, hint: Option<&str>) -> Box<ProblemDocument> {
        Box::new(ProblemDocument {
            kind: "urn:buntime:problem:x".into(),
            title: "X".into(),
            status,
            detail: detail.into(),
            instance: "id".into(),
            code: "x".into(),
            hint: hint.map(str::to_owned),
            start: None,
        })
    }

    fn text(failure: impl Into<Failure>) -> String {
        failure.into().text(str::to_owned)
    }

    #[test]
    fn each_kind_of_failure_has_its_exit_code() {
        for (status, exit) in [(400, 1), (401, 4), (403, 4), (404, 5), (409, 6), (413, 1), (500, 1), (503, 1)]
        {
            assert_eq!(Failure::from(problem(status, "", None)).exit as u8, exit, "{status}");
        }
        // It may have no report: where the runtime is being shut down, there is none.
        for (status, start) in [(422, Some(samples::failed_start())), (503, None)] {
            let problem =
                ProblemDocument { code: "start_failed".into(), start, ..*problem(status, "", None) };
            assert_eq!(Failure::from(Box::new(problem)).exit as u8, 7);
        }
        let unreachable = ClientError::Unreachable { at: "a".into(), why: "b".into() };
        assert_eq!(Failure::from(unreachable).exit as u8, 3);
        assert_eq!(Failure::usage("").exit as u8, 2);
    }

    #[test]
    fn a_problem_is_shown_with_its_hint_and_nothing_that_harms_a_terminal() {
        let texts = [
            text(problem(404, "there is no app `sh\u{1b}[2Jop`", Some("`buntime apps` lists them\u{7}"))),
            text(problem(400, "no", None)),
            text(ClientError::Unreachable {
                at: "http://127.0.0.1:8000".into(),
                why: "connection refused".into(),
            }),
            text(ClientError::Nonsense {
                at: "https://example.com".into(),
                what: "it answered 404 Not Found".into(),
            }),
            Failure::usage("this contradicts that")
                .details("a\nb\n")
                .hint("leave one out")
                .text(str::to_owned),
        ];
        insta::assert_snapshot!(texts.join("---\n"));
    }

    #[test]
    fn a_start_that_failed_is_told_as_a_journey() {
        let document = ProblemDocument {
            start: Some(samples::failed_start()),
            ..*problem(503, "shop 2.0.0 did not start: the app threw while it was loaded", None)
        };
        insta::assert_snapshot!(text(Box::new(document)));
    }

    #[test]
    fn for_programs_a_failure_is_a_problem_document() {
        let own = Failure::usage("this contradicts that").hint("leave one out");
        let theirs = Failure::from(problem(404, "no", None));
        insta::assert_snapshot!(format!("{:#}\n{:#}", own.json(), theirs.json()));
    }
}
