//! Draws the screen of `top`. It is readable without colour, on 80 columns and 24 lines.

use super::state::{Row as Known, Sort, State};
use crate::cli::ps;
use crate::cli::text::{age, count, escape, size};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

const LEFT: [Constraint; 9] = [
    Constraint::Length(5),
    Constraint::Fill(1),
    Constraint::Length(9),
    Constraint::Length(10),
    Constraint::Length(10),
    Constraint::Length(6),
    Constraint::Length(5),
    Constraint::Length(7),
    Constraint::Length(7),
];

pub fn draw(frame: &mut Frame, state: &State) {
    let [head, body, foot] =
        Layout::vertical([Constraint::Length(2), Constraint::Fill(1), Constraint::Length(1)])
            .areas(frame.area());
    frame.render_widget(Paragraph::new(summary(state)), head);
    let heads = ["ID", "APP", "VERSION", "STATE", "MEMORY", "CPU", "OPEN", "REQ/S", "AGE"];
    let heads = heads.iter().enumerate().map(|(index, head)| cell(index, (*head).to_owned()));
    let rows = state.rows.iter().skip(state.offset).map(row);
    let bold = Style::new().add_modifier(Modifier::REVERSED);
    frame.render_widget(Table::new(rows, LEFT).header(Row::new(heads).style(bold)), body);
    frame.render_widget(Paragraph::new(keys(state)), foot);
}

fn summary(state: &State) -> Text<'static> {
    if let Some(trouble) = &state.trouble {
        return trouble.lines().take(2).map(|line| Line::raw(line.to_owned())).collect();
    }
    let open: u64 = state.rows.iter().map(|row| u64::from(row.worker.in_flight)).sum();
    let rate: f64 = state.rows.iter().filter_map(|row| row.rate).sum();
    let memory: u64 = state.rows.iter().filter_map(|row| row.worker.memory).sum();
    let second = format!("{open} requests open, {rate:.0} a second, {} in workers", size(memory));
    let Some(runtime) = &state.runtime else { return Text::from(second) };
    let draining = if runtime.draining { ", shutting down" } else { "" };
    let first = format!(
        "{} ({}{draining}), bun {}, up {}, {} of {} workers, {}, {} waiting",
        escape(&runtime.version),
        escape(&runtime.environment),
        escape(&runtime.bun),
        age(runtime.uptime),
        runtime.pooled,
        runtime.pool_size,
        count(runtime.spares.into(), "spare"),
        runtime.waiting
    );
    Text::from(vec![Line::raw(first), Line::raw(second)])
}

fn row(known: &Known) -> Row<'static> {
    let Known { worker, cpu, rate } = known;
    let state = ps::state(worker).replace(", draining", " ↓");
    let texts = [
        escape(&worker.id).into_owned(),
        ps::app(worker),
        worker.version.as_deref().map(escape).unwrap_or_default().into_owned(),
        state,
        worker.memory.map(size).unwrap_or_default(),
        cpu.map(|percent| format!("{percent:.0}%")).unwrap_or_default(),
        worker.in_flight.to_string(),
        rate.map(|rate| format!("{rate:.1}")).unwrap_or_default(),
        age(worker.age),
    ];
    texts.into_iter().enumerate().map(|(index, text)| cell(index, text)).collect()
}

/// Numbers stand to the right.
fn cell(index: usize, text: String) -> Cell<'static> {
    let text = Text::from(text);
    Cell::new(if index > 3 { text.right_aligned() } else { text })
}

fn keys(state: &State) -> String {
    let sorts =
        Sort::ALL.map(
            |(key, sort, name)| {
                if sort == state.sort { format!("[{key} {name}]") } else { format!("{key} {name}") }
            },
        );
    format!("q quit  ↑↓ scroll  sort: {}", sorts.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use std::time::{Duration, Instant};

    fn state() -> State {
        let (mut state, start) = (State::default(), Instant::now());
        let mut workers = samples::workers();
        state.update(workers.clone(), Some(samples::runtime()), start);
        workers[0].cpu = workers[0].cpu.map(|cpu| cpu + 0.5);
        workers[0].requests += 1234;
        state.update(workers, Some(samples::runtime()), start + Duration::from_secs(1));
        state
    }

    fn screen(state: &State, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn eighty_by_twenty_four_is_enough() {
        insta::assert_snapshot!(screen(&state(), 80, 24));
    }

    #[test]
    fn trouble_is_said_above_what_was_known() {
        let mut state = state();
        state.fail("error: the runtime at /run/x cannot be reached: refused\n\nhint: …\n".into());
        insta::assert_snapshot!(screen(&state, 80, 8));
    }

    #[test]
    fn no_size_is_too_small() {
        for (width, height) in [(1, 1), (10, 3), (200, 2), (3, 50)] {
            screen(&state(), width, height);
        }
    }
}
