//! Which pair a client gets: by the name that it asks for (SNI, RFC 6066 §3).

use super::pair::Pair;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

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
    /// The first pair is the default. Of several with the same name the earlier has it. Those that have expired by `now` stand behind
    /// all others: they are for names that nothing better is there for.
    pub fn new(pairs: impl IntoIterator<Item = Arc<Pair>>, now: SystemTime) -> Shelf {
        let (expired, valid): (Vec<_>, Vec<_>) = pairs.into_iter().partition(|pair| pair.is_expired(now));
        Shelf::of(valid).before(Shelf::of(expired))
    }

    fn of(pairs: Vec<Arc<Pair>>) -> Shelf {
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

    fn before(mut self, other: Shelf) -> Shelf {
        // A wildcard that is valid goes before the name itself where that has expired, so these come first.
        for (name, pair) in other.exact {
            if self.named(&name).is_none() {
                self.exact.insert(name, pair);
            }
        }
        for (parent, pair) in other.wildcard {
            self.wildcard.entry(parent).or_insert(pair);
        }
        self.default = self.default.or(other.default);
        self
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
        until(2100, names)
    }

    fn until(year: i32, names: &[&str]) -> Arc<Pair> {
        let made = made(names, |params| params.not_after = rcgen::date_time_ymd(year, 1, 1));
        let files = PairFiles { cert: "cert".into(), key: "key".into() };
        let pair = Pair::parse(made.cert.pem().as_bytes(), made.key.serialize_pem().as_bytes(), &files);
        Arc::new(pair.unwrap())
    }

    fn shelf<const N: usize>(pairs: [&Arc<Pair>; N]) -> Shelf {
        Shelf::new(pairs.map(Arc::clone), rcgen::date_time_ymd(2026, 1, 1).into())
    }

    #[test]
    fn an_exact_name_goes_before_a_wildcard_of_one_label_before_the_default() {
        let (default, wide, exact) =
            (pair(&["default.test"]), pair(&["*.example.com"]), pair(&["example.com", "A.example.com"]));
        let shelf = shelf([&default, &wide, &exact]);
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
        let shelf = shelf([&first, &second]);
        assert!(Arc::ptr_eq(shelf.choose(Some("a.test")).unwrap(), &first));
        assert!(Arc::ptr_eq(shelf.choose(Some("b.test")).unwrap(), &second));
    }

    /// certbot leaves `a` where it begins `a-0001`, and a pair in files is left behind where ACME took over.
    #[test]
    fn an_expired_pair_hides_no_valid_one_from_any_name() {
        let (expired, valid) = (until(2025, &["a.test", "old.test"]), pair(&["a.test"]));
        let (old_exact, wide) = (until(2025, &["a.wide.test"]), pair(&["*.wide.test"]));
        let old_wide = until(2025, &["*.wide.test", "*.old.test"]);
        let shelf = shelf([&expired, &old_exact, &old_wide, &valid, &wide]);
        for (name, chosen) in [
            (Some("a.test"), &valid),
            (Some("a.wide.test"), &wide),
            (Some("b.wide.test"), &wide),
            (None, &valid),
            (Some("other.test"), &valid),
            // Nobody is helped by none.
            (Some("old.test"), &expired),
            (Some("b.old.test"), &old_wide),
        ] {
            assert!(Arc::ptr_eq(shelf.choose(name).unwrap(), chosen), "{name:?}");
        }
    }

    #[test]
    fn a_name_that_waits_for_its_pair_gets_no_other() {
        let (default, wide) = (pair(&["default.test"]), pair(&["*.wide.test"]));
        let shelf = shelf([&default, &wide]).awaiting(["a.test", "b.wide.test"]);
        assert!(shelf.choose(Some("A.test")).is_none());
        assert!(Arc::ptr_eq(shelf.choose(Some("b.wide.test")).unwrap(), &wide));
        assert!(Arc::ptr_eq(shelf.choose(Some("other.test")).unwrap(), &default));
        assert!(Arc::ptr_eq(shelf.choose(None).unwrap(), &default));
    }

    #[test]
    fn an_empty_shelf_has_nothing_for_anybody() {
        let shelf = shelf([]);
        assert!(shelf.choose(None).is_none() && shelf.choose(Some("a.test")).is_none());
        assert_eq!(shelf.first_name(), None);
    }

    #[test]
    fn the_first_name_is_none_that_stands_for_many() {
        let c = pair(&["c.test"]);
        assert_eq!(shelf([&pair(&["*.a.test", "b.test"]), &c]).first_name(), Some("b.test"));
        assert_eq!(shelf([&pair(&["*.a.test"]), &c]).first_name(), None);
    }
}
