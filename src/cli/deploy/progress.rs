//! What a terminal shows during a deployment: how much was sent, then that the new version starts.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

const TICK: Duration = Duration::from_millis(100);

/// Shows nothing where nothing is to be shown.
#[derive(Clone, Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// `size` in bytes, where it is known.
    pub fn begin(shown: bool, size: Option<u64>) -> Progress {
        if !shown {
            return Progress(ProgressBar::hidden());
        }
        let bar = match size {
            Some(size) => {
                ProgressBar::new(size).with_style(style("uploading [{bar:32}] {bytes} of {total_bytes}"))
            }
            None => ProgressBar::new_spinner().with_style(style("{spinner} packing and uploading {bytes}")),
        };
        bar.enable_steady_tick(TICK);
        Progress(bar)
    }

    pub fn advance(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }

    /// Everything was sent.
    pub fn sent(&self) {
        self.0.set_style(style("{spinner} booting ({elapsed})"));
        self.0.reset_elapsed();
    }

    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// A template of ours is always valid; should one not be, the bar is a plain one.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .tick_chars("|/-\\ ")
}
