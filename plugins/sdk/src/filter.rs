//! Which requests a hook wants. What no filter matches costs nothing, so filters are to be narrow; but a guard's filter decides
//! what is guarded, so a path matches in every spelling that an app could take for it.

use crate::{AppInfo, Request};
use http::Method;
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// Requests by method, path and app. Each part that is left out says yes to everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    methods: Vec<Method>,
    paths: Vec<Glob>,
    apps: Vec<Glob>,
}

/// A pattern: `*` stands for anything within a segment, `**` for anything, `/**` at the end also for nothing, `/**/` also
/// for one slash. All else is itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: Box<str>,
    /// What every match begins with.
    prefix: usize,
    program: Box<[Step]>,
}

/// A text that is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GlobError {
    #[error("a pattern is not empty")]
    Empty,
    #[error("a pattern has at most {MAX_GLOB} bytes")]
    TooLong,
    #[error("`{0}`: `**` stands alone between slashes")]
    Stars(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Byte(u8),
    /// Any number of bytes that are no slash.
    Within,
    /// Any number of bytes.
    Across,
    /// Goes on here or so many steps further.
    Or(usize),
}

const MAX_GLOB: usize = 1024;
/// For each step of a program, of which there are no more than bytes in its text, and for its end.
const PLACES: usize = MAX_GLOB + 1;

/// Places in a program: as many words as it needs of those on the stack.
struct Places<'w>(&'w mut [u64]);

type Words = [u64; PLACES.div_ceil(64)];

impl Filter {
    /// Says yes to everything.
    pub fn all() -> Filter {
        Filter::default()
    }

    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Filter {
        self.methods.extend(methods);
        self
    }

    /// Patterns of the public path, such as `/admin/**`.
    pub fn paths(mut self, paths: impl IntoIterator<Item = Glob>) -> Filter {
        self.paths.extend(paths);
        self
    }

    /// Names of apps or patterns of them, such as `@team/*`. A request that means no app does not match then.
    pub fn apps(mut self, apps: impl IntoIterator<Item = Glob>) -> Filter {
        self.apps.extend(apps);
        self
    }

    /// Whether it matches a request: by the path that it was sent to, or by the one at which its app is otherwise reached
    /// (`/shop/…`, for `/shop@1/…` and for the root of a host of its own).
    pub fn takes(&self, request: &Request) -> bool {
        let app = request.app().map(|app| &**app);
        let by = |path: &str| self.matches(request.method(), path, app);
        by(request.path()) || request.canonical_path().is_some_and(by)
    }

    /// `path` as it was sent. GET stands for HEAD too.
    pub fn matches(&self, method: &Method, path: &str, app: Option<&AppInfo>) -> bool {
        let as_get = *method == Method::HEAD && self.methods.contains(&Method::GET);
        (self.methods.is_empty() || as_get || self.methods.contains(method))
            && (self.apps.is_empty()
                || app.is_some_and(|app| self.apps.iter().any(|glob| glob.matches(&app.name))))
            && (self.paths.is_empty() || self.has_path(path))
    }

    fn has_path(&self, path: &str) -> bool {
        let any = |path: &str| self.paths.iter().any(|glob| glob.matches(path));
        any(path) || matches!(plain_path(path), Cow::Owned(plain) if any(&plain))
    }
}

/// A path as the most lenient reader takes it: percent-encoding undone, backslashes as slashes, no empty and no dot segments.
/// Borrowed = nobody can take it for another one.
pub fn plain_path(path: &str) -> Cow<'_, str> {
    let bytes = path.as_bytes();
    let odd = |pair: &[u8]| pair[0] == b'/' && matches!(pair[1], b'/' | b'.');
    if !bytes.iter().any(|byte| matches!(byte, b'%' | b'\\')) && !bytes.windows(2).any(odd) {
        return Cow::Borrowed(path);
    }
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy().replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let end = if decoded.ends_with('/') && !segments.is_empty() { "/" } else { "" };
    Cow::Owned(format!("/{}{end}", segments.join("/")))
}

impl Glob {
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn matches(&self, text: &str) -> bool {
        let (bytes, prefix) = (text.as_bytes(), &self.text.as_bytes()[..self.prefix]);
        if !bytes.starts_with(prefix) {
            return false;
        }
        let end = self.program.len();
        if self.prefix == end {
            return bytes.len() == end;
        }
        let (mut one, mut other): (Words, Words) = Default::default();
        let words = end / 64 + 1;
        let (mut now, mut next) = (Places(&mut one[..words]), Places(&mut other[..words]));
        self.reach(&mut now, self.prefix);
        for &byte in &bytes[self.prefix..] {
            // What comes does not matter any more.
            if now.has(end - 1) && self.program[end - 1] == Step::Across {
                return true;
            }
            let mut lives = false;
            for at in now.all().take_while(|&at| at < end) {
                let to = match self.program[at] {
                    Step::Byte(wanted) if wanted == byte => at + 1,
                    Step::Within if byte != b'/' => at,
                    Step::Across => at,
                    _ => continue,
                };
                lives = true;
                self.reach(&mut next, to);
            }
            if !lives {
                return false;
            }
            std::mem::swap(&mut now, &mut next);
            next.0.fill(0);
        }
        now.has(end)
    }

    /// Adds a place in the program, and those that are reached from it without a byte.
    fn reach(&self, set: &mut Places<'_>, at: usize) {
        if !set.add(at) {
            return;
        }
        match self.program.get(at) {
            Some(Step::Within | Step::Across) => self.reach(set, at + 1),
            Some(Step::Or(skipped)) => {
                self.reach(set, at + 1);
                self.reach(set, at + 1 + skipped);
            }
            _ => {}
        }
    }
}

impl Places<'_> {
    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    /// Whether it was not there.
    fn add(&mut self, at: usize) -> bool {
        let is_new = !self.has(at);
        self.0[at / 64] |= 1 << (at % 64);
        is_new
    }

    /// In their order.
    fn all(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(index, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                let bit = (rest != 0).then(|| rest.trailing_zeros() as usize)?;
                rest &= rest - 1;
                Some(index * 64 + bit)
            })
        })
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Glob, GlobError> {
        if text.is_empty() {
            return Err(GlobError::Empty);
        }
        if text.len() > MAX_GLOB {
            return Err(GlobError::TooLong);
        }
        let mut program = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some(first) = rest.bytes().next() {
            let (steps, length): (&[Step], usize) = match rest {
                "/**" => (&[Step::Or(2), Step::Byte(b'/'), Step::Across], 3),
                // Of the two slashes only the second is read here: the first one of what follows may be its own.
                _ if rest.starts_with("/**/") => {
                    (&[Step::Byte(b'/'), Step::Or(2), Step::Across, Step::Byte(b'/')], 4)
                }
                "**" if rest.len() == text.len() => (&[Step::Across], 2),
                _ if rest.starts_with("**/") && rest.len() == text.len() => {
                    (&[Step::Or(2), Step::Across, Step::Byte(b'/')], 3)
                }
                _ if rest.starts_with("**") => return Err(GlobError::Stars(text.to_owned())),
                _ if first == b'*' => (&[Step::Within], 1),
                _ => (&[], 1),
            };
            match steps {
                [] => program.push(Step::Byte(first)),
                steps => program.extend_from_slice(steps),
            }
            rest = rest.get(length..).unwrap_or_else(|| {
                // Inside a character of several bytes: its other bytes are taken one by one.
                program.pop();
                let length = rest.chars().next().map_or(rest.len(), char::len_utf8);
                program.extend(rest.as_bytes()[..length].iter().map(|&byte| Step::Byte(byte)));
                &rest[length..]
            });
        }
        let literal = |step: &&Step| matches!(step, Step::Byte(_));
        // As long as steps are bytes, the program reads the text itself.
        let prefix = program.iter().take_while(literal).count();
        Ok(Glob { text: text.into(), prefix: prefix.min(text.len()), program: program.into() })
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn glob(text: &str) -> Glob {
        text.parse().unwrap()
    }

    #[test]
    fn patterns_match_what_they_say() {
        for (pattern, yes, no) in [
            ("/a", &["/a"][..], &["/", "/a/", "/ab", "/A"][..]),
            ("/a/*", &["/a/", "/a/b", "/a/b.js"], &["/a", "/a/b/c", "/ab"]),
            ("/a/**", &["/a", "/a/", "/a/b", "/a/b/c"], &["/ab", "/b/a"]),
            ("/a/**/z", &["/a/z", "/a/b/z", "/a/b/c/z"], &["/az", "/a/zz", "/a/b"]),
            ("**", &["", "/", "/a/b"], &[]),
            ("/**", &["/", "/a/b"], &[]),
            ("**/z", &["z", "/z", "/a/z"], &["/az", "/z/a"]),
            ("/*.js", &["/a.js", "/.js"], &["/a/b.js", "/a.jsx"]),
            ("@team/*", &["@team/shop"], &["@teams/shop", "shop"]),
            ("/é/*", &["/é/x"], &["/e/x"]),
        ] {
            for path in yes {
                assert!(glob(pattern).matches(path), "{pattern} {path}");
            }
            for path in no {
                assert!(!glob(pattern).matches(path), "{pattern} {path}");
            }
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "/a**", "/a/**b", "***", &"a".repeat(1025)] {
            assert!(text.parse::<Glob>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pattern_full_of_stars_takes_time_in_proportion() {
        let pattern = glob(&format!("{}b", "*a".repeat(400)));
        assert!(!pattern.matches(&"a".repeat(4000)));
    }

    #[test]
    fn the_longest_patterns_match_to_their_end() {
        for (pattern, yes, no) in [
            (format!("*{}", "a".repeat(MAX_GLOB - 1)), "a".repeat(MAX_GLOB), "a".repeat(MAX_GLOB - 2)),
            (format!("{}/**", "a".repeat(MAX_GLOB - 3)), "a".repeat(MAX_GLOB - 3), "a".repeat(MAX_GLOB - 4)),
            (format!("{}*", "/**/a".repeat(204)), "/a".repeat(204), "/a".repeat(203)),
        ] {
            let glob = glob(&pattern);
            assert!(glob.program.len() < PLACES, "{pattern}");
            assert!(glob.matches(&yes) && !glob.matches(&no), "{pattern}");
        }
    }

    #[test]
    fn a_guarded_path_is_guarded_in_every_spelling() {
        let filter = Filter::all().paths([glob("/shop/admin/**")]);
        for path in [
            "/shop/admin",
            "/shop/admin/x",
            "/shop/%61dmin",
            "/shop//admin",
            "//shop/admin",
            "/shop/./admin/",
            "/shop/x/../admin",
            "/shop/x/%2e%2e/admin",
            "/shop%2Fadmin",
            "/shop\\admin",
            "/shop/admin/../admin",
            // Somebody who does not climb takes it for one.
            "/shop/admin/../public",
        ] {
            assert!(filter.matches(&Method::GET, path, None), "{path}");
        }
        for path in ["/shop/administrator", "/shop", "/shop/x/admin"] {
            assert!(!filter.matches(&Method::GET, path, None), "{path}");
        }
    }

    #[test]
    fn a_filter_of_get_sees_head_too() {
        let filter = Filter::all().methods([Method::GET]);
        assert!(filter.matches(&Method::HEAD, "/", None) && !filter.matches(&Method::POST, "/", None));
        assert!(!Filter::all().methods([Method::HEAD]).matches(&Method::GET, "/", None));
    }

    #[test]
    fn each_part_of_a_filter_must_say_yes() {
        let filter = Filter::all().methods([Method::POST]).apps([glob("@team/*")]);
        let app = AppInfo::new("@team/shop", "1.0.0");
        assert!(filter.matches(&Method::POST, "/", Some(&app)));
        assert!(!filter.matches(&Method::GET, "/", Some(&app)));
        assert!(!filter.matches(&Method::POST, "/", Some(&AppInfo::new("shop", "1.0.0"))));
        assert!(!filter.matches(&Method::POST, "/", None), "an app was asked for");
        assert!(Filter::all().matches(&Method::GET, "/", None));
    }
}
