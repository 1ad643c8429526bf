use super::*;
use crate::manifest::{ManifestError, Reader};
use proptest::prelude::*;
use serde_json::json;

/// Reads a schema and values of it, both YAML.
fn schema(text: &str) -> Result<Schema, String> {
    let mut reader = Reader::default();
    let read = Schema::read(&mut reader, &serde_yaml::from_str(text).unwrap(), |_| false);
    match reader.findings.is_empty() {
        true => Ok(read.unwrap()),
        false => Err(ManifestError::locate("m", text, reader.findings).to_string()),
    }
}

fn environment(name: &str) -> Option<String> {
    let set = [
        ("HOST", "db.example"),
        ("PORT", "5432"),
        ("YES", "true"),
        ("WAIT", "1500ms"),
        ("BYTES", "2k"),
        ("EMPTY", ""),
        ("PASS", "hunter2"),
        ("LIST", "a, b,c"),
        ("JSON_LIST", "[\"a,b\"]"),
        ("MAP", "{\"a\": 1}"),
        ("BAD_MAP", "{\"b\": \"hunter2\"}"),
        ("YAML", "{a: hunter2}\nb: 1"),
        ("TIMES", "1s,2s"),
        ("RUNTIME_ROOT_KEY", "hunter2"),
    ];
    set.into_iter().find(|(other, _)| *other == name).map(|(_, value)| value.to_owned())
}

fn resolve(text: &str, values: &str) -> Result<Settings, String> {
    let schema = schema(text).unwrap();
    let map: serde_yaml::Mapping = serde_yaml::from_str(values).unwrap();
    let stated: Vec<_> = map.iter().map(|(key, value)| (key.as_str().unwrap().to_owned(), value)).collect();
    let mut reader = Reader::default();
    let settings = schema.resolve(&mut reader, &stated, &environment);
    match reader.findings.is_empty() {
        true => Ok(settings),
        false => Err(ManifestError::locate("m", values, reader.findings).to_string()),
    }
}

#[track_caller]
fn gives(schema: &str, values: &str, expected: Value) {
    assert_eq!(resolve(schema, values).map(|settings| settings.value().clone()), Ok(expected));
}

#[track_caller]
fn refuses(schema: &str, values: &str, expected: &str) {
    let error = resolve(schema, values).expect_err(values);
    assert!(error.contains(expected), "{values}: {error}");
    assert!(!error.contains("hunter2"), "{error}");
}

#[test]
fn every_type_is_read_from_the_file() {
    let all = "
s: {type: string}
n: {type: number}
f: {type: number}
b: {type: boolean}
e: {type: enum, options: [x, y]}
a: {type: array, items: {type: number}}
any: {type: array}
o: {type: object, properties: {k: {type: duration}}}
m: {type: object, values: {type: size}}
open: {type: object}
p: {type: secret}
d: {type: duration}
z: {type: size}
";
    let values = "
s: text
n: 5
f: 1.5
b: true
e: y
a: [1, -2]
any: [1, x, {y: ~}]
o: {k: 2m}
m: {a: 1k, b: 7}
open: {x: [true]}
p: hunter2
d: 500ms
z: 10mb
";
    let expected = json!({
        "s": "text", "n": 5, "f": 1.5, "b": true, "e": "y", "a": [1, -2], "any": [1, "x", {"y": null}],
        "o": {"k": 120_000}, "m": {"a": 1024, "b": 7}, "open": {"x": [true]}, "p": "hunter2", "d": 500, "z": 10 << 20,
    });
    gives(all, values, expected);
}

#[test]
fn what_does_not_fit_is_an_error_with_its_place() {
    for (schema, values, error) in [
        (
            "s: {type: string}",
            "s: 5",
            "m:1:4: expected a text, found a number\n  hint: put it in quotes: \"5\"",
        ),
        (
            "s: {type: string, min: 2}",
            "s: a",
            "m:1:4: the text has 1 characters, and at least 2 characters is allowed",
        ),
        (
            "s: {type: string, max: 2}",
            "s: äöü",
            "the text has 3 characters, and at most 2 characters is allowed",
        ),
        ("p: {type: secret, min: 8}", "p: hunter2", "m:1:4: the text has 7 characters"),
        ("p: {type: secret}", "p: [hunter2]", "m:1:4: expected a text, found a list"),
        ("p: {type: secret}", "p: 5", "expected a text: put it in quotes"),
        (
            "n: {type: number}",
            "n: '5'",
            "m:1:4: expected a number, found the text `5`\n  hint: take it out of its quotes",
        ),
        ("n: {type: number, max: 1.5}", "n: 2", "this is 2, and at most 1.5 is allowed"),
        ("n: {type: number}", "n: .nan", "expected a number"),
        ("b: {type: boolean}", "b: yes", "expected `true` or `false`, found `yes`"),
        (
            "e: {type: enum, options: [x, y]}",
            "e: z",
            "m:1:4: this is none of the options\n  hint: it is one of x, y",
        ),
        ("a: {type: array, items: {type: number}}", "a: [1, x, y]", "m:1:8: expected a number"),
        ("a: {type: array, items: {type: number}}", "a: [1, x, y]", "m:1:11: expected a number"),
        ("a: {type: array, max: 1}", "a: [1, 2]", "the list has 2 items, and at most 1 items is allowed"),
        ("a: {type: array}", "a: 1", "expected a list, found a number"),
        (
            "o: {type: object, properties: {size: {type: size}}}",
            "o: {szie: 1}",
            "m:1:5: unknown key `szie`\n  hint: did you mean `size`?",
        ),
        (
            "o: {type: object, properties: {k: {type: size, required: true}}}",
            "o: {}",
            "m:1:4: the setting `k` is required",
        ),
        ("o: {type: object}", "o: [1]", "expected a map, found a list"),
        ("o: {type: object}", "o: {1: x}", "a key must be a text"),
        ("o: {type: object}", "o: !tag {a: 1}", "expected a plain value, found a tagged value"),
        ("d: {type: duration}", "d: '5'", "`5` has no unit"),
        ("d: {type: duration}", "d: 0.0001", "a whole number of milliseconds"),
        ("d: {type: duration, min: 1s}", "d: 10ms", "this is 10ms, and at least 1s is allowed"),
        ("z: {type: size, max: 1mb}", "z: 2mb", "this is 2mb, and at most 1mb is allowed"),
        ("s: {type: string, required: true}", "{}", "m:1:1: the setting `s` is required\n  hint: set it"),
        ("s: {type: string, required: true, env: NONE}", "{}", "hint: set it, or the variable `NONE`"),
        ("s: {type: string}", "s:", "expected a text, found nothing"),
    ] {
        refuses(schema, values, error);
    }
}

#[test]
fn the_variable_comes_before_the_file_and_the_file_before_the_default() {
    let port = "port: {type: number, default: 1, env: PORT}";
    let other = "port: {type: number, default: 1, env: NONE}";
    gives(port, "port: 2", json!({"port": 5432}));
    gives(port, "{}", json!({"port": 5432}));
    gives(other, "port: 2", json!({"port": 2}));
    gives(other, "{}", json!({"port": 1}));
    gives("port: {type: number}", "{}", json!({}));
    let settings =
        resolve("o: {type: object, properties: {p: {type: number, env: PORT}}}", "o: {p: 1}").unwrap();
    assert_eq!(settings.overridden(), &[("/o/p".to_owned(), "PORT".to_owned())].into());
    gives("s: {type: string, default: x, env: EMPTY}", "{}", json!({"s": ""}));
    refuses(
        "n: {type: number, default: 1, env: EMPTY}",
        "n: 1",
        "m:1:4: `n`: expected a number\n  hint: the value comes from `EMPTY`",
    );
}

#[test]
fn variables_in_texts_are_filled_in_and_read_as_the_type_wants() {
    for (schema, values, expected) in [
        ("s: {type: string}", "s: 'http://${HOST}:${PORT}/'", json!("http://db.example:5432/")),
        ("s: {type: string}", "s: ${NONE:-else}", json!("else")),
        ("s: {type: string}", "s: '$${HOST}'", json!("${HOST}")),
        ("s: {type: string}", "s: ${PORT}", json!("5432")),
        ("s: {type: number}", "s: ${PORT}", json!(5432)),
        ("s: {type: number}", "s: ${NONE:-1.5}", json!(1.5)),
        ("s: {type: boolean}", "s: ${YES}", json!(true)),
        ("s: {type: duration}", "s: ${WAIT}", json!(1500)),
        ("s: {type: size}", "s: ${BYTES}", json!(2048)),
        ("s: {type: enum, options: [db.example]}", "s: ${HOST}", json!("db.example")),
        ("s: {type: array, items: {type: string}}", "s: ['${HOST}', x]", json!(["db.example", "x"])),
        ("s: {type: array, items: {type: string}}", "s: ${LIST}", json!(["a", "b", "c"])),
        ("s: {type: array, items: {type: string}}", "s: ${JSON_LIST}", json!(["a,b"])),
        ("s: {type: array, items: {type: duration}}", "s: ${TIMES}", json!([1000, 2000])),
        (
            "s: {type: object}",
            "s: {a: '${HOST}', b: {c: ['${PORT}']}}",
            json!({"a": "db.example", "b": {"c": ["5432"]}}),
        ),
        ("s: {type: object}", "s: ${MAP}", json!({"a": 1})),
        ("s: {type: object, values: {type: number}}", "s: {x: '${PORT}'}", json!({"x": 5432})),
        // Nothing in a variable becomes a key, or a place beside it.
        ("s: {type: string}", "s: ${YAML}", json!("{a: hunter2}\nb: 1")),
    ] {
        gives(schema, values, json!({"s": expected}));
    }
    for (schema, values, error) in [
        (
            "s: {type: string}",
            "s: ${NONE}",
            "m:1:4: the variable `NONE` is not set\n  hint: set it, or write `${NONE:-default}`",
        ),
        ("s: {type: string}", "s: ${RUNTIME_ROOT_KEY}", "`RUNTIME_ROOT_KEY` is the runtime's own"),
        ("s: {type: object}", "s: {a: ['${NONE}']}", "m:1:9: the variable `NONE` is not set"),
        (
            "s: {type: number}",
            "s: ${PASS}",
            "m:1:4: `s`: expected a number\n  hint: the value comes from `PASS`",
        ),
        ("s: {type: enum, options: [x]}", "s: ${PASS}", "`s`: this is none of the options"),
        ("s: {type: secret, min: 20}", "s: ${PASS}", "`s`: the text has 7 characters"),
        ("s: {type: object}", "s: ${YAML}", "`s`: expected an object in JSON"),
        ("s: {type: array}", "s: ${PASS}", "`s`: expected a list in JSON"),
        ("s: {type: object, values: {type: number}}", "s: ${BAD_MAP}", "`s`: it does not fit the schema"),
        ("s: {type: array, items: {type: number}}", "s: ${LIST}", "`s`: expected a number"),
        ("s: {type: array, max: 2, items: {type: string}}", "s: ${LIST}", "`s`: the list has 3 items"),
    ] {
        refuses(schema, values, error);
    }
}

#[test]
fn secrets_are_masked_wherever_they_are() {
    let schema = "
key: {type: secret}
unset: {type: secret}
default: {type: secret, default: hunter2}
list: {type: array, items: {type: secret}}
map: {type: object, values: {type: object, properties: {pass: {type: secret}, user: {type: string}}}}
";
    let values = "key: ${PASS}\nlist: [hunter2]\nmap: {a/b~: {pass: hunter2, user: me}}\n";
    let settings = resolve(schema, values).unwrap();
    let masked = json!({
        "key": MASK, "default": MASK, "list": [MASK], "map": {"a/b~": {"pass": MASK, "user": "me"}},
    });
    assert_eq!(settings.masked(), masked);
    assert_eq!(settings.value()["map"]["a/b~"]["pass"], "hunter2");
    let secrets: Vec<_> = settings.secrets().iter().map(String::as_str).collect();
    assert_eq!(secrets, ["/default", "/key", "/list/0", "/map/a~1b~0/pass"]);
    assert!(!format!("{settings:?}{settings:#?}").contains("hunter2"));
}

#[test]
fn a_map_that_is_not_stated_is_made_of_its_defaults() {
    let defaults =
        "tls: {type: object, properties: {on: {type: boolean, default: false}, ca: {type: string}}}";
    gives(defaults, "{}", json!({"tls": {"on": false}}));
    gives(defaults, "tls: {ca: x}", json!({"tls": {"on": false, "ca": "x"}}));
    let needed = "db: {type: object, properties: {url: {type: string, required: true}, n: {type: number, default: 1}}}";
    gives(needed, "{}", json!({}));
    refuses(needed, "db: {n: 2}", "the setting `url` is required");
    let from_env = "db: {type: object, properties: {url: {type: string, required: true, env: HOST}}}";
    gives(from_env, "{}", json!({"db": {"url": "db.example"}}));
    let required = "db: {type: object, required: true, properties: {url: {type: string, required: true}}}";
    refuses(required, "{}", "the setting `url` is required");
    gives("o: {type: object, default: {d: 1s}, values: {type: duration}}", "{}", json!({"o": {"d": 1000}}));
}

#[test]
fn a_schema_is_checked() {
    for (text, error) in [
        ("a: {}", "m:1:4: a setting needs a `type`\n  hint: one of string"),
        ("a: text", "m:1:4: expected a map"),
        ("a: {type: text}", "m:1:11: `text` is no type\n  hint: the types are string"),
        ("a: {type: string, lable: x}", "m:1:19: unknown key `lable`\n  hint: did you mean `label`?"),
        ("a: {type: boolean, min: 1}", "`min` means nothing for the type `boolean`"),
        ("a: {type: string, options: [x]}", "`options` means nothing for the type `string`"),
        ("a: {type: enum}", "an enum needs `options`"),
        ("a: {type: enum, options: []}", "an enum needs at least one option"),
        ("a: {type: number, min: 2, max: 1}", "`min` is more than `max`"),
        ("a: {type: number, default: x}", "m:1:28: expected a number"),
        ("a: {type: number, max: 1, default: 2}", "this is 2, and at most 1 is allowed"),
        ("a: {type: enum, options: [x], default: y}", "none of the options"),
        ("a: {type: string, env: 'A B'}", "`A B` is no name of a variable"),
        ("a: {type: string, env: RUNTIME_ROOT_KEY}", "the runtime's own"),
        ("a: {type: array, items: {type: string, env: A}}", "no variable can stand for a value inside"),
        (
            "a: {type: object, values: {type: object, properties: {b: {type: string, env: A}}}}",
            "no variable can stand",
        ),
        ("a: {type: object, properties: {}, values: {type: size}}", "`properties` or `values`, not both"),
        ("a: {type: object, properties: {b: {type: x}}}", "m:1:42: `x` is no type"),
        ("'a b': {type: string}", "m:1:1: `a b` is no name of a setting"),
        ("1: {type: string}", "a key must be a text"),
        ("- a", "expected a map, found a list"),
    ] {
        let found = schema(text).expect_err(text);
        assert!(found.contains(error), "{text}: {found}");
    }
    let both = schema("a: {type: x}\nb: {type: y}\n").unwrap_err();
    assert!(both.contains("m:1:11") && both.contains("m:2:11"), "{both}");
}

#[test]
fn a_schema_is_described_for_the_api_without_secrets() {
    let text = "
wait: {type: duration, label: Wait, description: How long, default: 2s, min: 1s, env: WAIT}
mode: {type: enum, options: [a, b], required: true}
keys: {type: array, items: {type: secret}, default: [hunter2], max: 3}
hosts: {type: object, values: {type: object, properties: {key: {type: secret, default: hunter2}}}}
open: {type: object}
";
    let expected = json!({
        "wait": {"type": "duration", "label": "Wait", "description": "How long", "env": "WAIT", "required": false, "default": 2000, "min": 1000},
        "mode": {"type": "enum", "required": true, "options": ["a", "b"]},
        "keys": {"type": "array", "required": false, "default": [MASK], "items": {"type": "secret", "required": false}, "max": 3},
        "hosts": {"type": "object", "required": false, "values": {"type": "object", "required": false,
            "properties": {"key": {"type": "secret", "required": false, "default": MASK}}}},
        "open": {"type": "object", "required": false},
    });
    assert_eq!(schema(text).unwrap().describe(), expected);
}

#[test]
fn the_reference_has_every_type() {
    let text = include_str!("../../../docs/plugins.md");
    let (_, table) = text.split_once("\n| `type` |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    for name in schema::TYPES {
        assert!(table.contains(&format!("`{name}`")), "{name}");
    }
}

proptest! {
    #[test]
    fn no_value_panics_and_no_error_shows_a_variable(
        kind in "string|number|boolean|duration|size|secret|array|object",
        value in "\\PC{0,20}|[\\[{]?'?\\$\\{(PASS|YAML|NONE)(:-[a-z]{0,3})?\\}'?[\\]}]?",
    ) {
        let schema = format!("s: {{type: {kind}}}");
        if serde_yaml::from_str::<serde_yaml::Mapping>(&format!("s: {value}")).is_ok_and(|map| map.contains_key("s") && map.len() == 1)
            && let Err(error) = resolve(&schema, &format!("s: {value}"))
        {
            prop_assert!(!error.contains("hunter2"), "{}", error);
        }
    }
}
