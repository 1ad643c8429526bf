//! The values that only a plugin's manifest has.

use super::name::PluginName;
use crate::manifest::{Reader, VARIABLE_HINT, is_variable, set, shorten};
use crate::model::VersionSpec;
use crate::model::version::parse_version;
use semver::{Comparator, Op, Version, VersionReq};
use serde_yaml::Value;
use std::fmt;

/// Longest base, in bytes.
const MAX_BASE: usize = 64;

/// What a worker's environment has already, and what acts on `bun` itself: no plugin may set it.
const TAKEN: [&str; 17] = [
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "TZ",
    "PWD",
    "USER",
    "SHELL",
    "NODE_ENV",
    "APP_DIR",
    "APP_NAME",
    "APP_VERSION",
    "APP_DATA_DIR",
    "ENTRYPOINT",
    "WORKER_ID",
    "NO_COLOR",
    "FORCE_COLOR",
];
const TAKEN_FAMILIES: [&str; 6] = ["RUNTIME_", "BUNTIME_", "BUN_", "NODE_", "LD_", "MALLOC_"];

/// Where a plugin is mounted: `/` or one segment, as in `/metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Base(String);

/// Another plugin that one needs, or uses if it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    pub name: PluginName,
    /// None = any version.
    pub range: Option<VersionReq>,
}

/// An entry of the admin interface's menu.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Menu {
    pub title: String,
    pub icon: Option<String>,
    /// Begins with one `/`.
    pub path: String,
    pub items: Vec<Menu>,
}

impl Base {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path segment, without its `/`; none = the root.
    pub fn segment(&self) -> Option<&str> {
        self.0.strip_prefix('/').filter(|segment| !segment.is_empty())
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Dependency {
    /// `@buntime/plugin-keyval`, `@buntime/plugin-keyval@^1`, `hello@1.2.x`.
    pub fn parse(text: &str) -> Result<Dependency, String> {
        let (name, range) = match text.rsplit_once('@') {
            Some((name, range)) if !name.is_empty() => (name, Some(range)),
            _ => (text, None),
        };
        let name = PluginName::parse(name).map_err(|error| error.to_string())?;
        let range = match range.map(VersionSpec::parse).transpose().map_err(|error| error.to_string())? {
            None | Some(VersionSpec::Default) => None,
            Some(VersionSpec::Range(range)) => Some(range),
            Some(VersionSpec::Exact(version)) => Some(exactly(version)),
            Some(VersionSpec::Tag(tag)) => {
                return Err(format!("`{}` is no range of versions", shorten(&tag)));
            }
        };
        Ok(Dependency { name, range })
    }

    pub fn accepts(&self, version: &Version) -> bool {
        self.range.as_ref().is_none_or(|range| range.matches(version))
    }
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.range {
            Some(range) => write!(f, "{}@{range}", self.name),
            None => self.name.fmt(f),
        }
    }
}

fn exactly(version: Version) -> VersionReq {
    let Version { major, minor, patch, pre, .. } = version;
    let comparator = Comparator { op: Op::Exact, major, minor: Some(minor), patch: Some(patch), pre };
    VersionReq { comparators: vec![comparator] }
}

impl Reader {
    pub fn plugin_name(&mut self, value: &Value) -> Option<PluginName> {
        let text = self.text(value)?;
        PluginName::parse(text).map_err(|error| self.wrong(error.to_string())).ok()
    }

    pub fn semver(&mut self, value: &Value) -> Option<Version> {
        let text = self.version(value)?;
        // It was just read as one.
        parse_version(&text).ok()
    }

    pub fn base(&mut self, value: &Value, reserved: &[String]) -> Option<Base> {
        let text = self.text(value)?;
        let segment = text.strip_prefix('/');
        let fits = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_');
        match segment {
            Some(".well-known") => self.wrong("the path `/.well-known` is reserved".into()),
            Some(segment) if reserved.iter().any(|taken| taken == segment) => {
                self.wrong(format!("the path `/{segment}` is reserved for the management API"));
            }
            Some(segment) if segment.bytes().all(fits) && segment.len() < MAX_BASE => {
                return Some(Base(text.into()));
            }
            _ => self.wrong_hint(
                format!("`{}` is no base", shorten(text)),
                "write `/`, or `/` and one segment of letters, digits, `-` and `_`, as in `/hello`",
            ),
        }
        None
    }

    pub fn dependencies(&mut self, value: &Value) -> Option<Vec<Dependency>> {
        let mut seen: Vec<PluginName> = Vec::new();
        self.list(value, |reader, value| {
            let text = reader.text(value)?;
            match Dependency::parse(text) {
                Ok(dependency) if seen.contains(&dependency.name) => {
                    reader.wrong(format!("`{}` stands here twice", dependency.name));
                    None
                }
                Ok(dependency) => {
                    seen.push(dependency.name.clone());
                    Some(dependency)
                }
                Err(error) => {
                    let hint = "write a name, or a name and a range, as in `@buntime/plugin-keyval@^1`";
                    reader.wrong_hint(format!("`{}`: {error}", shorten(text)), hint);
                    None
                }
            }
        })
    }

    pub fn menus(&mut self, value: &Value) -> Option<Vec<Menu>> {
        self.list(value, Reader::menu)
    }

    fn menu(&mut self, value: &Value) -> Option<Menu> {
        let (mut title, mut icon, mut path, mut items) = (None, None, None, Vec::new());
        let before = self.findings.len();
        let map = self.map(value)?;
        for (key, value) in map {
            self.field(key, |reader, key| match key {
                "title" => title = reader.some_text(value),
                "icon" => icon = reader.some_text(value),
                "path" => path = reader.menu_path(value),
                "items" => set(&mut items, reader.menus(value)),
                unknown => reader.unknown_key(unknown, &["title", "icon", "path", "items"]),
            });
        }
        for key in ["title", "path"] {
            if !map.contains_key(key) {
                self.wrong(format!("an entry of a menu needs a `{key}`"));
            }
        }
        // What is missing here was said there.
        (self.findings.len() == before).then_some(())?;
        Some(Menu { title: title?, icon, path: path?, items })
    }

    fn menu_path(&mut self, value: &Value) -> Option<String> {
        let text = self.text(value)?;
        // What begins with two slashes, or has a backslash, is another host to a browser.
        let leads_out = !text.starts_with('/') || text.starts_with("//") || text.contains('\\');
        if leads_out || text.chars().any(char::is_control) {
            self.wrong_hint(
                format!("`{}` is no path of this server", shorten(text)),
                "begin it with one `/`",
            );
            return None;
        }
        Some(text.into())
    }

    /// A text with something in it.
    pub fn some_text(&mut self, value: &Value) -> Option<String> {
        let text = self.text(value)?;
        if text.trim().is_empty() {
            self.wrong("this text must not be empty".into());
            return None;
        }
        Some(text.into())
    }

    pub fn worker_variable(&mut self, value: &Value) -> Option<String> {
        let text = self.text(value)?;
        if !is_variable(text) {
            self.wrong_hint(format!("`{}` is no name of a variable", shorten(text)), VARIABLE_HINT);
        } else if text.bytes().any(|b| b.is_ascii_lowercase()) {
            let upper = text.to_ascii_uppercase();
            let hint = format!("write `{}`", shorten(&upper));
            self.wrong_hint(format!("`{}`: a variable for workers is in capitals", shorten(text)), &hint);
        } else if TAKEN.contains(&text) || TAKEN_FAMILIES.iter().any(|family| text.starts_with(family)) {
            self.wrong_hint(
                format!("`{}` is not for plugins to set", shorten(text)),
                "name it for the plugin, as in `LOGS_URL`",
            );
        } else {
            return Some(text.into());
        }
        None
    }
}
