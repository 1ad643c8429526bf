//! What names mean where aliases were set.

use super::*;
use crate::apps::fixture::route;
use crate::model::{Bucket, Sticky};

fn set(index: &Index, app: &str, alias: &str, parts: &[(&str, u8)]) {
    let route = (!parts.is_empty()).then(|| route(parts));
    index.set_route(&app.parse().unwrap(), &alias.parse().unwrap(), route);
}

/// How many of the hundred buckets each version gets.
fn shares(index: &Index, name: &str, spec: Option<&str>) -> Vec<(String, usize)> {
    let Ok(Meaning::Split(fork)) = index.resolve(name, spec) else { panic!("no split") };
    let mut counts = std::collections::BTreeMap::new();
    Bucket::all().for_each(|bucket| *counts.entry(fork.app(bucket).version.to_string()).or_default() += 1);
    counts.into_iter().collect()
}

#[test]
fn an_alias_stands_for_its_version_and_latest_for_the_name_alone() {
    let index = index(&["a@1.0.0", "a@2.0.0", "a@3.0.0-rc.1", "b@1.0.0", "b@latest"]);
    set(&index, "a", "latest", &[("1.0.0", 100)]);
    set(&index, "a", "beta", &[("3.0.0-rc.1", 100)]);
    for (spec, expected) in [
        (None, "1.0.0"),
        (Some("latest"), "1.0.0"),
        (Some("beta"), "3.0.0-rc.1"),
        // Ranges and versions know nothing of aliases.
        (Some("1"), "1.0.0"),
        (Some("^2"), "2.0.0"),
        (Some("2.0.0"), "2.0.0"),
    ] {
        assert_eq!(version(&index, "a", spec).as_deref(), Ok(expected), "{spec:?}");
    }
    assert_eq!(version(&index, "a", Some("stable")), Err(ResolveError::UnknownTag));
    assert_eq!(version(&index, "b", Some("beta")), Err(ResolveError::UnknownTag), "another app's");
    set(&index, "b", "latest", &[("1.0.0", 100)]);
    set(&index, "b", "dir", &[("latest", 100)]);
    assert_eq!(version(&index, "b", None).as_deref(), Ok("1.0.0"), "the alias goes before the directory");
    assert_eq!(version(&index, "b", Some("dir")).as_deref(), Ok("latest"));

    set(&index, "a", "latest", &[]);
    set(&index, "a", "beta", &[]);
    assert_eq!(version(&index, "a", None).as_deref(), Ok("2.0.0"));
    assert_eq!(version(&index, "a", Some("beta")), Err(ResolveError::UnknownTag));
    assert_eq!(index.routes(&"a".parse().unwrap()), []);
}

#[test]
fn once_latest_is_set_what_is_copied_by_hand_does_not_move_it() {
    let index = index(&["a@1.0.0"]);
    let old = worker(1, "a@1.0.0");
    set(&index, "a", "latest", &[("1.0.0", 100)]);
    put(&index, &[&old, &worker(2, "a@2.0.0"), &worker(3, "a@latest")]);
    assert_eq!(key(&index, "a", None), 1);
    assert_eq!(key(&index, "a", Some("2")), 2);
}

#[test]
fn an_alias_serves_what_is_not_proven_and_what_is_broken() {
    let index = index(&["a@1.0.0"]);
    let (old, new, bad) = (worker(1, "a@1.0.0"), worker(2, "a@2.0.0"), broken(3, "a@3.0.0"));
    index.prove(old.key);
    put(&index, &[&old, &new, &bad]);
    assert_eq!(key(&index, "a", None), 1);
    set(&index, "a", "latest", &[("2.0.0", 100)]);
    set(&index, "a", "bad", &[("3.0.0", 100)]);
    assert_eq!(key(&index, "a", None), 2);
    assert_eq!(key(&index, "a", Some("bad")), 3, "so that its reason can be told");
    // Of a version that was replaced, the proven revision stands in, as for who asks for it exactly.
    index.prove(new.key);
    put(&index, &[&old, &worker(4, "a@2.0.0")]);
    assert_eq!(key(&index, "a", None), 2);
    index.prove(VersionKey(4));
    assert_eq!(key(&index, "a", None), 4);
}

#[test]
fn an_alias_without_a_version_says_so_until_one_is_there() {
    let index = index(&["a@1.0.0"]);
    set(&index, "a", "latest", &[("2.0.0", 100)]);
    set(&index, "a", "canary", &[("2.0.0", 90), ("3.0.0+b", 10)]);
    let message = |spec| index.resolve("a", spec).unwrap_err().to_string();
    assert_eq!(message(None), "the alias `latest` of this app stands for 2.0.0, which is not there");
    assert_eq!(
        message(Some("canary")),
        "the alias `canary` of this app stands for 2.0.0, 3.0.0+b, none of which is there"
    );
    assert_eq!(version(&index, "a", Some("1")).as_deref(), Ok("1.0.0"));
    put(&index, &[&worker(1, "a@1.0.0"), &worker(2, "a@2.0.0+other")]);
    assert_eq!(key(&index, "a", None), 2, "build metadata makes no difference");
}

#[test]
fn an_alias_of_an_app_that_is_not_there_waits_for_it() {
    let index = index(&["a@1.0.0"]);
    set(&index, "b", "beta", &[("1.0.0", 100)]);
    assert_eq!(version(&index, "b", Some("beta")), Err(ResolveError::UnknownApp));
    assert_eq!(index.routes(&"b".parse().unwrap()).len(), 1);
    put(&index, &[&worker(2, "b@1.0.0")]);
    assert_eq!(key(&index, "b", Some("beta")), 2);
}

#[test]
fn what_was_decided_before_holds_from_the_beginning() {
    let index = Index::with(Decisions {
        routes: vec![("a".parse().unwrap(), "latest".parse().unwrap(), route(&[("1.0.0", 100)]))],
        disabled: vec![("a".parse().unwrap(), "3.0.0+b".parse().unwrap())],
    });
    let apps = [worker(1, "a@1.0.0"), worker(2, "a@2.0.0"), worker(3, "a@3.0.0")];
    assert_eq!(put(&index, &apps.each_ref()), ["+a@1.0.0", "+a@2.0.0"]);
    assert_eq!(key(&index, "a", None), 1);
    assert_eq!(key(&index, "a", Some("2")), 2);
    assert_eq!(version(&index, "a", Some("3")), Err(ResolveError::UnknownVersion));
}

#[test]
fn a_split_gives_each_version_its_weight_and_what_is_gone_leaves_its_share() {
    let index = index(&["a@1.0.0", "a@2.0.0", "a@3.0.0"]);
    set(&index, "a", "latest", &[("1.0.0", 60), ("2.0.0", 30), ("3.0.0", 10)]);
    let count = |counts: &[(&str, usize)]| {
        counts.iter().map(|(version, count)| (version.to_string(), *count)).collect::<Vec<_>>()
    };
    for spec in [None, Some("latest")] {
        assert_eq!(shares(&index, "a", spec), count(&[("1.0.0", 60), ("2.0.0", 30), ("3.0.0", 10)]));
    }
    put(&index, &[&worker(1, "a@1.0.0"), &worker(2, "a@2.0.0")]);
    assert_eq!(shares(&index, "a", None), count(&[("1.0.0", 67), ("2.0.0", 33)]));
    put(&index, &[&worker(2, "a@2.0.0")]);
    assert_eq!(
        shares(&index, "a", None),
        count(&[("2.0.0", 100)]),
        "still a split: clients keep their buckets"
    );
    put(&index, &[&worker(4, "a@9.0.0")]);
    assert!(matches!(index.resolve("a", None), Err(ResolveError::Dangling(_))));
}

#[test]
fn a_route_that_is_set_while_a_change_is_told_shows_nothing_that_was_not_told() {
    let index = index(&["a@1.0.0"]);
    let inside = index.clone();
    index.replace_all(vec![worker(1, "a@1.0.0").into(), worker(2, "a@2.0.0").into()], &mut |_| {
        set(&inside, "a", "one", &[("1.0.0", 100)]);
        set(&inside, "a", "two", &[("2.0.0", 100)]);
        assert_eq!(key(&inside, "a", Some("one")), 1, "it holds at once");
        assert!(matches!(inside.resolve("a", Some("two")), Err(ResolveError::Dangling(_))));
        assert!(inside.resolve("a", Some("2.0.0")).is_err());
    });
    assert_eq!(key(&index, "a", Some("two")), 2);
}

#[test]
fn an_app_without_aliases_is_looked_up_as_ever_and_a_split_without_locks() {
    let index = index(&["a@1.0.0", "b@1.0.0", "b@2.0.0"]);
    set(&index, "b", "vnext", &[("1.0.0", 50), ("2.0.0", 50)]);
    let reads = index.disk_reads();
    // Nothing but a range needs a lock, not even an alias that begins like one.
    let (state, ranges) = (lock(&index.state), lock(&index.ranges));
    assert_eq!(key(&index, "a", None), 1);
    assert_eq!(key(&index, "a", Some("1.0.0")), 1);
    assert_eq!(shares(&index, "b", Some("vnext")).len(), 2);
    drop((state, ranges));
    assert_eq!(index.disk_reads(), reads);
    let Ok(Meaning::Split(fork)) = index.resolve("b", Some("vnext")) else { panic!() };
    assert_eq!(fork.sticky(), Sticky::Cookie);
}
