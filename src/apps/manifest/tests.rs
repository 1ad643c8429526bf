use super::*;
use crate::model::manifest::{Instances, Queue};
use proptest::prelude::*;
use std::time::Duration;

const CEILINGS: Ceilings = Ceilings { max_body_size: 100 << 20, cores: 4 };

fn read(text: &str) -> Result<Manifest, String> {
    parse("manifest.yaml", text, &CEILINGS).map_err(|e| e.to_string())
}

fn refusal(text: &str) -> String {
    read(text).expect_err(text)
}

#[test]
fn an_empty_manifest_is_all_defaults() {
    for text in ["", "# only a comment\n", "{}", "---\n"] {
        assert_eq!(read(text), Ok(Manifest::default()));
    }
}

#[test]
fn every_key_is_read() {
    let text = "
name: '@team/shop'
version: 1.4.2
enabled: false
entrypoint: ./src/main.ts
env: {A: x, B_2: '8080'}
envPrefix: []
envPassthrough: [DATABASE_URL]
ttl: 1h
idleTimeout: 2m
startTimeout: 5s
timeout: 1500ms
streamTimeout: 0
drainTimeout: 1m
maxRequests: 50
maxBodySize: 20MiB
maxMemory: 256mb
concurrency: 10
instances: {min: 1, max: auto}
queue: {size: 5, timeout: 1s}
lowMemory: true
injectBase: true
csrf: false
";
    let manifest = read(text).unwrap();
    let expected = Manifest {
        name: Some("@team/shop".into()),
        version: Some("1.4.2".into()),
        enabled: false,
        entrypoint: Some("./src/main.ts".into()),
        env: [("A", "x"), ("B_2", "8080")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        env_prefix: vec![],
        env_passthrough: vec!["DATABASE_URL".into()],
        ttl: Duration::from_secs(3600),
        idle_timeout: Duration::from_secs(120),
        start_timeout: Duration::from_secs(5),
        timeout: Duration::from_millis(1500),
        stream_timeout: Duration::ZERO,
        drain_timeout: Duration::from_secs(60),
        max_requests: 50,
        max_body_size: 20 << 20,
        max_memory: Some(256 << 20),
        concurrency: 10,
        instances: Instances { min: 1, max: 4 },
        queue: Queue { size: 5, timeout: Duration::from_secs(1) },
        low_memory: true,
        inject_base: true,
        csrf: Some(false),
    };
    assert_eq!(manifest, expected);
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest() {
    assert_eq!(
        refusal("ttl: 1h\nmaxRequest: 5\n"),
        "manifest.yaml:2:1: unknown key `maxRequest`\n  hint: did you mean `maxRequests`?"
    );
    assert!(refusal("max_body_size: 1\n").contains("did you mean `maxBodySize`?"));
    assert!(refusal("queue: {szie: 1}\n").contains(":1:9: unknown key `szie`\n  hint: did you mean `size`?"));
    assert_eq!(refusal("zebra: 1\n"), "manifest.yaml:1:1: unknown key `zebra`");
}

#[test]
fn a_key_of_a_later_version_is_refused_in_these_words() {
    for key in ["autoInstall", "publicRoutes", "visibility", "permissions", "healthCheck", "cron"] {
        let expected = format!("manifest.yaml:1:1: `{key}` is not in this version of Buntime");
        assert_eq!(refusal(&format!("{key}: true\n")), expected);
    }
}

#[test]
fn errors_of_syntax_have_line_and_column() {
    let text = refusal("ttl: 1h\nenv:\n  A: x\n B: y\n");
    assert!(text.starts_with("manifest.yaml:4:2: "), "{text}");
    let text = refusal("env:\n  A: x\n  A: y\n");
    assert!(text.contains("duplicate") && text.starts_with("manifest.yaml:"), "{text}");
    let text = refusal("ttl: 1h\nttl: 2h\n");
    assert!(text.contains("duplicate"), "{text}");
    assert!(refusal("a: 1\n---\nb: 2\n").contains("document"));
    assert!(refusal("- a\n").contains("this is a list"));
    assert!(refusal(&format!("name: {}\n", "a".repeat(MAX_MANIFEST))).contains("more than"));
}

#[test]
fn errors_of_meaning_have_line_and_column() {
    for (text, error) in [
        ("ttl: '30'\n", ":1:6: `30` has no unit"),
        ("queue:\n  timeout: 5x\n", ":2:12: `5x` is not a duration"),
        ("timeout: 0\n", ":1:10: this limit must be longer than zero"),
        ("enabled: yes\n", ":1:10: expected `true` or `false`, found `yes`"),
        ("env: {PORT: 8080}\n", ":1:13: expected a text, found a number\n  hint: put it in quotes: \"8080\""),
        ("env: {A-B: x}\n", ":1:7: `A-B` is no name of a variable"),
        ("env: {1: x}\n", ":1:6: a key must be a text"),
        ("env:\n", ":1:5: expected a map, found nothing"),
        ("envPrefix: [\"\"]\n", ":1:13: `` is no prefix"),
        ("envPassthrough: [BUNTIME_KEY]\n", ":1:18: `BUNTIME_KEY` is the runtime's own"),
        ("envPassthrough: [OK, RUNTIME_ROOT_KEY]\n", ":1:22: `RUNTIME_ROOT_KEY` is the runtime's own"),
        ("maxBodySize: 200mb\n", ":1:14: 200mb is more than the operator allows (100mb)"),
        ("maxMemory: 0\n", ":1:12: this limit must be larger than zero"),
        ("concurrency: 0\n", ":1:14: expected a whole number, at least 1"),
        ("concurrency: 1.5\n", "found 1.5"),
        ("maxRequests: -1\n", ":1:14: expected a whole number, at least 0; found -1"),
        ("instances: {min: 3, max: 2}\n", ":1:12: `min` (3) is more than `max` (2)"),
        ("instances: {min: 3}\n", "`max` (1, its default)"),
        ("instances: {max: lots}\n", ":1:18: expected a whole number or `auto`"),
        ("name: Shop\n", ":1:7: `S` cannot stand in an app name"),
        ("version: 1.4\n", ":1:10: expected a text, found a number"),
        ("version: '1.4'\n", ":1:10: not a version"),
        ("ttl: !secs 5\n", ":1:6: expected a duration"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(error), "{text}: {refusal}");
    }
}

#[test]
fn an_entrypoint_that_leaves_the_app_is_refused() {
    for path in ["/etc/passwd", "../x.ts", "a/../../x.ts", "''", "\"a\\0b\""] {
        assert!(read(&format!("entrypoint: {path}\n")).is_err(), "{path}");
    }
}

#[test]
fn rules_between_keys_are_explained() {
    let text = refusal("timeout: 1m\nttl: 30s\n");
    assert!(text.starts_with("manifest.yaml:2:6: `ttl` (30s) is shorter than `timeout` (1m)"), "{text}");
    assert!(text.contains("hint: make `timeout` at most `ttl`"), "{text}");
    assert!(refusal("ttl: 10s\n").contains("`timeout` (30s, its default)"));
    assert!(refusal("timeout: 1h\n").starts_with("manifest.yaml:1:10: `ttl` (10m, its default)"));
    assert!(read("ttl: 0\ntimeout: 1h\n").is_ok());
    assert!(refusal("ttl: 1m\nidleTimeout: 2m\n").starts_with("manifest.yaml:2:14: "));
    assert!(refusal("ttl: 0\ninstances: {min: 1}\n").contains("a fresh worker for every request"));
}

#[test]
fn all_that_is_wrong_is_reported_in_the_order_of_the_file() {
    let error = parse("m.yaml", "zebra: 1\nttl: x\ncron: []\n", &CEILINGS).unwrap_err();
    assert_eq!(error.problems.iter().map(|p| p.line).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn the_default_body_limit_bows_to_the_operators_ceiling() {
    let low = Ceilings { max_body_size: 1 << 20, cores: 1 };
    assert_eq!(parse("m.yaml", "", &low).unwrap().max_body_size, 1 << 20);
}

#[test]
fn an_exploding_alias_is_an_error() {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let below = format!("*a{},", level - 1).repeat(10);
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    assert!(refusal(&text).contains("repetition limit"));
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,60}|([a-zA-Z]{1,8}: ?[\\[{]?[a-z0-9'\"&*!|>~.-]{0,8}[\\]}]?\n){0,5}") {
        let _ = read(&text);
    }

    #[test]
    fn no_value_of_a_known_key_panics(
        key in "ttl|env|envPrefix|instances|queue|maxBodySize|maxRequests|version|entrypoint",
        value in "\\PC{0,30}|[{\\[]?[a-z0-9.:, -]{0,20}[\\]}]?",
    ) {
        if let Err(error) = parse("m.yaml", &format!("{key}: {value}\n"), &CEILINGS) {
            prop_assert!(error.problems.iter().all(|p| p.line >= 1 && p.column >= 1 && !p.message.is_empty()));
        }
    }
}
