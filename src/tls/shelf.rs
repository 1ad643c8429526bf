//! Which pair a client gets: by the name that it asks for (SNI, RFC 6066 §3).

use super::pair::Pair;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// The pairs by their names. Never changes; another one takes its place.
#[derive(Debug, Default)]
pub struct Shelf {
    exact: HashMap<Box<str>, Arc<Pair>>,
    /// By what stands behind `*.`.
    wildcard: HashMap<Box<str>, Arc<Pair>>,
    /// For whoever asks for no name, or for one that no pair has.
    default: Option<Arc<Pair>>,
    /// Names that are to get a pair. Until then another one's is of no use to them.
    awaited: HashSet<Box<str>>,
}

impl Shelf {
    /// The first pair is the default. Of several with the same name the earlier has it.
    pub fn new(pairs: impl IntoIterator<Item = Arc<Pair>>) -> Shelf {
        let mut shelf = Shelf::default();
        for pair in pairs {
            for name in &pair.facts.names {
                let (names, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut shelf.wildcard, parent),
                    None => (&mut shelf.exact, &**name),
                };
                names.entry(name.into()).or_insert_with(|| Arc::clone(&pair));
            }
            shelf.default.get_or_insert(pair);
        }
        shelf
    }

    /// The same, where these names are to get pairs.
    pub fn awaiting<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Shelf {
        self.awaited = names.into_iter().map(Box::from).collect();
        self
    }

    /// The pair with exactly this name, else the one with a wildcard in the place of its first label, else the default. None = there
    /// is none yet.
    pub fn choose(&self, name: Option<&str>) -> Option<&Arc<Pair>> {
        let Some(name) = name else { return self.default.as_ref() };
        let lower;
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = name.to_ascii_lowercase();
            &lower
        } else {
            name
        };
        self.named(name).or_else(|| self.default.as_ref().filter(|_| !self.awaited.contains(name)))
    }

    fn named(&self, name: &str) -> Option<&Arc<Pair>> {
        let parent = || self.wildcard.get(name.split_once('.').filter(|(label, _)| !label.is_empty())?.1);
        self.exact.get(name).or_else(parent)
    }

    /// The first name of the default pair that is no wildcard.
    pub fn first_name(&self) -> Option<&str> {
        let names = &self.default.as_ref()?.facts.names;
        names.iter().map(|name| &**name).find(|name| !name.starts_with("*."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::pair::PairFiles;
    use crate::tls::testing::made;

    fn pair(names: &[&str]) -> Arc<Pair> {
        let made = made(names, |_| {});
        let files = PairFiles { cert: "cert".into(), key: "key".into() };
        let pair = Pair::parse(made.cert.pem().as_bytes(), made.key.serialize_pem().as_bytes(), &files);
        Arc::new(pair.unwrap())
    }

    #[test]
    fn an_exact_name_goes_before_a_wildcard_of_one_label_before_the_default() {
        let (default, wide, exact) =
            (pair(&["default.test"]), pair(&["*.example.com"]), pair(&["example.com", "A.example.com"]));
        let shelf = Shelf::new([&default, &wide, &exact].map(Arc::clone));
        for (name, chosen) in [
            (None, &default),
            (Some("default.test"), &default),
            (Some("other.test"), &default),
            (Some("a.example.com"), &exact),
            (Some("A.Example.COM"), &exact),
            (Some("b.example.com"), &wide),
            (Some("example.com"), &exact),
            // A wildcard is for one label (RFC 9525 §6.3).
            (Some("b.a.example.com"), &default),
            (Some(".example.com"), &default),
            (Some("com"), &default),
            (Some(""), &default),
            (Some("*.example.com"), &wide),
        ] {
            assert!(Arc::ptr_eq(shelf.choose(name).unwrap(), chosen), "{name:?}");
        }
    }

    #[test]
    fn the_earlier_of_two_pairs_has_a_name_that_both_have() {
        let (first, second) = (pair(&["a.test"]), pair(&["a.test", "b.test"]));
        let shelf = Shelf::new([&first, &second].map(Arc::clone));
        assert!(Arc::ptr_eq(shelf.choose(Some("a.test")).unwrap(), &first));
        assert!(Arc::ptr_eq(shelf.choose(Some("b.test")).unwrap(), &second));
    }

    #[test]
    fn a_name_that_waits_for_its_pair_gets_no_other() {
        let (default, wide) = (pair(&["default.test"]), pair(&["*.wide.test"]));
        let shelf = Shelf::new([&default, &wide].map(Arc::clone));
        let shelf = shelf.awaiting(["a.test", "b.wide.test"]);
        assert!(shelf.choose(Some("A.test")).is_none());
        assert!(Arc::ptr_eq(shelf.choose(Some("b.wide.test")).unwrap(), &wide));
        assert!(Arc::ptr_eq(shelf.choose(Some("other.test")).unwrap(), &default));
        assert!(Arc::ptr_eq(shelf.choose(None).unwrap(), &default));
    }

    #[test]
    fn an_empty_shelf_has_nothing_for_anybody() {
        let shelf = Shelf::new([]);
        assert!(shelf.choose(None).is_none() && shelf.choose(Some("a.test")).is_none());
        assert_eq!(shelf.first_name(), None);
    }

    #[test]
    fn the_first_name_is_none_that_stands_for_many() {
        assert_eq!(
            Shelf::new([pair(&["*.a.test", "b.test"]), pair(&["c.test"])]).first_name(),
            Some("b.test")
        );
        assert_eq!(Shelf::new([pair(&["*.a.test"]), pair(&["c.test"])]).first_name(), None);
    }
}
