//! What the operator changes: on, off, settings. The manifest is edited in place; where it cannot be, changes stand in the
//! state directory.

use super::discovery::{Discovery, Found};
use super::edit::{self, EditError};
use super::host::{ChangeError, Host, Proposed};
use super::settings::MASK;
use serde_json::{Map, Value};

/// What is put in a plugin's place, and how that is undone.
pub trait Placement: Send {
    /// The new set did not start: everything is to be as before.
    fn undo(self: Box<Self>);
    /// It serves.
    fn settle(self: Box<Self>);
}

impl Host {
    /// Turns a plugin on or off.
    ///
    /// # Errors
    /// It, or one that is on and needs it, would not be loaded; nothing has changed then.
    pub async fn set_enabled(&self, name: &str, enabled: bool) -> Result<(), ChangeError> {
        let change = |discovery: &Discovery| {
            let found = find(discovery, name)?;
            if found.is_enabled() == enabled && found.manifest.is_ok() {
                return Ok(Vec::new());
            }
            edited(found, |text| edit::set(text, &["enabled"], &enabled.into())).map(|change| vec![change])
        };
        self.propose(change, enabled.then_some(name)).await
    }

    /// Changes settings: each key of `patch` takes the place of the same key, `null` takes it away (RFC 7396, at the first level).
    ///
    /// # Errors
    /// They are not valid, or the plugin does not start with them; nothing has changed then.
    pub async fn configure(&self, name: &str, patch: &Map<String, Value>) -> Result<(), ChangeError> {
        let change = |discovery: &Discovery| {
            let found = find(discovery, name)?;
            let manifest = found.manifest.as_ref().ok();
            for (key, value) in patch {
                let known = manifest.is_none_or(|manifest| manifest.schema.get(key).is_some());
                if !known {
                    return Err(ChangeError::Invalid(format!("{name} has no setting `{key}`")));
                }
                if has_mask(value) {
                    let hint = "leave a secret out to keep it";
                    let what = format!("`{key}` holds {MASK}, which stands for a secret\n\nhint: {hint}");
                    return Err(ChangeError::Invalid(what));
                }
            }
            let patched = |text: &str| {
                patch.iter().try_fold(text.to_owned(), |text, (key, value)| match value {
                    Value::Null => edit::remove(&text, &[key]),
                    value => edit::set(&text, &[key], value),
                })
            };
            edited(found, patched).map(|change| vec![change])
        };
        let must = self.find(name).filter(|status| status.enabled).map(|status| status.name);
        self.propose(change, must.as_deref()).await
    }

    /// Puts a plugin's directory in its place, or takes it away, and loads everything anew.
    ///
    /// # Errors
    /// `place` failed, or the set would not start; everything is as before then.
    pub async fn place<E: From<ChangeError>>(
        &self,
        place: impl FnOnce() -> Result<Box<dyn Placement>, E>,
    ) -> Result<(), E> {
        let _turn = self.turn().await;
        let placed = place()?;
        match self.exchange(&[], None).await {
            Ok(()) => {
                placed.settle();
                Ok(())
            }
            Err(error) => {
                placed.undo();
                Err(error.into())
            }
        }
    }
}

fn find<'d>(discovery: &'d Discovery, name: &str) -> Result<&'d Found, ChangeError> {
    let found = discovery.found.iter().find(|found| found.name.as_str() == name);
    found.ok_or_else(|| ChangeError::Unknown(name.to_owned()))
}

/// The file of a plugin as it would be.
fn edited(
    found: &Found,
    change: impl FnOnce(&str) -> Result<String, EditError>,
) -> Result<Proposed, ChangeError> {
    let file = &found.file;
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(ChangeError::NotWritten(format!("{}: {error}", file.display()))),
    };
    match change(&text) {
        Ok(text) => Ok(Proposed { file: file.clone(), text }),
        Err(error) => Err(ChangeError::Invalid(format!("{}: {error}", file.display()))),
    }
}

fn has_mask(value: &Value) -> bool {
    match value {
        Value::String(text) => text == MASK,
        Value::Array(items) => items.iter().any(has_mask),
        Value::Object(map) => map.values().any(has_mask),
        _ => false,
    }
}
