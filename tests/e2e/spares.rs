//! An app cannot tell whether its worker was a spare.

use super::harness::{self, Apps, Server};
use serde_json::{Map, Value, json};

/// What the app `portrait` says of its surroundings, with what differs between two servers replaced by words.
async fn portrait(spares: &str, manifest: &str) -> Value {
    let server = Apps::new()
        .with("portrait")
        .file("portrait/manifest.yaml", manifest)
        .file("portrait/.env", "GREETING=hi there\nQUOTED='a b'\n")
        .file("portrait/node_modules/react/jsx-runtime.js", "export const jsx = () => 'production';")
        .file("portrait/node_modules/react/jsx-dev-runtime.js", "export const jsxDEV = () => 'development';")
        .launch()
        .env("RUNTIME_SPARE_WORKERS", spares)
        .env("LANG", "C.UTF-8")
        .env("TZ", "Asia/Tokyo")
        .start()
        .await;
    if spares != "0" {
        // A spare is there to be taken.
        server.logged(|line| line["message"] == "worker" && line["reason"] == "spare").await;
    }
    let answer = server.get("/portrait/").await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert_eq!(server.count("portrait", "creating").await, if spares == "0" { 1 } else { 0 });
    serde_json::from_str(&common(&server, answer.text())).unwrap()
}

fn common(server: &Server, text: &str) -> String {
    let run = server.state_dir().join("run").join(server.pid.to_string());
    text.replace(run.to_str().unwrap(), "RUN")
        .replace(server.state_dir().to_str().unwrap(), "STATE")
        .replace(server.apps().path().to_str().unwrap(), "APPS")
        .replace(&server.address.to_string(), "ADDRESS")
}

/// The places where two values differ.
fn differences(path: &str, spare: &Value, fresh: &Value) -> Vec<String> {
    let empty = Map::new();
    match (spare, fresh) {
        (Value::Object(one), Value::Object(two)) if spare != fresh => {
            let (one, two) = (one, if two.is_empty() { &empty } else { two });
            let mut keys: Vec<&String> = one.keys().chain(two.keys()).collect();
            keys.sort();
            keys.dedup();
            let of = |map: &Map<String, Value>, key: &str| map.get(key).cloned().unwrap_or_default();
            keys.into_iter()
                .flat_map(|key| differences(&format!("{path}.{key}"), &of(one, key), &of(two, key)))
                .collect()
        }
        _ if spare != fresh => vec![format!("{path}: spare {spare}, fresh {fresh}")],
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn a_spare_and_a_fresh_worker_are_the_same_to_an_app() {
    for manifest in [
        "",
        "env: { TZ: America/New_York, EXTRA: '1' }",
        "env: { TZ: UTC, PATH: '/usr/bin:/bin', LANG: C, APP_NAME: mine, PUBLIC_KEY: k }",
    ] {
        let (spare, fresh) = tokio::join!(portrait("2", manifest), portrait("0", manifest));
        let differences = differences("", &spare, &fresh);
        assert!(differences.is_empty(), "with {manifest:?}:\n{}", differences.join("\n"));
    }
}

/// `maxMemory` acts at the start of `bun` itself, so such a worker is no standalone executable.
#[tokio::test]
async fn a_standalone_worker_and_one_that_bun_starts_are_the_same_to_an_app() {
    let (standalone, plain) = tokio::join!(portrait("0", ""), portrait("0", "maxMemory: 1gb"));
    assert_eq!(standalone["bunMain"], "/$bunfs/root/bun-worker");
    assert_eq!(plain["bunMain"].as_str().unwrap().rsplit('/').next(), Some("shim.js"));
    // What the manifest reference calls the shim's.
    let own = [".bunMain", ".requireMain", ".title", ".argv"];
    let differences: Vec<_> = differences("", &standalone, &plain)
        .into_iter()
        .filter(|one| !own.iter().any(|own| one.starts_with(&format!("{own}:"))))
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let bun = harness::bun().canonicalize().unwrap();
    assert_eq!(standalone["bun"], json!([bun, bun, bun]));
}

#[tokio::test]
async fn an_app_sees_its_own_directory_environment_and_time_zone_everywhere() {
    for spares in ["0", "2"] {
        let seen = portrait(spares, "env: { TZ: America/New_York, MANIFEST: '1', GREETING: over }").await;
        assert_eq!((&seen["cwd"], &seen["meta"]["dir"]), (&"APPS/portrait".into(), &"APPS/portrait".into()));
        assert_eq!(seen["meta"]["url"], "file://APPS/portrait/index.ts");
        assert_eq!((&seen["greeting"], &seen["relative"]["number"]), (&"hello from lib".into(), &42.into()));
        assert_eq!((&seen["home"], &seen["tmp"]), (&true.into(), &true.into()));
        assert_eq!(seen["zone"]["name"], "America/New_York");
        assert_eq!(seen["zone"]["offset"], 300);
        for env in [&seen["atLoad"]["env"], &seen["env"], &seen["bunEnv"], &seen["metaEnv"]] {
            assert_eq!((&env["GREETING"], &env["MANIFEST"]), (&"hi there".into(), &"1".into()));
            assert_eq!((&env["APP_NAME"], &env["APP_DIR"]), (&"portrait".into(), &"APPS/portrait".into()));
        }
        for (way, lines) in seen["children"].as_object().unwrap() {
            let expected: &[&str] = match way.as_str() {
                "shellBuiltin" => {
                    assert_eq!(lines, "hi there\nAPPS/portrait");
                    continue;
                }
                "spawnGiven" | "nodeGiven" => &["ONLY=this", "CWD=/"],
                "shellGiven" => &["ONLY=this", "CWD=APPS/portrait"],
                "itself" => {
                    let own = lines[0].as_str().unwrap();
                    assert!(own.contains("/bun ") && own.ends_with(" hi there"), "{own}");
                    continue;
                }
                "fork" => {
                    assert_eq!(lines[1], json!(["word"]));
                    assert_eq!((&lines[2], &lines[3]), (&json!("hi there"), &json!("hello from lib")));
                    continue;
                }
                _ => &["GREETING=hi there", "MANIFEST=1", "CWD=APPS/portrait", "EST"],
            };
            let lines = lines.as_array().unwrap();
            for line in expected {
                assert!(lines.contains(&(*line).into()), "{spares} spares, {way}: no {line} in {lines:?}");
            }
        }
        for (way, thread) in seen["threads"].as_object().unwrap() {
            assert_eq!(thread["cwd"], "APPS/portrait");
            assert_eq!(thread["greeting"], "hello from lib");
            if way.ends_with("Given") {
                assert_eq!(thread["env"]["ONLY"], "this", "{spares} spares, {way}: {thread:#}");
                assert_eq!(thread["env"].get("GREETING"), None, "{spares} spares, {way}: {thread:#}");
            } else {
                assert_eq!(thread["env"]["GREETING"], "hi there", "{spares} spares, {way}: {thread:#}");
                let zone = thread["zone"].as_str().unwrap();
                assert!(zone.contains("GMT-0500"), "{spares} spares, {way}: {zone}");
            }
        }
    }
}

/// Such an app takes no spare, though one is there.
#[tokio::test]
async fn what_bun_reads_only_at_its_start_holds_with_spares_too() {
    let app = "const element = <made />;
        export default { fetch: () => new Response(element) };";
    let server = Apps::new()
        .file("jsx/index.tsx", app)
        .file("jsx/tsconfig.json", r#"{ "compilerOptions": { "jsxImportSource": "other" } }"#)
        .file("jsx/node_modules/other/jsx-dev-runtime.js", "export const jsxDEV = () => 'other';")
        .file("env/index.tsx", app)
        .file("env/manifest.yaml", "env: { NODE_ENV: production }")
        .file("env/node_modules/react/jsx-runtime.js", "export const jsx = () => 'production';")
        .file(
            "bunfig/index.ts",
            "export default { fetch: () => new Response(String(globalThis.preloaded)) };",
        )
        .file("bunfig/bunfig.toml", "preload = ['./preload.ts']")
        .file("bunfig/preload.ts", "globalThis.preloaded = 'preloaded';")
        .launch()
        .env("RUNTIME_SPARE_WORKERS", "2")
        .start()
        .await;
    for (app, expected) in [("jsx", "other"), ("env", "production"), ("bunfig", "preloaded")] {
        let answer = server.get(&format!("/{app}/")).await;
        assert_eq!((answer.status(), answer.text()), (200, expected));
    }
}

#[tokio::test]
async fn packages_installed_above_an_app_after_a_spare_was_started_are_found() {
    let server = Apps::new()
        .file(
            "shop/index.ts",
            "import { word } from 'pack'; export default { fetch: () => new Response(word) };",
        )
        .launch()
        .env("RUNTIME_SPARE_WORKERS", "2")
        .state_among_apps()
        .start()
        .await;
    server.logged(|line| line["message"] == "worker" && line["reason"] == "spare").await;
    // One that is this old has warmed up, and knows the directories above it, which are above the app too.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let package = server.apps().path().join("node_modules/pack");
    std::fs::create_dir_all(&package).unwrap();
    std::fs::write(package.join("index.js"), "export const word = 'found';").unwrap();
    let answer = server.get("/shop/").await;
    assert_eq!((answer.status(), answer.text()), (200, "found"), "{:?}", answer.text());
    server.logged(|line| line["message"] == "the app is tried again in a process of its own").await;
}
