//! Which events a subscriber wants.

use super::event::{Event, Kind};
use crate::model::AppName;
use std::fmt;

type Apps = Box<dyn Fn(Option<&AppName>) -> bool + Send + Sync>;

/// Says yes to everything unless told otherwise.
#[derive(Default)]
pub struct Filter {
    kinds: Option<Vec<Kind>>,
    apps: Option<Apps>,
}

impl Filter {
    pub fn all() -> Filter {
        Filter::default()
    }

    /// Only these.
    pub fn kinds(mut self, kinds: impl IntoIterator<Item = Kind>) -> Filter {
        self.kinds = Some(kinds.into_iter().collect());
        self
    }

    /// Only what `wanted` says yes to; it is asked with none for what belongs to no app. Called often: it must be quick.
    pub fn apps(mut self, wanted: impl Fn(Option<&AppName>) -> bool + Send + Sync + 'static) -> Filter {
        self.apps = Some(Box::new(wanted));
        self
    }

    pub fn takes(&self, event: &Event) -> bool {
        let kind = self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&event.kind()));
        kind && self.apps.as_ref().is_none_or(|wanted| wanted(event.app()))
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Filter").field("kinds", &self.kinds).field("apps", &self.apps.is_some()).finish()
    }
}
