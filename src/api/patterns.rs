//! What texts in requests have to look like, for the OpenAPI document: so that clients can tell before they ask.
//!
//! The parsers in `model` and `access` decide; a test holds these against them. A pattern may be somewhat narrower than
//! its parser where only absurd texts are between the two.

use crate::access::Permission;
use crate::access::key::MAX_KEY_NAME;
use crate::events;
use crate::model::alias::{MAX_ALIAS, WHOLE};
use crate::model::name::MAX_NAME;
use crate::model::version::MAX_VERSION;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, SchemaType, Type};
use utoipa::openapi::{ObjectBuilder, RefOr, Schema};

const APP: &str = "^(@[a-z0-9~-][a-z0-9._~-]*/)?[a-z0-9~-][a-z0-9._~-]*$";
/// Semver 2.0.0, its three numbers below 10^15.
const VERSION: &str = r"^(latest|v?(0|[1-9][0-9]{0,14})\.(0|[1-9][0-9]{0,14})\.(0|[1-9][0-9]{0,14})(-(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?)$";
/// Nothing that could be a version or a range.
const ALIAS: &str = r"^(?!v+[0-9])(?!v*x(\.|$))[a-z][a-z0-9._-]*$";
const ALIAS_OR_NONE: &str = r"^((?!v+[0-9])(?!v*x(\.|$))[a-z][a-z0-9._-]*)?$";
const KEY_ID: &str = "^key_[0-9a-f]{16}$";
const WORKER_ID: &str = "^w(0|[1-9][0-9]{0,18})$";
const EVENT_ID: &str = "^(0|[0-9a-f]{16}-(0|[1-9][0-9]{0,18}))$";
const NAMESPACE: &str = "^@([a-z0-9~-][a-z0-9._~-]*)?$";
const KEY_NAME: &str =
    r"^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f])?$";

/// Says what a parameter has to look like, by what it is called everywhere in the interface.
pub fn state(path: &str, parameter: &mut Parameter) {
    let is_query = parameter.parameter_in == ParameterIn::Query;
    let (pattern, longest) = match &*parameter.name {
        "name" | "app" => (APP.to_owned(), Some(MAX_NAME)),
        "version" => (VERSION.to_owned(), Some(MAX_VERSION)),
        "alias" if is_query => (ALIAS_OR_NONE.to_owned(), Some(MAX_ALIAS)),
        "alias" => (ALIAS.to_owned(), Some(MAX_ALIAS)),
        "id" if path.starts_with("/keys/") => (KEY_ID.to_owned(), None),
        "id" if path.starts_with("/workers/") => (WORKER_ID.to_owned(), None),
        "after" => (EVENT_ID.to_owned(), None),
        "types" => (event_types(), None),
        _ => return,
    };
    if let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema {
        object.pattern = Some(pattern);
        object.max_length = longest;
    }
}

fn event_types() -> String {
    let kinds = events::Kind::ALL.map(events::Kind::as_str).join("|");
    format!("^({kinds})(,({kinds}))*$")
}

/// Or null: of a field that may be left out.
fn optional(kind: Type) -> SchemaType {
    SchemaType::from_iter([kind, Type::Null])
}

pub fn key_name() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(KEY_NAME))
        .min_length(Some(1))
        .max_length(Some(MAX_KEY_NAME))
        .build()
        .into()
}

pub fn role() -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("`custom` comes with `permissions`."))
        .enum_values(Some(["admin", "editor", "viewer", "custom"]))
        .build()
        .into()
}

pub fn permissions() -> Schema {
    let one = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(Permission::ALL.map(Permission::as_str)));
    ArrayBuilder::new().schema_type(optional(Type::Array)).items(one).min_items(Some(1)).build().into()
}

pub fn namespaces() -> Schema {
    let one = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(NAMESPACE))
        .max_length(Some(MAX_NAME - 2));
    ArrayBuilder::new()
        .schema_type(optional(Type::Array))
        .description(Some("`@team`, or `@` for apps without a scope; none = all."))
        .items(one)
        .min_items(Some(1))
        .max_items(Some(crate::access::namespace::MAX_NAMESPACES))
        .build()
        .into()
}

pub fn version() -> Schema {
    ObjectBuilder::new()
        .schema_type(optional(Type::String))
        .pattern(Some(VERSION))
        .max_length(Some(MAX_VERSION))
        .build()
        .into()
}

pub fn alias() -> Schema {
    ObjectBuilder::new()
        .schema_type(optional(Type::String))
        .description(Some("Default: `latest`."))
        .pattern(Some(ALIAS))
        .max_length(Some(MAX_ALIAS))
        .build()
        .into()
}

pub fn weights() -> Schema {
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(VERSION))
        .max_length(Some(MAX_VERSION))
        .build();
    let weight = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(WHOLE));
    ObjectBuilder::new()
        .schema_type(optional(Type::Object))
        .description(Some("Versions and how many of a hundred clients each one gets."))
        .property_names(Some(name))
        .additional_properties(Some(AdditionalProperties::from(weight)))
        .build()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{KeyId, KeyName, Namespace};
    use crate::events::EventId;
    use crate::model::{AliasName, AppName, AppVersion};
    use proptest::string::string_regex;
    use proptest::test_runner::TestRunner;

    /// Whether a text that some pattern describes is taken.
    fn takes(pattern: &str, parse: impl Fn(&str) -> bool, longest: usize) {
        // The generator knows no anchors and no look-ahead; what it then makes, and the pattern does not mean, begins with `v`
        // or `x`.
        let inner = pattern.trim_start_matches('^').trim_end_matches('$');
        let texts = string_regex(&inner.replace(r"(?!v+[0-9])(?!v*x(\.|$))", "")).unwrap();
        TestRunner::deterministic()
            .run(&texts, |text| {
                let meant = pattern != ALIAS || !text.starts_with(['v', 'x']);
                assert!(!meant || text.chars().count() > longest || parse(&text), "{pattern}: {text:?}");
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn what_the_patterns_describe_is_what_the_parsers_take() {
        takes(APP, |text| AppName::parse(text).is_ok(), MAX_NAME);
        takes(VERSION, |text| AppVersion::parse(text).is_ok(), MAX_VERSION);
        takes(ALIAS, |text| AliasName::parse(text).is_ok(), MAX_ALIAS);
        takes(KEY_ID, |text| KeyId::parse(text).is_ok(), usize::MAX);
        takes(KEY_NAME, |text| KeyName::parse(text).is_ok(), MAX_KEY_NAME);
        takes(NAMESPACE, |text| Namespace::parse(text).is_ok(), MAX_NAME - 2);
        takes(EVENT_ID, |text| text == "0" || text.parse::<EventId>().is_ok(), usize::MAX);
    }
}
