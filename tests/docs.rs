//! The documents say what the code does.

use buntime::config::settings::{SECRETS, SETTINGS};
use buntime::telemetry::metrics::families;
use serde_json::Value;
use std::fs::read_to_string;
use std::path::Path;

fn document(name: &str) -> String {
    read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_configuration_reference_has_every_setting_with_its_three_names() {
    let text = document("docs/configuration.md");
    for setting in SETTINGS {
        let mut names = format!("| `--{}`, `{}`", setting.flag, setting.variable);
        if let Some(key) = setting.key {
            names += &format!(", `{key}`");
        }
        assert!(text.contains(&names), "no row begins with {names}");
    }
    for name in SECRETS {
        assert!(text.contains(&format!("`{name}`")), "{name} is not mentioned");
    }
}

/// Rows of the specification end with `file` and `test` in backticks, of several files one behind the other; or with the script
/// that shows it, where that is `scripts/bench` with a row of it.
#[test]
fn every_test_that_the_specification_names_is_there() {
    let text = document("docs/SPECIFICATION.md");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Promise"));
    let mut named = 0;
    for row in rows {
        let cell = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap().trim();
        let quoted: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!quoted.is_empty(), "neither a file with a test nor a script: {row}");
        if quoted[0].starts_with("scripts/") {
            document(quoted[0]);
            assert_eq!(quoted.len() == 2, quoted[0] == "scripts/bench", "{row}");
            quoted[1..].iter().for_each(|row| drop(document(&format!("benches/side-by-side/rows/{row}.ts"))));
            continue;
        }
        let mut source = String::new();
        let mut of_file = 0;
        for name in &quoted {
            if name.contains('/') && !name.contains(' ') {
                assert!(source.is_empty() || of_file > 0, "no test: {row}");
                (source, of_file) = (document(name), 0);
                continue;
            }
            // A function, a row of a macro that makes functions, or the text that a test of the shim begins with.
            let forms = [format!("fn {name}("), format!("\n    {name}: "), format!("\"{name}\"")];
            assert!(forms.iter().any(|form| source.contains(form)), "there is no test {name}: {row}");
            (named, of_file) = (named + 1, of_file + 1);
        }
        assert!(of_file > 0, "no test: {row}");
    }
    assert!(named > 0);
}

#[test]
fn the_metrics_reference_has_every_family_and_the_dashboard_asks_for_none_that_is_not_there() {
    let text = document("plugins/metrics/README.md");
    let names: Vec<_> = families::ALL.iter().map(|desc| desc.name).collect();
    for desc in families::ALL {
        assert!(text.contains(&format!("| `{}` | {}", desc.name, desc.kind)), "no row of {}", desc.name);
    }
    let dashboard: Value = serde_json::from_str(&document("plugins/metrics/grafana/buntime.json")).unwrap();
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    assert!(asked.len() > 20, "{asked:?}");
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = asked.iter().flat_map(|text| text.split(|character| !is_word(character)));
    let metrics = words.filter(|word| word.starts_with("buntime_") || word.starts_with("process_"));
    let mut seen = std::collections::BTreeSet::new();
    for metric in metrics {
        let family = metric.strip_suffix("_bucket").unwrap_or(metric);
        assert!(names.contains(&family), "the dashboard asks for {metric}");
        seen.insert(family);
    }
    let unseen: Vec<_> = names.iter().filter(|name| !seen.contains(**name)).collect();
    let beside = ["process_start_time_seconds", "process_virtual_memory_bytes"];
    assert!(unseen.iter().all(|name| beside.contains(name)), "the dashboard has nothing of {unseen:?}");
}

/// What a dashboard asks of Prometheus.
fn expressions(part: &Value, into: &mut Vec<String>) {
    match part {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| match value {
            Value::String(text) if name == "expr" || name == "query" => into.push(text.clone()),
            value => expressions(value, into),
        }),
        Value::Array(items) => items.iter().for_each(|item| expressions(item, into)),
        _ => {}
    }
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for name in [
        "README.md",
        "examples/README.md",
        "docs/architecture.md",
        "docs/cli.md",
        "docs/configuration.md",
        "docs/install.md",
        "docs/manifest.md",
        "docs/operate.md",
        "docs/plugins.md",
        "docs/upgrade.md",
        "docs/versions.md",
        "plugins/metrics/README.md",
        "plugins/sdk/README.md",
        "plugins/vhosts/README.md",
        "worker-shim/PROTOCOL.md",
    ] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        for link in document(name).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = dir.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(link.starts_with("https://") || target.exists(), "{name} links to {link}");
        }
    }
}

/// Blocks of code whose first line names a file beside the language: ` ```ts plugins/examples/gate/plugin.ts`.
#[test]
fn what_the_documents_show_of_a_file_is_in_it() {
    let mut shown = Vec::new();
    for name in ["docs/plugins.md", "plugins/sdk/README.md"] {
        let text = document(name);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(info) = line.strip_prefix("```").filter(|info| !info.is_empty()) else { continue };
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let Some((_, file)) = info.split_once(' ').filter(|(_, file)| file.contains('/')) else {
                continue;
            };
            assert!(document(file).contains(&block.join("\n")), "{name}: this is not in {file}:\n{block:#?}");
            shown.push(file.to_owned());
        }
    }
    for file in ["plugins/examples/gate/plugin.ts", "plugins/sdk/tests/example/plugin.rs"] {
        assert!(shown.iter().any(|shown| shown == file), "{file} is not shown");
    }
}
