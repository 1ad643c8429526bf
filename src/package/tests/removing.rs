//! Versions that are taken away, and installations that are undone.

use super::World;
use super::build::tgz;
use crate::model::{AppName, AppVersion};
use crate::package::{Code, install, locate, remove, sweep};
use std::fs;

fn parts(id: &str) -> (AppName, AppVersion) {
    let (name, version) = id.rsplit_once('@').unwrap();
    (name.parse().unwrap(), version.parse().unwrap())
}

#[test]
fn a_version_is_removed_in_every_layout_and_nothing_else_is() {
    for (dir, id) in [
        ("shop@1.0.0", "shop@1.0.0"),
        ("shop/1.0.0", "shop@1.0.0"),
        ("shop/v1.0.0", "shop@1.0.0"),
        ("@team/shop/1.0.0", "@team/shop@1.0.0"),
        ("shop", "shop@latest"),
    ] {
        let world = World::new();
        let before = world.snapshot();
        world.write(&format!("{dir}/index.ts"), "1");
        let (name, version) = parts(id);
        let removed = remove(&world.dir(), &name, &version).unwrap().unwrap();
        assert!(!world.dir().join(dir).exists(), "{dir}");
        assert_eq!(
            fs::read_to_string(removed.path().join("removed/index.ts")).unwrap(),
            "1",
            "readers have it"
        );
        drop(removed);
        let after = world.snapshot();
        let left: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
        assert!(left.len() <= 2, "{left:?}"); // the scope's directory, and the empty holder of stagings
        assert!(remove(&world.dir(), &name, &version).unwrap().is_none());
    }
}

#[test]
fn a_worker_directory_that_is_not_there_is_an_error_with_a_hint() {
    let world = World::new();
    let (name, version) = parts("shop@1.0.0");
    let error = remove(&world.dir().join("gone"), &name, &version).unwrap_err();
    assert!(error.code == Code::Place && error.hint.is_some(), "{error:?}");
}

#[test]
fn an_installation_is_undone() {
    let world = World::new();
    let (name, version) = parts("shop@1.0.0");
    let put = |text: &str| {
        let staged = world.receive(&tgz(&[("index.ts", text)])).unwrap();
        install(staged, &name, &version, true).unwrap()
    };
    let index = world.dir().join("shop@1.0.0/index.ts");
    drop(put("1").undo().unwrap());
    assert!(!index.exists(), "there was nothing before");
    drop(put("1"));
    let second = put("2");
    assert!(second.has_replaced());
    assert_eq!(fs::read_to_string(&index).unwrap(), "2");
    let taken = second.undo().unwrap();
    assert_eq!(fs::read_to_string(&index).unwrap(), "1");
    drop(taken);
    assert_eq!(fs::read_to_string(&index).unwrap(), "1");
}

#[test]
fn what_was_replaced_is_put_back_also_if_somebody_has_removed_what_replaced_it() {
    let world = World::new();
    world.write("shop@1.0.0/index.ts", "old");
    let (name, version) = parts("shop@1.0.0");
    let staged = world.receive(&tgz(&[("index.ts", "new")])).unwrap();
    let installed = install(staged, &name, &version, true).unwrap();
    let dir = world.dir().join("shop@1.0.0");
    fs::remove_dir_all(&dir).unwrap();
    drop(installed.undo().unwrap());
    assert_eq!(fs::read_to_string(dir.join("index.ts")).unwrap(), "old");
    // The same where there was nothing to put back.
    fs::remove_dir_all(&dir).unwrap();
    let staged = world.receive(&tgz(&[("index.ts", "new")])).unwrap();
    let installed = install(staged, &name, &version, true).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    drop(installed.undo().unwrap());
    assert!(!dir.exists());
}

#[test]
fn what_was_replaced_and_cannot_be_put_back_stays_on_disk_and_the_error_says_where() {
    let world = World::new();
    world.write("shop/1.0.0/index.ts", "old");
    let (name, version) = parts("shop@1.0.0");
    let staged = world.receive(&tgz(&[("index.ts", "new")])).unwrap();
    let installed = install(staged, &name, &version, true).unwrap();
    fs::remove_dir_all(world.dir().join("shop")).unwrap();
    let error = installed.undo().unwrap_err();
    assert_eq!(error.code, Code::Io);
    sweep(&world.dir()).unwrap();
    let path = error.message.split_once("is in ").unwrap().1.split_once(')').unwrap().0;
    assert_eq!(fs::read_to_string(format!("{path}/index.ts")).unwrap(), "old", "{error}");
}

#[test]
fn the_place_of_a_version_is_found_without_touching_it() {
    let world = World::new();
    world.write("shop@1.0.0/index.ts", "flat");
    let (name, version) = parts("shop@1.0.0");
    let place = || locate(&world.dir(), &name, &version).unwrap();
    assert_eq!(place().unwrap().to_str(), Some("shop@1.0.0"));
    world.write("shop/v1.0.0/index.ts", "nested");
    assert_eq!(place().unwrap().to_str(), Some("shop/v1.0.0"));
    let (name, version) = parts("blog@1.0.0");
    assert_eq!(locate(&world.dir(), &name, &version).unwrap(), None);
}
