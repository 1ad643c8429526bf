use super::*;
use crate::apps::fixture::{apps, one, options, show, write};
use crate::apps::{App, ResolveError};
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

/// Far beyond what any of these takes; a test waits for the event, not for this.
const DEADLINE: Duration = Duration::from_secs(60);

/// A watched worker directory, and what is told of it.
struct Watched {
    temp: tempfile::TempDir,
    index: Arc<Index>,
    changes: Receiver<Change>,
    watcher: Watcher,
}

impl Watched {
    fn new(fill: impl FnOnce(&Path), development: bool) -> Watched {
        let temp = tempfile::tempdir().unwrap();
        fill(temp.path());
        let index = Index::new();
        let (sender, changes) = channel();
        let options = Options { development, ..options(&[temp.path()]) };
        let watcher =
            Watcher::start(index.clone(), options, move |change| sender.send(change).unwrap()).unwrap();
        Watched { temp, index, changes, watcher }
    }

    fn dir(&self) -> &Path {
        self.temp.path()
    }

    fn next(&self) -> String {
        show(&self.changes.recv_timeout(DEADLINE).expect("a change in time"))
    }

    /// Waits until this resolves; the index is written just after a change is told.
    fn resolved(&self, name: &str, fits: impl Fn(&Result<Arc<App>, ResolveError>) -> bool) {
        let begin = Instant::now();
        while !fits(&one(&self.index, name, None)) {
            assert!(begin.elapsed() < DEADLINE, "{:?}", self.index.resolve(name, None));
            std::thread::yield_now();
        }
    }
}

#[test]
fn what_is_there_at_start_resolves_as_soon_as_the_watcher_is_started() {
    let watched = Watched::new(|dir| apps(dir, &["a@1.0.0", "@t/b"]), false);
    assert!(watched.index.resolve("a", Some("1")).is_ok());
    assert!(watched.index.resolve("@t/b", None).is_ok());
    assert_eq!([watched.next(), watched.next()], ["+@t/b@latest", "+a@1.0.0"]);
}

#[test]
fn directories_that_appear_are_replaced_and_go_are_noticed() {
    let watched = Watched::new(|dir| apps(dir, &["a@1.0.0", "n/1.0.0"]), false);
    assert_eq!([watched.next(), watched.next()], ["+a@1.0.0", "+n@1.0.0"]);
    let first = one(&watched.index, "a", None).unwrap().key;

    apps(watched.dir(), &["@t/b@1.0.0"]);
    assert_eq!(watched.next(), "+@t/b@1.0.0");
    watched.resolved("@t/b", |found| found.is_ok());
    // In the scope, and in the directory of a name.
    apps(watched.dir(), &["@t/c"]);
    assert_eq!(watched.next(), "+@t/c@latest");
    apps(watched.dir(), &["n/2.0.0"]);
    assert_eq!(watched.next(), "+n@2.0.0");

    apps(watched.dir(), &[".staged"]);
    fs::rename(watched.dir().join("a@1.0.0"), watched.dir().join(".old")).unwrap();
    fs::rename(watched.dir().join(".staged"), watched.dir().join("a@1.0.0")).unwrap();
    assert_eq!(watched.next(), "~a@1.0.0");
    watched.resolved("a", |found| found.as_ref().is_ok_and(|app| app.key != first));

    fs::remove_dir_all(watched.dir().join("a@1.0.0")).unwrap();
    assert_eq!(watched.next(), "-a@1.0.0");
    watched.resolved("a", |found| found.is_err());
}

#[test]
fn a_version_beside_a_proven_one_is_to_be_proven() {
    let watched = Watched::new(|dir| apps(dir, &["a@1.0.0"]), false);
    assert_eq!(watched.next(), "+a@1.0.0");
    watched.index.prove(one(&watched.index, "a", None).unwrap().key);
    apps(watched.dir(), &["a@1.1.0"]);
    assert_eq!([watched.next(), watched.next()], ["+a@1.1.0", "?a@1.1.0"]);
    assert_eq!(one(&watched.index, "a", None).unwrap().version.to_string(), "1.0.0");
    let new = loop {
        if let Ok(app) = one(&watched.index, "a", Some("1.1.0")) {
            break app;
        }
    };
    watched.index.prove(new.key);
    assert_eq!(one(&watched.index, "a", None).unwrap().key, new.key);
}

#[test]
fn in_development_any_changed_file_is_noticed_also_in_new_directories() {
    let watched = Watched::new(|dir| apps(dir, &["a"]), true);
    assert_eq!(watched.next(), "+a@latest");
    write(watched.dir(), "a/index.ts", "1");
    assert_eq!(watched.next(), "~a@latest");
    write(watched.dir(), "a/src/deep/x.ts", "1");
    assert_eq!(watched.next(), "~a@latest");
    write(watched.dir(), "a/src/deep/x.ts", "22");
    assert_eq!(watched.next(), "~a@latest");
    // In its place.
    fs::write(watched.dir().join("a/src/deep/x.ts"), "333").unwrap();
    assert_eq!(watched.next(), "~a@latest");
}

#[test]
fn an_app_that_is_repaired_in_place_is_noticed() {
    let watched = Watched::new(
        |dir| {
            apps(dir, &["a@1.0.0"]);
            write(dir, "a@1.0.0/manifest.yaml", "ttl: never");
        },
        false,
    );
    assert_eq!(watched.next(), "+a@1.0.0");
    write(watched.dir(), "a@1.0.0/manifest.yaml", "ttl: 1h");
    assert_eq!(watched.next(), "~a@1.0.0");
    watched.resolved("a", |found| found.as_ref().is_ok_and(|app| app.kind.is_worker()));
}

#[test]
fn lost_events_lead_to_a_look_at_everything() {
    let temp = tempfile::tempdir().unwrap();
    let (told, changes) = channel();
    let index = Index::new();
    let mut owner = Owner {
        scanner: Scanner::new(options(&[temp.path()]), index.disk()),
        // No notice reaches it but the one below.
        watches: Watches { disk: index.disk(), notices: None, dirs: HashMap::new(), warned: false },
        index,
        agenda: Agenda::new(Duration::ZERO),
        listener: move |change| told.send(change).unwrap(),
        started: Instant::now(),
    };
    owner.pass(&Scope::All);
    apps(temp.path(), &["a"]);
    owner.hear(vec![Notice::Lost], owner.started.elapsed());
    let (stopped, stop) = io::pipe().unwrap();
    let (_lookout, orders) = Lookout::new().unwrap();
    let thread = std::thread::spawn(move || owner.run(&stopped, orders));
    let change = changes.recv_timeout(DEADLINE / 2).expect("before the slow rescan");
    assert_eq!(show(&change), "+a@latest");
    drop(stop);
    thread.join().unwrap();
}

#[test]
fn dropping_the_watcher_ends_its_thread() {
    let watched = Watched::new(|_| {}, false);
    let Watched { changes, watcher, .. } = watched;
    drop(watcher);
    assert!(changes.recv().is_err(), "the thread let go of its callback");
}

#[test]
fn a_directory_that_takes_the_place_of_another_is_watched_on() {
    let temp = tempfile::tempdir().unwrap();
    let [app, lib] = ["app", "lib"].map(|name| temp.path().join(name));
    let both = || BTreeSet::from([app.clone(), lib.clone()]);
    fs::create_dir(&app).unwrap();
    fs::create_dir(&lib).unwrap();
    let mut watches = Watches::new(Disk::default());
    assert_eq!(watches.keep(both()), [app.clone(), lib.clone()]);
    fs::remove_dir(&app).unwrap();
    fs::rename(&lib, &app).unwrap();
    fs::create_dir(&lib).unwrap();
    assert_eq!(watches.keep(both()), [app.clone(), lib.clone()]);
    let notices = watches.notices.as_mut().unwrap();
    notices.take();
    for dir in [&app, &lib] {
        fs::write(dir.join("file"), "").unwrap();
        assert!(notices.take().contains(&Notice::Touched(dir.join("file"))), "{}", dir.display());
    }
}

/// Waits for what is to be there when it returns; a test waits for it without a runtime.
fn wait<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(what)
}

impl Watched {
    /// All that was told so far.
    fn told(&self) -> Vec<String> {
        self.changes.try_iter().map(|change| show(&change)).collect()
    }

    fn look(&self, path: &str) -> Result<(), LookError> {
        wait(self.watcher.lookout().look(self.dir().join(path)))
    }

    fn set_disabled(&self, name: &str, version: &str, disabled: bool) {
        let (name, version) = (name.parse().unwrap(), version.parse().unwrap());
        wait(self.watcher.lookout().set_disabled(name, version, disabled)).unwrap();
    }

    /// Puts a whole app into its place by one rename.
    fn put(&self, path: &str) {
        apps(self.dir(), &[".staged"]);
        let to = self.dir().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(self.dir().join(".staged"), to).unwrap();
    }

    fn take_away(&self, path: &str) {
        fs::rename(self.dir().join(path), self.dir().join(".away")).unwrap();
        fs::remove_dir_all(self.dir().join(".away")).unwrap();
    }
}

#[test]
fn what_one_looks_at_is_there_or_gone_when_the_look_returns() {
    let watched = Watched::new(|dir| apps(dir, &["a@1.0.0", "s"]), false);
    watched.told();
    for (path, name, version) in [
        ("a@2.0.0", "a", "2.0.0"),
        ("n/1.0.0", "n", "1.0.0"),
        ("n/2.0.0", "n", "2.0.0"),
        ("@t/b@1.0.0", "@t/b", "1.0.0"),
        ("@t/n/1.0.0", "@t/n", "1.0.0"),
        ("plain", "plain", "latest"),
    ] {
        watched.put(path);
        watched.look(path).unwrap();
        assert_eq!(watched.told(), [format!("+{name}@{version}")], "{path}");
        assert!(one(&watched.index, name, Some(version)).is_ok(), "{path}");
        watched.take_away(path);
        watched.look(path).unwrap();
        assert_eq!(watched.told(), [format!("-{name}@{version}")], "{path}");
        assert!(one(&watched.index, name, Some(version)).is_err(), "{path}");
    }
    // One that is replaced, and one that takes the place of the directory it is put into.
    watched.put("fresh");
    let first = one(&watched.index, "a", None).unwrap().key;
    fs::rename(watched.dir().join("a@1.0.0"), watched.dir().join(".old")).unwrap();
    fs::rename(watched.dir().join("fresh"), watched.dir().join("a@1.0.0")).unwrap();
    watched.look("a@1.0.0").unwrap();
    assert_eq!(watched.told(), ["~a@1.0.0"]);
    assert_ne!(one(&watched.index, "a", None).unwrap().key, first);
    watched.put("s/1.0.0");
    watched.look("s/1.0.0").unwrap();
    assert_eq!(watched.told(), ["+s@1.0.0", "-s@latest"]);
}

#[test]
fn a_look_elsewhere_is_refused() {
    let watched = Watched::new(|dir| apps(dir, &["a"]), false);
    for path in ["", ".staged", "@t", "node_modules/x", "/elsewhere/a"] {
        let refused = watched.look(path);
        assert_eq!(refused, Err(LookError::Elsewhere(watched.dir().join(path))), "{path}");
    }
    assert_eq!(watched.look("nothing@1.0.0"), Ok(()), "it could have been there");
}

#[test]
fn a_disabled_version_is_removed_and_comes_back_as_a_new_revision() {
    let watched = Watched::new(|dir| apps(dir, &["a@1.0.0", "a@2.0.0"]), false);
    watched.told();
    let key = |spec| one(&watched.index, "a", spec).map(|app| app.key);
    let first = key(None).unwrap();
    watched.index.prove(key(Some("1.0.0")).unwrap());

    watched.set_disabled("a", "2.0.0+b", true);
    assert_eq!(watched.told(), ["-a@2.0.0"]);
    assert_eq!(one(&watched.index, "a", None).unwrap().version.to_string(), "1.0.0");
    assert_eq!(key(Some("2.0.0")), Err(ResolveError::UnknownVersion));
    watched.set_disabled("a", "2.0.0", true);
    assert_eq!(watched.told(), [] as [&str; 0], "it is disabled already");

    // A look at what is disabled does not bring it back, nor does a replacement.
    watched.put("fresh");
    watched.look("fresh").unwrap();
    assert_eq!(watched.told(), ["+fresh@latest"]);
    assert_eq!(key(Some("2.0.0")), Err(ResolveError::UnknownVersion));

    watched.set_disabled("a", "2.0.0", false);
    assert_eq!(watched.told(), ["+a@2.0.0", "?a@2.0.0"], "unproven as anything new");
    let again = key(Some("2.0.0")).unwrap();
    assert_ne!(again, first, "the pool may still know the old key");
    assert_eq!(one(&watched.index, "a", None).unwrap().version.to_string(), "1.0.0");
    watched.index.prove(again);
    assert_eq!(key(None), Ok(again));
}

#[test]
fn what_is_not_there_can_be_disabled_before_it_comes() {
    let watched = Watched::new(|dir| apps(dir, &["a"]), false);
    watched.told();
    watched.set_disabled("b", "latest", true);
    watched.put("b");
    watched.look("b").unwrap();
    assert_eq!(watched.told(), [] as [&str; 0]);
    let listed = watched.index.listing(&"b".parse().unwrap());
    assert!(listed[0].disabled_by_operator && listed[0].serving.is_none() && listed[0].app.is_some());
    watched.set_disabled("b", "latest", false);
    assert_eq!(watched.told(), ["+b@latest"]);
}

#[test]
fn what_the_manifest_disables_is_listed_and_served_when_it_no_longer_does() {
    let watched = Watched::new(|dir| write(dir, "a@1.0.0/manifest.yaml", "enabled: false"), false);
    let listed = watched.index.catalog();
    assert_eq!(listed.len(), 1);
    assert!(listed[0].disabled_by_manifest && !listed[0].disabled_by_operator && listed[0].app.is_none());
    assert_eq!(listed[0].dir, watched.dir().join("a@1.0.0"));
    apps(watched.dir(), &["a@1.0.0"]);
    write(watched.dir(), "a@1.0.0/manifest.yaml", "enabled: true");
    assert_eq!(watched.next(), "+a@1.0.0");
    watched.resolved("a", |found| found.is_ok());
    assert!(!watched.index.catalog()[0].disabled_by_manifest);
}

#[test]
fn an_order_after_the_end_is_refused_and_one_at_the_end_is_not_forgotten() {
    let watched = Watched::new(|dir| apps(dir, &["a"]), false);
    let lookout = watched.watcher.lookout();
    let Watched { temp, watcher, changes, index } = watched;
    drop(watcher);
    assert_eq!(wait(lookout.look(temp.path().join("a"))), Err(LookError::Ended));
    assert_eq!(
        wait(lookout.set_disabled("a".parse().unwrap(), "1.0.0".parse().unwrap(), true)),
        Err(LookError::Ended)
    );
    drop((changes, index));

    let (lookout, orders) = Lookout::new().unwrap();
    wait(async {
        let look = lookout.look("/w/a".into());
        let end = async { drop(orders) };
        assert_eq!(tokio::join!(look, end).0, Err(LookError::Ended));
    });
}

/// A directory of apps that are edited, or one app.
fn edited(fill: impl FnOnce(&Path), sole: Option<&str>) -> Watched {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("apps");
    fs::create_dir(&dir).unwrap();
    fill(&dir);
    let (index, (sender, changes)) = (Index::new(), channel());
    index.be_edited();
    let options = Options {
        development: true,
        edited: true,
        sole: sole.map(|name| name.parse().unwrap()),
        quiet: Duration::from_millis(5),
        ..options(&[&dir])
    };
    let watcher = Watcher::start(index.clone(), options, move |change| sender.send(change).unwrap()).unwrap();
    Watched { temp, index, changes, watcher }
}

#[test]
fn an_edit_that_does_not_start_takes_the_place_of_what_did_and_so_does_what_mends_it() {
    let watched = edited(|dir| apps(dir, &["a@1.0.0", "a@2.0.0"]), None);
    let dir = watched.dir().join("apps");
    let meant = || one(&watched.index, "a", None).unwrap();
    watched.told();
    let first = meant();
    for version in ["1.0.0", "2.0.0"] {
        watched.index.prove(one(&watched.index, "a", Some(version)).unwrap().key);
    }
    write(&dir, "a@2.0.0/index.ts", "does not start");
    assert_eq!(watched.next(), "~a@2.0.0");
    assert_eq!(meant().key, first.key, "as long as it may yet start");
    let new = watched.index.exact(&"a".parse().unwrap(), &"2.0.0".parse().unwrap()).unwrap();
    assert_eq!(watched.index.surrender(new.key).unwrap().key, first.key);
    // While a change is being told, what comes of it is published after.
    watched.resolved("a", |found| found.as_ref().is_ok_and(|app| app.key == new.key));
    watched.index.disprove(new.key);
    assert_eq!(meant().key, new.key, "version 1.0.0, which is proven, does not stand in for it");
    write(&dir, "a@2.0.0/index.ts", "it does now");
    assert_eq!(watched.next(), "~a@2.0.0");
    watched.resolved("a", |found| found.as_ref().is_ok_and(|app| app.key != new.key && app.key != first.key));
    assert!(watched.index.surrender(new.key).is_none(), "it is known no more");
}

#[test]
fn a_manifest_that_is_made_wrong_can_be_shown_and_is_mended() {
    let watched = edited(|dir| apps(dir, &["a"]), None);
    watched.told();
    watched.index.prove(one(&watched.index, "a", None).unwrap().key);
    write(&watched.dir().join("apps"), "a/manifest.yaml", "ttl: never");
    assert_eq!(watched.next(), "~a@latest");
    let broken = loop {
        let newest = watched.index.exact(&"a".parse().unwrap(), &"latest".parse().unwrap()).unwrap();
        if newest.kind.is_broken() {
            break newest;
        }
    };
    assert!(one(&watched.index, "a", None).unwrap().kind.is_worker(), "it may be half written");
    assert!(watched.index.surrender(broken.key).unwrap().kind.is_worker());
    watched.resolved("a", |found| found.as_ref().is_ok_and(|app| app.kind.is_broken()));
    write(&watched.dir().join("apps"), "a/manifest.yaml", "ttl: 1h");
    assert_eq!(watched.next(), "~a@latest");
    watched.resolved("a", |found| found.as_ref().is_ok_and(|app| app.kind.is_worker()));
}

#[test]
fn one_app_is_its_directory_itself_and_nothing_beside_it_or_in_it_is_another() {
    let fill = |dir: &Path| {
        apps(dir, &[".", "1.0.0", "other"]);
        apps(&dir.join(".."), &["beside"]);
    };
    let watched = edited(fill, Some("shop"));
    assert_eq!(watched.told(), ["+shop@latest"]);
    assert_eq!(
        one(&watched.index, "shop", None).unwrap().dir,
        watched.dir().join("apps").canonicalize().unwrap()
    );
    apps(watched.dir(), &["beside-too"]);
    write(&watched.dir().join("apps"), "lib/deep/x.ts", "1");
    assert_eq!(watched.next(), "~shop@latest");
    // Another one in its place.
    fs::rename(watched.dir().join("apps"), watched.dir().join("old")).unwrap();
    assert_eq!(watched.next(), "-shop@latest");
    apps(watched.dir(), &["apps"]);
    assert_eq!(watched.next(), "+shop@latest");
}

/// Nothing was watched of a directory that was not there, until everything was looked at after a minute.
#[test]
fn a_directory_of_apps_that_is_taken_away_and_comes_back_is_noticed_wherever_that_happens() {
    let watched = edited(|dir| apps(dir, &["a"]), None);
    let (dir, aside) = (watched.dir().join("apps"), watched.dir().join("aside"));
    assert_eq!(watched.next(), "+a@latest");
    for _ in 0..2 {
        fs::rename(&dir, &aside).unwrap();
        assert_eq!(watched.next(), "-a@latest");
        fs::rename(&aside, &dir).unwrap();
        assert_eq!(watched.next(), "+a@latest");
    }
    write(&dir, "a/index.ts", "1");
    assert_eq!(watched.next(), "~a@latest");
    // With what it was in.
    let temp = tempfile::tempdir().unwrap();
    let (index, (sender, changes)) = (Index::new(), channel());
    let dir = temp.path().join("some/where/apps");
    let options = Options { quiet: Duration::from_millis(5), ..options(&[&dir]) };
    let _watcher = Watcher::start(index, options, move |change| sender.send(change).unwrap()).unwrap();
    let next = || show(&changes.recv_timeout(DEADLINE).unwrap());
    apps(&dir, &["a"]);
    assert_eq!(next(), "+a@latest");
    fs::remove_dir_all(temp.path().join("some")).unwrap();
    assert_eq!(next(), "-a@latest");
    apps(&dir, &["b"]);
    assert_eq!(next(), "+b@latest");
}

#[test]
fn the_listener_hears_which_changes_are_of_style_sheets_alone_and_when_they_can_be_resolved() {
    #[derive(Clone)]
    struct Hears(std::sync::mpsc::Sender<String>);
    impl Listener for Hears {
        fn tell(&mut self, change: Change) {
            self.0.send(show(&change)).unwrap();
        }
        fn restyled(&mut self, _: VersionKey, sheets: Vec<PathBuf>) {
            self.0.send(format!("{sheets:?}")).unwrap();
        }
        fn published(&mut self) {
            self.0.send("published".into()).unwrap();
        }
    }
    let temp = tempfile::tempdir().unwrap();
    write(temp.path(), "a/index.html", "");
    write(temp.path(), "a/css/a.css", "");
    let (sender, heard) = channel();
    let quiet = Duration::from_millis(5);
    let options = Options { development: true, edited: true, quiet, ..options(&[temp.path()]) };
    let _watcher = Watcher::start(Index::new(), options, Hears(sender)).unwrap();
    let next = || heard.recv_timeout(DEADLINE).unwrap();
    assert_eq!([next(), next()], ["+a@latest", "published"]);
    write(temp.path(), "a/css/a.css", "p {}");
    assert_eq!([next(), next(), next(), next()], ["[\"css/a.css\"]", "~a@latest", "xa@latest", "published"]);
    write(temp.path(), "a/index.html", "<p>");
    assert_eq!([next(), next(), next()], ["~a@latest", "xa@latest", "published"]);
}
