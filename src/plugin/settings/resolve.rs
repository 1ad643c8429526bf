//! The values of all settings, from the file, the environment and the defaults, each checked against the schema.

use super::interpolate::{Filled, Unfilled, fill};
use super::schema::{Field, Kind, Limits, Schema, Shape};
use super::{Lookup, Settings, quantity, words};
use crate::manifest::{Problem, Reader, shorten};
use crate::model::quantity::{show_duration, show_size};
use serde_json::{Map, Number, Value as Json};
use serde_yaml::{Mapping, Value};
use std::time::Duration;

/// What is said of a setting that has no value and needs one.
const MISSING: &str = "is required";

/// Whether a setting is missing, rather than wrong.
pub fn is_missing(problem: &Problem) -> bool {
    problem.message.starts_with("the setting `") && problem.message.ends_with(MISSING)
}

impl Schema {
    /// `stated` are the settings that the file has. What is wrong goes to `reader`; then what is returned is incomplete.
    pub(in crate::plugin) fn resolve(
        &self,
        reader: &mut Reader,
        stated: &[(String, &Value)],
        lookup: Lookup<'_>,
    ) -> Settings {
        let mut settings = Settings::default();
        let mut object = Map::new();
        let mut resolver = Resolver { reader, lookup: Some(lookup), settings: &mut settings };
        for field in self.fields() {
            let value = stated.iter().find(|(name, _)| *name == field.name).map(|(_, value)| *value);
            if let Some(value) = resolver.named(field, value, "") {
                object.insert(field.name.clone(), value);
            }
        }
        settings.value = Json::Object(object);
        settings
    }
}

/// Reads the default of a setting, which names no variables.
pub(super) fn read_default(reader: &mut Reader, field: &Field, value: &Value) -> Option<Json> {
    let mut settings = Settings::default();
    Resolver { reader, lookup: None, settings: &mut settings }.known(field, value, "")
}

/// Goes down a value and its schema together. The pointer that goes with a value is its own.
struct Resolver<'r, 's, 'l> {
    reader: &'r mut Reader,
    /// None = texts are taken as they stand.
    lookup: Option<Lookup<'l>>,
    settings: &'s mut Settings,
}

impl Resolver<'_, '_, '_> {
    /// A setting that has a name: the value may be the environment's or the default.
    fn named(&mut self, field: &Field, value: Option<&Value>, parent: &str) -> Option<Json> {
        let pointer = child(parent, &field.name);
        let variable = field.env.as_deref().filter(|_| self.lookup.is_some());
        let set = variable.and_then(|name| Some((name, self.lookup?(name)?)));
        if let Some((name, text)) = set {
            self.settings.overridden.insert(pointer.clone(), name.to_owned());
            // Where the file says nothing, the place of the error is the parent.
            return match value {
                Some(_) => self.at(&field.name, |resolver| resolver.text(field, &text, &[name], &pointer)),
                None => self.text(field, &text, &[name], &pointer),
            };
        }
        match value {
            Some(value) => self.at(&field.name, |resolver| resolver.stated(field, value, &pointer)),
            None => self.missing(field, &pointer),
        }
    }

    fn at<T>(&mut self, name: &str, read: impl FnOnce(&mut Resolver<'_, '_, '_>) -> Option<T>) -> Option<T> {
        let Resolver { reader, lookup, settings } = self;
        let lookup = *lookup;
        reader.field(&name.into(), |reader, _| read(&mut Resolver { reader, lookup, settings })).flatten()
    }

    /// A setting that neither the file nor its own variable has.
    fn missing(&mut self, field: &Field, pointer: &str) -> Option<Json> {
        if let Some(default) = &field.default {
            self.note_secrets(field, default, pointer);
            return Some(default.clone());
        }
        // What is inside may have defaults, or come from the environment.
        if let Kind::Object(Shape::Properties(fields)) = &field.kind {
            let is_set = |field: &Field| self.has_variable(field);
            if field.required || fields.iter().any(is_set) || !fields.iter().any(needs_value) {
                let object = self.properties(fields, &Mapping::new(), pointer)?;
                return (field.required || !object.is_empty()).then_some(Json::Object(object));
            }
            return None;
        }
        if field.required {
            let hint = match &field.env {
                Some(variable) => format!("set it, or the variable `{variable}`"),
                None => "set it".into(),
            };
            self.reader.wrong_hint(format!("the setting `{}` {MISSING}", field.name), &hint);
        }
        None
    }

    /// Whether the environment has a value for it or for something in it.
    fn has_variable(&self, field: &Field) -> bool {
        let set = |name: &String| self.lookup.is_some_and(|lookup| lookup(name).is_some());
        match &field.kind {
            _ if field.env.as_ref().is_some_and(set) => true,
            Kind::Object(Shape::Properties(fields)) => fields.iter().any(|field| self.has_variable(field)),
            _ => false,
        }
    }

    /// A value as it stands in the file.
    fn stated(&mut self, field: &Field, value: &Value, pointer: &str) -> Option<Json> {
        let Value::String(text) = value else { return self.known(field, value, pointer) };
        let filled = self.filled(text)?;
        if filled.variables.is_empty() {
            return self.known(field, &Value::String(filled.text), pointer);
        }
        let variables: Vec<_> = filled.variables.iter().map(String::as_str).collect();
        self.text(field, &filled.text, &variables, pointer)
    }

    fn filled(&mut self, text: &str) -> Option<Filled> {
        let Some(lookup) = self.lookup else {
            return Some(Filled { text: text.to_owned(), variables: Vec::new() });
        };
        match fill(text, lookup) {
            Ok(filled) => return Some(filled),
            Err(Unfilled { message, hint: Some(hint) }) => self.reader.wrong_hint(message, &hint),
            Err(Unfilled { message, hint: None }) => self.reader.wrong(message),
        }
        None
    }

    /// A value of the environment. An error names the variables and does not quote them: they may be secrets.
    fn text(&mut self, field: &Field, text: &str, variables: &[&str], pointer: &str) -> Option<Json> {
        let mut found = Reader::default();
        // What comes out of a variable is not filled in again.
        let mut resolver = Resolver { reader: &mut found, lookup: None, settings: self.settings };
        let read = resolver.words(field, text, pointer);
        let message = match (read, found.findings.into_iter().next()) {
            (Ok(Some(value)), _) => return Some(value),
            (Err(expected), _) => format!("expected {expected}"),
            // Of what is in JSON an error may quote some part.
            (Ok(None), Some(finding)) if finding.path.is_empty() => finding.message,
            (Ok(None), _) => "it does not fit the schema".into(),
        };
        let named = variables.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" and ");
        let name = pointer.rsplit('/').next().unwrap_or(pointer);
        self.reader.wrong_hint(format!("`{name}`: {message}"), &format!("the value comes from {named}"));
        None
    }

    /// Reads a text as what the schema wants. A variable is no YAML: nothing in it can become a key, but in lists and objects,
    /// which are written as JSON. A list of plain values may be written with commas too. `Err` = what is expected;
    /// `Ok(None)` = it is, and something is wrong with it.
    fn words(&mut self, field: &Field, text: &str, pointer: &str) -> Result<Option<Json>, &'static str> {
        let trimmed = text.trim();
        match &field.kind {
            Kind::Array(Some(item), limits) if !trimmed.starts_with('[') && item.kind.is_plain() => {
                let parts = trimmed.split(',').map(str::trim).filter(|part| !part.is_empty());
                let read = |(index, part)| self.words(item, part, &child(pointer, &usize::to_string(&index)));
                let items: Vec<_> = parts.enumerate().map(read).collect::<Result<_, _>>()?;
                let fits =
                    self.within(limits, items.len() as u64, |count| format!("{count} items"), "the list has");
                Ok(fits.and_then(|()| items.into_iter().collect::<Option<Vec<_>>>()).map(Json::Array))
            }
            Kind::Array(..) | Kind::Object(_) => {
                let (fits, expected): (fn(&Json) -> bool, _) = match field.kind {
                    Kind::Array(..) => (Json::is_array, "a list in JSON"),
                    _ => (Json::is_object, "an object in JSON"),
                };
                let value = serde_json::from_str(trimmed).ok().filter(fits).ok_or(expected)?;
                // JSON has no value that YAML has not.
                let value = serde_yaml::to_value(&value).map_err(|_| expected)?;
                Ok(self.known(field, &value, pointer))
            }
            _ => Ok(self.scalar(field, words::read(&field.kind, text)?, pointer)),
        }
    }

    /// A value without variables.
    fn known(&mut self, field: &Field, value: &Value, pointer: &str) -> Option<Json> {
        match &field.kind {
            Kind::String(_) | Kind::Secret(_) | Kind::Enum(_) => {
                let text = match (&field.kind, value) {
                    // Nothing of a secret is quoted.
                    (Kind::Secret(_), Value::Number(_) | Value::Bool(_)) => {
                        self.reader.wrong("expected a text: put it in quotes".into());
                        return None;
                    }
                    _ => self.reader.text(value)?,
                };
                self.scalar(field, Json::String(text.to_owned()), pointer)
            }
            Kind::Number(_) => match as_number(value) {
                Some(number) => self.scalar(field, Json::Number(number), pointer),
                None => {
                    self.unlike("a number", value);
                    None
                }
            },
            Kind::Boolean => self.reader.boolean(value).map(Json::Bool),
            Kind::Duration(_) => {
                let millis = quantity::duration(value).map_err(|error| self.reader.wrong(error)).ok()?;
                self.scalar(field, Json::from(millis), pointer)
            }
            Kind::Size(_) => {
                let bytes = quantity::size(value).map_err(|error| self.reader.wrong(error)).ok()?;
                self.scalar(field, Json::from(bytes), pointer)
            }
            Kind::Array(items, limits) => {
                let Value::Sequence(values) = value else {
                    self.reader.expected("a list", value);
                    return None;
                };
                self.within(limits, values.len() as u64, |count| format!("{count} items"), "the list has")?;
                self.list(items.as_deref(), values, pointer)
            }
            Kind::Object(shape) => {
                let map = self.reader.map(value)?;
                match shape {
                    Shape::Open => self.anything(value),
                    Shape::Properties(fields) => self.properties(fields, map, pointer).map(Json::Object),
                    Shape::Values(field) => self.values(field, map, pointer),
                }
            }
        }
    }

    fn unlike(&mut self, what: &str, value: &Value) {
        match value {
            Value::String(text) => {
                self.reader.wrong_hint(
                    format!("expected {what}, found the text `{}`", shorten(text)),
                    "take it out of its quotes",
                );
            }
            other => self.reader.expected(what, other),
        }
    }

    /// What has the right type, checked against the limits.
    fn scalar(&mut self, field: &Field, value: Json, pointer: &str) -> Option<Json> {
        let characters = |count: u64| format!("{count} characters");
        match (&field.kind, &value) {
            (Kind::String(limits) | Kind::Secret(limits), Json::String(text)) => {
                if text.contains('\0') {
                    self.reader.wrong("a text must not hold a NUL character".into());
                    return None;
                }
                self.within(limits, text.chars().count() as u64, characters, "the text has")?;
                if matches!(field.kind, Kind::Secret(_)) {
                    self.settings.secrets.insert(pointer.to_owned());
                }
            }
            (Kind::Enum(options), Json::String(text)) if !options.contains(text) => {
                let hint = format!("it is one of {}", options.join(", "));
                self.reader.wrong_hint("this is none of the options".into(), &hint);
                return None;
            }
            (Kind::Number(limits), Json::Number(number)) => {
                self.within(limits, number.as_f64()?, |number| number.to_string(), "this is")?;
            }
            (Kind::Duration(limits), Json::Number(number)) => {
                let show = |millis| show_duration(Duration::from_millis(millis));
                self.within(limits, number.as_u64()?, show, "this is")?;
            }
            (Kind::Size(limits), Json::Number(number)) => {
                self.within(limits, number.as_u64()?, show_size, "this is")?;
            }
            _ => {}
        }
        Some(value)
    }

    fn within<T: Copy + PartialOrd>(
        &mut self,
        limits: &Limits<T>,
        found: T,
        show: impl Fn(T) -> String,
        subject: &str,
    ) -> Option<()> {
        let wrong = match (limits.min, limits.max) {
            (Some(least), _) if found < least => format!("at least {}", show(least)),
            (_, Some(most)) if found > most => format!("at most {}", show(most)),
            _ => return Some(()),
        };
        self.reader.wrong(format!("{subject} {}, and {wrong} is allowed", show(found)));
        None
    }

    fn list(&mut self, items: Option<&Field>, values: &[Value], pointer: &str) -> Option<Json> {
        let mut list = Vec::with_capacity(values.len());
        for (index, value) in values.iter().enumerate() {
            let Resolver { reader, lookup, settings } = self;
            let lookup = *lookup;
            let read = reader.item(index, |reader| {
                let mut resolver = Resolver { reader, lookup, settings };
                match items {
                    Some(field) => resolver.stated(field, value, &child(pointer, &index.to_string())),
                    None => resolver.anything(value),
                }
            });
            list.push(read);
        }
        list.into_iter().collect::<Option<Vec<_>>>().map(Json::Array)
    }

    fn properties(&mut self, fields: &[Field], map: &Mapping, pointer: &str) -> Option<Map<String, Json>> {
        let before = self.reader.findings.len();
        for (key, _) in map {
            self.reader.field(key, |reader, key| {
                if !fields.iter().any(|field| field.name == key) {
                    let known: Vec<_> = fields.iter().map(|field| field.name.as_str()).collect();
                    reader.unknown_key(key, &known);
                }
            });
        }
        let mut object = Map::new();
        for field in fields {
            if let Some(value) = self.named(field, map.get(field.name.as_str()), pointer) {
                object.insert(field.name.clone(), value);
            }
        }
        (self.reader.findings.len() == before).then_some(object)
    }

    fn values(&mut self, field: &Field, map: &Mapping, pointer: &str) -> Option<Json> {
        self.entries(map, |resolver, key, value| resolver.stated(field, value, &child(pointer, key)))
    }

    fn entries(
        &mut self,
        map: &Mapping,
        mut read: impl FnMut(&mut Resolver<'_, '_, '_>, &str, &Value) -> Option<Json>,
    ) -> Option<Json> {
        let mut object = Map::new();
        let mut whole = true;
        for (key, value) in map {
            let Resolver { reader, lookup, settings } = self;
            let lookup = *lookup;
            let entry = reader.field(key, |reader, key| {
                Some((key.to_owned(), read(&mut Resolver { reader, lookup, settings }, key, value)?))
            });
            match entry.flatten() {
                Some((key, value)) => drop(object.insert(key, value)),
                None => whole = false,
            }
        }
        whole.then_some(Json::Object(object))
    }

    /// A value of which the schema says nothing. Its texts are filled in, and stay texts.
    fn anything(&mut self, value: &Value) -> Option<Json> {
        match value {
            Value::Null => Some(Json::Null),
            Value::Bool(yes) => Some(Json::Bool(*yes)),
            Value::Number(_) => match as_number(value) {
                Some(number) => Some(Json::Number(number)),
                None => {
                    self.reader.wrong("this number is not finite".into());
                    None
                }
            },
            Value::String(text) => Some(Json::String(self.filled(text)?.text)),
            Value::Sequence(values) => self.list(None, values, ""),
            Value::Mapping(map) => self.entries(map, |resolver, _, value| resolver.anything(value)),
            Value::Tagged(_) => {
                self.reader.expected("a plain value", value);
                None
            }
        }
    }

    /// Of a default, which was checked when the schema was read.
    fn note_secrets(&mut self, field: &Field, value: &Json, pointer: &str) {
        match (&field.kind, value) {
            (Kind::Secret(_), _) => drop(self.settings.secrets.insert(pointer.to_owned())),
            (Kind::Array(Some(item), _), Json::Array(values)) => {
                for (index, value) in values.iter().enumerate() {
                    self.note_secrets(item, value, &child(pointer, &index.to_string()));
                }
            }
            (Kind::Object(Shape::Values(field)), Json::Object(map)) => {
                for (key, value) in map {
                    self.note_secrets(field, value, &child(pointer, key));
                }
            }
            (Kind::Object(Shape::Properties(fields)), Json::Object(map)) => {
                for field in fields {
                    if let Some(value) = map.get(&field.name) {
                        self.note_secrets(field, value, &child(pointer, &field.name));
                    }
                }
            }
            _ => {}
        }
    }
}

/// Whether it must be stated, there being nothing else that it could be.
fn needs_value(field: &Field) -> bool {
    field.required && field.default.is_none()
}

/// RFC 6901.
fn child(pointer: &str, key: &str) -> String {
    format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"))
}

fn as_number(value: &Value) -> Option<Number> {
    let Value::Number(number) = value else { return None };
    let whole = number.as_i64().map(Number::from).or_else(|| number.as_u64().map(Number::from));
    whole.or_else(|| number.as_f64().and_then(Number::from_f64))
}
