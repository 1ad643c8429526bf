//! The lines around the place that an error speaks of.

use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Lines shown before and after.
const AROUND: usize = 4;
/// Longest file that is looked at, in bytes.
const MAX_FILE: u64 = 1 << 20;
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
    /// Of the first place in these texts (stack traces, messages of compilers) that is in a file below `dir`, and outside of
    /// its `node_modules`. Reads that file.
    pub fn find(dir: &Path, texts: &[&str]) -> Option<Excerpt> {
        texts.iter().flat_map(|text| text.lines()).find_map(|line| {
            let (file, line, column) = place(line)?;
            let inside = file.strip_prefix(dir).ok()?;
            if inside.components().any(|part| part.as_os_str() == "node_modules") {
                return None;
            }
            Excerpt::read(&file, inside.display().to_string(), line, column)
        })
    }

    fn read(file: &Path, name: String, line: usize, column: usize) -> Option<Excerpt> {
        let mut text = String::new();
        std::fs::File::open(file).ok()?.take(MAX_FILE).read_to_string(&mut text).ok()?;
        let first = line.saturating_sub(AROUND).max(1);
        let lines = text.lines().skip(first - 1).take(line + AROUND + 1 - first);
        let lines: Vec<_> = lines.map(|line| line[..line.floor_char_boundary(MAX_LINE)].to_owned()).collect();
        (first + lines.len() > line).then_some(Excerpt { file: name, line, column, first, lines })
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
}
