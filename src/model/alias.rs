//! Aliases: names for a version of an app, or for a split between versions.

use super::{AppVersion, VersionSpec};
use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

/// Longest name of an alias, in bytes.
pub const MAX_ALIAS: usize = 64;
/// What the weights of a split come to.
pub const WHOLE: u8 = 100;

/// `latest`, `stable`, `beta`: begins with a letter; lower case, digits, `-._`, at most 64 characters; nothing that could
/// be a version or a range.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AliasName(Arc<str>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AliasNameError {
    #[error("an alias has 1 to {MAX_ALIAS} characters, this one has {0}")]
    Length(usize),
    #[error("`{0}` cannot stand in an alias: lower case letters, digits and `-._` can")]
    Character(char),
    #[error("an alias begins with a letter")]
    Start,
    #[error("`{0}` would be read as a version or a range")]
    Version(String),
}

/// Which versions an alias stands for, and how many of a hundred clients each one gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split(Vec<(AppVersion, u8)>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    #[error("an alias needs a version")]
    Empty,
    #[error("the version {0} is named twice")]
    Twice(AppVersion),
    #[error("the version {0} has no weight\n\nhint: leave it out, or give it at least 1")]
    Weightless(AppVersion),
    #[error("the weights come to {0}, they must come to {WHOLE}")]
    Sum(u64),
}

impl AliasName {
    pub fn parse(text: &str) -> Result<AliasName, AliasNameError> {
        if !(1..=MAX_ALIAS).contains(&text.len()) {
            return Err(AliasNameError::Length(text.chars().count()));
        }
        if let Some(odd) = text.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '.' | '_')) {
            return Err(AliasNameError::Character(odd));
        }
        // What can be asked for behind the `@` decides: `1`, `v1` and `x` are taken for something else there.
        match VersionSpec::parse(text) {
            _ if !text.starts_with(|c: char| c.is_ascii_lowercase()) => Err(AliasNameError::Start),
            Ok(VersionSpec::Tag(_) | VersionSpec::Default) => Ok(AliasName(text.into())),
            _ => Err(AliasNameError::Version(text.to_owned())),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Split {
    /// All to one version.
    pub fn one(version: AppVersion) -> Split {
        Split(vec![(version, WHOLE)])
    }

    /// Weights are at least 1 and come to 100. Where there is one version, it has everything.
    pub fn new(parts: Vec<(AppVersion, u8)>) -> Result<Split, SplitError> {
        if let Some((version, _)) = parts.iter().find(|(_, weight)| *weight == 0) {
            return Err(SplitError::Weightless(version.clone()));
        }
        match parts.iter().map(|&(_, weight)| u64::from(weight)).sum() {
            0 => return Err(SplitError::Empty),
            sum if sum != u64::from(WHOLE) && parts.len() > 1 => return Err(SplitError::Sum(sum)),
            _ => {}
        }
        for (index, (version, _)) in parts.iter().enumerate() {
            if parts[..index].iter().any(|(other, _)| other.identity() == version.identity()) {
                return Err(SplitError::Twice(version.clone()));
            }
        }
        match <[(AppVersion, u8); 1]>::try_from(parts) {
            Ok([(version, _)]) => Ok(Split::one(version)),
            Err(parts) => Ok(Split(parts)),
        }
    }

    /// In the order in which they were named; at least one and at most 100.
    pub fn parts(&self) -> &[(AppVersion, u8)] {
        &self.0
    }
}

/// Lets aliases be looked up with a borrowed piece of a path.
impl Borrow<str> for AliasName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for AliasName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for AliasName {
    type Err = AliasNameError;

    fn from_str(text: &str) -> Result<AliasName, AliasNameError> {
        AliasName::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn version(text: &str) -> AppVersion {
        text.parse().unwrap()
    }

    fn split(parts: &[(&str, u8)]) -> Result<Split, SplitError> {
        Split::new(parts.iter().map(|&(text, weight)| (version(text), weight)).collect())
    }

    #[test]
    fn an_alias_is_a_word() {
        for text in
            ["latest", "stable", "beta", "a", "vnext", "pr-12", "release_2.x", "xray", &"a".repeat(64)]
        {
            assert_eq!(AliasName::parse(text).map(|name| name.to_string()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_could_be_a_version_or_a_range_is_no_alias() {
        for text in ["v1", "v1.2.3", "x", "x.1", "vx", "vv1"] {
            assert_eq!(AliasName::parse(text), Err(AliasNameError::Version(text.into())), "{text}");
        }
        for text in ["1", "1.2.3", "1.x", "-a", ".a", "_a"] {
            assert_eq!(AliasName::parse(text), Err(AliasNameError::Start), "{text}");
        }
        for (text, odd) in [("Beta", 'B'), ("^1", '^'), ("a b", ' '), ("a/b", '/'), ("caf\u{e9}", '\u{e9}')] {
            assert_eq!(AliasName::parse(text), Err(AliasNameError::Character(odd)), "{text}");
        }
        assert_eq!(AliasName::parse(""), Err(AliasNameError::Length(0)));
        assert_eq!(AliasName::parse(&"a".repeat(65)), Err(AliasNameError::Length(65)));
    }

    #[test]
    fn weights_come_to_a_hundred() {
        assert_eq!(split(&[("1.0.0", 95), ("2.0.0", 5)]).unwrap().parts().len(), 2);
        assert_eq!(split(&[("1.0.0", 95), ("2.0.0", 6)]), Err(SplitError::Sum(101)));
        assert_eq!(split(&[("1.0.0", 200), ("2.0.0", 156)]), Err(SplitError::Sum(356)));
        assert_eq!(split(&[("1.0.0", 100), ("2.0.0", 0)]), Err(SplitError::Weightless(version("2.0.0"))));
        assert_eq!(split(&[]), Err(SplitError::Empty));
    }

    #[test]
    fn one_version_has_everything_whatever_its_weight() {
        assert_eq!(split(&[("1.0.0", 5)]), Ok(Split::one(version("1.0.0"))));
        assert_eq!(split(&[("latest", 100)]), Ok(Split::one(AppVersion::Latest)));
    }

    #[test]
    fn a_version_stands_in_a_split_once() {
        let twice = split(&[("1.0.0+a", 50), ("1.0.0+b", 50)]);
        assert_eq!(twice, Err(SplitError::Twice(version("1.0.0+b"))), "build metadata makes no difference");
    }

    proptest! {
        #[test]
        fn every_alias_can_be_asked_for(text in "[a-z0-9._-]{0,10}|\\PC{0,10}") {
            if let Ok(name) = AliasName::parse(&text) {
                let spec = VersionSpec::parse(name.as_str());
                prop_assert!(matches!(spec, Ok(VersionSpec::Tag(_) | VersionSpec::Default)));
            }
        }
    }
}
