//! Packages that are put in their place.

use super::World;
use super::build::tgz;
use crate::apps::fixture::found;
use crate::model::{AppName, AppVersion};
use crate::package::{Code, Installed, PackageError, Staging, install, sweep};
use std::fs;

fn put(world: &World, id: &str, text: &str, replace: bool) -> Result<Installed, PackageError> {
    let (name, version) = id.rsplit_once('@').unwrap();
    let staged = world.receive(&tgz(&[("index.ts", text), ("lib/a.ts", "a")])).unwrap();
    install(staged, &AppName::parse(name).unwrap(), &AppVersion::parse(version).unwrap(), replace)
}

/// Where it went.
fn path(installed: Result<Installed, PackageError>) -> String {
    installed.unwrap().path.display().to_string()
}

fn stagings(world: &World) -> usize {
    fs::read_dir(world.dir().join(".buntime-staging")).unwrap().count()
}

fn apps(world: &World) -> Vec<String> {
    let mut apps: Vec<_> = found(&world.dir()).into_iter().map(|(id, _)| id).collect();
    apps.sort();
    apps
}

#[test]
fn a_package_that_was_brought_to_the_disk_is_put_in_its_place_without_being_read_again() {
    let world = World::new();
    let mut staged = world.receive(&tgz(&[("index.ts", "1")])).unwrap();
    staged.sync().unwrap();
    // Nobody can bring this to the disk: it leads nowhere.
    std::os::unix::fs::symlink("nowhere", staged.path().join("link")).unwrap();
    install(staged, &"shop".parse().unwrap(), &"1.0.0".parse().unwrap(), false).unwrap();
    let mut staged = world.receive(&tgz(&[("index.ts", "2")])).unwrap();
    std::os::unix::fs::symlink("nowhere", staged.path().join("link")).unwrap();
    assert_eq!(staged.sync().unwrap_err().code, Code::Io);
}

#[test]
fn a_new_app_is_flat_and_the_scanner_finds_it() {
    let world = World::new();
    assert_eq!(path(put(&world, "shop@1.0.0", "1", false)), "shop@1.0.0");
    assert_eq!(path(put(&world, "@team/shop@2.0.0", "2", false)), "@team/shop@2.0.0");
    assert_eq!(path(put(&world, "blog@latest", "3", false)), "blog@latest");
    assert_eq!(apps(&world), ["@team/shop@2.0.0", "blog@latest", "other@1.0.0", "shop@1.0.0"]);
    assert_eq!(fs::read_to_string(world.dir().join("shop@1.0.0/index.ts")).unwrap(), "1");
    assert_eq!(stagings(&world), 0);
    let modes = super::snapshot(&world.dir());
    assert!(modes[std::path::Path::new("shop@1.0.0")].starts_with("755 "));
    assert!(modes[std::path::Path::new("shop@1.0.0/lib/a.ts")].starts_with("644 "));
}

#[test]
fn an_app_with_version_directories_gets_another() {
    let world = World::new();
    world.write("shop/1.0.0/index.ts", "old");
    world.write("@team/shop/v1.0.0/index.ts", "old");
    assert_eq!(path(put(&world, "shop@1.1.0", "1", false)), "shop/1.1.0");
    assert_eq!(path(put(&world, "@team/shop@1.1.0", "1", false)), "@team/shop/1.1.0");
    assert_eq!(
        apps(&world),
        ["@team/shop@1.0.0", "@team/shop@1.1.0", "other@1.0.0", "shop@1.0.0", "shop@1.1.0"]
    );
}

#[test]
fn a_version_beside_a_simple_app_is_flat() {
    let world = World::new();
    world.write("shop/index.ts", "simple");
    assert_eq!(path(put(&world, "shop@1.0.0", "1", false)), "shop@1.0.0");
    assert_eq!(apps(&world), ["other@1.0.0", "shop@1.0.0", "shop@latest"]);
}

#[test]
fn a_version_that_is_there_is_not_touched_unless_it_is_to_be_replaced() {
    for (there, id) in [
        ("shop@1.0.0", "shop@1.0.0"),
        ("shop@v1.0.0", "shop@1.0.0"),
        ("shop@1.0.0+a", "shop@1.0.0+b"),
        ("shop/1.0.0", "shop@1.0.0"),
        ("shop/v1.0.0", "shop@1.0.0"),
        ("shop", "shop@latest"),
        ("shop/latest", "shop@latest"),
        ("shop@latest", "shop@latest"),
        ("@team/shop/1.0.0", "@team/shop@1.0.0"),
        ("@team/shop@1.0.0", "@team/shop@1.0.0"),
    ] {
        let world = World::new();
        world.write(&format!("{there}/index.ts"), "old");
        let before = world.snapshot();
        let error = put(&world, id, "new", false).unwrap_err();
        assert_eq!(error.code, Code::AlreadyThere, "{there}: {error}");
        assert_eq!(world.snapshot(), before);
        let installed = put(&world, id, "new", true).unwrap();
        assert_eq!(installed.path.to_str(), Some(there));
        assert_eq!(fs::read_to_string(world.dir().join(there).join("index.ts")).unwrap(), "new");
        // The old tree is there for its workers until they have ended.
        assert_eq!(stagings(&world), 1);
        assert_eq!(sweep(&world.dir()).unwrap(), 0, "in use");
        drop(installed);
        assert_eq!(stagings(&world), 0);
    }
}

#[test]
fn of_two_that_are_there_the_one_that_is_served_is_replaced() {
    let world = World::new();
    world.write("shop@1.0.0/index.ts", "flat");
    world.write("shop/1.0.0/index.ts", "nested");
    assert_eq!(path(put(&world, "shop@1.0.0", "new", true)), "shop/1.0.0");
    let served = found(&world.dir()).into_iter().find(|(id, _)| id == "shop@1.0.0").unwrap().1;
    assert_eq!(fs::read_to_string(served.join("index.ts")).unwrap(), "new");
}

#[test]
fn replacing_what_is_not_there_is_installing() {
    let world = World::new();
    let installed = put(&world, "shop@1.0.0", "1", true).unwrap();
    assert!(!installed.has_replaced());
    drop(installed);
    assert_eq!(stagings(&world), 0);
}

#[test]
fn a_link_in_the_way_is_not_followed() {
    for (link, id) in
        [("shop", "shop@1.0.0"), ("@team", "@team/shop@1.0.0"), ("@team/shop", "@team/shop@1.0.0")]
    {
        let world = World::new();
        let elsewhere = world.temp.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        fs::create_dir_all(world.dir().join(link).parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&elsewhere, world.dir().join(link)).unwrap();
        let before = world.snapshot();
        for replace in [false, true] {
            assert_eq!(put(&world, id, "1", replace).unwrap_err().code, Code::Place, "{link}");
        }
        assert_eq!(world.snapshot(), before);
    }
}

#[test]
fn a_version_that_is_a_link_is_replaced_itself_and_not_what_it_leads_to() {
    let world = World::new();
    world.write("../elsewhere/index.ts", "elsewhere");
    std::os::unix::fs::symlink(world.temp.path().join("elsewhere"), world.dir().join("shop@1.0.0")).unwrap();
    drop(put(&world, "shop@1.0.0", "new", true).unwrap());
    assert!(world.dir().join("shop@1.0.0").symlink_metadata().unwrap().is_dir());
    assert_eq!(fs::read_to_string(world.temp.path().join("elsewhere/index.ts")).unwrap(), "elsewhere");
    assert_eq!(stagings(&world), 0);
}

#[test]
fn a_file_in_the_way_of_a_scope_or_a_version_is_said() {
    let world = World::new();
    world.write("@team", "a file");
    assert_eq!(put(&world, "@team/shop@1.0.0", "1", false).unwrap_err().code, Code::Place);
    world.write("shop@1.0.0", "a file");
    assert_eq!(put(&world, "shop@1.0.0", "1", false).unwrap_err().code, Code::AlreadyThere);
}

#[test]
fn a_link_in_the_place_of_the_staging_is_not_followed() {
    let world = World::new();
    fs::remove_dir(world.dir().join(".buntime-staging")).unwrap();
    std::os::unix::fs::symlink(world.temp.path(), world.dir().join(".buntime-staging")).unwrap();
    let before = world.snapshot();
    assert_eq!(Staging::create(&world.dir()).unwrap_err().code, Code::Io);
    assert_eq!(sweep(&world.dir()).unwrap_err().code, Code::Io);
    assert_eq!(world.snapshot(), before);
}

#[test]
fn a_sweep_takes_left_overs_and_leaves_what_is_at_work() {
    let world = World::new();
    let at_work = Staging::create(&world.dir()).unwrap();
    world.write(".buntime-staging/left-over/tree/index.ts", "x");
    world.write(".buntime-staging/another/x", "x");
    let outside = world.temp.path().join("outside.txt");
    std::os::unix::fs::symlink(&outside, world.dir().join(".buntime-staging/another/link")).unwrap();
    assert_eq!(sweep(&world.dir()).unwrap(), 2);
    assert_eq!(stagings(&world), 1);
    assert!(outside.exists());
    drop(at_work);
    assert_eq!(sweep(&world.dir()).unwrap(), 0);
    assert_eq!(stagings(&world), 0);
}

#[test]
fn stagings_that_are_made_while_sweeps_run_are_never_swept() {
    let world = World::new();
    let dir = world.dir();
    std::thread::scope(|scope| {
        let sweeper = scope.spawn(|| (0..200).for_each(|_| drop(sweep(&dir))));
        for _ in 0..200 {
            let staging = Staging::create(&dir).unwrap();
            assert!(staging.path().is_dir());
        }
        sweeper.join().unwrap();
    });
    assert_eq!(stagings(&world), 0);
}

#[test]
fn a_reader_never_sees_a_version_missing_or_half_while_it_is_replaced() {
    let world = World::new();
    drop(put(&world, "shop@1.0.0", "0", false).unwrap());
    let dir = world.dir().join("shop@1.0.0");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let text = fs::read_to_string(dir.join("index.ts")).unwrap();
                assert!(text.parse::<u32>().is_ok(), "{text}");
                reads += 1;
            }
            reads
        });
        // Kept as long as a reader may be on its way through the old tree.
        let replaced: Vec<_> =
            (1..50).map(|round| put(&world, "shop@1.0.0", &round.to_string(), true).unwrap()).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(reader.join().unwrap() > 0);
        drop(replaced);
    });
}
