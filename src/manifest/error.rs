//! What is wrong with a manifest, and where.

use super::position::{Step, Target, locate};
use std::fmt;

/// How much text is read again to find places, in bytes: each place costs one reading up to it. All that is wrong with a
/// file of ordinary size is placed.
const MOST_REREAD: usize = 16 << 20;

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
pub(crate) struct Finding {
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

    pub(crate) fn from_yaml(file: &str, error: &serde_yaml::Error) -> ManifestError {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        // The place stands in front of the message, once.
        let message = error.to_string();
        let message = message.split(&format!(" at line {line} column {column}")).collect::<Vec<_>>().concat();
        ManifestError { file: file.into(), problems: vec![Problem { line, column, message, hint: None }] }
    }

    pub(crate) fn locate(file: &str, text: &str, mut findings: Vec<Finding>) -> ManifestError {
        let left_out = findings.split_off(findings.len().min(1 + MOST_REREAD / text.len().max(1)));
        let place = |finding: Finding| {
            let (line, column) = locate(text, &finding.path, finding.target);
            Problem { line, column, message: finding.message, hint: finding.hint }
        };
        let mut problems: Vec<_> = findings.into_iter().map(place).collect();
        problems.sort_by_key(|problem| (problem.line, problem.column));
        if let (Some(last), false) = (problems.last(), left_out.is_empty()) {
            let message = format!("there are {} more like these", left_out.len());
            problems.push(Problem { message, hint: None, ..*last });
        }
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
