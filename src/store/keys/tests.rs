//! What the store promises of keys.

use super::*;
use crate::access::{Denied, Permissions, Presented};
use crate::store::Limits;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Limits::default()).unwrap();
    (dir, store)
}

fn at(seconds: u64) -> UnixTime {
    UnixTime::new(seconds)
}

fn new_key(role: Role, namespaces: Namespaces, expires: Option<u64>) -> NewKey {
    NewKey::new("ci".parse().unwrap(), role, namespaces, expires.map(UnixTime::new)).unwrap()
}

fn viewer() -> NewKey {
    new_key(Role::Viewer, Namespaces::All, None)
}

#[test]
fn a_key_is_read_as_it_was_made() {
    let (dir, store) = store();
    let team = Namespaces::only(["@", "@team"].map(|name| name.parse().unwrap())).unwrap();
    let custom = Role::Custom(Permissions::from_iter([Permission::AppsRead, Permission::KeysCreate]));
    let mut made = Vec::new();
    for (n, new) in [
        viewer(),
        new_key(Role::Admin, team.clone(), Some(1 << 40)),
        new_key(custom, team, Some(1 << 41)),
        new_key(Role::Editor, Namespaces::All, Some(1 << 42)),
    ]
    .iter()
    .enumerate()
    {
        let by = [Actor::RootKey, Actor::AdminSocket, Actor::Key(KeyId::new([9; 8]))][n % 3].clone();
        made.push(store.create_key(new, &by, at(n as u64)).unwrap());
    }
    drop(store);
    let store = Store::open(dir.path(), Limits::default()).unwrap();
    for (key, secret) in &made {
        assert_eq!(store.find_key(&secret.hash()).unwrap().as_ref(), Some(key));
        assert_eq!(store.key(&key.id).unwrap().as_ref(), Some(key));
    }
    let newest_first: Vec<_> = made.into_iter().rev().map(|(key, _)| key).collect();
    assert_eq!(store.keys().unwrap(), newest_first);
}

#[test]
fn a_secret_opens_its_own_key_and_no_other_does() {
    let (_dir, store) = store();
    let (first, first_secret) = store.create_key(&viewer(), &Actor::RootKey, at(0)).unwrap();
    let (second, second_secret) = store.create_key(&viewer(), &Actor::RootKey, at(0)).unwrap();
    assert_ne!(first.id, second.id);
    assert_ne!(first_secret.reveal(), second_secret.reveal());
    let Ok(Presented::Key(hash)) = Presented::read(Some(&first_secret.reveal()), None) else {
        panic!("a secret is read as one")
    };
    assert_eq!(store.find_key(&hash).unwrap(), Some(first));
    assert_eq!(store.find_key(&KeySecret::new([1; 32]).hash()).unwrap(), None);
}

#[test]
fn the_secret_is_nowhere_in_the_files() {
    let (dir, store) = store();
    let (key, secret) = store.create_key(&viewer(), &Actor::RootKey, at(0)).unwrap();
    let text = secret.reveal();
    let holds = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).any(|window| window == what);
    let mut seen = false;
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!holds(&bytes, &text.as_bytes()[4..]));
        seen |= holds(&bytes, key.id.to_string().as_bytes());
    }
    assert!(seen, "the key itself is in a file");
}

#[test]
fn a_revoked_key_stays_revoked_and_is_told_from_an_unknown_one() {
    let (_dir, store) = store();
    let (key, secret) = store.create_key(&viewer(), &Actor::RootKey, at(0)).unwrap();
    let revoke = |id, now| store.revoke_key(id, &Actor::AdminSocket, at(now)).unwrap();
    assert_eq!(revoke(&key.id, 5).unwrap().revoked, Some(at(5)));
    assert_eq!(revoke(&key.id, 6).unwrap().revoked, Some(at(5)), "the first time counts");
    assert_eq!(revoke(&KeyId::new([0; 8]), 6), None);
    let found = store.find_key(&secret.hash()).unwrap().unwrap();
    assert_eq!(found.admit(at(7)), Err(Denied::Revoked));
}

#[test]
fn every_change_of_a_key_has_its_entry() {
    let (_dir, store) = store();
    let team = Namespaces::only(["@team".parse().unwrap()]).unwrap();
    let (key, secret) =
        store.create_key(&new_key(Role::Viewer, team, Some(9)), &Actor::RootKey, at(1)).unwrap();
    store.record_use(&key, at(2)).unwrap();
    for now in [3, 4] {
        store.revoke_key(&key.id, &Actor::AdminSocket, at(now)).unwrap();
    }
    let entries = store.audit(None, 10).unwrap().entries;
    let told: Vec<_> =
        entries.iter().map(|entry| format!("{} {} {}", entry.actor, entry.action, entry.detail)).collect();
    assert_eq!(
        told,
        [
            r#"admin socket keys:revoke {"name":"ci"}"#.to_owned(),
            r#"root key keys:create {"name":"ci","role":"viewer","permissions":["apps:read","workers:read","events:read"],"namespaces":["@team"],"expires":9}"#
                .to_owned(),
        ]
    );
    assert!(entries.iter().all(|entry| entry.subject == key.id.to_string()));
    assert!(!format!("{entries:?}").contains(&secret.reveal()));
}

#[test]
fn the_use_of_a_key_is_recorded_once_a_minute() {
    let (_dir, store) = store();
    let (key, _) = store.create_key(&viewer(), &Actor::RootKey, at(0)).unwrap();
    let read = || store.key(&key.id).unwrap().unwrap();
    for (now, written, last) in [
        (1000, true, 1000),
        (1000, false, 1000),
        (1059, false, 1000),
        (1060, true, 1060),
        (1061, false, 1060),
        // The clock is set back.
        (500, true, 500),
        (501, false, 500),
    ] {
        assert_eq!(store.record_use(&read(), at(now)).unwrap(), written, "{now}");
        assert_eq!(read().last_used, Some(at(last)), "{now}");
    }
    // Who read the key before somebody else recorded a use writes nothing either.
    assert!(!store.record_use(&key, at(502)).unwrap());
}

#[test]
fn a_use_of_a_key_that_is_gone_is_no_error() {
    let (_dir, store) = store();
    let (key, _) = store.create_key(&viewer(), &Actor::RootKey, at(0)).unwrap();
    store.lock().execute("DELETE FROM keys", ()).unwrap();
    assert!(!store.record_use(&key, at(1)).unwrap());
}

#[test]
fn dead_keys_make_room_and_are_forgotten_after_ninety_days() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Limits { keys: 3, ..Limits::default() }).unwrap();
    let create = |new: &NewKey, now| store.create_key(new, &Actor::RootKey, at(now)).map(|(key, _)| key);
    let living = create(&viewer(), 0).unwrap();
    let expiring = create(&new_key(Role::Viewer, Namespaces::All, Some(100)), 0).unwrap();
    let revoked = create(&viewer(), 0).unwrap();
    store.revoke_key(&revoked.id, &Actor::RootKey, at(200)).unwrap();
    // The one that has been dead for the longest time goes first, the one that lives never.
    let fourth = create(&viewer(), 300).unwrap();
    assert_eq!(store.key(&expiring.id).unwrap(), None);
    assert!(store.key(&revoked.id).unwrap().is_some());
    create(&viewer(), 300).unwrap();
    assert_eq!(store.key(&revoked.id).unwrap(), None);
    let refusal = create(&viewer(), 300);
    assert!(matches!(refusal, Err(StoreError::TooMany { what: "keys", limit: 3 })));
    assert!(store.key(&living.id).unwrap().is_some(), "a refusal changes nothing");
    store.revoke_key(&fourth.id, &Actor::RootKey, at(400)).unwrap();
    store.revoke_key(&living.id, &Actor::RootKey, at(400)).unwrap();
    create(&viewer(), 401 + KEEP_DEAD.as_secs()).unwrap();
    assert_eq!((store.key(&fourth.id).unwrap(), store.key(&living.id).unwrap()), (None, None));
}

#[test]
fn one_key_cannot_take_all_places() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Limits { keys: 20, ..Limits::default() }).unwrap();
    let maker = store.create_key(&viewer(), &Actor::RootKey, at(0)).unwrap().0;
    let create = |by: &Actor, now| store.create_key(&viewer(), by, at(now)).map(|(key, _)| key);
    let by = Actor::Key(maker.id);
    let first = create(&by, 0).unwrap();
    create(&by, 0).unwrap();
    assert!(matches!(create(&by, 0), Err(StoreError::TooMany { limit: 2, .. })));
    store.revoke_key(&first.id, &by, at(1)).unwrap();
    create(&by, 1).unwrap();
    create(&Actor::RootKey, 1).unwrap();
}

#[test]
fn a_stored_key_that_means_nothing_is_damage() {
    for change in [
        "role = 'owner'",
        "role = 'custom'",
        "permissions = '[]'",
        "role = 'custom', permissions = '[]'",
        "role = 'custom', permissions = '[\"apps:fly\"]'",
        "role = 'custom', permissions = '[\"audit:read\"]', namespaces = '[\"@a\"]'",
        "namespaces = '[]'",
        "namespaces = '[\"team\"]'",
        "namespaces = '@a'",
        "name = ''",
        "id = 'x'",
        "created_by = ''",
    ] {
        let (_dir, store) = store();
        let (_, secret) = store.create_key(&viewer(), &Actor::RootKey, at(0)).unwrap();
        store.lock().execute(&format!("UPDATE keys SET {change}"), ()).unwrap();
        assert!(matches!(store.keys(), Err(StoreError::Corrupt(_))), "{change}");
        assert!(matches!(store.find_key(&secret.hash()), Err(StoreError::Corrupt(_))), "{change}");
    }
}
