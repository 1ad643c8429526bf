//! What answers at a host: rules by the prefix of the path.

use crate::path;
use crate::redirect::Redirect;
use std::sync::atomic::{AtomicU32, Ordering};

/// What stands for the labels that a wildcard has matched.
pub const TENANT: &str = "{tenant}";

/// How often an entry that leads nowhere is logged, in seconds.
const QUIET: u32 = 60;

/// All that answers at one host, or at those that one pattern matches.
pub struct Entry {
    /// Ordered by their prefixes, each of which is there once.
    rules: Box<[Rule]>,
    /// How many segments the longest prefix has.
    depth: u16,
    /// When it was last logged that it leads nowhere, in seconds; 0 = never.
    logged: AtomicU32,
}

pub struct Rule {
    /// `/shop`; empty: every path.
    pub prefix: Box<str>,
    pub action: Action,
}

pub enum Action {
    App {
        /// A version request, perhaps with [`TENANT`] in it.
        request: Box<str>,
        is_template: bool,
        /// The prefix is taken off the path.
        strips: bool,
    },
    Redirect(Box<Redirect>),
}

/// A path that leads to one app or another, depending on who reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ambiguous;

impl Entry {
    /// Prefixes are there once each.
    pub fn new(mut rules: Vec<Rule>) -> Entry {
        rules.sort_by(|a, b| a.prefix.cmp(&b.prefix));
        let depth = |rule: &Rule| rule.prefix.bytes().filter(|&byte| byte == b'/').count();
        let depth = rules.iter().map(depth).max().unwrap_or(0);
        Entry {
            rules: rules.into(),
            depth: u16::try_from(depth).unwrap_or(u16::MAX),
            logged: AtomicU32::new(0),
        }
    }

    /// The rule with the longest prefix that the path begins with.
    ///
    /// # Errors
    /// Others would read the path as one that has another rule: it might lead past the rule that is meant for it.
    pub fn choose(&self, path: &str) -> Result<Option<&Rule>, Ambiguous> {
        let chosen = self.find(path);
        // Without prefixes every path has the same rule.
        if self.depth > 0
            && let Some(readings) = path::readings(path)
            && readings.iter().any(|read| self.find(read) != chosen)
        {
            return Err(Ambiguous);
        }
        Ok(chosen.map(|at| &self.rules[at]))
    }

    fn find(&self, path: &str) -> Option<usize> {
        let at = |prefix: &str| self.rules.binary_search_by(|rule| (*rule.prefix).cmp(prefix)).ok();
        let ends = path::segment_ends(path).take(self.depth.into());
        ends.filter_map(|end| at(&path[..end])).last().or_else(|| at(""))
    }

    /// Whether it may be logged again; `now` in seconds.
    pub fn may_log(&self, now: u32) -> bool {
        let (now, last) = (now.max(1), self.logged.load(Ordering::Relaxed));
        let is_due = last == 0 || now.saturating_sub(last) >= QUIET;
        is_due && self.logged.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(prefixes: &[&str]) -> Entry {
        let rule = |prefix: &&str| Rule {
            prefix: (*prefix).into(),
            action: Action::App { request: "app".into(), is_template: false, strips: false },
        };
        Entry::new(prefixes.iter().map(rule).collect())
    }

    fn chosen<'e>(entry: &'e Entry, path: &str) -> Result<Option<&'e str>, Ambiguous> {
        entry.choose(path).map(|rule| rule.map(|rule| &*rule.prefix))
    }

    #[test]
    fn the_longest_prefix_on_a_segment_boundary_is_chosen() {
        let entry = entry(&["/shop", "", "/shop/cart", "/shop-2"]);
        for (path, prefix) in [
            ("/", ""),
            ("/shop", "/shop"),
            ("/shop/", "/shop"),
            ("/shop/x/y/z", "/shop"),
            ("/shop/cart", "/shop/cart"),
            ("/shop/cart/x", "/shop/cart"),
            ("/shop/carts", "/shop"),
            ("/shopping", ""),
            ("/shop-2/cart", "/shop-2"),
            ("/x/shop", ""),
            ("/Shop", ""),
            ("/x%20y", ""),
            ("/shop/x%2fy", "/shop"),
            ("/shop/x/../y", "/shop"),
        ] {
            assert_eq!(chosen(&entry, path), Ok(Some(prefix)), "{path}");
        }
        assert_eq!(chosen(&super::tests::entry(&["/shop"]), "/other"), Ok(None));
    }

    #[test]
    fn a_path_that_others_read_as_that_of_another_rule_is_refused() {
        let entry = entry(&["/public", "/admin", ""]);
        for path in [
            "/public/../private",
            "/public/%2e%2e/private",
            "/public/..%2fprivate",
            "/public/..\\private",
            "/public\\..\\admin",
            "/public/x%2fy/../../z",
            "/public//../z",
            "/x/../admin",
            "/./admin",
            "//admin",
            "/\\admin",
            "/%61dmin",
            "/admin%2fx",
            "/admin/..",
        ] {
            assert_eq!(chosen(&entry, path), Err(Ambiguous), "{path}");
        }
    }

    #[test]
    fn where_there_is_no_prefix_every_path_is_taken_as_it_is() {
        let entry = entry(&[""]);
        for path in ["/a/../../b", "//a", "/%2e%2e/", "/\\"] {
            assert_eq!(chosen(&entry, path), Ok(Some("")), "{path}");
        }
    }

    #[test]
    fn what_leads_nowhere_is_logged_once_a_minute() {
        let entry = entry(&[""]);
        let logged: Vec<_> = (0..180).filter(|&now| entry.may_log(now)).collect();
        assert_eq!(logged, [0, 61, 121]);
    }
}
