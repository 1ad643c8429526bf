//! How the start of a worker went: named steps with their times, and why it ended.

use super::text::{escape, escape_lines, milliseconds};
use crate::api::types::{StartReport, Step};

/// The steps, one a line.
pub fn steps(steps: &[Step]) -> String {
    let names: Vec<_> = steps.iter().map(|step| escape(&step.name)).collect();
    let times: Vec<_> =
        steps.iter().map(|step| step.milliseconds.map_or("failed".into(), milliseconds)).collect();
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let (name_width, time_width) = (
        width(&mut names.iter().map(|name| name.chars().count())),
        width(&mut times.iter().map(String::len)),
    );
    let lines =
        names.iter().zip(&times).map(|(name, time)| format!("  {name:name_width$}  {time:>time_width$}\n"));
    lines.collect()
}

/// A start that failed: its cause, how far it came, and the last that it said.
pub fn failed(report: &StartReport) -> String {
    let mut parts = Vec::new();
    if let Some(cause) = report.cause.as_ref().or(report.summary.as_ref()) {
        parts.push(escape_lines(cause.trim_end()));
    }
    if !report.steps.is_empty() {
        parts.push(steps(&report.steps).trim_end().to_owned());
    }
    if !report.output.is_empty() {
        let lines: Vec<_> = report.output.iter().map(|line| format!("  {}", escape(line))).collect();
        parts.push(format!("last output:\n{}", lines.join("\n")));
    }
    parts.join("\n\n")
}
