//! How the start of a worker went: named steps with their times, and why it ended.

use super::text::{escape, escape_lines, milliseconds};
use crate::api::types::{StartReport, Step};

/// The steps, one a line.
pub fn steps(steps: &[Step]) -> String {
    render(steps, false)
}

/// The last one is where it failed, however long it took.
fn render(steps: &[Step], failed: bool) -> String {
    let names: Vec<_> = steps.iter().map(|step| escape(&step.name)).collect();
    let times: Vec<_> =
        steps.iter().map(|step| step.milliseconds.map_or(String::new(), milliseconds)).collect();
    let name_width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let time_width = times.iter().map(String::len).max().unwrap_or(0);
    let lines = names.iter().zip(&times).enumerate().map(|(index, (name, time))| {
        let mark = if failed && index + 1 == steps.len() { "  failed" } else { "" };
        format!("  {name:name_width$}  {time:>time_width$}{mark}\n")
    });
    lines.collect()
}

/// A start that failed: its cause, how far it came, and the last that it said.
pub fn failed(report: &StartReport) -> String {
    let mut parts = Vec::new();
    if let Some(cause) = report.cause.as_ref().or(report.summary.as_ref()) {
        parts.push(escape_lines(cause.trim_end()));
    }
    if !report.steps.is_empty() {
        parts.push(render(&report.steps, true).trim_end().to_owned());
    }
    if !report.output.is_empty() {
        let lines: Vec<_> = report.output.iter().map(|line| format!("  {}", escape(line))).collect();
        parts.push(format!("last output:\n{}", lines.join("\n")));
    }
    parts.join("\n\n")
}
