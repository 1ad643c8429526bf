//! The audit log: who did what, when, and how it went. Entries are added and never changed; the oldest give way.

use super::error::corrupt;
use super::{Limits, Store, StoreError, moment, stored};
use crate::access::{Actor, UnixTime};
use rusqlite::{Row, Transaction};
use serde_json::{Value, json};

/// Most entries in one page.
pub const MAX_PAGE: u32 = 1000;
/// Longest action or subject, in bytes; what is longer is cut.
const MAX_TEXT: usize = 512;
/// Longest detail, in bytes of JSON; of a longer one only the length is kept.
const MAX_DETAIL: usize = 16 * 1024;

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    pub actor: &'a Actor,
    /// Such as `apps:install`; mostly a permission's text.
    pub action: &'a str,
    /// What it was done to: an app, a version, a key's id.
    pub subject: &'a str,
    pub outcome: Outcome,
    /// Must hold no secret.
    pub detail: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Who asked may not.
    Denied,
    Failed,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Counts up from 1; never used twice.
    pub id: i64,
    pub at: UnixTime,
    pub actor: Actor,
    pub action: String,
    pub subject: String,
    pub outcome: Outcome,
    pub detail: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The newest first.
    pub entries: Vec<Entry>,
    /// What `before` must be to get the page that follows; none = this was the last.
    pub next: Option<i64>,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Option<Outcome> {
        [Outcome::Done, Outcome::Denied, Outcome::Failed].into_iter().find(|outcome| outcome.as_str() == text)
    }
}

impl Store {
    /// Adds an entry and gives its id. Keys, aliases and disabled versions write their own entries; this is for everything else.
    pub fn append_audit(&self, record: &Record<'_>, now: UnixTime) -> Result<i64, StoreError> {
        self.write(|transaction| append(transaction, self.limits, record, now))
    }

    /// Up to `limit` entries (1 to [`MAX_PAGE`]; what is outside counts as the nearest) that are older than the entry
    /// `before`, or the newest.
    pub fn audit(&self, before: Option<i64>, limit: u32) -> Result<Page, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT id, at, actor, action, subject, outcome, detail FROM audit WHERE id < ?1 ORDER BY id DESC LIMIT ?2",
        )?;
        let mut rows = statement.query((before.unwrap_or(i64::MAX), limit + 1))?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            entries.push(entry(row)?);
        }
        let more = entries.len() > limit as usize;
        entries.truncate(limit as usize);
        let next = entries.last().map(|last| last.id).filter(|_| more);
        Ok(Page { entries, next })
    }
}

/// Adds an entry to the transaction of what it tells.
pub(super) fn append(
    transaction: &Transaction<'_>,
    limits: Limits,
    record: &Record<'_>,
    now: UnixTime,
) -> Result<i64, StoreError> {
    let detail = match record.detail.to_string() {
        text if text.len() > MAX_DETAIL => json!({ "omittedBytes": text.len() }).to_string(),
        text => text,
    };
    transaction.execute(
        "INSERT INTO audit (at, actor, action, subject, outcome, detail) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (
            stored(now),
            record.actor.to_string(),
            cut(record.action),
            cut(record.subject),
            record.outcome.as_str(),
            detail,
        ),
    )?;
    let id = transaction.last_insert_rowid();
    // Ids have no gaps, so this leaves as many as the limit says.
    let kept = i64::try_from(limits.audit).unwrap_or(i64::MAX);
    transaction.execute("DELETE FROM audit WHERE id <= ?1", [id.saturating_sub(kept)])?;
    Ok(id)
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

fn entry(row: &Row<'_>) -> Result<Entry, StoreError> {
    let text = |column| row.get::<_, String>(column);
    let outcome = text("outcome")?;
    Ok(Entry {
        id: row.get("id")?,
        at: moment(row.get("at")?),
        actor: Actor::parse(&text("actor")?).map_err(corrupt)?,
        action: text("action")?,
        subject: text("subject")?,
        outcome: Outcome::parse(&outcome).ok_or_else(|| corrupt(format!("`{outcome}` is no outcome")))?,
        detail: serde_json::from_str(&text("detail")?).map_err(corrupt)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(audit: u64) -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Limits { audit, ..Limits::default() }).unwrap();
        (dir, store)
    }

    fn record<'a>(subject: &'a str, detail: Value) -> Record<'a> {
        Record {
            actor: &Actor::AdminSocket,
            action: "apps:install",
            subject,
            outcome: Outcome::Failed,
            detail,
        }
    }

    fn ids(page: &Page) -> Vec<i64> {
        page.entries.iter().map(|entry| entry.id).collect()
    }

    #[test]
    fn an_entry_is_read_as_it_was_written() {
        let (_dir, store) = store(10);
        let detail = json!({ "version": "1.0.0", "cause": "no entrypoint" });
        let id = store.append_audit(&record("@team/shop", detail.clone()), UnixTime::new(7)).unwrap();
        let page = store.audit(None, 10).unwrap();
        let entry = Entry {
            id,
            at: UnixTime::new(7),
            actor: Actor::AdminSocket,
            action: "apps:install".into(),
            subject: "@team/shop".into(),
            outcome: Outcome::Failed,
            detail,
        };
        assert_eq!(page, Page { entries: vec![entry], next: None });
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_overlap() {
        let (_dir, store) = store(100);
        for n in 0..7 {
            store.append_audit(&record(&n.to_string(), json!(null)), UnixTime::new(n)).unwrap();
        }
        let first = store.audit(None, 3).unwrap();
        assert_eq!((ids(&first), first.next), (vec![7, 6, 5], Some(5)));
        // What is added meanwhile moves nothing.
        store.append_audit(&record("new", json!(null)), UnixTime::new(9)).unwrap();
        let second = store.audit(first.next, 3).unwrap();
        assert_eq!((ids(&second), second.next), (vec![4, 3, 2], Some(2)));
        let third = store.audit(second.next, 3).unwrap();
        assert_eq!((ids(&third), third.next), (vec![1], None));
        assert_eq!(ids(&store.audit(Some(4), 3).unwrap()), [3, 2, 1]);
        assert_eq!(store.audit(Some(4), 3).unwrap().next, None, "a full last page is the last");
        assert_eq!(ids(&store.audit(None, 0).unwrap()), [8], "a page has at least one entry");
        assert_eq!(store.audit(None, u32::MAX).unwrap().entries.len(), 8);
    }

    #[test]
    fn the_oldest_entries_give_way_and_ids_are_not_used_again() {
        let (dir, store) = store(3);
        for n in 1..=5 {
            assert_eq!(store.append_audit(&record("x", json!(n)), UnixTime::new(0)).unwrap(), n);
        }
        assert_eq!(ids(&store.audit(None, 10).unwrap()), [5, 4, 3]);
        drop(store);
        let store = Store::open(dir.path(), Limits { audit: 0, ..Limits::default() }).unwrap();
        assert_eq!(store.append_audit(&record("x", json!(6)), UnixTime::new(0)).unwrap(), 6);
        assert_eq!(ids(&store.audit(None, 10).unwrap()), [0; 0]);
        assert_eq!(store.append_audit(&record("x", json!(7)), UnixTime::new(0)).unwrap(), 7);
    }

    #[test]
    fn an_entry_cannot_be_changed() {
        let (_dir, store) = store(10);
        store.append_audit(&record("x", json!(1)), UnixTime::new(0)).unwrap();
        let refusal = store.lock().execute("UPDATE audit SET subject = 'y'", ()).unwrap_err();
        assert!(refusal.to_string().contains("append-only"), "{refusal}");
        assert_eq!(store.audit(None, 1).unwrap().entries[0].subject, "x");
    }

    #[test]
    fn what_is_too_long_is_bounded() {
        let (_dir, store) = store(10);
        let long = "\u{e9}".repeat(400);
        store.append_audit(&record(&long, json!("x".repeat(MAX_DETAIL))), UnixTime::new(0)).unwrap();
        let entry = store.audit(None, 1).unwrap().entries.remove(0);
        assert_eq!(entry.subject.len(), MAX_TEXT);
        assert!(long.starts_with(&entry.subject));
        assert_eq!(entry.detail, json!({ "omittedBytes": MAX_DETAIL + 2 }));
    }
}
