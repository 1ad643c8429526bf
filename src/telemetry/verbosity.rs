//! How much is logged where somebody reads along who may ask for more.

use std::sync::atomic::{AtomicBool, Ordering};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::Context;

static ALL: AtomicBool = AtomicBool::new(false);

/// Logs everything from now on, or only what apps say and what is wrong. Returns which.
pub fn toggle() -> bool {
    let all = !ALL.load(Ordering::Relaxed);
    ALL.store(all, Ordering::Relaxed);
    all
}

/// Passes what is wanted at the moment.
#[derive(Debug)]
pub struct Verbosity {
    /// None = everything, always.
    brief: Option<Targets>,
    all: Targets,
}

impl Verbosity {
    pub fn new(all: Targets, brief: bool) -> Verbosity {
        let targets = Targets::new()
            .with_default(LevelFilter::WARN)
            .with_target("buntime::app", LevelFilter::INFO)
            // Those are told in another way.
            .with_target("buntime::failure", LevelFilter::OFF);
        Verbosity { brief: brief.then_some(targets), all }
    }

    /// What everything is from now on.
    pub fn set_all(&mut self, all: Targets) {
        self.all = all;
    }
}

impl<S: Subscriber> Layer<S> for Verbosity {
    fn register_callsite(&self, of: &'static Metadata<'static>) -> Interest {
        let passes = |targets: &Targets| targets.would_enable(of.target(), of.level());
        match &self.brief {
            None if passes(&self.all) => Interest::always(),
            Some(brief) if passes(brief) || passes(&self.all) => Interest::sometimes(),
            _ => Interest::never(),
        }
    }

    fn enabled(&self, of: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let passes = |targets: &Targets| targets.would_enable(of.target(), of.level());
        match &self.brief {
            None => passes(&self.all),
            // A request has its line.
            Some(_) if of.target() == "buntime::request" => false,
            Some(_) if ALL.load(Ordering::Relaxed) => passes(&self.all),
            Some(brief) => passes(brief),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // What is passed in brief is no more than what may be passed.
        Layer::<S>::max_level_hint(&self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level;

    #[test]
    fn in_brief_apps_are_heard_and_what_is_wrong() {
        let verbosity = Verbosity::new(Targets::new().with_target("buntime", LevelFilter::DEBUG), true);
        let targets = verbosity.brief.unwrap();
        let brief = |target, level| targets.would_enable(target, &level);
        assert!(brief("buntime::app", Level::INFO) && brief("buntime::pool", Level::WARN));
        assert!(!brief("buntime::pool", Level::INFO) && !brief("buntime::failure", Level::ERROR));
        assert!(verbosity.all.would_enable("buntime::pool", &Level::DEBUG));
    }
}
