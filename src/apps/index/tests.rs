use super::*;
use crate::apps::fixture::{broken, one, show, static_site, worker};

mod aliases;
mod listing;

/// Puts these apps into an index; what they are told of is returned.
fn put(index: &Index, apps: &[&Arc<App>]) -> Vec<String> {
    let mut told = Vec::new();
    let found = apps.iter().map(|&app| app.clone().into()).collect();
    index.replace_all(found, &mut |change| told.push(show(&change)));
    told
}

fn index(ids: &[&str]) -> Arc<Index> {
    let index = Index::new();
    let apps: Vec<_> = ids.iter().zip(1..).map(|(id, key)| worker(key, id)).collect();
    put(&index, &apps.iter().collect::<Vec<_>>());
    index
}

fn version(index: &Index, name: &str, spec: Option<&str>) -> Result<String, ResolveError> {
    one(index, name, spec).map(|app| app.version.to_string())
}

fn key(index: &Index, name: &str, spec: Option<&str>) -> u64 {
    one(index, name, spec).unwrap().key.0
}

#[test]
fn a_name_alone_means_the_latest_directory_else_the_highest_stable_version() {
    let names =
        ["a@1.0.0", "a@1.10.0", "a@1.9.0", "a@2.0.0-rc.1", "b@1.0.0-a", "b@1.0.0-b", "c@latest", "c@9.0.0"];
    let index = index(&names);
    for spec in [None, Some("latest")] {
        assert_eq!(version(&index, "a", spec).as_deref(), Ok("1.10.0"));
        assert_eq!(version(&index, "b", spec).as_deref(), Ok("1.0.0-b"));
        assert_eq!(version(&index, "c", spec).as_deref(), Ok("latest"));
    }
}

#[test]
fn each_form_of_spec_resolves_as_promised() {
    let index =
        index(&["a@1.2.0", "a@1.2.9", "a@1.3.0", "a@2.0.0", "a@2.1.0-rc.1", "a@3.0.0-rc.1", "a@0.1.0+b"]);
    for (spec, expected) in [
        ("1", "1.3.0"),
        ("1.2", "1.2.9"),
        ("1.x", "1.3.0"),
        ("^1.2", "1.3.0"),
        ("~1.2", "1.2.9"),
        ("2", "2.0.0"),
        ("1.2.0", "1.2.0"),
        ("v1.2.0", "1.2.0"),
        ("2.1.0-rc.1", "2.1.0-rc.1"),
        ("0.1.0", "0.1.0+b"),
        ("0.1.0+other", "0.1.0+b"),
    ] {
        // The second time the range comes out of the cache.
        for _ in 0..2 {
            assert_eq!(version(&index, "a", Some(spec)).as_deref(), Ok(expected), "{spec}");
        }
    }
    for (spec, error) in [
        ("3", ResolveError::UnknownVersion),
        ("1.2.1", ResolveError::UnknownVersion),
        ("2.1.0", ResolveError::UnknownVersion),
        ("beta", ResolveError::UnknownTag),
    ] {
        assert_eq!(version(&index, "a", Some(spec)), Err(error), "{spec}");
    }
    for spec in [">=1", "", "*", "^1.2.3-rc.1"] {
        assert!(matches!(version(&index, "a", Some(spec)), Err(ResolveError::BadRange { .. })), "{spec}");
    }
    assert_eq!(version(&index, "other", Some("1")), Err(ResolveError::UnknownApp));
}

#[test]
fn unknown_names_and_versions_by_the_thousand_cost_no_disk_and_no_memory() {
    let index = index(&["a@1.0.0"]);
    let before = index.disk_reads();
    for n in 0..10_000 {
        assert!(index.resolve(&format!("a{n}"), None).is_err());
        assert!(index.resolve("a", Some(&format!("9.{n}.0"))).is_err());
        assert!(index.resolve("a", Some(&format!("^9.{n}"))).is_err());
    }
    assert_eq!(index.disk_reads(), before);
    assert_eq!(lock(&index.ranges).len(), KEPT_RANGES.get());
}

#[test]
fn a_version_that_appears_takes_over_only_when_it_is_proven() {
    let index = index(&["a@1.0.0"]);
    let (old, new) = (worker(1, "a@1.0.0"), worker(2, "a@1.1.0"));
    index.prove(old.key);
    assert_eq!(put(&index, &[&old, &new]), ["+a@1.1.0", "?a@1.1.0"]);
    for spec in [None, Some("1"), Some("^1.0")] {
        assert_eq!(key(&index, "a", spec), 1, "{spec:?}");
    }
    assert_eq!(key(&index, "a", Some("1.1.0")), 2, "asked for exactly");
    assert_eq!(key(&index, "a", Some("~1.1")), 2, "nothing else fits");
    index.disprove(new.key);
    assert_eq!(key(&index, "a", None), 1);
    index.prove(new.key);
    for spec in [None, Some("1"), Some("^1.0")] {
        assert_eq!(key(&index, "a", spec), 2, "{spec:?}");
    }
}

#[test]
fn with_no_proven_version_the_new_one_is_used_at_once() {
    let index = index(&["a@1.0.0"]);
    let (old, new) = (worker(1, "a@1.0.0"), worker(2, "a@1.1.0"));
    assert_eq!(put(&index, &[&old, &new]), ["+a@1.1.0"]);
    assert_eq!(key(&index, "a", None), 2);
    // One that was there at start keeps its turn when an older one is proven.
    index.prove(old.key);
    assert_eq!(key(&index, "a", None), 2);
    // But not once it failed.
    index.disprove(new.key);
    assert_eq!(key(&index, "a", None), 1);
    index.prove(new.key);
    assert_eq!(key(&index, "a", None), 2);
}

#[test]
fn a_candidate_is_used_when_the_proven_version_goes() {
    let index = index(&["a@1.0.0"]);
    let (old, new) = (worker(1, "a@1.0.0"), worker(2, "a@1.1.0"));
    index.prove(old.key);
    put(&index, &[&old, &new]);
    assert_eq!(put(&index, &[&new]), ["-a@1.0.0"]);
    assert_eq!(key(&index, "a", None), 2);
    assert_eq!(put(&index, &[]), ["-a@1.1.0"]);
    assert_eq!(version(&index, "a", None), Err(ResolveError::UnknownApp));
}

#[test]
fn a_new_revision_waits_behind_the_proven_one_until_it_is_proven() {
    let index = index(&["a@1.0.0"]);
    let (old, new) = (worker(1, "a@1.0.0"), worker(2, "a@1.0.0"));
    index.prove(old.key);
    assert_eq!(put(&index, &[&new]), ["~a@1.0.0"]);
    for spec in [None, Some("1.0.0")] {
        assert_eq!(key(&index, "a", spec), 1, "{spec:?}");
    }
    index.disprove(new.key);
    assert_eq!(key(&index, "a", None), 1);
    index.prove(new.key);
    assert_eq!(key(&index, "a", None), 2);
    // Late news of the old one changes nothing.
    index.forget_old(old.key);
    index.disprove(old.key);
    assert_eq!(key(&index, "a", None), 2);
}

#[test]
fn a_new_revision_is_used_at_once_when_the_old_one_cannot_serve() {
    let index = index(&["a@1.0.0", "b@1.0.0"]);
    let b = worker(2, "b@1.0.0");
    // Never proven.
    put(&index, &[&worker(3, "a@1.0.0"), &b]);
    assert_eq!(key(&index, "a", None), 3);
    // Proven, but no worker is left.
    index.prove(VersionKey(3));
    put(&index, &[&worker(4, "a@1.0.0"), &b]);
    assert_eq!(key(&index, "a", None), 3);
    index.forget_old(VersionKey(3));
    assert_eq!(key(&index, "a", None), 4);
}

#[test]
fn news_that_come_while_a_change_is_told_are_not_lost() {
    let index = index(&["a@1.0.0"]);
    index.prove(VersionKey(1));
    let (inside, mut seen) = (index.clone(), Vec::new());
    index.replace_all(vec![worker(2, "a@1.0.0").into(), worker(3, "b@1.0.0").into()], &mut |change| {
        seen.push((show(&change), inside.resolve("b", None).is_ok(), key(&inside, "a", None)));
        inside.forget_old(VersionKey(1));
        inside.prove(VersionKey(3));
    });
    // Nothing resolves to what was not told yet.
    assert_eq!(seen, [("~a@1.0.0".to_owned(), false, 1), ("+b@1.0.0".to_owned(), false, 1)]);
    assert_eq!(key(&index, "a", None), 2);
    assert_eq!(key(&index, "b", None), 3);
}

#[test]
fn what_is_removed_no_longer_resolves_when_it_is_told() {
    let index = index(&["a@1.0.0"]);
    let inside = index.clone();
    index.replace_all(vec![], &mut |_| assert!(inside.resolve("a", None).is_err()));
    assert!(index.resolve("a", None).is_err());
}

#[test]
fn a_second_new_revision_takes_the_place_of_the_first_and_of_what_stands_in() {
    let index = index(&["a@1.0.0"]);
    index.prove(VersionKey(1));
    put(&index, &[&worker(2, "a@1.0.0")]);
    // Both are replaced by it: were the first removed, the workers that it was to take over from would go with it.
    assert_eq!(put(&index, &[&worker(3, "a@1.0.0")]), ["~a@1.0.0", "~a@1.0.0"]);
    assert_eq!(key(&index, "a", None), 1);
    index.prove(VersionKey(2));
    assert_eq!(key(&index, "a", None), 1, "it is gone");
    index.prove(VersionKey(3));
    assert_eq!(key(&index, "a", None), 3);
}

#[test]
fn a_candidate_that_is_replaced_must_be_proven_all_the_same() {
    let index = index(&["a@1.0.0"]);
    let old = worker(1, "a@1.0.0");
    index.prove(old.key);
    put(&index, &[&old, &worker(2, "a@1.1.0")]);
    assert_eq!(put(&index, &[&old, &worker(3, "a@1.1.0")]), ["~a@1.1.0", "?a@1.1.0"]);
    assert_eq!(key(&index, "a", None), 1);
    assert_eq!(key(&index, "a", Some("1.1.0")), 3);
    index.prove(VersionKey(3));
    assert_eq!(key(&index, "a", None), 3);
}

#[test]
fn a_broken_version_is_unavailable_and_nothing_else() {
    let index = Index::new();
    put(&index, &[&worker(1, "a@1.0.0"), &broken(2, "a@1.1.0"), &broken(3, "b@1.0.0")]);
    assert_eq!(key(&index, "a", None), 1);
    assert_eq!(key(&index, "a", Some("^1.0")), 1);
    assert_eq!(key(&index, "a", Some("1.1.0")), 2);
    assert_eq!(key(&index, "b", None), 3, "so that its reason can be told");
}

#[test]
fn a_broken_revision_does_not_take_over_from_a_proven_one_with_workers() {
    let index = index(&["a@1.0.0"]);
    index.prove(VersionKey(1));
    assert_eq!(put(&index, &[&broken(2, "a@1.0.0")]), ["~a@1.0.0"]);
    assert_eq!(key(&index, "a", None), 1);
    index.forget_old(VersionKey(1));
    assert_eq!(key(&index, "a", None), 2);
}

#[test]
fn a_repaired_version_is_proven_before_names_mean_it() {
    let index = Index::new();
    let good = worker(1, "a@1.0.0");
    put(&index, &[&good, &broken(2, "a@1.1.0")]);
    index.prove(good.key);
    assert_eq!(put(&index, &[&good, &worker(3, "a@1.1.0")]), ["~a@1.1.0", "?a@1.1.0"]);
    assert_eq!(key(&index, "a", None), 1);
    index.prove(VersionKey(3));
    assert_eq!(key(&index, "a", None), 3);
}

#[test]
fn the_workers_of_what_a_site_replaces_go_when_nobody_can_ask_for_them() {
    for new in [static_site(2, "a@1.0.0"), broken(2, "a@1.0.0")] {
        let index = index(&["a@1.0.0"]);
        if new.kind.is_static() {
            index.prove(VersionKey(1));
        }
        let (inside, mut told) = (index.clone(), Vec::new());
        index.replace_all(vec![new.into()], &mut |change| {
            told.push((show(&change), key(&inside, "a", None)));
        });
        assert_eq!(told, [("~a@1.0.0".to_owned(), 1), ("xa@1.0.0".to_owned(), 2)]);
    }
}

#[test]
fn a_static_site_needs_no_proof() {
    let index = Index::new();
    let old = static_site(1, "a@1.0.0");
    put(&index, &[&old]);
    assert_eq!(put(&index, &[&old, &static_site(2, "a@1.1.0")]), ["+a@1.1.0"]);
    assert_eq!(key(&index, "a", None), 2);
    // A worker version beside it does.
    assert_eq!(put(&index, &[&old, &worker(3, "a@1.2.0")]), ["+a@1.2.0", "?a@1.2.0", "-a@1.1.0"]);
    assert_eq!(key(&index, "a", None), 1);
    // A static revision in the place of a worker's, or the other way round, is used at once: nothing stands in.
    index.prove(VersionKey(3));
    put(&index, &[&worker(4, "a@1.0.0"), &static_site(5, "a@1.2.0")]);
    assert_eq!(key(&index, "a", None), 5);
    assert_eq!(key(&index, "a", Some("1.0.0")), 4);
}

#[test]
fn apps_are_listed_by_name_and_version() {
    let index = index(&["b@latest", "b@1.0.0", "a@1.10.0", "a@1.9.0", "@t/x@latest"]);
    let listed: Vec<_> = index.apps().iter().map(|app| format!("{}@{}", app.name, app.version)).collect();
    assert_eq!(listed, ["@t/x@latest", "a@1.9.0", "a@1.10.0", "b@1.0.0", "b@latest"]);
}
