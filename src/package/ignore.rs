//! What is left out of a package: hidden directories, secrets of one machine, and what `.buntimeignore` says.

use super::{Code, PackageError};

/// The file with patterns, in the app's directory.
pub(super) const FILE: &str = ".buntimeignore";
/// Files that are left out wherever they are.
const FILES: [&str; 2] = [FILE, ".DS_Store"];

/// The patterns of one directory. Of a subset of gitignore's grammar: `*`, `?`, `**`, `!`, a `/` in front or within
/// for a path from the top, one at the end for directories only. The last that fits decides.
#[derive(Debug, Default)]
pub(super) struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    /// Takes in again what an earlier one left out.
    keep: bool,
    directories_only: bool,
    /// From the top; else at any depth.
    parts: Vec<String>,
}

impl Ignore {
    /// # Errors
    /// A line with something of gitignore's grammar that is not taken here: `[` or a backslash.
    pub fn parse(text: &str) -> Result<Ignore, PackageError> {
        let mut rules = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.contains(['[', '\\']) {
                let message = format!("{FILE}:{}: `[` and backslashes are not taken in a pattern", index + 1);
                return Err(PackageError::new(Code::IgnoreList, message).hint("write it with `*` and `?`"));
            }
            let (keep, line) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest));
            let (directories_only, line) = line.strip_suffix('/').map_or((false, line), |rest| (true, rest));
            let anchored = line.contains('/');
            let parts = line.trim_start_matches('/').split('/').map(str::to_owned);
            let parts =
                if anchored { parts.collect() } else { ["**".into()].into_iter().chain(parts).collect() };
            rules.push(Rule { keep, directories_only, parts });
        }
        Ok(Ignore { rules })
    }

    /// Whether this is left out. `path` is relative to the top; what is above it was not left out.
    pub fn leaves_out(&self, path: &str, is_dir: bool) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let name = parts.last().copied().unwrap_or_default();
        let fits = |rule: &&Rule| (is_dir || !rule.directories_only) && fits_path(&rule.parts, &parts);
        match self.rules.iter().rev().find(fits) {
            Some(rule) => !rule.keep,
            None if is_dir => name.starts_with('.'),
            None => FILES.contains(&name) || is_local(name),
        }
    }

    /// Whether this, or a directory that it is in, is left out.
    pub fn leaves_out_any(&self, path: &str) -> bool {
        let above = path.match_indices('/').map(|(at, _)| &path[..at]);
        above.into_iter().any(|above| self.leaves_out(above, true)) || self.leaves_out(path, false)
    }
}

/// `.env.local` and `.env.production.local`: for the machine they are on.
fn is_local(name: &str) -> bool {
    name.starts_with(".env.") && name.ends_with(".local")
}

fn fits_path(pattern: &[String], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((first, rest)), _) if first == "**" => {
            // Behind `a/**` something must follow: it means what is in `a`.
            (!rest.is_empty() || !path.is_empty())
                && (0..=path.len()).any(|skip| fits_path(rest, &path[skip..]))
        }
        (Some((first, rest)), Some((name, path))) => {
            fits_name(first.as_bytes(), name.as_bytes()) && fits_path(rest, path)
        }
        _ => false,
    }
}

/// `*` is any number of bytes, `?` one character of ASCII. Goes back to the last `*` only, so it takes no longer than
/// the product of both lengths.
fn fits_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    (p, n) = (at + 1, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(patterns: &str, path: &str, is_dir: bool) -> bool {
        Ignore::parse(patterns).unwrap().leaves_out(path, is_dir)
    }

    #[test]
    fn hidden_directories_and_local_secrets_are_left_out_and_env_is_not() {
        for (path, is_dir) in
            [(".git", true), ("a/.cache", true), (".env.local", false), ("a/.DS_Store", false)]
        {
            assert!(out("", path, is_dir), "{path}");
        }
        for (path, is_dir) in
            [("node_modules", true), (".env", false), (".npmrc", false), ("src/a.ts", false)]
        {
            assert!(!out("", path, is_dir), "{path}");
        }
    }

    #[test]
    fn patterns_mean_what_they_mean_in_gitignore() {
        for (pattern, path, is_dir, left_out) in [
            ("node_modules", "node_modules", true, true),
            ("node_modules", "a/node_modules", true, true),
            ("node_modules/", "node_modules", false, false),
            ("/dist", "dist", true, true),
            ("/dist", "a/dist", true, false),
            ("a/b", "a/b", false, true),
            ("a/b", "c/a/b", false, false),
            ("*.log", "a/b.log", false, true),
            ("*.log", "a/b.log.ts", false, false),
            ("a/**/b", "a/b", false, true),
            ("a/**/b", "a/x/y/b", false, true),
            ("a/**", "a", true, false),
            ("a/**", "a/x", false, true),
            ("te?t", "test", false, true),
            ("a*b*c", "axxbyyc", false, true),
            ("a*b*c", "axxbyy", false, false),
            ("*.log\n!keep.log", "keep.log", false, false),
            ("!keep.log\n*.log", "keep.log", false, true),
            ("!.env.local", ".env.local", false, false),
            ("!.well-known", ".well-known", true, false),
            ("# a comment\n\n  x  ", "x", false, true),
        ] {
            assert_eq!(out(pattern, path, is_dir), left_out, "{pattern:?} {path}");
        }
    }

    #[test]
    fn a_pattern_that_is_not_understood_is_an_error_with_its_line() {
        let error = Ignore::parse("a\n[bc]").unwrap_err();
        assert_eq!(error.code, Code::IgnoreList);
        assert!(error.message.starts_with(".buntimeignore:2:"), "{}", error.message);
    }

    #[test]
    fn many_stars_do_not_take_forever() {
        let (pattern, name) = ("*a".repeat(100), "a".repeat(240) + "b");
        assert!(!fits_name(pattern.as_bytes(), name.as_bytes()));
    }
}
