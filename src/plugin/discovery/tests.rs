use super::*;
use crate::apps::manifest::Ceilings;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use tempfile::TempDir;

const AUTHN: Linked<'static> = Linked {
    name: "@buntime/plugin-authn",
    manifest: "name: '@buntime/plugin-authn'\nenabled: false\nguards: true\nbase: /auth\nconfig: {n: {type: number}}\n",
};

/// A directory with what these files hold; a path that ends with `/` is a directory.
struct Tree(TempDir);

impl Tree {
    fn new(files: &[(&str, &str)]) -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        for (path, text) in files {
            let file = tree.path(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            match path.ends_with('/') {
                true => fs::create_dir_all(file).unwrap(),
                false => fs::write(file, text).unwrap(),
            }
        }
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().canonicalize().unwrap().join(path)
    }

    /// Looks at `one` and `two`, with the state in `state`.
    fn discover(&self, linked: &[Linked<'_>]) -> Discovery {
        let (dirs, state) = ([self.path("one"), self.path("two")], self.path("state"));
        let reserved = ["api".to_owned()];
        let ceilings = Ceilings { max_body_size: 1 << 20, cores: 1 };
        let rules = Rules { reserved: &reserved, ceilings, environment: &|_| None };
        discover(&Places { dirs: &dirs, linked, state_dir: &state, changes: &[] }, &rules)
    }
}

fn names(discovery: &Discovery) -> Vec<&str> {
    discovery.found.iter().map(|found| found.name.as_str()).collect()
}

fn error(found: &Found) -> String {
    found.manifest.as_ref().unwrap_err().error.to_string()
}

#[test]
fn plain_and_scoped_directories_with_a_manifest_are_found() {
    let tree = Tree::new(&[
        ("one/b/manifest.yaml", "name: b"),
        ("one/b/plugin.ts", ""),
        ("one/@team/a/manifest.yml", "name: '@team/a'\npluginEntry: src/main.ts"),
        ("one/@team/a/src/main.ts", ""),
        ("one/sdk/Cargo.toml", "no plugin"),
        ("one/Upper/no-manifest", ""),
        ("one/file", ""),
        ("one/.hidden/manifest.yaml", "name: hidden"),
        ("one/node_modules/manifest.yaml", "name: modules"),
        ("two/c/manifest.yaml", "name: c"),
        ("two/c/plugin.ts", ""),
    ]);
    let discovery = tree.discover(&[]);
    assert_eq!(names(&discovery), ["@team/a", "b", "c"]);
    assert_eq!(discovery.warnings, [""; 0]);
    for (found, dir) in discovery.found.iter().zip(["one/@team/a", "one/b", "two/c"]) {
        assert!(found.manifest.is_ok() && !found.native && found.source == Source::Dir);
        assert_eq!(found.dir, Some(tree.path(dir)));
    }
    assert_eq!(discovery.found[0].file, tree.path("one/@team/a/manifest.yml"));
}

#[test]
fn directories_that_are_missing_are_none() {
    assert!(Tree::new(&[]).discover(&[]).found.is_empty());
}

#[test]
fn a_name_that_does_not_fit_is_skipped_with_a_warning() {
    let tree = Tree::new(&[("one/Upper/manifest.yaml", "name: x"), ("one/@Team/x/manifest.yaml", "name: y")]);
    let discovery = tree.discover(&[]);
    assert!(discovery.found.is_empty());
    assert!(
        discovery.warnings.iter().all(|warning| warning.ends_with("; skipped")),
        "{:?}",
        discovery.warnings
    );
    assert_eq!(discovery.warnings.len(), 2);
}

#[test]
fn of_one_name_in_two_places_the_first_directory_wins_with_a_warning() {
    let tree = Tree::new(&[
        ("one/z/manifest.yaml", "name: x\nversion: 1.0.0"),
        ("one/z/plugin.ts", ""),
        ("two/a/manifest.yaml", "name: x\nversion: 2.0.0"),
        ("two/a/plugin.ts", ""),
    ]);
    let discovery = tree.discover(&[]);
    assert_eq!(names(&discovery), ["x"]);
    assert_eq!(discovery.found[0].manifest.as_ref().unwrap().version.major, 1);
    assert_eq!(
        discovery.warnings,
        [format!("{}: x is there already; skipped", tree.path("two/a").display())]
    );
}

#[test]
fn a_native_plugin_is_there_without_a_directory_and_is_off() {
    let tree = Tree::new(&[]);
    let discovery = tree.discover(&[AUTHN]);
    let [found] = &discovery.found[..] else { panic!("{discovery:?}") };
    assert!(found.native && !found.is_enabled() && found.is_required() && found.dir.is_none());
    assert_eq!(
        (found.source, &found.file),
        (Source::Embedded, &tree.path("state/plugins/@buntime/plugin-authn.yaml"))
    );
}

#[test]
fn a_directory_takes_the_place_of_the_manifest_in_the_binary_and_needs_no_module() {
    let tree = Tree::new(&[("one/authn/manifest.yaml", "name: '@buntime/plugin-authn'\nbase: /login")]);
    let discovery = tree.discover(&[AUTHN]);
    let [found] = &discovery.found[..] else { panic!("{discovery:?}") };
    assert!(found.native && found.is_enabled());
    assert_eq!(found.manifest.as_ref().unwrap().base.as_ref().unwrap().as_str(), "/login");
    assert_eq!(discovery.warnings, [""; 0]);
}

#[test]
fn changes_in_the_state_directory_lie_over_the_manifest() {
    let tree = Tree::new(&[
        ("state/plugins/@buntime/plugin-authn.yaml", "enabled: true\nn: 5\n"),
        ("one/b/manifest.yaml", "name: b\nenabled: true"),
        ("one/b/plugin.ts", ""),
        ("state/plugins/b.yaml", "enabled: false\n"),
    ]);
    let discovery = tree.discover(&[AUTHN]);
    assert_eq!(names(&discovery), ["b", "@buntime/plugin-authn"]);
    assert_eq!(discovery.found.iter().map(Found::is_enabled).collect::<Vec<_>>(), [false, true]);
    let authn = discovery.found[1].manifest.as_ref().unwrap();
    assert_eq!(authn.settings.as_ref().unwrap().value(), &serde_json::json!({"n": 5}));
    for found in &discovery.found {
        assert_eq!(found.source, Source::State);
        // Where there are changes already the next one goes too, or it would have no effect.
        assert_eq!(found.file, tree.path(&format!("state/plugins/{}.yaml", found.name)));
    }
}

#[test]
fn changes_that_cannot_be_read_are_an_error_and_close_the_door() {
    let tree = Tree::new(&[("state/plugins/@buntime/plugin-authn.yaml/", "")]);
    let discovery = tree.discover(&[AUTHN]);
    let found = &discovery.found[0];
    assert!(error(found).ends_with("it is not a regular file"), "{}", error(found));
    assert!(found.is_enabled() && found.is_required());
}

#[test]
fn a_manifest_that_cannot_be_written_is_changed_in_the_state_directory() {
    let tree = Tree::new(&[("one/b/manifest.yaml", "name: b"), ("one/b/plugin.ts", "")]);
    fs::set_permissions(tree.path("one/b"), fs::Permissions::from_mode(0o555)).unwrap();
    let found = tree.discover(&[]).found.remove(0);
    // Nothing is locked for root.
    let expected =
        if nix::unistd::geteuid().is_root() { "one/b/manifest.yaml" } else { "state/plugins/b.yaml" };
    assert_eq!(found.file, tree.path(expected));
    fs::set_permissions(tree.path("one/b"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn a_script_plugin_needs_its_module() {
    let tree = Tree::new(&[
        ("one/a/manifest.yaml", "name: a\nguards: true"),
        ("one/b/manifest.yaml", "name: b\npluginEntry: link.ts"),
        ("secret.ts", ""),
        ("one/c/manifest.yaml", "name: c"),
        ("one/c/plugin.ts/", ""),
    ]);
    symlink(tree.path("secret.ts"), tree.path("one/b/link.ts")).unwrap();
    let discovery = tree.discover(&[]);
    for (found, file) in discovery.found.iter().zip(["one/a/plugin.ts", "one/b/link.ts", "one/c/plugin.ts"]) {
        let expected =
            format!("{}: there is no such file in the plugin\n  hint: add it", tree.path(file).display());
        assert!(error(found).starts_with(&expected), "{}", error(found));
    }
    assert!(discovery.found[0].is_required(), "a guard stays one");
}

#[test]
fn of_two_that_want_one_base_the_later_is_refused_with_both_named() {
    let tree = Tree::new(&[
        ("one/b/manifest.yaml", "name: b\nbase: /auth"),
        ("one/b/plugin.ts", ""),
        ("one/c/manifest.yaml", "name: c\nbase: /auth"),
        ("one/c/plugin.ts", ""),
        ("one/d/manifest.yaml", "name: d\nbase: /d"),
        ("one/d/plugin.ts", ""),
    ]);
    let discovery = tree.discover(&[AUTHN]);
    assert_eq!(names(&discovery), ["b", "c", "d", "@buntime/plugin-authn"]);
    let usable: Vec<_> = discovery.found.iter().map(|found| found.manifest.is_ok()).collect();
    assert_eq!(usable, [true, false, true, true], "one that is off takes no base");
    let expected =
        "the base `/auth` is taken by b, and c wants it too\n  hint: give one of them another `base`";
    assert_eq!(error(&discovery.found[1]), expected);
}

#[test]
fn a_manifest_that_is_wrong_is_an_error_under_the_best_name_there_is() {
    let tree = Tree::new(&[
        ("one/a/manifest.yaml", "name: real\nzebra: 1"),
        ("one/b/manifest.yaml", "name: ["),
        ("one/c/manifest.yaml", "name: c"),
        ("one/c/manifest.yml", "name: c"),
        ("one/d/manifest.yaml", "\u{0}"),
    ]);
    fs::write(tree.path("one/d/manifest.yaml"), b"\xff").unwrap();
    let discovery = tree.discover(&[]);
    assert_eq!(names(&discovery), ["real", "b", "c", "d"]);
    let place = |path: &str| tree.path(path).display().to_string();
    assert_eq!(
        error(&discovery.found[0]),
        format!("{}:2:1: unknown key `zebra`", place("one/a/manifest.yaml"))
    );
    assert!(error(&discovery.found[1]).starts_with(&place("one/b/manifest.yaml")));
    assert!(error(&discovery.found[2]).ends_with("there is a manifest.yml beside it; keep one of them"));
    assert!(error(&discovery.found[3]).ends_with("not UTF-8"));
    let required: Vec<_> = discovery.found.iter().map(Found::is_required).collect();
    assert_eq!(required, [false, true, true, true], "what cannot be read may be a guard");
}

#[test]
fn links_to_directories_are_followed_and_manifests_that_lead_out_are_not_read() {
    let tree = Tree::new(&[
        ("elsewhere/a/manifest.yaml", "name: a"),
        ("elsewhere/a/plugin.ts", ""),
        ("one/b/plugin.ts", ""),
        ("secret.yaml", "name: hunter2"),
        ("one/c/real.yaml", "name: c"),
        ("one/c/plugin.ts", ""),
    ]);
    symlink(tree.path("elsewhere/a"), tree.path("one/a")).unwrap();
    symlink(tree.path("secret.yaml"), tree.path("one/b/manifest.yaml")).unwrap();
    symlink("real.yaml", tree.path("one/c/manifest.yaml")).unwrap();
    symlink("/nowhere", tree.path("one/d")).unwrap();
    let discovery = tree.discover(&[]);
    assert_eq!(names(&discovery), ["a", "b", "c"]);
    assert_eq!(discovery.found[0].dir, Some(tree.path("elsewhere/a")));
    assert!(error(&discovery.found[1]).ends_with("it leads out of its directory"));
    assert!(discovery.found[2].manifest.is_ok());
}

#[test]
fn a_plan_is_made_of_what_is_found() {
    let tree = Tree::new(&[
        ("one/a/manifest.yaml", "name: a\ndependencies: [b@^1]"),
        ("one/a/plugin.ts", ""),
        ("one/b/manifest.yaml", "name: b\nversion: 1.1.0"),
        ("one/b/plugin.ts", ""),
        ("one/c/manifest.yaml", "name: c\nguards: true\nzebra: 1"),
    ]);
    let discovery = tree.discover(&[AUTHN]);
    let plan = crate::plugin::order::plan(discovery.found.iter().map(Into::into));
    assert_eq!(plan.order.iter().map(PluginName::as_str).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(
        plan.refusal().as_deref(),
        Some("plugins that are required cannot start:\n  c: it cannot be used")
    );
}
