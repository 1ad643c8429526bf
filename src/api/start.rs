//! How a start went, in the shapes of the API.

use super::types::{StartReport, Step};
use crate::pool::StartFailure;
use crate::worker::journey::Journey;
use std::time::Duration;

/// All steps of a start, in their order.
const STEPS: [&str; 3] = ["spawn", "connect", "import"];

pub fn steps(journey: &Journey) -> Vec<Step> {
    let step = |(name, took): (&str, Duration)| Step {
        name: name.to_owned(),
        milliseconds: Some(took.as_secs_f64() * 1000.0),
    };
    journey.steps().map(step).collect()
}

/// With the step that was not finished, if one was not.
pub fn report(failure: &StartFailure) -> StartReport {
    let mut steps = steps(&failure.journey);
    if let Some(name) = STEPS.get(steps.len()) {
        steps.push(Step { name: (*name).to_owned(), milliseconds: None });
    }
    StartReport {
        steps,
        summary: Some(failure.summary.clone()),
        cause: failure.error.as_ref().map(|error| match error.stack.is_empty() {
            true => format!("{}: {}", error.name, error.message),
            false => error.stack.clone(),
        }),
        suggestion: failure.suggestion.clone(),
        output: failure.stderr.clone(),
    }
}
