//! What `buntime config` prints: each setting, its effective value, and where that came from.

use super::Loaded;
use super::settings::Setting;
use std::fmt;

/// One line of `buntime config`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub name: &'static str,
    pub value: String,
    pub source: Source,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Without the leading dashes.
    Flag(&'static str),
    Variable(&'static str),
    /// Key, file and line.
    File(String),
    /// The reason for this default where it depends on something; else empty.
    Default(String),
}

impl Row {
    pub fn new(setting: &Setting, value: impl fmt::Display, source: Source) -> Row {
        Row { name: setting.key.unwrap_or(setting.flag), value: value.to_string(), source }
    }

    /// A secret that is set: its value is never printed.
    pub fn secret(variable: &'static str) -> Row {
        Row { name: variable, value: "********".into(), source: Source::Variable(variable) }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(flag) => write!(f, "--{flag}"),
            Source::Variable(variable) => f.write_str(variable),
            Source::File(place) => f.write_str(place),
            Source::Default(reason) if reason.is_empty() => f.write_str("default"),
            Source::Default(reason) => write!(f, "default ({reason})"),
        }
    }
}

/// The table.
impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&Row) -> usize| self.rows.iter().map(of).max().unwrap_or(0);
        let (names, values) = (width(|row| row.name.len()), width(|row| row.value.chars().count()));
        for Row { name, value, source } in &self.rows {
            writeln!(f, "{name:names$}  {value:values$}  {source}")?;
        }
        Ok(())
    }
}
