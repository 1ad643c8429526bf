use super::*;
use crate::worker::spawn::Spawned;
use std::fs::{File, Permissions, create_dir_all, set_permissions, write};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// A state directory and one with apps, and a supervisor's isolation.
struct Place {
    dir: tempfile::TempDir,
    isolation: Isolation,
}

/// For each way that this system allows.
fn places(test: &str) -> Vec<Place> {
    let places: Vec<Place> =
        ways().into_iter().filter_map(|(way, identity)| Place::new(way, identity)).collect();
    if places.is_empty() {
        crate::testing::skip(test, "this system allows no mount namespaces");
    }
    places
}

impl Place {
    fn new(way: Way, identity: Option<Identity>) -> Option<Place> {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        for name in [
            "apps",
            "plugins",
            "state/data/shop",
            "state/data/other",
            "state/run/7/workers",
            "state/cache/shim",
        ] {
            create_dir_all(top.join(name)).unwrap();
        }
        write(top.join("apps/app"), "app").unwrap();
        write(top.join("secret"), "secret").unwrap();
        write(top.join("state/cache/shim/file"), "shim").unwrap();
        write(top.join("state/data/shop/note"), "note").unwrap();
        for barred in [&top, &top.join("state")] {
            set_permissions(barred, Permissions::from_mode(0o700)).unwrap();
        }
        let layout = Layout {
            state: top.join("state"),
            run: top.join("state/run/7"),
            hidden: vec![top.join("state/cache")],
            hidden_files: Vec::new(),
            shown: vec![top.join("state/cache/shim")],
            plugin_dirs: vec![top.join("plugins")],
            worker_dirs: vec![top.join("apps")],
            needed: Vec::new(),
        };
        layout.check().unwrap();
        let files = Files::make(&layout, way, identity).ok()?;
        if let Some(identity) = &files.identity {
            identity.take_over(&top.join("state/data/shop")).unwrap();
        }
        let isolation = Isolation { layout, files: Some(files) };
        isolation.prepare_data("shop").unwrap();
        Some(Place { dir, isolation })
    }

    fn start(&self, script: &str, data: Option<&str>) -> io::Result<Spawned> {
        self.start_in(script, data, None)
    }

    fn start_in(&self, script: &str, data: Option<&str>, plugin_dir: Option<&Path>) -> io::Result<Spawned> {
        let run = &self.isolation.layout.run;
        let order = Order {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            dir: run.join("empty"),
            private: run.join(format!("workers/{}", std::fs::read_dir(run.join("workers")).unwrap().count())),
            data: data.map(str::to_owned),
            plugin_dir: plugin_dir.map(Path::to_owned),
        };
        spawn::spawn(&order, &Domain::none(), &self.isolation)
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().canonicalize().unwrap().join(name).display().to_string()
    }
}

/// All that it writes until it has ended.
fn said(started: Spawned) -> String {
    let mut text = String::new();
    File::from(started.stdout).read_to_string(&mut text).unwrap();
    started.process.reap();
    text
}

#[test]
fn a_worker_finds_what_is_its_own_and_nothing_else() {
    for place in places("a_worker_finds_what_is_its_own_and_nothing_else") {
        let top = place.path("");
        let script = format!(
            "cd '{top}' && find . | sort; cat apps/app state/cache/shim/file state/data/shop/note; pwd
            echo mine >state/run/7/home/mine && echo more >state/data/shop/more && echo written
            echo x 2>/dev/null >state/cache/shim/file || echo kept; mkdir 2>/dev/null state/x || echo sealed"
        );
        let text = said(place.start(&script, Some("shop")).unwrap());
        let mut expected = vec![
            ".",
            "./apps",
            "./apps/app",
            "./plugins",
            "./state",
            "./state/cache",
            "./state/cache/shim",
            "./state/cache/shim/file",
            "./state/data",
            "./state/data/shop",
            "./state/data/shop/note",
            "./state/run",
            "./state/run/7",
            "./state/run/7/empty",
            "./state/run/7/home",
        ];
        if place.isolation.identity().is_none() {
            // The same user reads what is beside it.
            expected.insert(4, "./secret");
        }
        let top = top.trim_end_matches('/');
        assert_eq!(text, format!("{}\nappshimnote{top}\nwritten\nkept\nsealed\n", expected.join("\n")));
        assert_eq!(std::fs::read_to_string(place.path("state/data/shop/more")).unwrap(), "more\n");
        assert_eq!(std::fs::read_to_string(place.path("state/run/7/workers/0/mine")).unwrap(), "mine\n");
    }
}

#[test]
fn a_worker_gets_its_data_after_its_start_and_another_does_not() {
    for place in places("a_worker_gets_its_data_after_its_start_and_another_does_not") {
        let script =
            format!("until cat '{0}/note' 2>/dev/null; do sleep 0.01; done", place.path("state/data/shop"));
        let (one, other) = (place.start(&script, None).unwrap(), place.start(&script, None).unwrap());
        drop(place.isolation.mount(&one.process, Some("shop"), None).unwrap());
        assert_eq!(said(one), "note");
        assert_eq!(
            place.isolation.mount(&other.process, Some("nobodys"), None).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        other.process.kill();
        assert_eq!(said(other), "");
        let ended = place.start("exit 0", None).unwrap();
        let pidfd = ended.process.exit_fd().unwrap();
        let mut poll = [nix::poll::PollFd::new(pidfd.as_fd(), nix::poll::PollFlags::POLLIN)];
        nix::poll::poll(&mut poll, nix::poll::PollTimeout::NONE).unwrap();
        let error = place.isolation.mount(&ended.process, Some("shop"), None).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESRCH));
        said(ended);
    }
}

#[test]
fn a_directory_that_has_become_unreachable_is_a_start_that_fails_and_leaves_nothing() {
    for place in places("a_directory_that_has_become_unreachable_is_a_start_that_fails_and_leaves_nothing") {
        let error = place.start("exit 0", Some("nobodys")).err().unwrap();
        assert_eq!(failed_at(&error), Some(Step::Room), "{error}");
        assert_eq!(
            error.to_string(),
            "a view of the files of its own: No such file or directory (os error 2)"
        );
        assert_eq!(std::fs::read_dir(place.path("state/run/7/workers")).unwrap().count(), 0);
    }
}

/// A change of identity in a child that shares it would set it to what the system's default is.
#[test]
fn the_memory_stays_as_private_as_it_was() {
    let dumpable = || nix::sys::prctl::get_dumpable().unwrap();
    for private in [false, true] {
        nix::sys::prctl::set_dumpable(!private).unwrap();
        for place in places("the_memory_stays_as_private_as_it_was") {
            let started = place.start("exit 0", None).unwrap();
            assert_eq!(dumpable(), !private);
            drop(place.isolation.mount(&started.process, Some("shop"), None));
            assert_eq!(dumpable(), !private);
            said(started);
        }
    }
    nix::sys::prctl::set_dumpable(true).unwrap();
}

#[test]
fn a_worker_is_another_user_without_groups_where_that_can_be() {
    for place in places("a_worker_is_another_user_without_groups_where_that_can_be") {
        let text =
            said(place.start("grep -E '^(Uid|Gid|Groups|CapEff|CapPrm)' /proc/self/status", None).unwrap());
        let words: Vec<&str> = text.split_whitespace().collect();
        let (uid, gid) = match place.isolation.identity() {
            Some(identity) => (identity.uid, identity.gid),
            None => (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw()),
        };
        assert_eq!(words[1..5], [&*uid.to_string(); 4]);
        assert_eq!(words[6..10], [&*gid.to_string(); 4]);
        assert!(place.isolation.identity().is_none() || text.contains("Groups:\t \n"), "{text}");
        assert_eq!(text.matches("0000000000000000").count(), 2, "{text}");
        let private = std::fs::metadata(place.path("state/run/7/workers/0")).unwrap();
        assert_eq!((private.uid(), private.mode() & 0o777), (uid, 0o700));
    }
}

#[test]
fn a_worker_of_a_plugin_reads_its_own_directory_and_others_read_none() {
    for place in places("a_worker_of_a_plugin_reads_its_own_directory_and_others_read_none") {
        let plugins = place.path("plugins");
        // That appear when the template is there.
        for name in ["one", "@team/two"] {
            create_dir_all(format!("{plugins}/{name}")).unwrap();
            write(format!("{plugins}/{name}/manifest.yaml"), name).unwrap();
        }
        let look = format!(
            "cd '{plugins}' && find . -name '*.yaml' -exec cat {{}} + ; echo x 2>/dev/null >one/new || echo kept"
        );
        let one = PathBuf::from(format!("{plugins}/one"));
        let started = place.start_in(&look, None, Some(&one)).unwrap();
        assert_eq!(said(started), "onekept\n");
        assert_eq!(said(place.start(&look, Some("shop")).unwrap()), "kept\n");
        let wait = |name: &str| {
            format!("until cat '{plugins}/{name}/manifest.yaml' 2>/dev/null; do sleep 0.01; done; {look}")
        };
        let spare = place.start(&wait("@team/two"), None).unwrap();
        let two = PathBuf::from(format!("{plugins}/@team/two"));
        drop(place.isolation.mount(&spare.process, Some("shop"), Some(&two)).unwrap());
        assert_eq!(said(spare), "@team/two@team/twokept\n");
        assert!(place.isolation.hides(&one) && !place.isolation.hides(Path::new(&place.path("apps/x"))));
        // What lies elsewhere is where it was.
        let apps = PathBuf::from(place.path("apps"));
        assert_eq!(said(place.start_in(&look, None, Some(&apps)).unwrap()), "kept\n");
    }
}
