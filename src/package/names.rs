//! Names in archives: which of them may become paths, and how they are shown.

use super::{Code, Limits, PackageError};

/// Longest piece of a name that a message shows, in bytes.
const SHOWN: usize = 200;

/// A path that stays beneath where it starts: names without `.` and `..`. Without any, it is the top itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntryPath {
    pub parts: Vec<String>,
    /// The name ended in `/`, so it can only be a directory's.
    pub slash: bool,
}

impl EntryPath {
    /// Reads the name of an entry. `./` in front is left out, since tar writes it when it packs the directory it
    /// stands in; everything else that does not simply name a file is refused, never mended.
    pub fn parse(name: &[u8], limits: &Limits) -> Result<EntryPath, PackageError> {
        let refuse = |code, why: &str| Err(PackageError::new(code, format!("`{}` {why}", show(name))));
        if name.is_empty() {
            return refuse(Code::PathEmpty, "is an entry without a name");
        }
        if name.len() > limits.path {
            return refuse(Code::PathTooLong, &format!("is longer than {} bytes", limits.path));
        }
        let Ok(text) = std::str::from_utf8(name) else {
            return refuse(Code::PathNotUtf8, "is not UTF-8");
        };
        if text.chars().any(char::is_control) {
            return refuse(Code::PathControl, "has a control character in its name");
        }
        if text.contains('\\') {
            return refuse(Code::PathBackslash, "has a backslash in its name");
        }
        if text.starts_with('/') {
            return refuse(Code::PathAbsolute, "is an absolute path");
        }
        let mut rest = text;
        while let Some(after) = rest.strip_prefix("./") {
            rest = after;
        }
        let slash = text.ends_with('/') || rest == ".";
        let rest = if rest == "." { "" } else { rest.strip_suffix('/').unwrap_or(rest) };
        if matches!(rest.as_bytes(), [drive, b':', ..] if drive.is_ascii_alphabetic()) {
            return refuse(Code::PathDrive, "begins with a drive letter");
        }
        let mut parts = Vec::new();
        for part in rest.split('/').filter(|_| !rest.is_empty()) {
            match part {
                ".." => return refuse(Code::PathTraversal, "climbs out with `..`"),
                "" | "." => return refuse(Code::PathComponent, "has an empty or a `.` component"),
                _ if part.len() > limits.component => {
                    let why = format!("has a component of more than {} bytes", limits.component);
                    return refuse(Code::ComponentTooLong, &why);
                }
                _ => parts.push(part.to_owned()),
            }
        }
        if parts.len() > limits.depth {
            return refuse(Code::TooDeep, &format!("is more than {} directories deep", limits.depth));
        }
        Ok(EntryPath { parts, slash })
    }
}

/// A name for a message: cut where it is long, and with nothing in it that could act on a terminal or a log.
pub(super) fn show(name: &[u8]) -> String {
    let mut shown = String::new();
    for chunk in name[..name.len().min(SHOWN)].utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' | '"' => shown.push(c),
                '`' => shown.push_str("\\`"),
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                    shown.extend(c.escape_unicode());
                }
                _ => shown.extend(c.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            shown.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if name.len() > SHOWN {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(name: &[u8]) -> Option<Code> {
        EntryPath::parse(name, &Limits::default()).err().map(|error| error.code)
    }

    #[test]
    fn a_plain_path_is_taken_as_it_is() {
        let parse = |name: &str| EntryPath::parse(name.as_bytes(), &Limits::default()).unwrap();
        let path = |parts: &[&str], slash| EntryPath {
            parts: parts.iter().map(|part| part.to_string()).collect(),
            slash,
        };
        assert_eq!(parse("a/b.ts"), path(&["a", "b.ts"], false));
        assert_eq!(parse("a/b/"), path(&["a", "b"], true));
        assert_eq!(parse("./a"), path(&["a"], false));
        assert_eq!(parse("./"), path(&[], true));
        assert_eq!(parse("."), path(&[], true));
        assert_eq!(parse("..a/...b/c..").parts, ["..a", "...b", "c.."]);
        assert_eq!(parse("caf\u{e9}/日本 語").parts, ["caf\u{e9}", "日本 語"]);
    }

    #[test]
    fn what_does_not_simply_name_a_file_is_refused() {
        for (name, why) in [
            (&b""[..], Code::PathEmpty),
            (b"/", Code::PathAbsolute),
            (b"/etc/passwd", Code::PathAbsolute),
            (b"//a", Code::PathAbsolute),
            (b"..", Code::PathTraversal),
            (b"../a", Code::PathTraversal),
            (b"a/../b", Code::PathTraversal),
            (b"a/..", Code::PathTraversal),
            (b"./../a", Code::PathTraversal),
            (b"a//b", Code::PathComponent),
            (b".//a", Code::PathComponent),
            (b"a//", Code::PathComponent),
            (b"a/./b", Code::PathComponent),
            (b"a/.", Code::PathComponent),
            (b"C:/a", Code::PathDrive),
            (b"c:a", Code::PathDrive),
            (b"./c:a", Code::PathDrive),
            (b"a\\b", Code::PathBackslash),
            (b"..\\a", Code::PathBackslash),
            (b"a\0b", Code::PathControl),
            (b"a\nb", Code::PathControl),
            (b"a\x1b[2Jb", Code::PathControl),
            ("a\u{85}".as_bytes(), Code::PathControl),
            (b"caf\xe9", Code::PathNotUtf8),
        ] {
            assert_eq!(code(name), Some(why), "{}", show(name));
        }
    }

    #[test]
    fn long_and_deep_paths_are_refused() {
        let limits = Limits::default();
        let long = ["a"; 600].join("/");
        assert_eq!(code(long.as_bytes()), Some(Code::PathTooLong));
        assert_eq!(code("a".repeat(limits.component).as_bytes()), None);
        assert_eq!(code("a".repeat(limits.component + 1).as_bytes()), Some(Code::ComponentTooLong));
        assert_eq!(code(vec!["a"; limits.depth].join("/").as_bytes()), None);
        assert_eq!(code(vec!["a"; limits.depth + 1].join("/").as_bytes()), Some(Code::TooDeep));
    }

    #[test]
    fn a_name_is_shown_without_what_could_act() {
        assert_eq!(show(b"a\x1b[2J\n\xff`"), "a\\u{1b}[2J\\n\\xff\\`");
        assert_eq!(show("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert_eq!(show(&[b'a'; 1000]).chars().count(), SHOWN + 1);
    }
}
