//! Names of what nobody edits although it lies among the sources: what runs writes it there, or an editor puts it aside.

use std::ffi::OsStr;
use std::sync::Arc;

const WRITTEN: [&str; 18] = [
    "*.db",
    "*.db3",
    "*.db-journal",
    "*.db-shm",
    "*.db-wal",
    "*.sqlite",
    "*.sqlite3",
    "*.sqlite-*",
    "*.sqlite3-*",
    "*.log",
    "*.pid",
    "*.tmp",
    "*.tsbuildinfo",
    "*.swp",
    // Vim tries with it whether a directory can be written.
    "4913",
    "*~",
    "#*#",
    ".#*",
];

/// These, and what somebody has said to be such. Clones share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored(Arc<[String]>);

impl Ignored {
    /// `*` in one of the `patterns` stands for any number of characters.
    pub fn with(patterns: &[String]) -> Ignored {
        Ignored(patterns.into())
    }

    pub(super) fn has(&self, name: &OsStr) -> bool {
        let name = name.as_encoded_bytes();
        let own = self.0.iter().map(String::as_str);
        WRITTEN.into_iter().chain(own).any(|pattern| fits(pattern.as_bytes(), name))
    }
}

fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| fits(rest, &name[skipped..])),
        Some((first, rest)) => name.split_first().is_some_and(|(c, name)| c == first && fits(rest, name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_databases_logs_and_editors_leave_is_ignored_and_what_somebody_says() {
        let ignored = Ignored::with(&["cache*.json".into(), "uploads".into()]);
        let has = |name: &&str| ignored.has(OsStr::new(name));
        for name in [
            "data.db",
            "data.db-wal",
            "a.sqlite3",
            "a.sqlite-shm",
            "server.log",
            "tsconfig.tsbuildinfo",
            "index.ts~",
            "#index.ts#",
            ".#index.ts",
            "4913",
            "cache.json",
            "cache-1.json",
            "uploads",
        ] {
            assert!(has(&name), "{name}");
        }
        for name in
            ["index.ts", "db.ts", "a.sqlite.ts", "log", "catalog", "#index.ts", "cache.json5", "uploads2", ""]
        {
            assert!(!has(&name), "{name}");
        }
    }
}
