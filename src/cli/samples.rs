//! What a runtime might answer, for the tests of what is printed. It has text in it that would harm a terminal.

use crate::api::types::*;
use std::collections::BTreeMap;

pub fn apps() -> Vec<AppSummary> {
    let app = |name: &str, current: Option<&str>, aliases, workers| AppSummary {
        name: name.into(),
        path: format!("/{name}/"),
        current: current.map(str::to_owned),
        versions: versions(),
        aliases,
        workers,
    };
    vec![app("shop", None, aliases(), 12), app("@team/blog", Some("1.0.0"), Vec::new(), 0)]
}

pub fn versions() -> Vec<Version> {
    let version = |version: &str, kind, state, proven, workers| Version {
        version: version.into(),
        kind,
        state,
        proven,
        aliases: Vec::new(),
        workers,
        error: None,
    };
    vec![
        Version {
            aliases: vec!["latest".into(), "stable".into()],
            ..version("2.0.0", AppKind::Worker, VersionState::Enabled, true, 3)
        },
        Version {
            error: Some(
                "the app threw while it was loaded: \u{1b}[31mno such table\n    at index.ts:3".into(),
            ),
            ..version("2.1.0", AppKind::Worker, VersionState::Enabled, false, 0)
        },
        Version {
            error: Some("manifest.yaml:2:1: unknown key `tll`".into()),
            ..version("1.9.0", AppKind::Broken, VersionState::Enabled, false, 0)
        },
        version("1.8.0", AppKind::Static, VersionState::Disabled, true, 0),
        version("1.7.0", AppKind::Unknown, VersionState::Manifest, false, 0),
    ]
}

pub fn aliases() -> Vec<Alias> {
    let weights = |pairs: &[(&str, u8)]| -> BTreeMap<String, u8> {
        pairs.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect()
    };
    vec![
        Alias {
            name: "latest".into(),
            weights: weights(&[("1.4.2", 95), ("1.5.0", 5)]),
            sticky: Stickiness::Cookie,
            previous: Some(weights(&[("1.4.2", 100)])),
        },
        Alias {
            name: "beta".into(),
            weights: weights(&[("2.0.0-rc.1", 100)]),
            sticky: Stickiness::Cookie,
            previous: None,
        },
    ]
}

pub fn workers() -> Vec<Worker> {
    let worker = |id: &str, app: Option<&str>, version: Option<&str>, state| Worker {
        id: id.into(),
        app: app.map(str::to_owned),
        plugin: None,
        version: version.map(str::to_owned),
        state,
        draining: false,
        pid: None,
        memory: None,
        cpu: None,
        in_flight: 0,
        awaiting: 0,
        requests: 0,
        age: 0.2,
        idle: 0.0,
        start: StartReport::default(),
    };
    vec![
        Worker {
            pid: Some(4711),
            memory: Some(38_000_000),
            cpu: Some(12.34),
            in_flight: 7,
            awaiting: 2,
            requests: 123_456,
            age: 7512.0,
            ..worker("w1", Some("shop"), Some("2.0.0"), WorkerState::Active)
        },
        Worker {
            pid: Some(4712),
            memory: Some(9_000_000),
            cpu: Some(0.1),
            in_flight: 1,
            requests: 9,
            age: 300_000.0,
            draining: true,
            ..worker("w2", Some("@team/blog"), Some("1.0.0"), WorkerState::Idle)
        },
        Worker { pid: Some(4713), ..worker("w3", None, None, WorkerState::Creating) },
        Worker {
            pid: Some(4714),
            plugin: Some("@team/guard".into()),
            ..worker("w4", None, Some("0.1.0"), WorkerState::Idle)
        },
    ]
}

pub fn runtime() -> Runtime {
    Runtime {
        version: "0.1.0".into(),
        bun: "1.4.5".into(),
        environment: "production".into(),
        pid: 4242,
        uptime: 90_061.0,
        pooled: 2,
        pool_size: 500,
        spares: 1,
        waiting: 3,
        draining: false,
        url: Some("http://127.0.0.1:8000".into()),
    }
}

pub fn keys() -> Vec<Key> {
    let key = |id: &str, name: &str, role: &str| Key {
        id: format!("key_{id}"),
        name: name.into(),
        role: role.into(),
        permissions: Vec::new(),
        namespaces: None,
        created: "2026-01-31T12:00:00Z".into(),
        created_by: "admin socket".into(),
        expires: None,
        last_used: None,
        revoked: None,
    };
    vec![
        Key {
            namespaces: Some(vec!["@team".into()]),
            expires: Some("2026-03-02T12:00:00Z".into()),
            last_used: Some("2026-02-01T08:30:00Z".into()),
            ..key("0123456789abcdef", "ci", "editor")
        },
        Key {
            permissions: vec!["apps:read".into(), "apps:download".into()],
            revoked: Some("2026-02-01T09:00:00Z".into()),
            ..key("fedcba9876543210", "back\u{7}up", "custom")
        },
        key("00112233445566ff", "me", "admin"),
    ]
}

pub fn deployment() -> Deployment {
    Deployment {
        name: "shop".into(),
        version: "2.0.0".into(),
        path: "/shop/".into(),
        url: Some("http://127.0.0.1:8000/shop/".into()),
        kind: AppKind::Worker,
        replaced: false,
        alias: Some("latest".into()),
        previous: Some(BTreeMap::from([("1.0.0".into(), 100)])),
        drained: true,
        files: 12,
        bytes: 34_567,
        warnings: vec!["package.json says version `1.9.0`".into()],
        start: StartReport { steps: steps(Some(18.4)), ..StartReport::default() },
    }
}

pub fn failed_start() -> StartReport {
    StartReport {
        steps: steps(None),
        summary: Some("the app threw while it was loaded".into()),
        cause: Some(
            "Error: no such table: \u{1b}[31morders\n    at load (src/db.ts:12:9)\n    at src/index.ts:3:1"
                .into(),
        ),
        suggestion: Some("look at src/db.ts:12".into()),
        output: vec!["opening the database".into(), "\u{1b}]0;title\u{7}done for".into()],
    }
}

fn steps(import: Option<f64>) -> Vec<Step> {
    let step = |name: &str, milliseconds| Step { name: name.into(), milliseconds };
    let mut steps = vec![step("spawn", Some(1.24)), step("connect", Some(22.8)), step("import", import)];
    if import.is_some() {
        steps.push(step("ready", Some(0.1)));
    }
    steps
}

pub fn plugins() -> Vec<Plugin> {
    let plugin = |name: &str, kind, state| Plugin {
        name: name.into(),
        version: Some("1.0.0".into()),
        kind,
        enabled: state != PluginState::Disabled,
        state,
        error: None,
        base: None,
        hides: Vec::new(),
        directory: Some(format!("/srv/plugins/{name}")),
        file: format!("/srv/plugins/{name}/manifest.yaml"),
        dependencies: Vec::new(),
        optional_dependencies: Vec::new(),
        required: false,
        guards: false,
        fail_open: false,
        phases: Vec::new(),
        menus: Vec::new(),
    };
    vec![
        Plugin {
            directory: None,
            base: Some("/metrics".into()),
            file: "/var/lib/buntime/plugins/@buntime/plugin-metrics.yaml".into(),
            ..plugin("@buntime/plugin-metrics", PluginKind::Native, PluginState::Disabled)
        },
        Plugin {
            version: None,
            error: Some(
                "manifest.yaml:2:1: unknown key `bsae`\u{1b}[2J\n  hint: did you mean `base`?".into(),
            ),
            ..plugin("broken", PluginKind::Script, PluginState::Out)
        },
        Plugin {
            base: Some("/door".into()),
            hides: vec!["door".into()],
            required: true,
            guards: true,
            dependencies: vec!["keys@^1".into()],
            optional_dependencies: vec!["logs".into()],
            phases: vec!["identify".into(), "permit".into()],
            ..plugin("@team/door", PluginKind::Script, PluginState::Loaded)
        },
    ]
}

pub fn plugin_config() -> PluginConfig {
    let object = |value: serde_json::Value| value.as_object().cloned();
    PluginConfig {
        name: "hello".into(),
        settings: object(serde_json::json!({
            "greeting": "hi\u{1b}[2J", "loud": false, "names": (0..50).map(|n| format!("name {n}")).collect::<Vec<_>>(),
            "token": "********",
        })),
        schema: object(serde_json::json!({
            "greeting": { "type": "string", "label": "Greeting", "env": "HELLO_GREETING", "required": false },
            "loud": { "type": "boolean", "required": false },
            "limit": { "type": "duration", "description": "How long it waits", "required": false },
            "names": { "type": "array", "required": false },
            "token": { "type": "secret", "required": true },
        })),
        overridden: BTreeMap::from([("/greeting".to_owned(), "HELLO_GREETING".to_owned())]),
        error: None,
        file: "/srv/plugins/hello/manifest.yaml".into(),
    }
}
