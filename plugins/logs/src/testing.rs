//! What several modules' tests need.

use crate::entry::Entry;
use crate::prepare::prepare;
use crate::redact::Redactor;
use buntime_plugin::{Level, LogEntry, Source};

pub fn entry(app: Option<&str>, level: Level, message: &str) -> Entry {
    let mut entry = LogEntry::new(level, Source::Runtime, message);
    entry.app = app.map(Into::into);
    prepare(entry, &Redactor::default())
}
