//! `buntime plugins config`: what is set of a plugin, and changes of it.

use crate::api::types::PluginConfig;
use crate::cli::failure::Failure;
use crate::cli::remote::{Output, Remote};
use crate::cli::session::Session;
use crate::cli::table::{self, text};
use crate::cli::text::{count, escape, escape_lines};
use crate::plugin::manifest::PluginName;
use clap::Args;
use serde_json::{Map, Value};
use std::io::Read;

/// Longest value of a setting that the table shows, in characters.
const SHOWN: usize = 60;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The plugin, as in hello or @team/hello
    #[arg(value_name = "NAME")]
    name: PluginName,
    /// A setting and its new value. Others can read a command line: for a secret, --from-file is better
    #[arg(value_name = "KEY=VALUE", value_parser = pair)]
    values: Vec<(String, String)>,
    /// A setting whose value is in a file (`-`: stdin); can be given again
    #[arg(long = "from-file", value_name = "KEY=FILE", value_parser = pair)]
    files: Vec<(String, String)>,
    /// A setting that gets its default back; can be given again
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    #[command(flatten)]
    pub remote: Remote,
    #[command(flatten)]
    pub output: Output,
}

pub async fn run(arguments: &Arguments, session: &Session) -> Result<(), Failure> {
    let Session { client, console } = session;
    let before = client.plugin_config(&arguments.name).await?;
    let patch = arguments.patch(before.value.schema.as_ref())?;
    let answer = match patch.is_empty() {
        true => before,
        false => client.configure_plugin(&arguments.name, &patch).await?,
    };
    let config = &answer.value;
    if !patch.is_empty() {
        console.talk(&format!("configured {}", arguments.name));
        for warning in overridden(config, &patch) {
            console.warn(&warning);
        }
    }
    if let Some(error) = &config.error {
        console.warn(&escape_lines(error));
    }
    if console.json {
        return console.raw(&answer.raw);
    }
    if patch.is_empty() { console.data(&render(config)) } else { Ok(()) }
}

impl Arguments {
    fn patch(&self, schema: Option<&Map<String, Value>>) -> Result<Map<String, Value>, Failure> {
        let mut patch = Map::new();
        let mut put = |key: &str, value: Value| match patch.insert(key.to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(Failure::usage(format!("{} is given twice", escape(key)))),
        };
        for (key, text) in &self.values {
            put(key, read(kind(schema, key), key, text)?)?;
        }
        for (key, file) in &self.files {
            let text = contents(file)?;
            // The newline at a file's end is no part of a secret.
            put(key, read(kind(schema, key), key, text.trim_end_matches(['\n', '\r']))?)?;
        }
        for key in &self.unset {
            put(key, Value::Null)?;
        }
        Ok(patch)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("it needs a `=`, as in greeting=hi")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn contents(file: &str) -> Result<String, Failure> {
    let io = |error: std::io::Error| Failure::io(format_args!("read {file}"), &error);
    if file != "-" {
        return std::fs::read_to_string(file).map_err(io);
    }
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text).map_err(io)?;
    Ok(text)
}

fn kind<'s>(schema: Option<&'s Map<String, Value>>, key: &str) -> &'s str {
    let kind = schema.and_then(|schema| schema.get(key)?.get("type")?.as_str());
    kind.unwrap_or_default()
}

/// A value as the type of its setting has it. What does not fit is left to the runtime to refuse, with its reason.
fn read(kind: &str, key: &str, text: &str) -> Result<Value, Failure> {
    let json = || serde_json::from_str::<Value>(text);
    match kind {
        "string" | "secret" | "enum" => Ok(text.into()),
        "array" | "object" => json().map_err(|error| {
            Failure::usage(format!("the value of {} is no JSON: {error}", escape(key)))
                .hint(if kind == "array" { r#"as in '["a", "b"]'"# } else { r#"as in '{"a": 1}'"# })
        }),
        // A duration or a size is a number or a text.
        _ => Ok(json().ok().filter(|value| !value.is_null()).unwrap_or_else(|| text.into())),
    }
}

/// Settings that were changed without effect.
fn overridden(config: &PluginConfig, patch: &Map<String, Value>) -> Vec<String> {
    let warn = |(pointer, variable): (&String, &String)| {
        let key = pointer.trim_start_matches('/').split('/').next()?;
        let text = || format!("{} has no effect: the variable {} decides", escape(key), escape(variable));
        patch.contains_key(key).then(text)
    };
    config.overridden.iter().filter_map(warn).collect()
}

fn render(config: &PluginConfig) -> String {
    let Some(schema) = config.schema.as_ref().filter(|schema| !schema.is_empty()) else {
        return String::new();
    };
    let columns = [text("SETTING"), text("TYPE"), text("VALUE"), text("FROM"), text("WHAT IT IS")];
    let rows = schema.iter().map(|(key, field)| {
        let of = |name: &str| field.get(name).and_then(Value::as_str).unwrap_or_default();
        let value = config.settings.as_ref().and_then(|settings| settings.get(key));
        let from = config.overridden.get(&format!("/{key}")).map_or(String::new(), |name| format!("${name}"));
        let what = if of("label").is_empty() { of("description") } else { of("label") };
        vec![
            escape(key).into_owned(),
            escape(of("type")).into_owned(),
            value.map(shown).unwrap_or_default(),
            escape(&from).into_owned(),
            escape(what).into_owned(),
        ]
    });
    table::render(&columns, rows)
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let entries = |number: usize, what| count(u64::try_from(number).unwrap_or(u64::MAX), what);
    match value {
        _ if text.chars().count() <= SHOWN => escape(&text).into_owned(),
        Value::Array(items) => entries(items.len(), "item"),
        Value::Object(map) if map.len() == 1 => "1 entry".to_owned(),
        Value::Object(map) => format!("{} entries", map.len()),
        _ => format!("{}…", escape(&text.chars().take(SHOWN).collect::<String>())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;
    use clap::Parser;
    use serde_json::json;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn patch(words: &[&str]) -> Result<Value, String> {
        let line = Line::try_parse_from(["config", "hello"].iter().chain(words)).unwrap();
        let schema = samples::plugin_config().schema;
        line.arguments
            .patch(schema.as_ref())
            .map(Value::Object)
            .map_err(|failure| failure.text(str::to_owned))
    }

    #[test]
    fn settings_are_a_table() {
        insta::assert_snapshot!(render(&samples::plugin_config()));
    }

    #[test]
    fn a_value_is_read_as_its_type_says() {
        let words = ["greeting=true", "loud=true", "limit=30s", "names=[\"a=b\"]", "--unset", "token"];
        let read =
            json!({ "greeting": "true", "loud": true, "limit": "30s", "names": ["a=b"], "token": null });
        assert_eq!(patch(&words), Ok(read));
        assert_eq!(patch(&["limit=30", "unknown=x"]), Ok(json!({ "limit": 30, "unknown": "x" })));
        insta::assert_snapshot!(
            [patch(&["names=a"]), patch(&["loud=true", "loud=false"])].map(Result::unwrap_err).join("---\n")
        );
    }

    #[test]
    fn a_value_from_a_file_has_no_newline_at_its_end() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "s3cret\n").unwrap();
        let from = format!("token={}", file.path().display());
        assert_eq!(patch(&["--from-file", &from]), Ok(json!({ "token": "s3cret" })));
    }

    #[test]
    fn a_change_that_the_environment_overrides_is_warned_of() {
        let patch = Map::from_iter([("greeting".to_owned(), json!("hi")), ("loud".to_owned(), json!(true))]);
        let warnings = overridden(&samples::plugin_config(), &patch);
        assert_eq!(warnings, ["greeting has no effect: the variable HELLO_GREETING decides"]);
    }
}
