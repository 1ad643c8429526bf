//! The documents say what the code does.

use buntime::config::settings::{MISSING, SECRETS, SETTINGS};
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
    for name in MISSING.iter().map(|missing| missing.variable).chain(SECRETS) {
        assert!(text.contains(&format!("`{name}`")), "{name} is not mentioned");
    }
}

/// Rows of the specification end with `file` and `test` in backticks, or with the script that shows it, where that is
/// `scripts/bench` with a row of it.
#[test]
fn every_test_that_the_specification_names_is_there() {
    let text = document("docs/SPECIFICATION.md");
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| Promise"));
    let mut named = 0;
    for row in rows {
        let cell = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap().trim();
        let quoted: Vec<_> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!quoted.is_empty(), "neither a file with a test nor a script: {row}");
        let source = document(quoted[0]);
        if quoted[0].starts_with("scripts/") {
            assert_eq!(quoted.len() == 2, quoted[0] == "scripts/bench", "{row}");
            quoted[1..].iter().for_each(|row| drop(document(&format!("benches/side-by-side/rows/{row}.ts"))));
            continue;
        }
        assert!(quoted.len() >= 2, "no test: {row}");
        for test in &quoted[1..] {
            // A function, a row of a macro that makes functions, or the text that a test of the shim begins with.
            let forms = [format!("fn {test}("), format!("\n    {test}: "), format!("\"{test}\"")];
            assert!(forms.iter().any(|form| source.contains(form)), "{} has no test {test}", quoted[0]);
            named += 1;
        }
    }
    assert!(named > 0);
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    for name in [
        "README.md",
        "examples/README.md",
        "docs/architecture.md",
        "docs/cli.md",
        "docs/configuration.md",
        "docs/manifest.md",
        "docs/versions.md",
        "worker-shim/PROTOCOL.md",
    ] {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        for link in document(name).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = dir.parent().unwrap().join(link.split('#').next().unwrap());
            assert!(link.starts_with("https://") || target.exists(), "{name} links to {link}");
        }
    }
}
