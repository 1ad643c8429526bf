//! What was acknowledged survives SIGKILL: a child writes and acknowledges, is killed at some moment, and what it left is
//! looked at.

use super::*;
use crate::access::{Actor, KeySecret, Namespaces, NewKey, Role};
use crate::model::{AliasName, AppName, AppVersion, Route, Split};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// The state directory of the child; without it, the test that is the child does nothing.
const DIR: &str = "BUNTIME_TEST_STORE_DIR";
const ROUNDS: u64 = 15;

fn names() -> (AppName, AliasName) {
    ("@team/shop".parse().unwrap(), "latest".parse().unwrap())
}

fn route(patch: u64) -> Route {
    Split::new(vec![(version(patch), 40), (AppVersion::Latest, 60)]).unwrap().into()
}

fn version(patch: u64) -> AppVersion {
    format!("1.0.{patch}").parse().unwrap()
}

fn patch(route: &Route) -> u64 {
    match &route.split.parts()[0].0 {
        AppVersion::Semver(version) => version.patch,
        AppVersion::Latest => panic!("the split has been changed"),
    }
}

/// The child: begins where the one before it ended, and never ends by itself.
#[test]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    let store = Store::open(Path::new(&dir), Limits::default()).unwrap();
    let (app, alias) = names();
    let new = NewKey::new("ci".parse().unwrap(), Role::Viewer, Namespaces::All, None).unwrap();
    let first = store.alias(&app, &alias).unwrap().map_or(0, |route| patch(&route));
    for n in first + 1.. {
        let now = UnixTime::new(n);
        store.set_alias(&app, &alias, &route(n), &Actor::AdminSocket, now).unwrap();
        say(&format!("alias {n}"));
        let (key, secret) = store.create_key(&new, &Actor::AdminSocket, now).unwrap();
        say(&format!("key {}", secret.reveal()));
        if n % 2 == 0 {
            store.revoke_key(&key.id, &Actor::AdminSocket, now).unwrap();
            say(&format!("revoked {}", secret.reveal()));
        }
    }
}

/// One write(2) a line, past the test harness's capture.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("ack {line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[test]
fn what_was_acknowledged_survives_a_kill_at_any_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (mut keys, mut revoked, mut alias) = (Vec::new(), Vec::new(), 0);
    for round in 0..ROUNDS {
        for line in acknowledged_before_a_kill(dir.path(), round) {
            match line.split_once(' ').unwrap() {
                ("alias", n) => alias = n.parse().unwrap(),
                ("key", secret) => keys.push(KeySecret::parse(secret).unwrap().hash()),
                ("revoked", secret) => revoked.push(KeySecret::parse(secret).unwrap().hash()),
                _ => panic!("what is {line}?"),
            }
        }
        let store = Store::open(dir.path(), Limits::default()).unwrap();
        let (app, name) = names();
        let found = store.alias(&app, &name).unwrap().unwrap();
        let n = patch(&found);
        assert_eq!(found, route(n), "an alias is set as a whole");
        assert!(n == alias || n == alias + 1, "acknowledged {alias}, found {n}");
        for hash in &keys {
            assert!(store.find_key(hash).unwrap().is_some(), "a key is missing");
        }
        for hash in &revoked {
            assert!(store.find_key(hash).unwrap().unwrap().revoked.is_some(), "a key is back");
        }
        every_change_has_its_entry(&store, n);
    }
    assert!(keys.len() as u64 >= ROUNDS && !revoked.is_empty(), "{} keys", keys.len());
}

#[test]
fn a_kill_while_the_database_is_made_leaves_one_that_opens() {
    let mut unfinished = 0;
    for round in 0..ROUNDS {
        let dir = tempfile::tempdir().unwrap();
        let mut child = child(dir.path()).stdout(Stdio::null()).spawn().unwrap();
        while !dir.path().join(FILE).exists() {
            assert!(child.try_wait().unwrap().is_none(), "the child ended by itself");
            std::thread::yield_now();
        }
        wait_a_little(10 * round);
        child.kill().unwrap();
        child.wait().unwrap();
        let store = Store::open(dir.path(), Limits::default()).unwrap();
        let set = store.alias(&names().0, &names().1).unwrap().map_or(0, |route| patch(&route));
        unfinished += u64::from(set == 0);
        every_change_has_its_entry(&store, set);
    }
    assert!(unfinished > 0, "no kill came early enough");
}

fn child(dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "store::killed::writes_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stderr(Stdio::null());
    command
}

/// Up to 255 times `unit` microseconds: here the moment itself is what is tested, so it is spread over some writes.
fn wait_a_little(unit: u64) {
    let mut random = [0; 1];
    getrandom::fill(&mut random).unwrap();
    std::thread::sleep(Duration::from_micros(u64::from(random[0]) * unit));
}

/// Lets the child work for some milliseconds after its first acknowledgement, and gives those that arrived whole.
fn acknowledged_before_a_kill(dir: &Path, round: u64) -> Vec<String> {
    let mut child = child(dir).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let (begun, wait) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let (mut lines, mut line) = (Vec::new(), String::new());
        while out.read_line(&mut line).unwrap() > 0 {
            // The harness writes the test's name before the first line.
            if let Some((_, ack)) = line.split_once("ack ").filter(|_| line.ends_with('\n')) {
                lines.push(ack.trim_end().to_owned());
                let _ = begun.send(());
            }
            line.clear();
        }
        lines
    });
    let started = wait.recv_timeout(Duration::from_secs(30));
    wait_a_little(100 * (1 + round % 3));
    child.kill().unwrap();
    child.wait().unwrap();
    let lines = reader.join().unwrap();
    assert!(started.is_ok(), "the child did not begin: {lines:?}");
    lines
}

/// A change and its entry are one: as many entries as changes, whatever the kill cut off.
fn every_change_has_its_entry(store: &Store, aliases: u64) {
    let keys = store.keys().unwrap();
    let revoked = keys.iter().filter(|key| key.revoked.is_some()).count();
    let (mut entries, mut before) = (Vec::new(), None);
    loop {
        let page = store.audit(before, MAX_PAGE).unwrap();
        entries.extend(page.entries);
        before = page.next;
        if before.is_none() {
            break;
        }
    }
    let count = |action: &str| entries.iter().filter(|entry| entry.action == action).count();
    assert_eq!(
        (count("alias:set") as u64, count("keys:create"), count("keys:revoke")),
        (aliases, keys.len(), revoked)
    );
}
