//! The lines around the place that an error speaks of.

use crate::apps::Disk;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Lines shown before and after.
const AROUND: usize = 4;
/// Longest file that is looked at, in bytes.
const MAX_FILE: usize = 1 << 20;
/// Longest line shown, in bytes.
const MAX_LINE: usize = 300;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Excerpt {
    /// Within the app.
    pub file: String,
    pub line: usize,
    pub column: usize,
    /// The number of the first of the lines.
    pub first: usize,
    pub lines: Vec<String>,
}

impl Excerpt {
    /// Of the first place in these texts (stack traces, messages of compilers) that is in a file in `dir`, and outside of its
    /// `node_modules`. Reads that file.
    ///
    /// An app says what it likes in an error, and what is read here is shown to whoever looks: so a path or a link that leads out
    /// of `dir` is not followed, and what is no regular file is not opened.
    pub fn find(dir: &Path, texts: &[&str]) -> Option<Excerpt> {
        let disk = Disk::default();
        let top = disk.canonical(dir).ok()?;
        texts.iter().flat_map(|text| text.lines()).find_map(|line| {
            let (file, line, column) = place(line)?;
            let inside = file.strip_prefix(dir).or_else(|_| file.strip_prefix(&top)).ok()?;
            if inside.components().any(|part| part.as_os_str() == "node_modules") {
                return None;
            }
            let name = inside.to_str()?;
            let mut bytes = disk.read_inside(&top, name, MAX_FILE).ok()?;
            bytes.truncate(MAX_FILE);
            Excerpt::of(&String::from_utf8_lossy(&bytes), name, line, column)
        })
    }

    /// None = there is no such line.
    fn of(text: &str, name: &str, line: usize, column: usize) -> Option<Excerpt> {
        let first = line.saturating_sub(AROUND).max(1);
        let lines = text.lines().skip(first - 1).take(line.saturating_add(AROUND + 1) - first);
        let lines: Vec<_> = lines.map(|line| line[..line.floor_char_boundary(MAX_LINE)].to_owned()).collect();
        let is_there = line - first < lines.len();
        is_there.then(|| Excerpt { file: name.to_owned(), line, column, first, lines })
    }

    /// As on a terminal: the lines with their numbers, and a mark under the place.
    pub fn text(&self) -> String {
        let width = (self.first + self.lines.len()).to_string().len();
        let mut text = String::new();
        for (number, line) in (self.first..).zip(&self.lines) {
            let sign = if number == self.line { '>' } else { ' ' };
            text.push_str(format!("{sign} {number:width$} | {line}\n").trim_end());
            text.push('\n');
            if number == self.line {
                // A tab is as wide above as below.
                let before = line.chars().take(self.column.saturating_sub(1));
                let blank: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                text.push_str(&format!("  {:width$} | {blank}^\n", ""));
            }
        }
        text
    }
}

/// `… /srv/app/index.ts:12:5 …`, the column being optional.
fn place(text: &str) -> Option<(PathBuf, usize, usize)> {
    let begin = text.find('/')?;
    let text = text[begin..].trim_end().trim_end_matches(')');
    let (rest, last) = text.rsplit_once(':')?;
    let last: usize = last.parse().ok()?;
    match rest.rsplit_once(':').map(|(file, line)| (file, line.parse::<usize>())) {
        Some((file, Ok(line))) => Some((file.into(), line.max(1), last.max(1))),
        _ => Some((rest.into(), last.max(1), 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_in_what_bun_and_yaml_say() {
        let found = |text| place(text).map(|(file, line, column)| (file.display().to_string(), line, column));
        for (text, file, line, column) in [
            ("    at /srv/app/index.ts:4:1", "/srv/app/index.ts", 4, 1),
            ("    at fetch (/srv/app/a b.ts:12:5)", "/srv/app/a b.ts", 12, 5),
            ("/srv/app/manifest.yaml:3", "/srv/app/manifest.yaml", 3, 1),
        ] {
            assert_eq!(found(text), Some((file.to_owned(), line, column)), "{text}");
        }
        for text in ["", "no place", "at /srv/app/index.ts", "12 | a / b", "at native:1:2"] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_place_in_the_app_is_shown_with_the_lines_around_it() {
        let dir = tempfile::tempdir().unwrap();
        let text: String = (1..=20).map(|n| format!("\tline {n}\n")).collect();
        std::fs::write(dir.path().join("a.ts"), text).unwrap();
        std::fs::create_dir(dir.path().join("node_modules")).unwrap();
        std::fs::write(dir.path().join("node_modules/x.js"), "x").unwrap();
        let at = |place: &str| format!("Error: x\n    at x ({}/{place})", dir.path().display());
        let stack = format!("{}\n{}\n{}", at("node_modules/x.js:1:1"), at("../a.ts:1:1"), at("a.ts:10:7"));
        let excerpt = Excerpt::find(dir.path(), &["nothing", &stack]).unwrap();
        assert_eq!((&*excerpt.file, excerpt.line, excerpt.first, excerpt.lines.len()), ("a.ts", 10, 6, 9));
        let text = excerpt.text();
        assert!(
            text.contains(">  10 | \tline 10\n     | \t     ^\n")
                || text.contains("> 10 | \tline 10\n     | \t     ^\n"),
            "{text}"
        );
        assert_eq!(Excerpt::find(dir.path(), &[&at("a.ts:21:1"), &at("gone.ts:1:1")]), None);
        let first = Excerpt::find(dir.path(), &[&at("a.ts:1:1")]).unwrap();
        assert_eq!((first.first, first.lines.len()), (1, 5));
    }

    /// `std::fs::File::open` of whatever a stack named: what lies beside the app was shown, and a pipe held the thread for ever.
    #[test]
    fn a_place_that_is_not_in_the_app_or_no_file_is_not_read() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("app");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(temp.path().join("secret"), "not for you").unwrap();
        std::fs::write(dir.join("own.ts"), "own").unwrap();
        std::os::unix::fs::symlink("../secret", dir.join("out.ts")).unwrap();
        std::os::unix::fs::symlink("own.ts", dir.join("in.ts")).unwrap();
        nix::unistd::mkfifo(&dir.join("pipe.ts"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::os::unix::fs::symlink(&dir, temp.path().join("current")).unwrap();
        let find = |dir: &Path, place: &str| Excerpt::find(dir, &[&format!("at {}/{place}", dir.display())]);
        for place in ["../secret:1:1", "../app/../secret:1:1", "out.ts:1:1", "pipe.ts:1:1"] {
            assert_eq!(find(&dir, place), None, "{place}");
        }
        assert_eq!(find(&dir, &format!("own.ts:{}:1", usize::MAX)), None);
        for dir in [&dir, &temp.path().join("current")] {
            assert!(find(dir, "own.ts:1:1").is_some() && find(dir, "in.ts:1:1").is_some());
        }
    }
}
