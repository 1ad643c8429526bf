use super::*;
use buntime_plugin::{Filter, Glob, Phase};
use proptest::prelude::*;
use serde_json::json;

const CEILINGS: Ceilings = Ceilings { max_body_size: 100 << 20, cores: 4 };

fn environment(name: &str) -> Option<String> {
    (name == "TOKEN").then(|| "hunter2".to_owned())
}

fn parse_over(text: &str, over: Option<&str>) -> Result<PluginManifest, Broken> {
    let reserved = ["api".to_owned()];
    let rules = Rules { reserved: &reserved, ceilings: CEILINGS, environment: &environment };
    parse(Layer { file: "m", text }, over.map(|text| Layer { file: "over", text }), &rules)
}

fn read(text: &str) -> PluginManifest {
    parse_over(text, None).unwrap_or_else(|broken| panic!("{}", broken.errors))
}

/// What is wrong with a manifest that has a name.
fn refusal(text: &str) -> String {
    parse_over(&format!("name: x\n{text}"), None).expect_err(text).errors.to_string()
}

#[test]
fn a_name_is_enough() {
    let manifest = read("name: '@team/hello'\n");
    let expected = PluginManifest {
        name: PluginName::parse("@team/hello").unwrap(),
        version: Version::new(0, 0, 0),
        enabled: true,
        base: None,
        plugin_entry: "plugin.ts".into(),
        app: None,
        dependencies: vec![],
        optional_dependencies: vec![],
        menus: vec![],
        schema: Schema::default(),
        settings: Ok(Settings::default()),
        required: false,
        guards: false,
        hooks: Hooks::default(),
        hook_timeout: Duration::from_secs(2),
        fail_open: false,
        worker_env: vec![],
    };
    assert_eq!(manifest, expected);
}

#[test]
fn every_key_is_read() {
    let manifest = read(
        "
name: hello
version: 1.2.0
enabled: false
base: /hello
pluginEntry: src/plugin.ts
entrypoint: ui/index.html
injectBase: true
ttl: 1h
dependencies: ['@buntime/plugin-keyval@^1', b]
optionalDependencies: [c@1.2.3]
menus:
  - {title: Hello, icon: wave, path: /hello/, items: [{title: More, path: /hello/more}]}
config:
  greeting: {type: string, default: hi}
  token: {type: secret}
required: true
guards: true
hooks: {onRequest: true, websocket: true}
hookTimeout: 500ms
failOpen: false
workerEnv: [HELLO_URL]
token: ${TOKEN}
",
    );
    assert_eq!((manifest.version.to_string().as_str(), manifest.enabled), ("1.2.0", false));
    assert_eq!(manifest.base.unwrap().segment(), Some("hello"));
    assert_eq!(manifest.plugin_entry, "src/plugin.ts");
    let app = manifest.app.unwrap();
    assert_eq!((app.entrypoint.as_deref(), app.inject_base), (Some("ui/index.html"), true));
    assert_eq!((app.name.as_deref(), app.version.as_deref()), (Some("hello"), Some("1.2.0")));
    assert_eq!(app.ttl, Duration::from_secs(3600));
    let show = |all: &[Dependency]| all.iter().map(Dependency::to_string).collect::<Vec<_>>();
    assert_eq!(show(&manifest.dependencies), ["@buntime/plugin-keyval@^1", "b"]);
    assert_eq!(show(&manifest.optional_dependencies), ["c@=1.2.3"]);
    assert_eq!(
        (manifest.menus[0].title.as_str(), manifest.menus[0].items[0].path.as_str()),
        ("Hello", "/hello/more")
    );
    assert!(manifest.required && manifest.guards && !manifest.fail_open);
    assert_eq!(manifest.hook_timeout, Duration::from_millis(500));
    assert_eq!(manifest.worker_env, ["HELLO_URL"]);
    let settings = manifest.settings.unwrap();
    assert_eq!(settings.value(), &json!({"greeting": "hi", "token": "hunter2"}));
    assert_eq!(settings.masked()["token"], "********");
}

#[test]
fn what_is_wrong_is_said_with_line_column_and_hint() {
    for (text, error) in [
        ("nmae: y", "m:2:1: unknown key `nmae`\n  hint: did you mean `name`?"),
        ("hookTimout: 1s", "m:2:1: unknown key `hookTimout`\n  hint: did you mean `hookTimeout`?"),
        (
            "config: {hosts: {type: object}}\nhost: {}",
            "m:3:1: unknown key `host`\n  hint: did you mean `hosts`?",
        ),
        (
            "ttl: 1h",
            "m:2:1: `ttl` is about an app, and this plugin has none\n  hint: give the plugin an `entrypoint`",
        ),
        ("version: '1'", "m:2:10: not a version"),
        ("base: hello", "m:2:7: `hello` is no base\n  hint: write `/`, or"),
        ("base: /a/b", "`/a/b` is no base"),
        ("base: /a.b", "`/a.b` is no base"),
        ("base: /api", "the path `/api` is reserved for the management API"),
        ("base: /.well-known", "the path `/.well-known` is reserved"),
        ("pluginEntry: ../x.ts", "m:2:14: the module must be a relative path that stays inside the plugin"),
        (
            "entrypoint: /x\nbase: /x",
            "m:2:13: the entrypoint must be a relative path that stays inside the plugin",
        ),
        (
            "entrypoint: index.html",
            "m:2:13: an app is served at the plugin's `base`, and there is none\n  hint: add a base",
        ),
        (
            "entrypoint: i.ts\nbase: /x\nttl: 1s\ntimeout: 5s",
            "m:4:6: `ttl` (1s) is shorter than `timeout` (5s)",
        ),
        ("entrypoint: i.ts\nbase: /x\ncron: []", "`cron` is not in this version of Buntime"),
        (
            "entrypoint: i.ts\nbase: /x\nconfig: {ttl: {type: size}}",
            "m:4:10: `ttl` means something else in a manifest",
        ),
        ("config: {name: {type: string}}", "m:2:10: `name` means something else in a manifest"),
        ("dependencies: [A]", "m:2:16: `A`: no name of a plugin"),
        ("dependencies: [a@>=1]", "m:2:16: `a@>=1`: not a version or a range"),
        ("dependencies: [a@beta]", "`beta` is no range of versions"),
        ("dependencies: [a, a@1]", "m:2:19: `a` stands here twice"),
        ("dependencies: [a]\noptionalDependencies: [a]", "m:3:23: `a` is among `dependencies` too"),
        ("menus: [{title: T}]", "m:2:9: an entry of a menu needs a `path`"),
        ("menus: [{title: T, path: //evil}]", "m:2:26: `//evil` is no path of this server"),
        ("menus: [{title: '', path: /}]", "this text must not be empty"),
        (
            "menus: [{title: T, path: /, items: [{title: U, paht: /}]}]",
            "unknown key `paht`\n  hint: did you mean `path`?",
        ),
        (
            "guards: true\nfailOpen: true",
            "m:3:11: a guard that fails open keeps nobody out when it fails\n  hint: take out `failOpen`",
        ),
        ("hookTimeout: 0", "m:2:14: this limit must be longer than zero"),
        (
            "workerEnv: [logs_url]",
            "m:2:13: `logs_url`: a variable for workers is in capitals\n  hint: write `LOGS_URL`",
        ),
        ("workerEnv: ['A B']", "`A B` is no name of a variable"),
        ("hooks: {onReqest: true}", "m:2:9: unknown key `onReqest`\n  hint: did you mean `onRequest`?"),
        ("hooks: {onInit: true}", "m:2:9: `onInit` needs no entry here"),
        (
            "hooks: {onRequest: {phase: permitt}}",
            "m:2:28: `permitt` is no phase\n  hint: the phases are resolve, preflight",
        ),
        ("hooks: {onRequest: [true, {methods: [GET]}]}", "m:2:20: there are two hooks in the phase `permit`"),
        (
            "hooks: {onRequest: {methods: [get]}}",
            "`get` is no method\n  hint: methods are in capitals: `GET`",
        ),
        ("hooks: {onRequest: {methods: []}}", "this list is empty: the hook would see nothing"),
        ("hooks: {onRequest: {paths: [x]}}", "`x` is no pattern of paths\n  hint: begin it with `/`"),
        ("hooks: {onRequest: {paths: [/a**]}}", "`**` stands alone between slashes"),
        ("hooks: {onRequest: {apps: [Shop]}}", "`S` cannot stand in the name of an app"),
        ("hooks: {onResponse: {phase: serve}}", "m:2:22: unknown key `phase`"),
        ("hooks: {onWorkerSpawn: {paths: [/]}}", "unknown key `paths`"),
        ("hooks: {fetch: 5}", "expected `true` or a map, found a number"),
        ("config: {a: {type: number}}\na: x", "m:3:4: expected a number"),
        ("config: {a: {type: string, required: true}}", "m:1:1: the setting `a` is required"),
        ("config: {a: {type: string}}\na: ${NONE}", "m:3:4: the variable `NONE` is not set"),
    ] {
        let refusal = refusal(text);
        assert!(refusal.contains(error), "{text}: {refusal}");
    }
}

#[test]
fn variables_that_workers_have_already_are_not_for_plugins() {
    for name in [
        "PATH",
        "HOME",
        "APP_DIR",
        "NODE_OPTIONS",
        "LD_PRELOAD",
        "BUN_CONFIG",
        "RUNTIME_ROOT_KEY",
        "BUNTIME_X",
    ] {
        assert!(
            refusal(&format!("workerEnv: [{name}]")).contains(&format!("`{name}` is not for plugins to set"))
        );
    }
}

#[test]
fn all_that_is_wrong_is_reported_at_once_in_the_order_of_the_file() {
    let text =
        "zebra: 1\nbase: x\nconfig: {a: {type: x}, b: {type: number}}\nb: ${NONE}\nworkerEnv: [a, b]\n";
    let Broken { name, errors, .. } = parse_over(text, None).unwrap_err();
    let places: Vec<_> = errors.0[0].problems.iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(1, 1), (1, 1), (2, 7), (3, 20), (4, 4), (5, 13), (5, 16)]);
    assert_eq!(name, None);
}

#[test]
fn a_manifest_without_a_name_or_that_is_no_map_is_refused() {
    for (text, error) in [
        ("", "m:1:1: a plugin needs a `name`\n  hint: add it"),
        ("name: Hello", "m:1:7: no name of a plugin, which follows the rules of apps: `H` cannot stand"),
        ("- a", "m:1:1: a manifest is a map of keys to values, this is a list"),
        ("name: a\nname: b", "duplicate"),
    ] {
        let errors = parse_over(text, None).expect_err(text).errors.to_string();
        assert!(errors.contains(error), "{text}: {errors}");
    }
}

#[test]
fn every_form_of_hooks_is_read() {
    let hooks = |text: &str| read(&format!("name: x\nhooks: {text}")).hooks;
    let permit = RequestHook { phase: Phase::Permit, hook: Hook::default() };
    assert_eq!(hooks("{onRequest: true}").on_request, std::slice::from_ref(&permit));
    assert_eq!(hooks("{onRequest: {}}").on_request, [permit]);
    assert_eq!(hooks("{onRequest: false, onResponse: false}"), Hooks::default());
    let many = hooks(
        "{onRequest: [{phase: serve}, {phase: identify, methods: [GET, PURGE], paths: ['/a/**'], apps: ['@team/*'], body: true}]}",
    );
    let glob = |text: &str| text.parse::<Glob>().unwrap();
    let filter = Filter::all()
        .methods([http::Method::GET, http::Method::from_bytes(b"PURGE").unwrap()])
        .paths([glob("/a/**")])
        .apps([glob("@team/*")]);
    let expected = [
        RequestHook { phase: Phase::Identify, hook: Hook { filter, body: true } },
        RequestHook { phase: Phase::Serve, hook: Hook::default() },
    ];
    assert_eq!(many.on_request, expected, "in the order of phases");
    let rest = hooks(
        "{onResponse: {body: true}, onWorkerSpawn: {apps: [a]}, onWorkerTerminate: true, onServerStart: true, fetch: {paths: [/x]}, websocket: true}",
    );
    assert!(rest.on_response.unwrap().body && rest.on_server_start && rest.websocket);
    assert_eq!(rest.on_worker_spawn, Some(Filter::all().apps([glob("a")])));
    assert_eq!(rest.on_worker_terminate, Some(Filter::default()));
    assert_eq!(rest.fetch, Some(Filter::all().paths([glob("/x")])));
}

#[test]
fn a_guard_is_required_unless_the_manifest_says_otherwise() {
    for (text, required) in [
        ("", false),
        ("guards: true", true),
        ("guards: true\nrequired: false", false),
        ("required: true", true),
    ] {
        assert_eq!(read(&format!("name: x\n{text}")).required, required, "{text}");
    }
}

#[test]
fn a_broken_manifest_counts_as_required_where_it_does_not_clearly_say_no() {
    for (text, enabled, required) in [
        ("name: x\nzebra: 1", true, false),
        ("name: x\nzebra: 1\nguards: true", true, true),
        ("name: x\nzebra: 1\nguards: ture", true, true),
        ("name: x\nzebra: 1\nguards: true\nrequired: false", true, false),
        ("name: x\nzebra: 1\nrequired: nope", true, true),
        ("name: x\nzebra: 1\nenabled: false\nguards: true", false, true),
        ("name: x\nzebra: 1\nenabled: flase", true, false),
        ("name: [", true, true),
    ] {
        let broken = parse_over(text, None).expect_err(text);
        assert_eq!((broken.enabled, broken.required), (enabled, required), "{text}");
    }
}

#[test]
fn a_plugin_that_is_off_need_not_have_its_settings() {
    let text = "name: x\nenabled: false\nconfig: {a: {type: string, required: true}, b: {type: string}}\nb: ${NONE}\n";
    let manifest = read(text);
    let errors = manifest.settings.unwrap_err().to_string();
    assert!(errors.contains("`a` is required") && errors.contains("m:4:4: the variable `NONE`"), "{errors}");
    assert!(parse_over(&text.replace("false", "true"), None).is_err());
    assert!(refusal("enabled: false\nconfig: {a: {type: x}}").contains("no type"));
}

#[test]
fn what_lies_over_a_manifest_takes_the_place_of_its_keys() {
    let text = "name: x\nenabled: false\nconfig: {a: {type: number}, b: {type: number}}\na: 1\nb: 2\n";
    let manifest = parse_over(text, Some("enabled: true\nb: 3\n")).unwrap();
    assert!(manifest.enabled);
    assert_eq!(manifest.settings.unwrap().value(), &json!({"a": 1, "b": 3}));
    let broken = parse_over(text, Some("# c\nb: x\nenabled: true\nzebra: 1\nversion: 2.0.0\n")).unwrap_err();
    let errors = broken.errors.to_string();
    for error in [
        "over:2:4: expected a number",
        "over:4:1: unknown key `zebra`",
        "over:5:1: `version` cannot be changed here\n  hint: it belongs to the plugin's manifest",
    ] {
        assert!(errors.contains(error), "{errors}");
    }
    let both = parse_over("name: x\nzebra: 1\n", Some("lion: 1\n")).unwrap_err().errors.to_string();
    assert_eq!(both, "m:2:1: unknown key `zebra`\nover:1:1: unknown key `lion`");
    assert!(parse_over(text, Some("")).is_ok());
    assert!(
        parse_over(text, Some("- a"))
            .unwrap_err()
            .errors
            .to_string()
            .starts_with("over:1:1: a manifest is a map")
    );
}

#[test]
fn a_large_table_of_settings_is_read_and_a_huge_or_exploding_file_is_not() {
    let mut text = "name: x\nconfig: {hosts: {type: object, values: {type: string}}}\nhosts:\n".to_owned();
    for host in 0..100_000 {
        text += &format!("  h{host}.example.com: app{host}\n");
    }
    let settings = read(&text).settings.unwrap();
    assert_eq!(settings.value()["hosts"].as_object().unwrap().len(), 100_000);
    assert!(refusal(&format!("# {}", "x".repeat(MAX_MANIFEST))).contains("more than 16777216"));
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let below = format!("*a{},", level - 1).repeat(10);
        bomb += &format!("a{level}: &a{level} [{below}]\n");
    }
    assert!(refusal(&bomb).contains("repetition limit"));
}

#[test]
fn many_errors_in_a_large_file_are_counted_and_not_all_placed() {
    let mut text = "name: x\nconfig: {hosts: {type: object, values: {type: number}}}\nhosts:\n".to_owned();
    for host in 0..20_000 {
        text += &format!("  h{host}.example.com: {}\n", "x".repeat(200));
    }
    let errors = parse_over(&text, None).unwrap_err().errors;
    let problems = &errors.0[0].problems;
    assert!(problems.len() < 200, "{}", problems.len());
    let last = &problems[problems.len() - 1].message;
    assert_eq!(last, &format!("there are {} more like these", 20_000 - (problems.len() - 1)));
}

#[test]
fn the_name_is_found_whatever_else_is_wrong() {
    assert_eq!(name_of("name: '@a/b'\nzebra: [1]\n").unwrap().as_str(), "@a/b");
    for text in ["", "name: [", "name: 5", "name: Hello", "- name"] {
        assert_eq!(name_of(text), None, "{text}");
    }
}

const REFERENCE: &str = include_str!("../../../docs/plugins.md");

#[test]
fn the_reference_has_every_key_every_hook_and_every_phase() {
    for key in keys::KEYS {
        assert!(REFERENCE.contains(&format!("\n| `{key}` | ")), "{key}");
    }
    for hook in hooks::NAMES.into_iter().chain(["onInit", "onShutdown", "routes", "services"]) {
        assert!(REFERENCE.contains(&format!("`{hook}")), "{hook}");
    }
    for phase in Phase::ALL {
        assert!(REFERENCE.contains(&format!("\n{phase} ")), "{phase}");
    }
}

/// Those that it marks, and those that it takes from files.
#[test]
fn every_manifest_of_the_reference_is_read() {
    let blocks = REFERENCE.split("\n```yaml ").skip(1);
    let read_one = |block: &str| {
        let (_, text) = block.split_once('\n').unwrap();
        let text = text.split("\n```").next().unwrap();
        let named = if text.contains("name: ") { text.to_owned() } else { format!("name: x\n{text}") };
        read(&named);
    };
    assert_eq!(blocks.map(read_one).count(), 7);
}

proptest! {
    #[test]
    fn no_text_panics(
        key in "name|version|base|hooks|menus|config|dependencies|workerEnv|entrypoint|guards|zebra",
        value in "\\PC{0,30}|[{\\[]?[a-z0-9.:,/@ -]{0,20}[\\]}]?",
        over in prop::option::of("[a-z]{1,8}: ?\\PC{0,10}"),
    ) {
        if let Err(broken) = parse_over(&format!("name: x\n{key}: {value}\n"), over.as_deref()) {
            prop_assert!(broken.errors.0.iter().all(|error| !error.problems.is_empty()));
        }
    }
}
