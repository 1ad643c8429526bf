//! A schema as the API shows it.

use super::MASK;
use super::schema::{Field, Kind, Limits, Schema, Shape};
use serde_json::{Map, Value, json};

impl Schema {
    /// An object with an entry for each setting, in the manifest's order: `{type, label, description, default, env, required,
    /// min, max, options, items, properties, values}`, without those that do not apply. Durations are in milliseconds, sizes
    /// in bytes; the default of a secret is not shown.
    pub fn describe(&self) -> Value {
        all(self.fields())
    }
}

fn all(fields: &[Field]) -> Value {
    Value::Object(fields.iter().map(|field| (field.name.clone(), one(field))).collect())
}

fn one(field: &Field) -> Value {
    let mut map = Map::new();
    map.insert("type".into(), field.kind.as_str().into());
    let texts = [("label", &field.label), ("description", &field.description), ("env", &field.env)];
    map.extend(texts.into_iter().filter_map(|(key, text)| Some((key.into(), text.as_deref()?.into()))));
    map.insert("required".into(), field.required.into());
    if let Some(default) = &field.default {
        map.insert("default".into(), without_secrets(field, default));
    }
    match &field.kind {
        Kind::String(limits) | Kind::Secret(limits) | Kind::Duration(limits) | Kind::Size(limits) => {
            bounds(&mut map, limits);
        }
        Kind::Number(limits) => bounds(&mut map, limits),
        Kind::Boolean => {}
        Kind::Enum(options) => drop(map.insert("options".into(), json!(options))),
        Kind::Array(items, limits) => {
            map.extend(items.as_deref().map(|items| ("items".into(), one(items))));
            bounds(&mut map, limits);
        }
        Kind::Object(Shape::Open) => {}
        Kind::Object(Shape::Properties(fields)) => drop(map.insert("properties".into(), all(fields))),
        Kind::Object(Shape::Values(field)) => drop(map.insert("values".into(), one(field))),
    }
    Value::Object(map)
}

fn bounds<T: Copy + Into<Value>>(map: &mut Map<String, Value>, limits: &Limits<T>) {
    let both = [("min", limits.min), ("max", limits.max)];
    map.extend(both.into_iter().filter_map(|(key, limit)| Some((key.into(), limit?.into()))));
}

fn without_secrets(field: &Field, value: &Value) -> Value {
    match (&field.kind, value) {
        (Kind::Secret(_), _) => MASK.into(),
        (Kind::Array(Some(item), _), Value::Array(values)) => {
            values.iter().map(|value| without_secrets(item, value)).collect()
        }
        (Kind::Object(Shape::Values(field)), Value::Object(map)) => {
            let entry = |(key, value): (&String, &Value)| (key.clone(), without_secrets(field, value));
            Value::Object(map.iter().map(entry).collect())
        }
        (Kind::Object(Shape::Properties(fields)), Value::Object(map)) => {
            let entry = |(key, value): (&String, &Value)| {
                let field = fields.iter().find(|field| field.name == *key);
                (key.clone(), field.map_or_else(|| value.clone(), |field| without_secrets(field, value)))
            };
            Value::Object(map.iter().map(entry).collect())
        }
        (_, value) => value.clone(),
    }
}
