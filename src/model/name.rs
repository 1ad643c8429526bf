//! App names: npm's grammar.

use super::AppVersion;
pub use buntime_plugin::name::{MAX_NAME, NameError, check, split_request};
use std::borrow::Borrow;
use std::sync::Arc;

/// An app's name: `shop` or `@team/shop`. Lower case, digits, `-._~`, at most 214 characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AppName(Arc<str>);

impl AppName {
    pub fn parse(text: &str) -> Result<AppName, NameError> {
        check(text)?;
        Ok(AppName(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a package of this version is called, without an ending: `shop-1.2.0`; of `@team/shop` `team-shop-1.2.0`, as npm
    /// does.
    pub fn package_name(&self, version: &AppVersion) -> String {
        format!("{}-{version}", self.0.trim_start_matches('@').replace('/', "-"))
    }

    /// The first segment of the path this app is mounted at: `shop`, or `@team` of `@team/shop`.
    pub fn first_segment(&self) -> &str {
        self.0.split_once('/').map_or(&*self.0, |(scope, _)| scope)
    }
}

impl std::fmt::Display for AppName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for AppName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<AppName, NameError> {
        AppName::parse(text)
    }
}

/// Lets a map keyed by name be asked with a borrowed piece of a path.
impl Borrow<str> for AppName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_called_after_the_app_and_its_version_as_npm_does() {
        let version = AppVersion::parse("1.2.0-rc.1").unwrap();
        let called = |name: &str| AppName::parse(name).unwrap().package_name(&version);
        assert_eq!((&*called("shop"), &*called("@team/shop")), ("shop-1.2.0-rc.1", "team-shop-1.2.0-rc.1"));
    }
    use proptest::prelude::*;

    #[test]
    fn names_that_npm_takes_are_taken() {
        for name in ["shop", "a", "1.2.0", "-", "~x", "a.b_c-d~e", "@team/shop", "@1/2"] {
            assert_eq!(AppName::parse(name).map(|n| n.to_string()).as_deref(), Ok(name));
        }
        assert!(AppName::parse(&"a".repeat(MAX_NAME)).is_ok());
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let long = "a".repeat(MAX_NAME + 1);
        for (name, why) in [
            ("", NameError::Empty),
            (&*long, NameError::TooLong(215)),
            (".hidden", NameError::Start('.')),
            ("_x", NameError::Start('_')),
            ("@team/.x", NameError::Start('.')),
            ("Shop", NameError::Character('S')),
            ("a b", NameError::Character(' ')),
            ("a/b", NameError::Character('/')),
            ("a%62", NameError::Character('%')),
            ("caf\u{e9}", NameError::Character('\u{e9}')),
            ("a\0", NameError::Character('\0')),
            ("@team", NameError::Scope),
            ("@/shop", NameError::Scope),
            ("@team/", NameError::Scope),
            ("@a/b/c", NameError::Character('/')),
            ("node_modules", NameError::Forbidden("node_modules")),
        ] {
            assert_eq!(AppName::parse(name), Err(why), "{name}");
        }
    }

    #[test]
    fn the_first_segment_of_a_scoped_name_is_its_scope() {
        assert_eq!(AppName::parse("@team/shop").unwrap().first_segment(), "@team");
        assert_eq!(AppName::parse("shop").unwrap().first_segment(), "shop");
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_taken_is_safe_in_a_path(text in "\\PC{0,40}|[a-z@/._~-]{0,20}") {
            if let Ok(name) = AppName::parse(&text) {
                prop_assert_eq!(name.as_str(), &text);
                prop_assert!(text.len() <= MAX_NAME);
                prop_assert!(text.split('/').all(|part| !part.is_empty() && part != "." && part != ".."));
                prop_assert!(text.bytes().all(|b| b.is_ascii_graphic() && !b"%?#\\\"<>".contains(&b)));
            }
        }

        #[test]
        fn every_name_of_the_grammar_is_taken(name in "(@[a-z0-9~-][a-z0-9._~-]{0,20}/)?[a-z0-9~-][a-z0-9._~-]{0,20}") {
            prop_assume!(!name.ends_with("node_modules") && !name.ends_with("favicon.ico"));
            prop_assert!(AppName::parse(&name).is_ok());
        }
    }
}
