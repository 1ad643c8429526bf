//! What the database promises as a whole: how it is opened, and how it fails.

use super::*;
use crate::access::{Actor, Namespaces, NewKey, Role};
use serde_json::json;
use std::os::unix::fs::symlink;

fn viewer() -> NewKey {
    NewKey::new("ci".parse().unwrap(), Role::Viewer, Namespaces::All, None).unwrap()
}

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, Limits::default())
}

fn create(store: &Store) -> Result<(), StoreError> {
    store.create_key(&viewer(), &Actor::RootKey, UnixTime::new(0)).map(drop)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn nobody_else_can_read_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    create(&store).unwrap();
    let mut names = Vec::new();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_str().unwrap().to_owned());
    }
    names.sort();
    assert_eq!(names, ["buntime.db", "buntime.db-shm", "buntime.db-wal"]);
}

#[test]
fn a_mode_that_was_widened_is_tightened() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    let path = dir.path().join(FILE);
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    drop(open(dir.path()).unwrap());
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn what_is_no_file_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("elsewhere"), "").unwrap();
    symlink("elsewhere", dir.path().join(FILE)).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::File { .. })));
    assert!(matches!(open(&dir.path().join("missing")), Err(StoreError::File { .. })));
}

#[test]
fn every_commit_is_flushed_to_the_disk_and_nothing_is_written_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let pragma = |name| -> String {
        let connection = store.lock();
        connection
            .query_row(&format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"), (), |row| row.get(0))
            .unwrap()
    };
    let (full, memory) = ("2", "2");
    assert_eq!(
        [
            pragma("journal_mode"),
            pragma("synchronous"),
            pragma("foreign_keys"),
            pragma("trusted_schema"),
            pragma("temp_store")
        ],
        ["wal", full, "1", "0", memory]
    );
}

#[test]
fn a_newer_database_is_refused_and_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let newer = Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 999).unwrap();
    drop(newer);
    let before = std::fs::read(&path).unwrap();
    let refusal = open(dir.path()).unwrap_err();
    assert!(matches!(refusal, StoreError::Newer { found: 999, .. }));
    let text = refusal.to_string();
    assert!(
        text.starts_with("the database has version 999, this Buntime knows versions up to 3\n\nhint: "),
        "{text}"
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_file_that_is_no_database_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE), "not a database, but long enough to look like one ".repeat(100))
        .unwrap();
    let refusal = open(dir.path()).unwrap_err();
    assert!(matches!(refusal, StoreError::Corrupt(_)), "{refusal}");
}

#[test]
fn an_empty_file_becomes_a_database() {
    // What a crash between the making of the file and the first migration leaves.
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(FILE), "").unwrap();
    create(&open(dir.path()).unwrap()).unwrap();
}

#[test]
fn another_process_that_holds_the_database_makes_it_busy_and_nothing_changes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    store.lock().busy_timeout(Duration::ZERO).unwrap();
    let other = Connection::open(dir.path().join(FILE)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(matches!(create(&store), Err(StoreError::Busy)));
    assert_eq!(store.keys().unwrap(), [], "who reads does not wait");
    other.execute_batch("ROLLBACK").unwrap();
    create(&store).unwrap();
    assert_eq!(store.keys().unwrap().len(), 1);
}

#[test]
fn two_stores_on_one_directory_see_each_others_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (one, other) = (open(dir.path()).unwrap(), open(dir.path()).unwrap());
    create(&one).unwrap();
    create(&other).unwrap();
    assert_eq!(one.keys().unwrap(), other.keys().unwrap());
    assert_eq!(one.keys().unwrap().len(), 2);
}

#[test]
fn a_new_database_may_be_opened_by_several_at_once() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(3);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    start.wait();
                    create(&open(dir.path()).unwrap()).unwrap();
                });
            }
        });
        assert_eq!(open(dir.path()).unwrap().keys().unwrap().len(), 3);
    }
}

#[test]
fn a_full_disk_is_told_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let pages: i64 = store.lock().query_row("PRAGMA page_count", (), |row| row.get(0)).unwrap();
    let limit = |pages: i64| {
        store.lock().query_row(&format!("PRAGMA max_page_count = {pages}"), (), |_| Ok(())).unwrap();
    };
    limit(pages);
    let mut made = 0;
    let failure = loop {
        match create(&store) {
            Ok(()) => made += 1,
            Err(failure) => break failure,
        }
    };
    assert!(matches!(failure, StoreError::Full), "{failure}");
    assert_eq!(store.keys().unwrap().len(), made);
    assert_eq!(store.audit(None, MAX_PAGE).unwrap().entries.len(), made, "no entry without its key");
    limit(pages + 100);
    create(&store).unwrap();
}

#[test]
fn a_database_that_cannot_be_written_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    create(&store).unwrap();
    store.lock().pragma_update(None, "query_only", true).unwrap();
    assert!(matches!(create(&store), Err(StoreError::ReadOnly)));
    assert_eq!(store.keys().unwrap().len(), 1);
}

#[test]
fn threads_share_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10).for_each(|_| create(&store).unwrap()));
        }
    });
    assert_eq!(store.keys().unwrap().len(), 40);
    let ids: Vec<_> = store.audit(None, 100).unwrap().entries.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, (1..=40).rev().collect::<Vec<_>>());
}

#[test]
fn a_panic_in_one_call_leaves_the_store_sound() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let panicked = std::thread::scope(|scope| {
        let work = scope.spawn(|| {
            store.write::<()>(|transaction| {
                let record = Record {
                    actor: &Actor::RootKey,
                    action: "a",
                    subject: "s",
                    outcome: Outcome::Done,
                    detail: json!(null),
                };
                audit::append(transaction, store.limits, &record, UnixTime::new(0)).unwrap();
                panic!("in the middle")
            })
        });
        work.join()
    });
    assert!(panicked.is_err());
    assert_eq!(store.audit(None, 10).unwrap().entries, [], "what was begun is rolled back");
    create(&store).unwrap();
}
