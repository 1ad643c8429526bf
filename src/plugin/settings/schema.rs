//! The schema of a plugin's settings: its manifest's `config`.

use super::resolve::read_default;
use super::{may_be_used, quantity};
use crate::manifest::{Reader, VARIABLE_HINT, is_variable, set, shorten};
use serde_json::Value as Json;
use serde_yaml::{Mapping, Value};

pub(super) const TYPES: [&str; 9] =
    ["string", "number", "boolean", "enum", "array", "object", "secret", "duration", "size"];
/// Keys that every type has.
const COMMON: [&str; 6] = ["type", "label", "description", "default", "env", "required"];
const OWN: [&str; 6] = ["min", "max", "options", "items", "properties", "values"];

/// The settings of a plugin, in the order of its manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schema(Vec<Field>);

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Empty for what is inside a list or a free map.
    pub name: String,
    pub kind: Kind,
    pub label: Option<String>,
    pub description: Option<String>,
    /// Valid, in the form that settings have.
    pub default: Option<Json>,
    /// The variable that overrides the file.
    pub env: Option<String>,
    pub required: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Its length in characters.
    String(Limits<u64>),
    /// Likewise. Never shown.
    Secret(Limits<u64>),
    Number(Limits<f64>),
    Boolean,
    Enum(Vec<String>),
    /// What its items are (none = anything), and how many.
    Array(Option<Box<Field>>, Limits<u64>),
    Object(Shape),
    /// Milliseconds.
    Duration(Limits<u64>),
    /// Bytes.
    Size(Limits<u64>),
}

/// Both inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits<T> {
    pub min: Option<T>,
    pub max: Option<T>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Any keys with any values.
    Open,
    /// These keys and no others.
    Properties(Vec<Field>),
    /// Any keys, with values of one kind.
    Values(Box<Field>),
}

/// Whether a variable can name a setting: not inside lists and free maps, where one name would mean many settings.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    Named,
    Inside,
}

impl Kind {
    pub fn as_str(&self) -> &'static str {
        match self {
            Kind::String(_) => "string",
            Kind::Secret(_) => "secret",
            Kind::Number(_) => "number",
            Kind::Boolean => "boolean",
            Kind::Enum(_) => "enum",
            Kind::Array(..) => "array",
            Kind::Object(_) => "object",
            Kind::Duration(_) => "duration",
            Kind::Size(_) => "size",
        }
    }

    /// Neither a list nor an object.
    pub fn is_plain(&self) -> bool {
        !matches!(self, Kind::Array(..) | Kind::Object(_))
    }
}

impl Schema {
    pub fn get(&self, name: &str) -> Option<&Field> {
        self.0.iter().find(|field| field.name == name)
    }

    pub fn fields(&self) -> &[Field] {
        &self.0
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|field| field.name.as_str())
    }

    /// `taken` says which names mean something else in a manifest.
    pub(in crate::plugin) fn read(
        reader: &mut Reader,
        value: &Value,
        taken: impl Fn(&str) -> bool,
    ) -> Option<Schema> {
        let map = reader.map(value)?;
        for (key, _) in map {
            reader.field(key, |reader, key| {
                if taken(key) {
                    let hint = "give the setting another name".into();
                    reader.unknown(format!("`{key}` means something else in a manifest"), Some(hint));
                }
            });
        }
        Some(Schema(fields(reader, map, Place::Named)))
    }
}

/// Those that could be read.
fn fields(reader: &mut Reader, map: &Mapping, place: Place) -> Vec<Field> {
    let read = |(key, value)| {
        reader
            .field(key, |reader, key| {
                let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
                if !key.starts_with(|c: char| c.is_ascii_alphabetic()) || !key.chars().all(name) {
                    let hint = "letters, digits, `-` and `_`, beginning with a letter".into();
                    reader.unknown(format!("`{}` is no name of a setting", shorten(key)), Some(hint));
                }
                field(reader, key, value, place)
            })
            .flatten()
    };
    map.iter().filter_map(read).collect()
}

fn field(reader: &mut Reader, name: &str, value: &Value, place: Place) -> Option<Field> {
    let map = reader.map(value)?;
    let Some(stated) = map.get("type") else {
        reader.wrong_hint("a setting needs a `type`".into(), &format!("one of {}", TYPES.join(", ")));
        return None;
    };
    let kind = reader.field(&"type".into(), |reader, _| {
        let text = reader.text(stated)?;
        let known = TYPES.contains(&text);
        if !known {
            let hint = format!("the types are {}", TYPES.join(", "));
            reader.wrong_hint(format!("`{}` is no type", shorten(text)), &hint);
        }
        known.then_some(text)
    });
    let kind_name = kind.flatten()?;
    let before = reader.findings.len();
    let kind = kind_of(reader, kind_name, map, place);
    let mut field = Field {
        name: name.into(),
        kind,
        label: None,
        description: None,
        default: None,
        env: None,
        required: false,
    };
    let mut default = None;
    for (key, value) in map {
        reader.field(key, |reader, key| match key {
            "label" => set(&mut field.label, reader.text(value).map(|text| Some(text.into()))),
            "description" => set(&mut field.description, reader.text(value).map(|text| Some(text.into()))),
            "required" => set(&mut field.required, reader.boolean(value)),
            "env" => set(&mut field.env, variable(reader, value, place).map(Some)),
            "default" => default = Some(value),
            known if COMMON.contains(&known) || own_keys(kind_name).contains(&known) => {}
            other if OWN.contains(&other) => {
                reader.unknown(format!("`{other}` means nothing for the type `{kind_name}`"), None);
            }
            unknown => {
                let known: Vec<_> = COMMON.iter().chain(own_keys(kind_name)).copied().collect();
                reader.unknown_key(unknown, &known);
            }
        });
    }
    // A default is judged by a schema that is right.
    if let (Some(default), true) = (default, reader.findings.len() == before) {
        reader.field(&"default".into(), |reader, _| {
            field.default = read_default(reader, &field, default);
        });
    }
    Some(field)
}

fn own_keys(kind: &str) -> &'static [&'static str] {
    match kind {
        "boolean" => &[],
        "enum" => &["options"],
        "array" => &["items", "min", "max"],
        "object" => &["properties", "values"],
        _ => &["min", "max"],
    }
}

fn kind_of(reader: &mut Reader, kind: &str, map: &Mapping, place: Place) -> Kind {
    let length = |reader: &mut Reader, value: &Value| reader.count(value, 0, u64::MAX);
    match kind {
        "string" => Kind::String(limits(reader, map, length)),
        "secret" => Kind::Secret(limits(reader, map, length)),
        "number" => Kind::Number(limits(reader, map, |reader, value| {
            let number = value.as_f64().filter(|number| number.is_finite());
            if number.is_none() {
                reader.expected("a number", value);
            }
            number
        })),
        "duration" => Kind::Duration(limits(reader, map, |reader, value| {
            quantity::duration(value).map_err(|error| reader.wrong(error)).ok()
        })),
        "size" => Kind::Size(limits(reader, map, |reader, value| {
            quantity::size(value).map_err(|error| reader.wrong(error)).ok()
        })),
        "enum" => Kind::Enum(options(reader, map)),
        "array" => Kind::Array(inside(reader, map, "items").map(Box::new), limits(reader, map, length)),
        "object" => Kind::Object(shape(reader, map, place)),
        // `field` lets no others through.
        _ => Kind::Boolean,
    }
}

fn limits<T: Copy + PartialOrd>(
    reader: &mut Reader,
    map: &Mapping,
    mut read: impl FnMut(&mut Reader, &Value) -> Option<T>,
) -> Limits<T> {
    let mut limit = |key: &str| {
        let value = map.get(key)?;
        reader.field(&key.into(), |reader, _| read(reader, value)).flatten()
    };
    let (min, max) = (limit("min"), limit("max"));
    if let (Some(least), Some(most)) = (min, max)
        && least > most
    {
        reader.field(&"min".into(), |reader, _| reader.wrong("`min` is more than `max`".into()));
    }
    Limits { min, max }
}

fn options(reader: &mut Reader, map: &Mapping) -> Vec<String> {
    let Some(value) = map.get("options") else {
        reader.wrong("an enum needs `options`".into());
        return Vec::new();
    };
    let read = reader.field(&"options".into(), |reader, _| {
        let options = reader.list(value, |reader, value| reader.text(value).map(str::to_owned))?;
        if options.is_empty() {
            reader.wrong("an enum needs at least one option".into());
        }
        Some(options)
    });
    read.flatten().unwrap_or_default()
}

/// The schema of what is inside a list or a free map.
fn inside(reader: &mut Reader, map: &Mapping, key: &str) -> Option<Field> {
    let value = map.get(key)?;
    reader.field(&key.into(), |reader, _| field(reader, "", value, Place::Inside)).flatten()
}

fn shape(reader: &mut Reader, map: &Mapping, place: Place) -> Shape {
    match (map.get("properties"), map.contains_key("values")) {
        (Some(_), true) => {
            reader.wrong("an object has `properties` or `values`, not both".into());
            Shape::Open
        }
        (Some(value), false) => {
            let read = reader.field(&"properties".into(), |reader, _| {
                let map = reader.map(value)?;
                Some(fields(reader, map, place))
            });
            read.flatten().map_or(Shape::Open, Shape::Properties)
        }
        (None, true) => {
            inside(reader, map, "values").map_or(Shape::Open, |field| Shape::Values(Box::new(field)))
        }
        (None, false) => Shape::Open,
    }
}

fn variable(reader: &mut Reader, value: &Value, place: Place) -> Option<String> {
    let text = reader.text(value)?;
    if place == Place::Inside {
        reader.wrong("no variable can stand for a value inside a list or a free map".into());
    } else if !is_variable(text) {
        reader.wrong_hint(format!("`{}` is no name of a variable", shorten(text)), VARIABLE_HINT);
    } else if !may_be_used(text) {
        reader.wrong(format!("`{text}` is the runtime's own: no plugin may see it"));
    } else {
        return Some(text.into());
    }
    None
}
