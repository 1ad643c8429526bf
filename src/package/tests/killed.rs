//! Uploads whose process is killed: at each step, and what is there afterwards.

use super::World;
use super::build::tgz;
use crate::apps::fixture::found;
use crate::model::{AppName, AppVersion};
use crate::package::{Limits, Staging, install, remove, sweep};
use std::collections::BTreeSet;
use std::fs;
use std::io::Cursor;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicU64, Ordering};

const DIR: &str = "BUNTIME_TEST_KILL_DIR";
const AT: &str = "BUNTIME_TEST_KILL_AT";
const ID: &str = "BUNTIME_TEST_KILL_ID";
/// More steps than any upload has.
const MOST: u64 = 200;

/// `install` (the default), `undo` or `remove`.
const DO: &str = "BUNTIME_TEST_KILL_DO";

/// Called by the code under test at each step; kills the process at the one that was asked for.
pub fn reached() {
    static STEPS: AtomicU64 = AtomicU64::new(0);
    let Some(at) = std::env::var(AT).ok().and_then(|at| at.parse::<u64>().ok()) else { return };
    if STEPS.fetch_add(1, Ordering::SeqCst) == at {
        let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::Signal::SIGKILL);
        loop {
            std::thread::park();
        }
    }
}

/// Not a test of its own: what the others run in a process that is killed.
#[test]
fn child() {
    let (Some(dir), Ok(id)) = (std::env::var_os(DIR), std::env::var(ID)) else { return };
    let (name, version) = id.rsplit_once('@').unwrap();
    let (name, version) = (AppName::parse(name).unwrap(), AppVersion::parse(version).unwrap());
    let archive = tgz(&[("package/index.ts", "new"), ("package/a/b.ts", "new"), ("package/c.ts", "new")]);
    let staging = Staging::create(Path::new(&dir)).unwrap();
    let staged = staging.receive(Cursor::new(archive), &Limits::default()).unwrap();
    match std::env::var(DO).as_deref() {
        Ok("remove") => {
            drop(staged);
            drop(remove(Path::new(&dir), &name, &version).unwrap());
        }
        Ok("undo") => drop(install(staged, &name, &version, true).unwrap().undo().unwrap()),
        _ => drop(install(staged, &name, &version, true).unwrap()),
    }
}

fn run_child(dir: &Path, id: &str, at: u64) -> ExitStatus {
    run_child_to("install", dir, id, at)
}

fn run_child_to(what: &str, dir: &Path, id: &str, at: u64) -> ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "package::tests::killed::child"]);
    child.env(DO, what).env(DIR, dir).env(ID, id).env(AT, at.to_string());
    child.output().unwrap().status
}

/// The state of the one version: none, `old` or `new`, and whole.
fn state(world: &World, id: &str) -> Option<String> {
    let (_, dir) = found(&world.dir()).into_iter().find(|(found, _)| found == id)?;
    let texts: BTreeSet<String> = super::files(&dir).into_values().collect();
    let count = super::files(&dir).len();
    assert_eq!((texts.len(), count), (1, 3), "half a version: {:?}", super::files(&dir));
    texts.into_iter().next()
}

/// Kills an upload at every step there is and returns the states that were seen.
fn kill_everywhere(id: &str, fill: impl Fn(&World)) -> Vec<Option<String>> {
    let mut states = Vec::new();
    for at in 0..MOST {
        let world = World::new();
        fill(&world);
        let apps = |world: &World| found(&world.dir()).into_iter().filter(|(other, _)| other != id).count();
        let others = apps(&world);
        let status = run_child(&world.dir(), id, at);
        states.push(state(&world, id));
        assert_eq!(apps(&world), others, "something else appeared or went");
        if status.success() {
            let stagings = fs::read_dir(world.dir().join(".buntime-staging")).unwrap().count();
            assert_eq!(stagings, 0);
            return states;
        }
        assert_eq!(status.signal(), Some(9), "{status}");
        // The next start: the left-over goes, the state stays, and the upload can be made again.
        sweep(&world.dir()).unwrap();
        let stagings = fs::read_dir(world.dir().join(".buntime-staging")).unwrap().count();
        assert_eq!(stagings, 0, "killed at {at}");
        assert_eq!(&state(&world, id), states.last().unwrap());
        assert!(run_child(&world.dir(), id, MOST).success());
        assert_eq!(state(&world, id).as_deref(), Some("\"new\""));
    }
    panic!("the upload has more than {MOST} steps");
}

/// The states change once, from the first to the last.
fn changes_once(states: &[Option<String>], old: Option<&str>) {
    let new = Some("\"new\"");
    let texts: Vec<_> = states.iter().map(Option::as_deref).collect();
    let turn = texts.iter().position(|&text| text == new).unwrap();
    assert!(turn > 5 && texts.len() - turn > 3, "too few steps around the change: {texts:?}");
    assert!(texts[..turn].iter().all(|&text| text == old), "{texts:?}");
    assert!(texts[turn..].iter().all(|&text| text == new), "{texts:?}");
}

fn old(world: &World, dir: &str) {
    for file in ["index.ts", "a/b.ts", "c.ts"] {
        world.write(&format!("{dir}/{file}"), "old");
    }
}

#[test]
fn a_new_version_is_there_whole_or_not_at_all() {
    changes_once(&kill_everywhere("shop@1.0.0", |_| {}), None);
}

#[test]
fn a_new_version_of_a_scoped_app_is_there_whole_or_not_at_all() {
    changes_once(&kill_everywhere("@team/shop@1.0.0", |_| {}), None);
}

#[test]
fn a_new_version_in_a_nested_layout_is_there_whole_or_not_at_all() {
    changes_once(&kill_everywhere("shop@1.0.0", |world| old(world, "shop/0.9.0")), None);
}

#[test]
fn a_version_that_is_replaced_is_the_old_one_or_the_new_one() {
    for dir in ["shop@1.0.0", "shop/1.0.0"] {
        changes_once(&kill_everywhere("shop@1.0.0", |world| old(world, dir)), Some("\"old\""));
    }
}

/// Kills a removal or an undone installation at every step and returns the states that were seen.
fn kill_while(what: &str, dir: &str) -> Vec<Option<String>> {
    let mut states = Vec::new();
    for at in 0..MOST {
        let world = World::new();
        old(&world, dir);
        let status = run_child_to(what, &world.dir(), "shop@1.0.0", at);
        sweep(&world.dir()).unwrap();
        states.push(state(&world, "shop@1.0.0"));
        if status.success() {
            return states;
        }
    }
    panic!("{what} has more than {MOST} steps");
}

#[test]
fn a_version_that_is_removed_is_there_whole_or_not_at_all() {
    for dir in ["shop@1.0.0", "shop/1.0.0"] {
        let states = kill_while("remove", dir);
        let turn = states.iter().position(Option::is_none).unwrap();
        assert!(turn > 5, "{states:?}");
        assert!(states[..turn].iter().all(|state| state.as_deref() == Some("\"old\"")), "{states:?}");
        assert!(states[turn..].iter().all(Option::is_none), "{states:?}");
    }
}

#[test]
fn an_installation_that_is_undone_is_never_half_a_version() {
    let states = kill_while("undo", "shop@1.0.0");
    let texts: Vec<_> = states.iter().map(|state| state.as_deref().unwrap()).collect();
    assert_eq!((texts[0], *texts.last().unwrap()), ("\"old\"", "\"old\""));
    assert!(texts.contains(&"\"new\""), "{texts:?}");
}
