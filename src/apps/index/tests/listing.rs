//! What the index tells the management API.

use super::*;
use crate::apps::catalog::Off;

#[test]
fn revisions_are_found_by_key_and_by_version() {
    let index = index(&["a@1.0.0"]);
    index.prove(VersionKey(1));
    put(&index, &[&worker(2, "a@1.0.0+b")]);
    let exact =
        |version: &str| index.exact(&"a".parse().unwrap(), &version.parse().unwrap()).map(|app| app.key.0);
    assert_eq!((exact("1.0.0"), exact("1.0.0+c"), exact("2.0.0")), (Some(2), Some(2), None));
    let by_key = |key| index.by_key(VersionKey(key)).map(|app| app.key.0);
    assert_eq!([by_key(1), by_key(2), by_key(3)], [Some(1), Some(2), None]);
    index.prove(VersionKey(2));
    assert_eq!([by_key(1), by_key(2)], [None, Some(2)]);
}

#[test]
fn the_catalog_tells_how_each_version_stands() {
    let index = Index::with(Decisions {
        disabled: vec![("a".parse().unwrap(), "3.0.0".parse().unwrap())],
        ..Decisions::default()
    });
    let [one, two, three, bad] =
        [worker(1, "a@1.0.0"), worker(2, "a@2.0.0"), worker(3, "a@3.0.0"), broken(4, "b@1.0.0")];
    put(&index, &[&one]);
    index.prove(one.key);
    put(&index, &[&two, &three, &bad, &worker(5, "a@1.0.0")]);
    let off = Found::Off {
        off: Arc::new(Off { name: "a".parse().unwrap(), version: AppVersion::Latest, dir: "/apps/a".into() }),
        warnings: Arc::new(["noticed".to_owned()]),
    };
    let mut found = lock(&index.state).found.clone();
    found.push(off);
    index.replace_all(found, &mut |_| {});
    let shown: Vec<_> = index
        .catalog()
        .iter()
        .map(|listed| {
            let key = |key: Option<VersionKey>| key.map_or(0, |key| key.0);
            let Listed { name, version, serving, proven, candidate, .. } = listed;
            let off = (listed.disabled_by_manifest, listed.disabled_by_operator);
            let newest = key(listed.app.as_ref().map(|app| app.key));
            (format!("{name}@{version}"), newest, key(*serving), *proven, *candidate, off)
        })
        .collect();
    let (on, no) = (true, false);
    assert_eq!(
        shown,
        [
            // The proven one stands in.
            ("a@1.0.0".to_owned(), 5, 1, on, no, (no, no)),
            ("a@2.0.0".to_owned(), 2, 2, no, on, (no, no)),
            ("a@3.0.0".to_owned(), 3, 0, no, no, (no, on)),
            ("a@latest".to_owned(), 0, 0, no, no, (on, no)),
            ("b@1.0.0".to_owned(), 4, 4, no, no, (no, no)),
        ]
    );
    let of_b = index.listing(&"b".parse().unwrap());
    assert_eq!(of_b.len(), 1);
    assert!(of_b[0].app.as_ref().unwrap().kind.is_broken());
    assert_eq!(*index.catalog()[3].warnings, ["noticed".to_owned()]);
}
