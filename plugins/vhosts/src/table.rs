//! The table of hosts: one map, asked once for a host and at most once for each of its labels.

use crate::pattern::Pattern;
use crate::rule::Entry;
use std::collections::HashMap;
use std::num::NonZeroU32;

/// All hosts, by exact names and by what stands behind wildcards.
#[derive(Default)]
pub struct Table {
    names: HashMap<Box<str>, Node>,
    entries: Vec<Entry>,
    default: Option<Id>,
    /// How many labels the suffixes of wildcards have, at least and at most; no wildcard: `(0, 0)`.
    labels: (usize, usize),
}

/// What a host has in the table.
pub struct Found<'t, 'n> {
    pub entry: &'t Entry,
    /// The labels that a wildcard stands for.
    pub tenant: Option<&'n str>,
}

/// The pattern is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken;

/// What a name is: a host, and the suffix of wildcards.
#[derive(Clone, Copy, Default)]
struct Node {
    exact: Option<Id>,
    one: Option<Id>,
    any: Option<Id>,
}

/// The place of an entry, counted from one.
type Id = NonZeroU32;

impl Table {
    /// # Errors
    /// The pattern is there already.
    pub fn insert(&mut self, pattern: Pattern, entry: Entry) -> Result<(), Taken> {
        // Four billion hosts do not fit the memory.
        let id = u32::try_from(self.entries.len() + 1).ok().and_then(Id::new).ok_or(Taken)?;
        let place = match pattern {
            Pattern::Default => &mut self.default,
            Pattern::Exact(name) => &mut self.names.entry(name).or_default().exact,
            Pattern::One(suffix) => {
                note(&mut self.labels, &suffix);
                &mut self.names.entry(suffix).or_default().one
            }
            Pattern::Any(suffix) => {
                note(&mut self.labels, &suffix);
                &mut self.names.entry(suffix).or_default().any
            }
        };
        if place.is_some() {
            return Err(Taken);
        }
        *place = Some(id);
        self.entries.push(entry);
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Gives back what it has taken beyond its need, once all is in it.
    pub fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.entries.shrink_to_fit();
    }

    /// What a host has: its own entry, that of the wildcard with the most labels (of two, the one for one label), or the default. No name
    /// has but the default.
    pub fn find<'n>(&self, name: Option<&'n str>) -> Option<Found<'_, 'n>> {
        let look = |name: &str| self.names.get(name).copied();
        let found = name.and_then(|name| walk(name, self.labels, look));
        let (id, tenant) = found.or_else(|| self.default.map(|id| (id, None)))?;
        Some(Found { entry: self.entries.get(id.get() as usize - 1)?, tenant })
    }
}

fn note(labels: &mut (usize, usize), suffix: &str) {
    let count = count(suffix);
    *labels = match *labels {
        (_, 0) => (count, count),
        (least, most) => (least.min(count), most.max(count)),
    };
}

fn count(name: &str) -> usize {
    name.bytes().filter(|&byte| byte == b'.').count() + 1
}

fn walk(
    name: &str,
    labels: (usize, usize),
    mut look: impl FnMut(&str) -> Option<Node>,
) -> Option<(Id, Option<&str>)> {
    if let Some(id) = look(name).and_then(|node| node.exact) {
        return Some((id, None));
    }
    let (least, most) = labels;
    let (mut left, mut is_first) = (count(name), true);
    for (dot, _) in name.bytes().enumerate().filter(|&(_, byte)| byte == b'.') {
        left -= 1;
        if left < least {
            break;
        }
        if left <= most
            && let Some(node) = look(&name[dot + 1..])
            && let Some(id) = node.one.filter(|_| is_first).or(node.any)
        {
            return Some((id, Some(&name[..dot])));
        }
        is_first = false;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{Action, Rule};

    fn entry(app: &str) -> Entry {
        let action = Action::App { request: app.into(), is_template: false, strips: false };
        Entry::new(vec![Rule { prefix: "".into(), action }])
    }

    fn table(patterns: &[&str]) -> Table {
        let mut table = Table::default();
        for text in patterns {
            table.insert(Pattern::parse(text).unwrap(), entry(text)).unwrap();
        }
        table
    }

    /// The pattern that a host has, and the labels of its wildcard.
    fn found<'t, 'n>(table: &'t Table, name: &'n str) -> Option<(&'t str, Option<&'n str>)> {
        let found = table.find(Some(name))?;
        match &found.entry.choose("/").unwrap().unwrap().action {
            Action::App { request, .. } => Some((request, found.tenant)),
            Action::Redirect(_) => None,
        }
    }

    #[test]
    fn a_host_goes_before_the_longest_wildcard_before_the_default() {
        let table = table(&[
            "shop.example.com",
            "*.example.com",
            "**.example.com",
            "*.eu.example.com",
            "**.a.b.example.com",
            "*.localhost",
            "default",
        ]);
        for (name, pattern, tenant) in [
            ("shop.example.com", "shop.example.com", None),
            ("x.example.com", "*.example.com", Some("x")),
            ("x.y.example.com", "**.example.com", Some("x.y")),
            ("x.eu.example.com", "*.eu.example.com", Some("x")),
            ("eu.example.com", "*.example.com", Some("eu")),
            ("x.y.eu.example.com", "**.example.com", Some("x.y.eu")),
            ("x.y.a.b.example.com", "**.a.b.example.com", Some("x.y")),
            ("a.b.example.com", "**.example.com", Some("a.b")),
            ("x.shop.example.com", "**.example.com", Some("x.shop")),
            ("example.com", "default", None),
            ("xexample.com", "default", None),
            ("x.localhost", "*.localhost", Some("x")),
            ("x.y.localhost", "default", None),
            ("127.0.0.1", "default", None),
            ("[::1]", "default", None),
        ] {
            assert_eq!(found(&table, name), Some((pattern, tenant)), "{name}");
        }
        assert!(
            table.find(None).is_some_and(|found| found.tenant.is_none()),
            "what is no host has the default"
        );
    }

    #[test]
    fn without_a_default_other_hosts_have_nothing() {
        let table = table(&["shop.example.com", "*.example.com"]);
        assert!(found(&table, "example.com").is_none() && found(&table, "a.b.example.com").is_none());
        assert!(table.find(None).is_none() && Table::default().find(Some("a")).is_none());
    }

    #[test]
    fn a_pattern_is_there_once() {
        let mut table = table(&["a.example", "*.example", "**.example", "default"]);
        for text in ["A.example.", "*.EXAMPLE", "**.example.", "default"] {
            assert_eq!(table.insert(Pattern::parse(text).unwrap(), entry("x")), Err(Taken), "{text}");
        }
        assert_eq!(table.len(), 4);
    }

    #[test]
    fn a_look_up_asks_the_map_once_for_each_label_however_many_hosts_there_are() {
        let lookups = |table: &Table, name: &str| {
            let mut count = 0;
            walk(name, table.labels, |name| {
                count += 1;
                table.names.get(name).copied()
            });
            count
        };
        let names = ["h7.example.com", "x.y.example.com", "other.test", &"a.".repeat(126)];
        let mut costs = Vec::new();
        for hosts in [10, 100_000] {
            let mut table = table(&["*.example.com", "**.b.example.com"]);
            for host in 0..hosts {
                let name = format!("h{host}.example.com").into();
                table.insert(Pattern::Exact(name), entry("app")).unwrap();
            }
            costs.push(names.map(|name| lookups(&table, name)));
        }
        assert_eq!(costs, [[1, 3, 1, 3]; 2]);
    }
}
