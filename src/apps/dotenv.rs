//! An app's `.env` file, read as Bun reads it: quotes, several lines, `export`, comments, `$VAR`.
//!
//! Bun itself is started with `--no-env-file`; the file is read here, so that a spare and a fresh worker see the same.

use std::collections::BTreeMap;

/// Longest file read, in bytes.
pub const MAX_FILE: usize = 256 << 10;
/// Longest value after expansion, in bytes: Linux passes no longer string to a process (`execve(2)`, MAX_ARG_STRLEN).
const MAX_VALUE: usize = (128 << 10) - 256;
/// How deep defaults may stand in defaults; deeper ones stay as they are written.
const MAX_DEPTH: usize = 200;

/// Why a `.env` file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DotenvError {
    #[error(".env has {0} bytes, more than {MAX_FILE}")]
    TooLarge(usize),
    #[error(".env: the value of `{0}` is longer than {MAX_VALUE} bytes")]
    TooLong(String),
    #[error(".env: the value of `{0}` holds a NUL character")]
    Nul(String),
}

/// The variables of a file, laid between two other sets: `below` are defaults that the file wins over, `above` are set
/// for real and win over the file, as the process's own do under Bun. All three can be named with `$`.
pub fn merge(
    file: &[u8],
    below: &BTreeMap<String, String>,
    above: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, DotenvError> {
    if file.len() > MAX_FILE {
        return Err(DotenvError::TooLarge(file.len()));
    }
    let text = String::from_utf8_lossy(file);
    let mut entries = Entries::default();
    Scanner { text: text.strip_prefix('\u{feff}').unwrap_or(&text), at: 0 }.read(&mut entries);

    // In the order of the file; a name stands for the value so far, expanded if its turn was earlier.
    for index in 0..entries.list.len() {
        let lookup = |name: &str| above.get(name).or_else(|| entries.get(name)).or_else(|| below.get(name));
        let (name, value) = &entries.list[index];
        let mut expansion = Expansion { lookup: &lookup, out: String::new() };
        if !expansion.expand(value, 0) {
            return Err(DotenvError::TooLong(name.clone()));
        }
        if expansion.out.contains('\0') {
            return Err(DotenvError::Nul(name.clone()));
        }
        let expanded = expansion.out;
        entries.list[index].1 = expanded;
    }
    let mut merged = below.clone();
    merged.extend(entries.list);
    merged.extend(above.iter().map(|(name, value)| (name.clone(), value.clone())));
    Ok(merged)
}

/// Variables in the order in which the file first names them.
#[derive(Default)]
struct Entries {
    list: Vec<(String, String)>,
    places: BTreeMap<String, usize>,
}

impl Entries {
    fn get(&self, name: &str) -> Option<&String> {
        self.places.get(name).map(|&index| &self.list[index].1)
    }

    fn put(&mut self, name: &str, value: String) {
        match self.places.get(name) {
            Some(&index) => self.list[index].1 = value,
            None => {
                self.places.insert(name.into(), self.list.len());
                self.list.push((name.into(), value));
            }
        }
    }
}

/// Finds keys and raw values.
struct Scanner<'t> {
    text: &'t str,
    /// Always between two characters: only ASCII is stepped over byte by byte.
    at: usize,
}

impl<'t> Scanner<'t> {
    fn read(mut self, entries: &mut Entries) {
        while self.at < self.text.len() {
            self.skip_space();
            let start = self.at;
            match self.key(true) {
                Some(key) => {
                    let value = self.value();
                    entries.put(key, value);
                }
                None => self.at = start,
            }
            // What stands behind a closing quote, a comment, or a line that is no assignment.
            self.at += self.rest().find(['\n', '\r']).unwrap_or(self.rest().len());
        }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start_matches(is_space).len();
    }

    /// Reads up to and including the `=` or the `: `. Spaces, line ends among them, may stand before it.
    fn key(&mut self, may_export: bool) -> Option<&'t str> {
        let rest = self.rest();
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let key = &rest[..rest.find(|c| !part(c)).unwrap_or(rest.len())];
        if key.is_empty() {
            return None;
        }
        self.at += key.len();
        let end = self.at;
        self.skip_space();
        let after_space = self.at;
        if may_export && key == "export" && after_space > end {
            if let Some(key) = self.key(false) {
                return Some(key);
            }
            self.at = after_space;
        }
        let mut next = self.rest().chars();
        let width = match (next.next(), next.next()) {
            (Some('='), _) => 1,
            (Some(':'), Some(space)) if is_space(space) => 2,
            _ => return None,
        };
        self.at += width;
        Some(key)
    }

    fn value(&mut self) -> String {
        let start = self.at;
        self.skip_space();
        if let Some(quote @ ('"' | '\'' | '`')) = self.rest().chars().next()
            && let Some(value) = self.quoted(quote)
        {
            return value;
        }
        self.at = start;
        let rest = self.rest();
        let value = &rest[..rest.find(['#', '\n', '\r']).unwrap_or(rest.len())];
        self.at += value.len();
        value.trim_matches(is_space).to_owned()
    }

    /// A value in quotes, over several lines if need be; none if the quote is never closed. Line ends become `\n`;
    /// only double quotes know escapes, and of these only `\n` and `\r`.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let body = &self.rest()[1..];
        let mut value = String::new();
        let mut chars = body.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => match (quote, chars.next()?.1) {
                    ('"', 'n') => value.push('\n'),
                    ('"', 'r') => value.push('\r'),
                    (_, escaped) => value.extend(['\\', escaped]),
                },
                '\r' => {
                    chars.next_if(|(_, next)| *next == '\n');
                    value.push('\n');
                }
                c if c == quote => {
                    self.at += at + 2;
                    return Some(value);
                }
                c => value.push(c),
            }
        }
        None
    }
}

/// Replaces `$NAME`, `${NAME}` and `${NAME:-default}`; `\$` is a plain dollar sign. What is not well-formed stays.
struct Expansion<'l, F> {
    lookup: &'l F,
    out: String,
}

impl<'v, F: Fn(&str) -> Option<&'v String>> Expansion<'_, F> {
    /// False = it grew too long.
    fn expand(&mut self, mut value: &str, depth: usize) -> bool {
        while let Some(at) = value.find(['$', '\\']) {
            self.out.push_str(&value[..at]);
            value = &value[at..];
            let width = if value.starts_with("\\$") {
                self.out.push('$');
                2
            } else if value.starts_with("${") {
                let Some(close) = closing_brace(value) else { break };
                if !self.braces(&value[..=close], depth) {
                    return false;
                }
                close + 1
            } else {
                let name = value.strip_prefix('$').map_or("", name_at);
                match name {
                    "" => self.out.push_str(&value[..1]),
                    name => self.put(name),
                }
                1 + name.len()
            };
            value = &value[width..];
            if self.out.len() > MAX_VALUE {
                return false;
            }
        }
        self.out.push_str(value);
        self.out.len() <= MAX_VALUE
    }

    /// `whole` is `${…}`.
    fn braces(&mut self, whole: &str, depth: usize) -> bool {
        let inner = &whole[2..whole.len() - 1];
        let name = name_at(inner);
        match (&inner[name.len()..], (self.lookup)(name)) {
            ("", _) => self.put(name),
            (default, value) => match (default.strip_prefix(":-"), value) {
                (Some(_), Some(_)) => self.put(name),
                (Some(default), None) if depth < MAX_DEPTH => return self.expand(default, depth + 1),
                (Some(default), None) => self.out.push_str(default),
                (None, _) => self.out.push_str(whole),
            },
        }
        true
    }

    fn put(&mut self, name: &str) {
        self.out.push_str((self.lookup)(name).map_or("", |value| value));
    }
}

/// Where the `${` that `value` starts with is closed.
fn closing_brace(value: &str) -> Option<usize> {
    let bytes = value.as_bytes();
    let (mut at, mut open) = (0, 0usize);
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 1,
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                open += 1;
                at += 1;
            }
            b'}' if open == 1 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}

fn name_at(text: &str) -> &str {
    &text[..text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len())]
}

/// ASCII white space, vertical tab included.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}')
}

#[cfg(test)]
mod tests;
