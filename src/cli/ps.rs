//! `buntime ps`: the workers that there are now.

use super::failure::Failure;
use super::session::Session;
use super::table::{self, number, text};
use super::text::{age, escape, size};
use crate::api::types::{Worker, WorkerState};

pub async fn run(session: &Session) -> Result<(), Failure> {
    let list = session.client.workers().await?;
    if list.value.workers.is_empty() {
        session.console.talk("there are no workers now: they start when a request comes");
    }
    session.console.answer(&list, |list| render(&list.workers))
}

fn render(workers: &[Worker]) -> String {
    if workers.is_empty() {
        return String::new();
    }
    let columns = [
        text("ID"),
        text("APP"),
        text("VERSION"),
        text("STATE"),
        number("PID"),
        number("MEMORY"),
        number("CPU"),
        number("IN FLIGHT"),
        number("REQUESTS"),
        number("AGE"),
    ];
    let rows = workers.iter().map(|worker| {
        vec![
            escape(&worker.id).into_owned(),
            app(worker),
            worker.version.as_deref().map(escape).unwrap_or_default().into_owned(),
            state(worker),
            worker.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            worker.memory.map(size).unwrap_or_default(),
            worker.cpu.map(|seconds| format!("{seconds:.1}s")).unwrap_or_default(),
            worker.in_flight.to_string(),
            worker.requests.to_string(),
            age(worker.age),
        ]
    });
    table::render(&columns, rows)
}

/// The app of a worker, the plugin, or that it has none yet.
pub fn app(worker: &Worker) -> String {
    match (&worker.app, &worker.plugin) {
        (Some(app), _) => escape(app).into_owned(),
        (None, Some(plugin)) => format!("{} (plugin)", escape(plugin)),
        (None, None) => "(spare)".to_owned(),
    }
}

pub fn state(worker: &Worker) -> String {
    let state = match worker.state {
        // Nothing is being made any more: it has no app yet.
        WorkerState::Creating if worker.version.is_none() && worker.pid.is_some() => "waiting",
        WorkerState::Creating => "creating",
        WorkerState::Ready => "ready",
        WorkerState::Active => "active",
        WorkerState::Idle => "idle",
        WorkerState::Terminated => "terminated",
    };
    if worker.draining { format!("{state}, draining") } else { state.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn workers_are_a_table() {
        insta::assert_snapshot!(render(&samples::workers()));
    }
}
