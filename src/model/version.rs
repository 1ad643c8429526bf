//! Versions of apps and what a request may say to mean one.

use semver::{BuildMetadata, Comparator, Op, Prerelease, Version, VersionReq};

/// Longest version or range, in bytes: npm's limit.
pub const MAX_VERSION: usize = 256;
/// npm keeps the parts of a version in doubles: 2^53 - 1 is the greatest.
const MAX_PART: u64 = (1 << 53) - 1;

const GRAMMAR: &str = "write `1`, `1.2`, `1.x`, `^1.2`, `~1.2` or a whole version such as `1.4.2`";

/// The version a directory stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AppVersion {
    Semver(Version),
    /// A directory without a version: `shop/`, `shop@latest/`, `shop/latest/`.
    Latest,
}

/// What stands behind the `@` in a request: `1`, `^1.2`, `1.4.2`, `latest`, `beta`.
#[derive(Clone, Debug, PartialEq)]
pub enum VersionSpec {
    Default,
    Exact(Version),
    Range(VersionReq),
    Tag(String),
}

/// A text that is neither a semantic version nor `latest`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version: {0}")]
pub struct VersionError(String);

/// A text behind the `@` that means nothing here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a version or a range that can be asked for: {hint}")]
pub struct SpecError {
    /// What to write instead.
    pub hint: &'static str,
}

impl AppVersion {
    /// The version that a directory's name states: semver (a leading `v` is tolerated) or `latest`.
    pub fn parse(text: &str) -> Result<AppVersion, VersionError> {
        match text {
            "latest" => Ok(AppVersion::Latest),
            _ => parse_version(text).map(AppVersion::Semver),
        }
    }

    /// The same for all versions that npm holds equal: build metadata is left out.
    pub fn identity(&self) -> AppVersion {
        match self {
            AppVersion::Semver(version) => AppVersion::Semver(without_build(version)),
            AppVersion::Latest => AppVersion::Latest,
        }
    }
}

impl std::fmt::Display for AppVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AppVersion::Semver(v) => v.fmt(f),
            AppVersion::Latest => f.write_str("latest"),
        }
    }
}

impl std::str::FromStr for AppVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<AppVersion, VersionError> {
        AppVersion::parse(text)
    }
}

impl VersionSpec {
    /// Reads what stands behind the `@`. A range means what npm's `semver` makes of it, except that it never
    /// means a pre-release; grammar beyond the five forms is an error, not a guess.
    pub fn parse(text: &str) -> Result<VersionSpec, SpecError> {
        if text == "latest" {
            return Ok(VersionSpec::Default);
        }
        let hint = |hint| Err(SpecError { hint });
        if text.is_empty() {
            return hint("nothing stands behind the `@`; leave it out to mean the newest version");
        }
        if text.len() > MAX_VERSION {
            return hint("it is too long");
        }
        let (op, rest) = match text.as_bytes()[0] {
            b'^' => (Op::Caret, &text[1..]),
            b'~' => (Op::Tilde, &text[1..]),
            _ => (Op::Exact, text),
        };
        let numbers = rest.strip_prefix('v').unwrap_or(rest);
        if numbers.starts_with(|c: char| c.is_ascii_digit()) {
            if let Some(range) = partial(op, numbers) {
                return Ok(VersionSpec::Range(VersionReq { comparators: vec![range] }));
            }
            return match parse_version(numbers) {
                Ok(version) if op == Op::Exact => Ok(VersionSpec::Exact(without_build(&version))),
                Ok(_) => hint("a range never means a pre-release or a build; ask for that version exactly"),
                Err(_) => hint(GRAMMAR),
            };
        }
        if op == Op::Exact && matches!(rest.trim_start_matches('v').split('.').next(), Some("*" | "x" | "X"))
        {
            return hint("leave the version out to mean the newest one");
        }
        if op == Op::Exact && is_tag(text) {
            return Ok(VersionSpec::Tag(text.to_owned()));
        }
        hint(GRAMMAR)
    }
}

/// A semantic version as npm reads one: at most 256 bytes, parts up to 2^53 - 1, `v1.2.3` tolerated.
pub fn parse_version(text: &str) -> Result<Version, VersionError> {
    if text.len() > MAX_VERSION {
        return Err(VersionError(format!("it has more than {MAX_VERSION} characters")));
    }
    let version =
        Version::parse(text.strip_prefix('v').unwrap_or(text)).map_err(|e| VersionError(e.to_string()))?;
    match [version.major, version.minor, version.patch].iter().all(|&part| part <= MAX_PART) {
        true => Ok(version),
        false => Err(VersionError(format!("a part is greater than {MAX_PART}"))),
    }
}

fn without_build(version: &Version) -> Version {
    Version { build: BuildMetadata::EMPTY, ..version.clone() }
}

/// `1`, `1.2`, `1.x`, `1.2.x` with any operator; `1.2.3` with `^` or `~`. None = something else.
fn partial(op: Op, text: &str) -> Option<Comparator> {
    let mut parts = text.split('.');
    let major = number(parts.next()?)?;
    let (mut minor, mut patch, mut wild) = (None, None, false);
    for slot in [&mut minor, &mut patch] {
        match parts.next() {
            None => break,
            Some("x" | "X" | "*") => wild = true,
            Some(part) if !wild => *slot = Some(number(part)?),
            Some(_) => return None,
        }
    }
    let whole = op == Op::Exact && patch.is_some();
    (parts.next().is_none() && !whole).then_some(Comparator {
        op,
        major,
        minor,
        patch,
        pre: Prerelease::EMPTY,
    })
}

/// A numeric identifier: no leading zero, nothing that npm could not count.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let plain = digits && (text.len() == 1 || !text.starts_with('0'));
    plain.then(|| text.parse().ok())?.filter(|&n| n <= MAX_PART)
}

/// Letters first, and nothing that npm would take for a range (it tolerates any number of `v`).
fn is_tag(text: &str) -> bool {
    let range = text.trim_start_matches('v');
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !range.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> Option<VersionReq> {
        match VersionSpec::parse(text) {
            Ok(VersionSpec::Range(range)) => Some(range),
            _ => None,
        }
    }

    #[test]
    fn a_directory_may_state_semver_with_or_without_v_or_latest() {
        assert_eq!(AppVersion::parse("latest"), Ok(AppVersion::Latest));
        for text in ["1.2.3", "v1.2.3"] {
            assert_eq!(AppVersion::parse(text).unwrap().to_string(), "1.2.3");
        }
        assert_eq!(AppVersion::parse("1.0.0-rc.1+abc").unwrap().to_string(), "1.0.0-rc.1+abc");
        let huge = "9007199254740991.0.0";
        assert_eq!(AppVersion::parse(huge).unwrap().to_string(), huge);
    }

    #[test]
    fn what_npm_holds_for_no_version_is_none() {
        let long = format!("1.0.0-{}", "a".repeat(300));
        for text in [
            "", "1", "1.2", "1.2.3.4", "01.2.3", "1.2.3-01", "=1.2.3", "V1.2.3", "vv1.2.3", "beta", " 1.2.3",
            &long,
        ] {
            assert!(AppVersion::parse(text).is_err(), "{text}");
        }
        for text in ["9007199254740992.0.0", "0.99999999999999999999.0"] {
            assert!(AppVersion::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn versions_that_differ_only_in_build_metadata_are_one() {
        let identity = |text| AppVersion::parse(text).unwrap().identity();
        assert_eq!(identity("1.2.3+a"), identity("1.2.3+b"));
        assert_eq!(VersionSpec::parse("1.2.3+a"), VersionSpec::parse("1.2.3"));
    }

    #[test]
    fn each_form_of_the_grammar_is_told_apart() {
        let exact = |text| VersionSpec::Exact(Version::parse(text).unwrap());
        for (text, spec) in [
            ("latest", VersionSpec::Default),
            ("1.4.2", exact("1.4.2")),
            ("v1.4.2", exact("1.4.2")),
            ("2.0.0-rc.1", exact("2.0.0-rc.1")),
            ("beta", VersionSpec::Tag("beta".into())),
            ("vnext", VersionSpec::Tag("vnext".into())),
        ] {
            assert_eq!(VersionSpec::parse(text), Ok(spec), "{text}");
        }
        for text in [
            "1", "v1", "1.2", "1.x", "1.X", "1.*", "1.x.x", "1.2.x", "^1", "^1.2", "^v1.2", "~1.2", "~1.2.3",
            "^0.x",
        ] {
            assert!(range(text).is_some(), "{text}");
        }
    }

    #[test]
    fn other_range_grammar_is_refused_with_a_hint() {
        for text in [
            "",
            "*",
            "x",
            "vx",
            "vv1",
            ">=1.0.0",
            "<2",
            "=1.2.3",
            "1 - 2",
            "1||2",
            "1,2",
            "^",
            "~",
            "^^1",
            "^~1",
            "~>1",
            "^beta",
            "^latest",
            "^1.2.3-rc.1",
            "^1.2.3+b",
            "1.2-rc",
            "1.x.3",
            "x.1",
            "01",
            "1.02",
            "1.2.3.4",
            "1.",
            "1..2",
            ".1",
            "-1",
            "^ 1",
            "1 ",
            "%5E1",
            "be ta",
            "@1",
            "9007199254740992",
            "^99999999999999999999",
        ] {
            assert!(VersionSpec::parse(text).is_err(), "{text}");
        }
        let refusal = VersionSpec::parse("^1.2.3-rc.1").unwrap_err();
        assert!(refusal.to_string().contains("pre-release"), "{refusal}");
    }

    #[test]
    fn a_range_matches_as_in_npm() {
        for (text, yes, no) in [
            ("1", ["1.0.0", "1.9.9"], ["0.9.9", "2.0.0"]),
            ("1.2", ["1.2.0", "1.2.9"], ["1.1.9", "1.3.0"]),
            ("1.x", ["1.0.0", "1.9.0"], ["2.0.0", "0.1.0"]),
            ("^1.2", ["1.2.0", "1.9.0"], ["1.1.9", "2.0.0"]),
            ("~1.2", ["1.2.0", "1.2.9"], ["1.1.0", "1.3.0"]),
            ("^0.2", ["0.2.0", "0.2.9"], ["0.3.0", "0.1.9"]),
            ("^0.2.3", ["0.2.3", "0.2.4"], ["0.2.2", "0.3.0"]),
            ("^0.0", ["0.0.0", "0.0.9"], ["0.1.0", "1.0.0"]),
            ("^0.0.3", ["0.0.3", "0.0.3+b"], ["0.0.4", "0.0.2"]),
            ("^0", ["0.0.0", "0.9.9"], ["1.0.0", "1.0.0-rc.1"]),
            ("^0.x", ["0.0.0", "0.9.9"], ["1.0.0", "0.5.0-rc.1"]),
            ("~1", ["1.0.0", "1.9.0"], ["2.0.0", "2.0.0-rc.1"]),
            ("1.2.x", ["1.2.0", "1.2.1"], ["1.2.0-rc.1", "1.3.0"]),
        ] {
            let range = range(text).unwrap();
            for version in yes {
                assert!(range.matches(&Version::parse(version).unwrap()), "{text} has {version}");
            }
            for version in no {
                assert!(!range.matches(&Version::parse(version).unwrap()), "{text} has no {version}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}|[v^~=<>0-9.x*+-]{0,20}") {
            let _ = VersionSpec::parse(&text);
            let _ = AppVersion::parse(&text);
        }

        #[test]
        fn a_range_never_means_a_prerelease(
            spec in "[~^]?[0-2](\\.([0-2]|x)){0,2}", major in 0..3u64, minor in 0..3u64, patch in 0..3u64, pre in 0..3u64,
        ) {
            let version = Version::parse(&format!("{major}.{minor}.{patch}-rc.{pre}")).unwrap();
            prop_assert!(range(&spec).is_none_or(|range| !range.matches(&version)));
        }
    }
}
