//! What `top` knows: the workers, how fast they change, and in which order they are shown.

use crate::api::types::{Runtime, Worker};
use std::collections::HashMap;
use std::time::Instant;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    #[default]
    Cpu,
    Memory,
    Requests,
    InFlight,
    Age,
    Name,
}

/// One worker, and what it did since it was looked at before.
#[derive(Clone, Debug)]
pub struct Row {
    pub worker: Worker,
    /// Percent of one processor.
    pub cpu: Option<f64>,
    /// Requests a second.
    pub rate: Option<f64>,
}

#[derive(Debug, Default)]
pub struct State {
    pub rows: Vec<Row>,
    pub runtime: Option<Runtime>,
    pub sort: Sort,
    /// So many rows are above the screen.
    pub offset: usize,
    /// Why nothing newer is shown.
    pub trouble: Option<String>,
    before: HashMap<String, (Option<f64>, u64)>,
    at: Option<Instant>,
}

impl Sort {
    pub const ALL: [(char, Sort, &'static str); 6] = [
        ('c', Sort::Cpu, "cpu"),
        ('m', Sort::Memory, "memory"),
        ('r', Sort::Requests, "requests"),
        ('f', Sort::InFlight, "in flight"),
        ('a', Sort::Age, "age"),
        ('n', Sort::Name, "name"),
    ];

    pub fn of_key(key: char) -> Option<Sort> {
        Sort::ALL.iter().find(|(of, ..)| *of == key).map(|(_, sort, _)| *sort)
    }
}

impl State {
    pub fn update(&mut self, workers: Vec<Worker>, runtime: Option<Runtime>, now: Instant) {
        let passed =
            self.at.map(|at| now.saturating_duration_since(at).as_secs_f64()).filter(|passed| *passed > 0.0);
        let before = std::mem::take(&mut self.before);
        let rows = workers.into_iter().map(|worker| {
            let was = before.get(&worker.id).zip(passed);
            let cpu =
                was.and_then(|((cpu, _), passed)| Some((worker.cpu? - (*cpu)?).max(0.0) / passed * 100.0));
            let rate =
                was.map(|((_, requests), passed)| worker.requests.saturating_sub(*requests) as f64 / passed);
            Row { worker, cpu, rate }
        });
        self.rows = rows.collect();
        let known =
            self.rows.iter().map(|row| (row.worker.id.clone(), (row.worker.cpu, row.worker.requests)));
        self.before = known.collect();
        self.at = Some(now);
        self.runtime = runtime;
        self.trouble = None;
        self.order();
    }

    pub fn fail(&mut self, trouble: String) {
        self.trouble = Some(trouble);
    }

    pub fn sort_by(&mut self, sort: Sort) {
        self.sort = sort;
        self.offset = 0;
        self.order();
    }

    pub fn scroll(&mut self, by: isize) {
        self.offset = self.offset.saturating_add_signed(by).min(self.rows.len().saturating_sub(1));
    }

    /// The largest first; by name from the beginning of the alphabet. Equal ones by name and id, so that nothing jumps.
    fn order(&mut self) {
        let sort = self.sort;
        let weight = |row: &Row| match sort {
            Sort::Cpu => row.cpu.unwrap_or(-1.0),
            Sort::Memory => row.worker.memory.unwrap_or(0) as f64,
            Sort::Requests => row.rate.unwrap_or(-1.0),
            Sort::InFlight => f64::from(row.worker.in_flight),
            Sort::Age => row.worker.age,
            Sort::Name => 0.0,
        };
        let name = |row: &Row| {
            let Worker { app, plugin, id, .. } = &row.worker;
            (app.is_none(), plugin.is_none(), app.clone(), plugin.clone(), id.clone())
        };
        self.rows.sort_by(|a, b| weight(b).total_cmp(&weight(a)).then_with(|| name(a).cmp(&name(b))));
        self.offset = self.offset.min(self.rows.len().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;
    use std::time::Duration;

    #[test]
    fn rates_are_what_changed_since_the_look_before() {
        let (mut state, start) = (State::default(), Instant::now());
        let mut workers = samples::workers();
        state.update(workers.clone(), None, start);
        assert!(state.rows.iter().all(|row| row.cpu.is_none() && row.rate.is_none()));
        workers[0].cpu = Some(13.34);
        workers[0].requests += 500;
        state.update(workers.clone(), None, start + Duration::from_secs(2));
        let row = state.rows.iter().find(|row| row.worker.id == "w1").unwrap();
        assert_eq!((row.cpu.unwrap().round(), row.rate.unwrap()), (50.0, 250.0));
        // A look at the same moment, or a number that went back, is no rate below zero.
        workers[0].requests = 0;
        state.update(workers, None, start + Duration::from_secs(3));
        assert!(state.rows.iter().all(|row| row.rate.is_none_or(|rate| rate >= 0.0)));
    }

    #[test]
    fn each_key_has_its_order() {
        let mut state = State::default();
        state.update(samples::workers(), None, Instant::now());
        let mut ids = |key| {
            state.sort_by(Sort::of_key(key).unwrap());
            state.rows.iter().map(|row| row.worker.id.clone()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            ['c', 'm', 'f', 'a', 'n'].map(&mut ids),
            ["w2 w1 w4 w3", "w1 w2 w4 w3", "w1 w2 w4 w3", "w2 w1 w4 w3", "w2 w1 w4 w3"]
        );
    }

    #[test]
    fn scrolling_stays_among_the_rows() {
        let mut state = State::default();
        state.scroll(5);
        assert_eq!(state.offset, 0);
        state.update(samples::workers(), None, Instant::now());
        state.scroll(50);
        assert_eq!(state.offset, 3);
        state.scroll(isize::MIN);
        assert_eq!(state.offset, 0);
    }
}
