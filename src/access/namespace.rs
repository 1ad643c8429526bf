//! Namespaces: an app belongs to the one that its scope names, an app without a scope to `@`.

use crate::model::AppName;
use crate::model::name::{self, MAX_NAME};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// Most namespaces that one grant can name.
pub const MAX_NAMESPACES: usize = 64;

/// `@team`, or `@` for the apps without a scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Arc<str>);

/// The namespaces a grant is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// Also those that no app is in yet.
    All,
    /// Never empty.
    Only(NamespaceSet),
}

/// 1 to [`MAX_NAMESPACES`] namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceSet(BTreeSet<Namespace>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NamespaceError {
    #[error(
        "`{0}` is no namespace\n\nhint: write the scope of app names, as in `@team`, or `@` for apps without a scope"
    )]
    Name(String),
    #[error("no namespace is named\n\nhint: name at least one, or ask for all")]
    None,
    #[error("at most {MAX_NAMESPACES} namespaces can be named, these are {0}")]
    TooMany(usize),
}

impl Namespace {
    pub fn parse(text: &str) -> Result<Namespace, NamespaceError> {
        // What can be the scope of an app's name, is a namespace. The shortest such name needs two bytes more.
        let scope =
            text.len() + 2 <= MAX_NAME && text.starts_with('@') && name::check(&format!("{text}/a")).is_ok();
        match text == "@" || scope {
            true => Ok(Namespace(text.into())),
            false => Err(NamespaceError::Name(text.chars().take(MAX_NAME).collect())),
        }
    }

    pub fn of(app: &AppName) -> Namespace {
        Namespace(scope(app).into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Namespaces {
    /// # Errors
    /// There are none, or too many.
    pub fn only(namespaces: impl IntoIterator<Item = Namespace>) -> Result<Namespaces, NamespaceError> {
        let set: BTreeSet<_> = namespaces.into_iter().collect();
        match set.len() {
            0 => Err(NamespaceError::None),
            1..=MAX_NAMESPACES => Ok(Namespaces::Only(NamespaceSet(set))),
            count => Err(NamespaceError::TooMany(count)),
        }
    }

    pub fn has_app(&self, app: &AppName) -> bool {
        match self {
            Namespaces::All => true,
            Namespaces::Only(set) => set.0.iter().any(|namespace| namespace.as_str() == scope(app)),
        }
    }

    pub fn contains_all(&self, others: &Namespaces) -> bool {
        match (self, others) {
            (Namespaces::All, _) => true,
            (Namespaces::Only(_), Namespaces::All) => false,
            (Namespaces::Only(own), Namespaces::Only(others)) => own.0.is_superset(&others.0),
        }
    }
}

impl NamespaceSet {
    /// In alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.0.iter()
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for Namespace {
    type Err = NamespaceError;

    fn from_str(text: &str) -> Result<Namespace, NamespaceError> {
        Namespace::parse(text)
    }
}

/// `all`, or the names separated by commas.
impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Namespaces::Only(set) = self else { return f.write_str("all") };
        for (index, namespace) in set.iter().enumerate() {
            write!(f, "{}{namespace}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

fn scope(app: &AppName) -> &str {
    match app.first_segment() {
        scope if scope.starts_with('@') => scope,
        _ => "@",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(text: &str) -> AppName {
        text.parse().unwrap()
    }

    fn only(names: &[&str]) -> Namespaces {
        Namespaces::only(names.iter().map(|name| name.parse().unwrap())).unwrap()
    }

    #[test]
    fn an_app_without_a_scope_belongs_to_the_namespace_without_a_name() {
        assert_eq!(Namespace::of(&app("shop")).as_str(), "@");
        assert_eq!(Namespace::of(&app("@team/shop")).as_str(), "@team");
        assert!(only(&["@"]).has_app(&app("shop")) && !only(&["@"]).has_app(&app("@team/shop")));
        assert!(only(&["@team"]).has_app(&app("@team/shop")) && !only(&["@team"]).has_app(&app("team")));
    }

    #[test]
    fn a_namespace_is_not_taken_for_one_whose_name_it_begins() {
        assert!(!only(&["@team"]).has_app(&app("@team-b/shop")));
        assert!(!only(&["@team-b"]).has_app(&app("@team/shop")));
        assert!(!only(&["@team"]).contains_all(&only(&["@team-b"])));
    }

    #[test]
    fn all_holds_more_than_any_list() {
        let list = only(&["@", "@a", "@b"]);
        assert!(Namespaces::All.contains_all(&list) && !list.contains_all(&Namespaces::All));
        assert!(list.contains_all(&only(&["@a"])) && !only(&["@a"]).contains_all(&list));
        assert_eq!(list.to_string(), "@, @a, @b");
        assert_eq!(Namespaces::All.to_string(), "all");
    }

    #[test]
    fn what_no_app_can_have_for_a_scope_is_no_namespace() {
        let long = format!("@{}", "a".repeat(MAX_NAME));
        for text in
            ["", "team", "@Team", "@.x", "@_x", "@a/b", "@a b", "@@", "@a%", "@node_modules", "all", &long]
        {
            assert!(Namespace::parse(text).is_err(), "{text}");
        }
        for text in ["@", "@team", "@1", "@a.b_c-d~e"] {
            assert_eq!(Namespace::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_list_is_neither_empty_nor_endless() {
        assert_eq!(Namespaces::only([]), Err(NamespaceError::None));
        let names = |count| (0..count).map(|n| Namespace::parse(&format!("@n{n}")).unwrap());
        assert!(Namespaces::only(names(MAX_NAMESPACES)).is_ok());
        assert_eq!(
            Namespaces::only(names(MAX_NAMESPACES + 1)),
            Err(NamespaceError::TooMany(MAX_NAMESPACES + 1))
        );
    }
}
