//! Versions that are taken away, and installations that are undone.

use super::World;
use super::build::tgz;
use crate::model::{AppName, AppVersion};
use crate::package::{Code, install, remove};
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
