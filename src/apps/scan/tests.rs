use super::*;
use crate::apps::fixture::{apps, options, write};
use crate::apps::quiet::QUIET;
use crate::apps::{App, Kind};
use std::fs;
use std::os::unix::fs::symlink;

/// A scanner over temporary worker directories, with a clock that a test moves.
struct World {
    temp: tempfile::TempDir,
    scanner: Scanner,
    now: Duration,
    warnings: Vec<String>,
}

impl World {
    fn new(fill: impl FnOnce(&Path)) -> World {
        World::with(fill, |_| {})
    }

    /// One worker directory, `w`.
    fn with(fill: impl FnOnce(&Path), change: impl FnOnce(&mut Options)) -> World {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("w");
        fs::create_dir(&dir).unwrap();
        fill(&dir);
        let mut options = options(&[&dir]);
        change(&mut options);
        World {
            temp,
            scanner: Scanner::new(options, Disk::default()),
            now: Duration::ZERO,
            warnings: Vec::new(),
        }
    }

    fn dir(&self) -> PathBuf {
        self.temp.path().join("w")
    }

    fn pass(&mut self, scope: &Scope) -> Option<Vec<Arc<App>>> {
        let pass = self.scanner.pass(scope, self.now);
        self.take(pass)
    }

    fn take(&mut self, pass: Pass) -> Option<Vec<Arc<App>>> {
        self.warnings.extend(pass.warnings);
        Some(pass.found?.iter().filter_map(|found| found.app().cloned()).collect())
    }

    /// Looks at everything; what there is, if something changed.
    fn look(&mut self) -> Option<Vec<String>> {
        let apps = self.pass(&Scope::All)?;
        Some(apps.iter().map(|app| format!("{}@{}", app.name, app.version)).collect())
    }

    /// Looks at what was put in place whole, or taken away.
    fn look_at_once(&mut self, path: &str) -> Option<Vec<String>> {
        let path = self.dir().join(path);
        let entry = self.scanner.entry_of(&path).unwrap();
        let pass = self.scanner.pass_at_once(entry, &path, self.now);
        let apps = self.take(pass)?;
        Some(apps.iter().map(|app| format!("{}@{}", app.name, app.version)).collect())
    }

    /// Looks, lets the quiet time go by and looks again.
    fn settle(&mut self) -> Option<Vec<String>> {
        assert_eq!(self.look(), None, "nothing counts before the quiet time");
        self.now += QUIET;
        self.look()
    }

    /// The only app there is.
    fn app(&mut self) -> Arc<App> {
        let mut apps = self.pass(&Scope::All).unwrap();
        assert_eq!(apps.len(), 1);
        apps.remove(0)
    }

    fn warned(&self, text: &str) -> bool {
        self.warnings.iter().any(|warning| warning.contains(text))
    }
}

#[test]
fn every_layout_is_found_for_plain_and_scoped_names() {
    let mut world = World::new(|dir| {
        apps(
            dir,
            &[
                "flat@1.2.0",
                "flat@v2.0.0",
                "nested/1.0.0",
                "nested/v1.1.0",
                "nested/latest",
                "simple",
                "tag@latest",
            ],
        );
        apps(dir, &["@team/flat@1.0.0", "@team/nested/1.0.0", "@team/simple"]);
    });
    let mut found = world.look().unwrap();
    found.sort();
    let expected = [
        "@team/flat@1.0.0",
        "@team/nested@1.0.0",
        "@team/simple@latest",
        "flat@1.2.0",
        "flat@2.0.0",
        "nested@1.0.0",
        "nested@1.1.0",
        "nested@latest",
        "simple@latest",
        "tag@latest",
    ];
    assert_eq!(found, expected);
    assert_eq!(world.warnings, [] as [&str; 0]);
}

#[test]
fn what_is_no_app_is_left_out() {
    let mut world = World::new(|dir| {
        apps(dir, &["node_modules/x", ".git", "Shop", "a b", "shop@beta", "api", "@plugin/x", "ok"]);
        write(dir, "readme.md", "");
        write(dir, "empty/readme.md", "");
        write(dir, "off/manifest.yaml", "enabled: false");
    });
    assert_eq!(world.look().unwrap(), ["ok@latest"]);
    assert_eq!(world.warnings.len(), 6, "{:?}", world.warnings);
    for text in [
        "Shop: `S`",
        "a b: ` `",
        "shop@beta: not a version",
        "api is reserved",
        "@plugin is reserved",
        "empty: no entry",
    ] {
        assert!(world.warned(text), "{text}: {:?}", world.warnings);
    }
    // Once is enough.
    world.warnings.clear();
    world.look();
    assert_eq!(world.warnings, [] as [&str; 0]);
}

#[test]
fn version_directories_win_over_loose_files_if_one_is_an_app() {
    let mut world = World::new(|dir| {
        apps(dir, &["a", "a/1.0.0", "b", "c", "c/1.0.0"]);
        write(dir, "b/latest/notes.txt", "");
        write(dir, "c/1.0.0/manifest.yaml", "enabled: false");
    });
    assert_eq!(world.look().unwrap(), ["a@1.0.0", "b@latest"]);
}

#[test]
fn of_two_directories_for_one_version_the_earlier_wins() {
    let other = tempfile::tempdir().unwrap();
    apps(other.path(), &["a@1.0.0", "b@1.0.0"]);
    let mut world = World::with(
        |dir| apps(dir, &["a@1.0.0", "a@1.0.0+build", "c/2.0.0", "c@2.0.0"]),
        |options| options.worker_dirs.push(other.path().into()),
    );
    let found = world.pass(&Scope::All).unwrap();
    let dirs: Vec<_> = found.iter().map(|app| app.dir.clone()).collect();
    let root = world.dir().canonicalize().unwrap();
    let expected =
        [root.join("a@1.0.0"), root.join("c/2.0.0"), other.path().canonicalize().unwrap().join("b@1.0.0")];
    assert_eq!(dirs, expected);
    assert_eq!(world.warnings.len(), 3, "{:?}", world.warnings);
    assert!(world.warnings.iter().all(|warning| warning.contains("there already")));
}

#[test]
fn an_app_is_read_whole() {
    let mut world = World::new(|dir| {
        write(
            dir,
            "shop@1.0.0/manifest.yaml",
            "env: {A: manifest, B: manifest}\nenvPassthrough: [SHARED, UNSET]\n",
        );
        write(dir, "shop@1.0.0/.env", "B=file\nC=$SHARED!\nSHARED=file\n");
        write(dir, "shop@1.0.0/package.json", r#"{"main": "lib/main.js", "version": "1.0.1"}"#);
        write(dir, "shop@1.0.0/lib/main.js", "");
        write(dir, "shop@1.0.0/bunfig.toml", "");
    });
    let app = world.app();
    let dir = world.dir().canonicalize().unwrap().join("shop@1.0.0");
    assert_eq!(app.kind, Kind::Worker { entrypoint: dir.join("lib/main.js") });
    assert_eq!(app.dir, dir);
    assert_eq!(app.needs_fresh, Some("bunfig.toml"));
    let env: Vec<_> = app.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["A=manifest", "B=file", "C=from outside!", "SHARED=from outside"]);
    assert!(world.warned("says version \"1.0.1\""), "{:?}", world.warnings);
}

#[test]
fn a_wrong_manifest_or_entrypoint_breaks_only_that_version() {
    for (file, text, error) in [
        ("manifest.yaml", "ttl: never", "manifest.yaml:1:6: `never` is not a duration"),
        ("manifest.yml", "entrypoint: gone.ts", "`gone.ts` does not exist"),
        ("manifest.yaml", "entrypoint: link.ts", "`link.ts` leaves"),
        ("manifest.yaml", "envPassthrough: [RUNTIME_ROOT_KEY]", "the runtime's own"),
        (".env", "A=x\0y", "NUL"),
    ] {
        let mut world = World::new(|dir| {
            apps(dir, &["bad", "good"]);
            write(dir, &format!("bad/{file}"), text);
            write(dir, "outside.ts", "");
            symlink("../outside.ts", dir.join("bad/link.ts")).unwrap();
        });
        let found = world.pass(&Scope::All).unwrap();
        let Kind::Broken { error: why } = &found[0].kind else { panic!("{text}: {:?}", found[0].kind) };
        assert!(why.contains(error), "{text}: {why}");
        assert!(found[1].kind.is_worker());
        assert!(world.warned(error), "{:?}", world.warnings);
    }
}

#[test]
fn two_manifests_are_one_too_many() {
    let mut world = World::new(|dir| {
        apps(dir, &["a"]);
        write(dir, "a/manifest.yaml", "");
        write(dir, "a/manifest.yml", "");
    });
    assert!(matches!(&world.app().kind, Kind::Broken { error } if error.contains("keep one of them")));
}

#[test]
fn a_link_out_of_the_app_is_not_followed_when_it_is_read() {
    for file in ["manifest.yaml", ".env"] {
        let mut world = World::new(|dir| {
            apps(dir, &["a", "b"]);
            write(dir, "secret", "TOKEN: x");
            symlink("../secret", dir.join("a").join(file)).unwrap();
            write(dir, "b/conf/empty", "");
            symlink("conf/empty", dir.join("b").join(file)).unwrap();
        });
        let found = world.pass(&Scope::All).unwrap();
        let Kind::Broken { error } = &found[0].kind else { panic!("{:?}", found[0].kind) };
        assert!(error.contains("leads out of its directory") && !error.contains("TOKEN"), "{error}");
        assert!(found[1].kind.is_worker(), "a link inside is followed");
    }
}

#[test]
fn a_pipe_in_the_place_of_a_manifest_does_not_block() {
    let mut world = World::new(|dir| {
        apps(dir, &["a"]);
        let pipe = dir.join("a/manifest.yaml");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    });
    assert!(matches!(&world.app().kind, Kind::Broken { error } if error.contains("not a regular file")));
}

#[test]
fn a_new_directory_counts_once_it_is_quiet() {
    let mut world = World::new(|dir| apps(dir, &["a"]));
    world.look();
    apps(&world.dir(), &["b@1.0.0"]);
    assert_eq!(world.look(), None);
    world.now += QUIET / 2;
    // Still being copied.
    write(&world.dir(), "b@1.0.0/lib/x.ts", "");
    assert_eq!(world.look(), None);
    world.now += QUIET / 2;
    assert_eq!(world.look(), None);
    world.now += QUIET / 2;
    assert_eq!(world.look().unwrap(), ["a@latest", "b@1.0.0"]);
    assert_eq!(world.look(), None);
}

#[test]
fn a_removed_directory_counts_once_it_stays_away() {
    let mut world = World::new(|dir| apps(dir, &["a", "b/1.0.0", "b/2.0.0"]));
    world.look();
    fs::rename(world.dir().join("a"), world.dir().join(".a")).unwrap();
    assert_eq!(world.look(), None);
    fs::rename(world.dir().join(".a"), world.dir().join("a")).unwrap();
    world.now += QUIET;
    assert_eq!(world.look(), None, "it came back");
    fs::remove_dir_all(world.dir().join("a")).unwrap();
    fs::remove_dir_all(world.dir().join("b/1.0.0")).unwrap();
    assert_eq!(world.settle().unwrap(), ["b@2.0.0"]);
    fs::remove_dir_all(world.dir()).unwrap();
    assert_eq!(world.settle().unwrap(), [] as [&str; 0]);
}

#[test]
fn a_directory_replaced_by_rename_is_a_new_revision() {
    let mut world = World::new(|dir| apps(dir, &["a@1.0.0", ".staged"]));
    let old = world.app();
    fs::rename(world.dir().join("a@1.0.0"), world.dir().join(".old")).unwrap();
    fs::rename(world.dir().join(".staged"), world.dir().join("a@1.0.0")).unwrap();
    assert_eq!(world.look(), None);
    world.now += QUIET;
    assert_ne!(world.app().key, old.key);
}

#[test]
fn a_link_that_leads_elsewhere_is_a_new_revision() {
    let mut world = World::new(|dir| {
        apps(dir, &["../r1", "../r2"]);
        symlink("../r1", dir.join("a")).unwrap();
    });
    let old = world.app();
    symlink("../r2", world.dir().join(".a")).unwrap();
    fs::rename(world.dir().join(".a"), world.dir().join("a")).unwrap();
    assert_eq!(world.look(), None);
    world.now += QUIET;
    let new = world.app();
    assert_ne!(new.key, old.key);
    assert!(new.dir.ends_with("r2"), "{:?}", new.dir);
}

#[test]
fn a_changed_file_is_a_new_revision_only_in_development() {
    for development in [false, true] {
        let mut world =
            World::with(|dir| apps(dir, &["a@1.0.0"]), |options| options.development = development);
        world.look();
        write(&world.dir(), "a@1.0.0/src/x.ts", "1");
        write(&world.dir(), "a@1.0.0/node_modules/x/index.js", "1");
        assert_eq!(world.settle().is_some(), development);
        write(&world.dir(), "a@1.0.0/src/x.ts", "22");
        assert_eq!(world.settle().is_some(), development);
        write(&world.dir(), "a@1.0.0/node_modules/x/index.js", "22");
        assert_eq!(world.settle(), None);
    }
}

#[test]
fn what_is_no_app_yet_is_noticed_when_it_is_repaired_in_place() {
    let mut world = World::new(|dir| {
        apps(dir, &["broken", "off"]);
        write(dir, "broken/manifest.yaml", "ttl: never");
        write(dir, "off/manifest.yaml", "enabled: false");
        write(dir, "empty/readme.md", "");
    });
    assert_eq!(world.look().unwrap(), ["broken@latest"]);
    assert_eq!(world.look(), None);
    write(&world.dir(), "broken/manifest.yaml", "ttl: 1h");
    write(&world.dir(), "off/manifest.yaml", "enabled: true");
    write(&world.dir(), "empty/src/index.ts", "");
    assert_eq!(world.settle().unwrap(), ["broken@latest", "empty@latest", "off@latest"]);
    // Now they are as any other: only another directory counts.
    write(&world.dir(), "broken/manifest.yaml", "ttl: never");
    assert_eq!(world.settle(), None);
}

#[test]
fn a_simple_app_that_gets_versions_becomes_nested() {
    let mut world = World::new(|dir| apps(dir, &["a"]));
    world.look();
    apps(&world.dir(), &["a/1.0.0"]);
    // The new version is there before the loose files go.
    assert_eq!(world.settle().unwrap(), ["a@latest", "a@1.0.0"]);
    assert_eq!(world.look(), None);
    world.now += QUIET;
    assert_eq!(world.look().unwrap(), ["a@1.0.0"]);
}

#[test]
fn a_look_at_one_entry_sees_only_that() {
    let mut world = World::new(|dir| apps(dir, &["a"]));
    world.look();
    apps(&world.dir(), &["b", "@t/c"]);
    let scope = world.scanner.scope_of(&world.dir().join("@t/c/index.ts"));
    assert_eq!(scope, Scope::Only([world.dir().join("@t/c")].into()));
    assert!(world.pass(&scope).is_none());
    world.now += QUIET;
    assert_eq!(world.pass(&scope).unwrap().len(), 2);
    assert_eq!(world.scanner.scope_of(&world.dir().join("b")), Scope::Only([world.dir().join("b")].into()));
    assert_eq!(world.scanner.scope_of(&world.dir()), Scope::All);
    assert_eq!(world.scanner.scope_of(&world.dir().join("@t")), Scope::All);
}

#[test]
fn what_happens_in_a_hidden_directory_is_no_news() {
    let mut world = World::new(|dir| apps(dir, &["a"]));
    world.look();
    for hidden in [".buntime-staging", ".git/x", "node_modules", "@t/.hidden"] {
        apps(&world.dir(), &[hidden]);
        let scope = world.scanner.scope_of(&world.dir().join(hidden));
        assert_eq!(scope, Scope::Only(BTreeSet::new()), "{hidden}");
        assert!(world.pass(&scope).is_none());
    }
    assert_eq!(world.warnings, [] as [&str; 0]);
}

#[test]
fn unchanged_apps_are_not_read_again() {
    let names: Vec<_> = (0..200).map(|n| format!("app{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let names = &names[..];
    let mut world = World::new(|dir| {
        apps(dir, names);
        // Long ago: a fresh directory is listed again.
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        for name in names {
            fs::File::open(dir.join(name)).unwrap().set_modified(long_ago).unwrap();
        }
    });
    world.look();
    let before = world.scanner.loader.disk.reads();
    assert_eq!(world.look(), None);
    let reads = world.scanner.loader.disk.reads() - before;
    // One listing of the worker directory; of each app its state, twice.
    assert!(reads <= 1 + 2 * 200, "{reads}");
}

#[test]
fn a_missing_worker_directory_is_a_warning_and_may_appear_later() {
    let mut world = World::with(|_| {}, |options| options.worker_dirs[0].push("later"));
    assert_eq!(world.look().unwrap(), [] as [&str; 0]);
    assert!(world.warned("cannot read the directory"));
    apps(&world.dir(), &["later/a"]);
    assert_eq!(world.settle().unwrap(), ["a@latest"]);
}

#[test]
fn what_is_known_to_be_whole_counts_at_once_and_its_neighbours_in_their_time() {
    let mut world = World::new(|dir| apps(dir, &["n/1.0.0", "s"]));
    world.look();
    apps(&world.dir(), &["n/2.0.0", "n/3.0.0"]);
    fs::remove_dir_all(world.dir().join("n/1.0.0")).unwrap();
    assert_eq!(world.look_at_once("n/2.0.0").unwrap(), ["n@1.0.0", "n@2.0.0", "s@latest"]);
    assert_eq!(world.look_at_once("n/1.0.0").unwrap(), ["n@2.0.0", "s@latest"]);
    assert_eq!(world.look_at_once("n/1.0.0"), None, "nothing changed since");
    world.now += QUIET;
    assert_eq!(world.look().unwrap(), ["n@2.0.0", "n@3.0.0", "s@latest"]);
    // The first version in a directory takes the place of the directory, the last one gives it back.
    apps(&world.dir(), &["s/1.0.0"]);
    assert_eq!(world.look_at_once("s/1.0.0").unwrap(), ["n@2.0.0", "n@3.0.0", "s@1.0.0"]);
    fs::remove_dir_all(world.dir().join("s/1.0.0")).unwrap();
    assert_eq!(world.look_at_once("s/1.0.0").unwrap(), ["n@2.0.0", "n@3.0.0", "s@latest"]);
    assert_eq!(world.settle(), None, "nothing is left over");
}

#[test]
fn what_is_disabled_is_known_with_its_place_and_takes_nobody_elses() {
    let other = tempfile::tempdir().unwrap();
    apps(other.path(), &["a@1.0.0"]);
    let mut world = World::with(
        |dir| {
            write(dir, "a@1.0.0/manifest.yaml", "enabled: false");
            write(dir, "b@1.0.0/manifest.yaml", "enabled: false");
            write(dir, "c@1.0.0/package.json", "{]");
            apps(dir, &["c@1.0.0"]);
        },
        |options| options.worker_dirs.push(other.path().into()),
    );
    world.look();
    let found: Vec<_> = world.scanner.found().iter().map(|found| format!("{found:?}")).collect();
    let [c, a, b] = &*found else { panic!("{found:?}") };
    assert!(c.contains("App { app:") && c.contains("package.json"), "with its warnings: {c}");
    assert!(
        a.contains("App { app:") && a.contains(other.path().file_name().unwrap().to_str().unwrap()),
        "{a}"
    );
    assert!(b.contains("Off { off:") && b.contains("b@1.0.0"), "{b}");
}

#[test]
fn a_renewed_version_has_another_key_and_nothing_else_has() {
    let mut world = World::new(|dir| apps(dir, &["a@1.0.0+b", "a@2.0.0", "b@1.0.0"]));
    let before = world.pass(&Scope::All).unwrap();
    let after = world.scanner.renew(&"a".parse().unwrap(), &"1.0.0".parse().unwrap());
    let after: Vec<_> = after.iter().map(|found| found.app().unwrap().clone()).collect();
    let changed: Vec<_> =
        before.iter().zip(&after).filter(|(old, new)| old.key != new.key).map(|(old, _)| &old.dir).collect();
    assert_eq!(changed, [&before[0].dir]);
    assert_eq!(world.look(), None, "it is not read again");
}
