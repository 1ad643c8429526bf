use super::*;

fn layout() -> Layout {
    Layout {
        state: "/srv/state".into(),
        run: "/srv/state/run/7".into(),
        hidden: vec!["/srv/state/cache".into(), "/run/buntime".into()],
        hidden_files: Vec::new(),
        shown: vec!["/srv/state/cache/shim-1".into()],
        plugin_dirs: Vec::new(),
        worker_dirs: vec!["/srv/apps".into()],
        needed: vec!["/usr/bin/bun".into()],
    }
}

/// The steps in short: each is a word and a path.
fn steps(layout: &Layout, barred: &[&str]) -> Vec<String> {
    let files = ["/usr/bin/bun", "/root/.bun/bin/bun"].map(PathBuf::from);
    let plan = layout
        .plan(|dir| barred.contains(&dir.to_str().unwrap()), |path| !files.contains(&path.to_owned()))
        .unwrap();
    let mut opened: Vec<String> = vec![String::new(); plan.handles];
    let shown = |path: &CString| path.to_str().unwrap().to_owned();
    let mut told = Vec::new();
    for step in &plan.steps {
        told.push(match step {
            Step::Open { dir, into } => {
                opened[*into] = shown(dir);
                continue;
            }
            Step::Take { of, path, into } => {
                let base = of.map(|of| format!("{}/", opened[of])).unwrap_or_default();
                assert_ne!(base, "/", "nothing is taken from what was not kept");
                opened[*into] = format!("{base}{}", shown(path));
                continue;
            }
            Step::Cover { dir } => format!("cover {}", shown(dir)),
            Step::MakeDir { path } => format!("dir {}", shown(path)),
            Step::MakeFile { path } => format!("file {}", shown(path)),
            Step::Attach { tree, path, read_only } => {
                if opened[*tree] == NOTHING && *read_only {
                    told.push(format!("empty {}", shown(path)));
                    continue;
                }
                assert_eq!(opened[*tree], shown(path), "everything is put back where it was");
                format!("{} {}", if *read_only { "show" } else { "put" }, shown(path))
            }
            Step::Seal { dir } => format!("seal {}", shown(dir)),
        });
    }
    assert_eq!(
        [plan.workers, plan.data, plan.cover].map(|handle| opened[handle].clone()),
        [
            layout.run.join("workers").to_str().unwrap(),
            layout.state.join("data").to_str().unwrap(),
            layout.state.to_str().unwrap(),
        ]
    );
    told
}

#[test]
fn what_is_hidden_is_covered_and_what_workers_read_of_it_is_shown() {
    assert_eq!(
        steps(&layout(), &[]),
        [
            "cover /run/buntime",
            "cover /srv/state",
            "dir /srv/state/run",
            "dir /srv/state/run/7",
            "dir /srv/state/run/7/home",
            "dir /srv/state/run/7/empty",
            "dir /srv/state/data",
            "dir /srv/state/cache",
            "dir /srv/state/cache/shim-1",
            "show /srv/state/cache/shim-1",
            "seal /run/buntime",
            "seal /srv/state",
        ]
    );
}

#[test]
fn what_workers_need_beyond_a_directory_that_they_cannot_pass_is_put_back_where_it_was() {
    let layout = Layout {
        state: "/root/shop/.buntime".into(),
        run: "/root/shop/.buntime/run/7".into(),
        hidden: Vec::new(),
        hidden_files: Vec::new(),
        shown: Vec::new(),
        plugin_dirs: Vec::new(),
        worker_dirs: vec!["/root/shop/apps".into(), "/root/shop/own/apps".into()],
        needed: vec!["/root/.bun/bin/bun".into()],
    };
    let told = steps(&layout, &["/root", "/root/.bun/bin", "/root/shop/own"]);
    assert_eq!(
        told[..13],
        [
            "cover /root",
            "dir /root/.bun",
            "put /root/.bun",
            "cover /root/.bun/bin",
            "file /root/.bun/bin/bun",
            "put /root/.bun/bin/bun",
            "dir /root/shop",
            "put /root/shop",
            "cover /root/shop/own",
            "dir /root/shop/own/apps",
            "put /root/shop/own/apps",
            "cover /root/shop/.buntime",
            "dir /root/shop/.buntime/run",
        ]
    );
    let seals: Vec<_> = told.iter().filter(|step| step.starts_with("seal")).collect();
    assert_eq!(seals.len(), 4, "{told:?}");
}

#[test]
fn a_hidden_directory_is_made_reachable_only_where_it_must_be_and_alone() {
    let layout = Layout {
        state: "/root/a/state".into(),
        run: "/root/a/state/run/7".into(),
        hidden: ["/root/a/cache", "/root/b/runtime", "/srv/barred/x"].map(PathBuf::from).to_vec(),
        hidden_files: Vec::new(),
        shown: vec!["/root/a/cache/shim".into()],
        plugin_dirs: Vec::new(),
        worker_dirs: vec!["/srv/apps".into()],
        needed: Vec::new(),
    };
    let told = steps(&layout, &["/root", "/root/a", "/srv/barred"]);
    assert_eq!(
        told[..5],
        ["cover /root", "dir /root/a", "dir /root/a/cache", "cover /root/a/cache", "dir /root/a/state"]
    );
    let covers: Vec<_> = told.iter().filter(|step| step.starts_with("cover")).collect();
    assert_eq!(covers, ["cover /root", "cover /root/a/cache", "cover /root/a/state"]);
    assert!(!told.iter().any(|step| step.starts_with("put")), "{told:?}");
}

#[test]
fn apps_in_a_directory_that_is_hidden_are_put_back_without_what_is_beside_them() {
    let mut layout = layout();
    layout.worker_dirs = vec!["/srv/state/apps".into(), "/srv/state/apps/more".into()];
    layout.check().unwrap();
    let told = steps(&layout, &["/srv/state"]);
    let put: Vec<_> = told.iter().filter(|step| step.starts_with("put")).collect();
    assert_eq!(put, ["put /srv/state/apps"]);
    assert!(layout.hides(Path::new("/srv/state/buntime.db")) && layout.hides(Path::new("/run/buntime/a")));
    assert!(!layout.hides(Path::new("/srv/state/apps/shop")) && !layout.hides(Path::new("/srv/apps")));
}

#[test]
fn a_layout_that_would_show_what_is_hidden_or_hide_what_is_needed_is_refused() {
    for (dir, within) in [
        ("/srv/state", None),
        ("/run/buntime", None),
        ("/srv/state/data/shop", Some("/srv/state/data")),
        ("/srv/state/run", Some("/srv/state/run")),
        ("/run/buntime/apps", Some("/run/buntime")),
    ] {
        let mut layout = layout();
        layout.worker_dirs.push(dir.into());
        let expected = match within {
            None => LayoutError::Hidden(dir.into()),
            Some(within) => LayoutError::Within(dir.into(), within.into()),
        };
        assert_eq!(layout.check(), Err(expected));
    }
    for state in ["/", "/usr"] {
        let layout = Layout { state: state.into(), ..Layout::default() };
        assert_eq!(layout.check(), Err(LayoutError::TooWide(state.into(), "/usr".into())));
    }
    assert_eq!(layout().check(), Ok(()));
}

#[test]
fn a_single_file_is_emptied_where_workers_would_find_it() {
    let mut layout = layout();
    let emptied = |layout: &Layout, barred: &[&str]| -> Vec<String> {
        let told = steps(layout, barred).into_iter();
        told.filter_map(|step| step.strip_prefix("empty ").map(str::to_owned)).collect()
    };
    layout.hidden_files =
        ["/etc/key", "/srv/apps/key", "/srv/state/key", "/root/key"].map(PathBuf::from).into();
    assert_eq!(emptied(&layout, &["/root"]), ["/etc/key", "/srv/apps/key"]);
    assert_eq!(emptied(&layout, &["/root", "/srv"]), ["/etc/key", "/srv/apps/key"]);
    assert!(layout.hidden_files.iter().take(3).all(|file| layout.hides(file)));
    layout.worker_dirs = vec!["/srv/state/apps".into()];
    layout.hidden_files = vec!["/srv/state/apps/key".into()];
    assert_eq!(emptied(&layout, &[]), ["/srv/state/apps/key"]);
    assert!(layout.hides(Path::new("/srv/state/apps/key")) && !layout.hides(Path::new("/srv/state/apps/x")));
}

#[test]
fn plugins_are_hidden_wherever_their_directory_is_and_apps_in_it_are_put_back() {
    let with = |dirs: &[&str], apps: &[&str]| Layout {
        plugin_dirs: dirs.iter().map(PathBuf::from).collect(),
        worker_dirs: apps.iter().map(PathBuf::from).collect(),
        ..layout()
    };
    let covers = |layout: &Layout, barred: &[&str]| -> Vec<String> {
        layout.check().unwrap();
        let is_meant = |step: &String| !step.starts_with("seal") && !step.contains("/srv/state/");
        let told: Vec<String> = steps(layout, barred).into_iter().filter(is_meant).collect();
        told.into_iter()
            .filter(|step| !step.ends_with(" /run/buntime") && step != "cover /srv/state")
            .collect()
    };
    for (dirs, apps, barred, expected) in [
        // Beside the apps, among them, around them.
        (&["/srv/plugins"][..], &["/srv/apps"][..], &[][..], &["cover /srv/plugins"][..]),
        (&["/srv/apps/plugins"], &["/srv/apps"], &[], &["cover /srv/apps/plugins"]),
        (&["/opt"], &["/opt/apps"], &[], &["cover /opt", "dir /opt/apps", "put /opt/apps"]),
        // In each other, with apps in between.
        (
            &["/opt/apps/more", "/opt"],
            &["/opt/apps"],
            &[],
            &["cover /opt", "dir /opt/apps", "put /opt/apps", "cover /opt/apps/more"],
        ),
        (&["/opt/inner", "/opt"], &["/srv/apps"], &[], &["cover /opt", "dir /opt/inner"]),
        // Where the workers' user cannot go.
        (
            &["/root/clone/plugins"],
            &["/root/clone/apps"],
            &["/root"],
            &["cover /root", "dir /root/clone", "put /root/clone", "cover /root/clone/plugins"],
        ),
        (
            &["/root/plugins"],
            &["/srv/apps"],
            &["/root"],
            &["cover /root", "dir /root/plugins", "cover /root/plugins"],
        ),
    ] {
        let layout = with(dirs, apps);
        assert_eq!(covers(&layout, barred), expected, "{dirs:?} {apps:?}");
        assert!(dirs.iter().all(|dir| layout.hides(&Path::new(dir).join("x"))), "{dirs:?} {apps:?}");
        assert!(apps.iter().all(|dir| !layout.hides(&Path::new(dir).join("x"))), "{dirs:?} {apps:?}");
    }
    let in_state = with(&["/srv/state/apps/plugins", "/srv/state/plugins"], &["/srv/state/apps"]);
    let told = steps(&in_state, &[]);
    let at = |step: &str| told.iter().position(|told| told == step);
    assert!(at("put /srv/state/apps") < at("cover /srv/state/apps/plugins"), "{told:?}");
    assert!(at("dir /srv/state/plugins").is_some(), "{told:?}");
    let same = with(&["/srv/apps"], &["/srv/apps"]);
    assert_eq!(same.check(), Err(LayoutError::Plugins("/srv/apps".into())));
}
