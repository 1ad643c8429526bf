//! Which events a plugin hears of.

/// Events by kind and app. What is left out says yes to everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    pub kinds: Vec<String>,
    pub app: Option<String>,
}

impl EventFilter {
    pub fn all() -> EventFilter {
        EventFilter::default()
    }

    /// Only these: `worker`, `log`, `app`, `alias`, `deploy`, `key`, `server`.
    pub fn kinds(mut self, kinds: &[&str]) -> EventFilter {
        self.kinds = kinds.iter().map(|&kind| kind.to_owned()).collect();
        self
    }

    /// Only those of this app, such as `@team/shop`.
    pub fn app(mut self, app: &str) -> EventFilter {
        self.app = Some(app.to_owned());
        self
    }
}
