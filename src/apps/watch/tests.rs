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
        tell: move |change| told.send(change).unwrap(),
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
