//! Resolution against npm's own `semver`, run under `bun`: thousands of generated cases in one process, each without aliases
//! and with some. Aliases are no ranges' business, so of them npm has only to say which texts cannot be one.

use super::*;
use crate::apps::fixture::{one, worker};
use crate::testing;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

const CASES: usize = 5000;

#[derive(Debug, Serialize)]
struct Case {
    versions: Vec<String>,
    spec: String,
}

/// See `tests/oracle/semver.js`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    valid: Vec<String>,
    default: Option<String>,
    means: Option<String>,
    is_range: bool,
}

/// Small numbers, so that ranges often hit, and some at the end of what npm can count. (The very last one, 2^53 - 1,
/// makes a range that npm cannot build, as it counts one further.)
fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        12 => (0u64..4).prop_map(|n| n.to_string()),
        1 => prop::sample::select(vec!["10", "9007199254740990"]).prop_map(String::from),
    ]
}

fn prerelease() -> impl Strategy<Value = String> {
    "-(0|1|10|a|rc|beta|x-y)(\\.(0|1|2|10|a|B))?"
}

fn version() -> impl Strategy<Value = String> {
    let core = (number(), number(), number()).prop_map(|(a, b, c)| format!("{a}.{b}.{c}"));
    let pre = prop_oneof![3 => Just(String::new()), 1 => prerelease()];
    let whole = (prop::sample::select(vec!["", "", "", "v"]), core, pre, "(\\+[a-z0-9]{1,3})?");
    prop_oneof![
        20 => whole.prop_map(|(v, core, pre, build)| format!("{v}{core}{pre}{build}")),
        1 => prop::sample::select(vec![
            "1", "1.2", "01.2.3", "1.2.3-01", "1.2.3-", "1.2.3+", "9007199254740992.0.0", "0.0.9007199254740991",
            "vv1.0.0", "=1.0.0", "1.2.3.4", "1.x.0", "a.b.c", "1.2.3-é", "",
        ]).prop_map(String::from),
    ]
}

/// All of the promised grammar.
fn promised() -> impl Strategy<Value = String> {
    let wild =
        || prop_oneof![4 => number(), 1 => prop::sample::select(vec!["x", "X", "*"]).prop_map(String::from)];
    let partial = ("[~^]?v?", number(), prop::option::of((wild(), prop::option::of(wild()))));
    let range = partial.prop_map(|(op, major, rest)| match rest {
        None => format!("{op}{major}"),
        Some((minor, None)) => format!("{op}{major}.{minor}"),
        Some((minor, Some(patch))) if is_number(&minor) => format!("{op}{major}.{minor}.{patch}"),
        Some((minor, Some(_))) => format!("{op}{major}.{minor}.x"),
    });
    let exact = (number(), number(), number(), prop::option::of(prerelease()));
    let exact = exact.prop_map(|(a, b, c, pre)| format!("{a}.{b}.{c}{}", pre.unwrap_or_default()));
    prop_oneof![3 => range, 1 => exact]
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// Anything that looks a little like a spec.
fn junk() -> impl Strategy<Value = String> {
    prop_oneof![
        "[~^v=<>]{0,2}[0-3x*]{0,2}(\\.[0-3x*]{1,2}){0,3}([-+][a-z0-9.]{0,4})?",
        "[a-z0-9.x-]{1,5}",
        "[ -~]{1,6}"
    ]
}

fn ask(bun: &Path, oracle: &Path, cases: &[Case]) -> Vec<Answer> {
    let mut command = Command::new(bun);
    command
        .args(["--no-install", "semver.js"])
        .current_dir(oracle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(&serde_json::to_vec(cases).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn versions_and_ranges_mean_what_npm_means() {
    const NAME: &str = "versions_and_ranges_mean_what_npm_means";
    let Some(bun) = testing::bun(NAME) else { return };
    let oracle = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle");
    if !oracle.join("node_modules/semver").is_dir() {
        return testing::skip(NAME, "run `npm ci` in tests/oracle");
    }

    let spec = prop_oneof![3 => promised().prop_map(|spec| (spec, true)), 1 => junk().prop_map(|spec| (spec, false))];
    // Which of the versions two aliases stand for; the last few of none that is there.
    let aliases = (0..14usize, 0..14usize);
    let strategy = (prop::collection::vec(version(), 0..12), spec, aliases);
    let mut runner = TestRunner::default();
    let mut generate = || strategy.new_tree(&mut runner).unwrap().current();
    let (cases, others): (Vec<_>, Vec<_>) = (0..CASES)
        .map(|_| generate())
        .map(|(versions, (spec, is_promised), aliases)| (Case { versions, spec }, (is_promised, aliases)))
        .unzip();
    let answers = ask(&bun, &oracle, &cases);
    assert_eq!(answers.len(), CASES);

    let (mut hits, mut aliased) = (0, 0);
    for ((case, answer), (is_promised, aliases)) in cases.iter().zip(answers).zip(others) {
        let is_version = |text: &&String| matches!(AppVersion::parse(text), Ok(AppVersion::Semver(_)));
        let valid: Vec<_> = case.versions.iter().filter(is_version).cloned().collect();
        assert_eq!(valid, answer.valid, "{case:?}");

        let index = Index::new();
        let mut taken = HashSet::new();
        let apps = (1..).zip(&valid).map(|(key, version)| worker(key, &format!("a@{version}")));
        let apps = apps.filter(|app| taken.insert(app.version.identity()));
        index.replace_all(apps.map(Found::from).collect(), &mut |_| {});

        let means = |found: Result<Arc<App>, ResolveError>| found.ok().map(|app| app.version.identity());
        let expected =
            |text: &Option<String>| text.as_ref().map(|text| AppVersion::parse(text).unwrap().identity());
        let check_spec = || match VersionSpec::parse(&case.spec) {
            Ok(VersionSpec::Exact(_) | VersionSpec::Range(_)) => {
                let found = one(&index, "a", Some(&case.spec));
                assert_eq!(means(found), expected(&answer.means), "{case:?}");
                // What can be asked for as a version or a range can be no alias.
                assert!(AliasName::parse(&case.spec).is_err(), "{case:?}");
                answer.means.is_some()
            }
            // npm, too, keeps tags and ranges apart.
            Ok(VersionSpec::Tag(_)) => {
                assert!(!answer.is_range, "{case:?}");
                false
            }
            Ok(VersionSpec::Default) => false,
            Err(refusal) => {
                assert!(!is_promised, "{case:?}: {refusal}");
                false
            }
        };
        assert_eq!(means(one(&index, "a", None)), expected(&answer.default), "{case:?}");
        hits += usize::from(check_spec());

        // With aliases the name alone and the aliases mean what they stand for, and all else what it did.
        let tag = match VersionSpec::parse(&case.spec) {
            Ok(VersionSpec::Tag(tag)) => AliasName::parse(&tag).ok(),
            _ => None,
        };
        let tag = tag.unwrap_or_else(|| AliasName::parse("beta").unwrap());
        let latest = AliasName::parse("latest").unwrap();
        for (alias, at) in [(&latest, aliases.0), (&tag, aliases.1)] {
            let version = valid.get(at).map_or("7.7.7-none", String::as_str);
            index.set_route(&"a".parse().unwrap(), alias, Some(Route::one(version.parse().unwrap())));
        }
        let stands_for = |at: usize| expected(&valid.get(at).cloned());
        for spec in [None, Some("latest")] {
            assert_eq!(means(one(&index, "a", spec)), stands_for(aliases.0), "{case:?} {aliases:?}");
        }
        assert_eq!(
            means(one(&index, "a", Some(tag.as_str()))),
            stands_for(aliases.1),
            "{case:?} {aliases:?}"
        );
        check_spec();
        aliased += usize::from(stands_for(aliases.0).is_some());
    }
    assert!(hits > CASES / 10, "too few cases that match anything: {hits}");
    assert!(aliased > CASES / 10, "too few aliases that stand for anything: {aliased}");
}
