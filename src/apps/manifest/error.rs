//! What is wrong with a manifest, and where.

use super::position::{Step, Target, locate};
use std::fmt;

/// Everything that is wrong with one manifest; at least one problem, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    pub file: String,
    pub problems: Vec<Problem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    pub message: String,
    pub hint: Option<String>,
}

/// A problem before its place in the file is known.
pub(super) struct Finding {
    pub path: Vec<Step>,
    pub target: Target,
    pub message: String,
    pub hint: Option<String>,
}

impl ManifestError {
    pub(crate) fn at_start(file: &str, message: String) -> ManifestError {
        let problem = Problem { line: 1, column: 1, message, hint: None };
        ManifestError { file: file.into(), problems: vec![problem] }
    }

    pub(super) fn from_yaml(file: &str, error: &serde_yaml::Error) -> ManifestError {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        // The place stands in front of the message, once.
        let message = error.to_string();
        let message = message.split(&format!(" at line {line} column {column}")).collect::<Vec<_>>().concat();
        ManifestError { file: file.into(), problems: vec![Problem { line, column, message, hint: None }] }
    }

    pub(super) fn locate(file: &str, text: &str, findings: Vec<Finding>) -> ManifestError {
        let place = |finding: Finding| {
            let (line, column) = locate(text, &finding.path, finding.target);
            Problem { line, column, message: finding.message, hint: finding.hint }
        };
        let mut problems: Vec<_> = findings.into_iter().map(place).collect();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        ManifestError { file: file.into(), problems }
    }
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { line, column, message, hint }) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{line}:{column}: {message}", self.file)?;
            if let Some(hint) = hint {
                write!(f, "\n  hint: {hint}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ManifestError {}
