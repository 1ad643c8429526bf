//! What settings keep secret, for whoever must not let it be seen.

use super::discovery::{Discovery, Found};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Shorter ones would be found in any text.
const SHORTEST: usize = 8;

/// All secrets that plugins' settings have had since the process began: one that was changed may still be said somewhere. They are known
/// before the first plugin is started with them.
#[derive(Default)]
pub struct Secrets(Mutex<BTreeSet<String>>);

impl Secrets {
    pub(super) fn learn(&self, discovery: &Discovery) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for found in &discovery.found {
            let settings = found.manifest.as_ref().ok().and_then(|manifest| manifest.settings.as_ref().ok());
            for secret in settings
                .iter()
                .flat_map(|settings| settings.secrets().iter().map(|at| settings.value().pointer(at)))
            {
                secret.into_iter().for_each(|secret| collect(secret, &mut known));
            }
        }
    }

    /// In no order that means anything. Looks at what is in memory.
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// Whether a text of a plugin's file states one of its secrets itself: not where it names a variable.
pub(super) fn states_secret(found: &Found, text: &str) -> bool {
    let Some(settings) = found.manifest.as_ref().ok().and_then(|manifest| manifest.settings.as_ref().ok())
    else {
        // What it would be cannot be told.
        return true;
    };
    // JSON has no value that YAML has not; what is no map of texts states no setting.
    let Ok(stated) = serde_yaml::from_str::<Value>(text) else { return true };
    let mut own = settings.secrets().iter().filter_map(|at| stated.pointer(at));
    own.any(|value| !value.as_str().is_some_and(|text| text.is_empty() || text.starts_with("${")))
}

fn collect(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.len() >= SHORTEST => drop(into.insert(text.clone())),
        Value::Array(items) => items.iter().for_each(|item| collect(item, into)),
        Value::Object(map) => map.values().for_each(|item| collect(item, into)),
        _ => {}
    }
}
