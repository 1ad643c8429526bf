//! Why a worker did not become Ready: the steps it took, what it threw, how it ended, what it said last.

use crate::wire::message::AppError;
use crate::worker::actor::Journey;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

#[derive(Clone, Debug, Default)]
pub struct StartFailure {
    pub summary: String,
    pub journey: Journey,
    pub error: Option<AppError>,
    /// The last lines of stderr.
    pub stderr: Vec<String>,
}

impl StartFailure {
    pub(super) fn thrown(journey: Journey, error: AppError) -> Self {
        let summary = format!("{}: {}", error.name, error.message);
        StartFailure { summary, journey, error: Some(error), stderr: Vec::new() }
    }

    pub(super) fn not_started(error: &std::io::Error) -> Self {
        StartFailure { summary: format!("the process could not be started: {error}"), ..Self::default() }
    }

    /// `late` = it was ended because its start took too long.
    pub(super) fn exited(
        journey: Journey,
        status: Option<ExitStatus>,
        stderr: Vec<String>,
        late: bool,
    ) -> Self {
        let summary = match status.map(|status| (status.code(), status.signal())) {
            _ if late => "the app was not ready within its startTimeout".into(),
            Some((Some(code), _)) => format!("the process exited with code {code} before the app was ready"),
            Some((None, Some(signal))) => {
                format!("the process was ended by signal {signal} before the app was ready")
            }
            _ => "the process ended before the app was ready".into(),
        };
        StartFailure { summary, journey, error: None, stderr }
    }
}

impl std::fmt::Display for StartFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.summary)
    }
}
