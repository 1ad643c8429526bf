//! What of the plugins' directories, settings and data is within reach of whom, with the supervisor as root and as an ordinary user.

use super::harness::{Answer, Apps, Launch, Server, eventually};
use super::hidden::{start, users};
use super::plugins::Plugins;
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use std::path::Path;

/// Answers with what it reads, lists and writes at the paths that it is sent.
const LOOK: &str = "
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
const attempt = (act) => { try { return act() ?? 'done'; } catch (error) { return 'denied: ' + error.code; } };
export const look = async (request) => {
  const paths = await request.json();
  return Response.json({
    read: paths.map((path) => attempt(() => readFileSync(path, 'utf8'))),
    listed: paths.map((path) => attempt(() => readdirSync(path).sort())),
    written: paths.map((path) => attempt(() => writeFileSync(path + '/written', ''))),
  });
};
";

fn manifest(name: &str, more: &str) -> String {
    format!("name: {name}\nversion: 1.0.0\nbase: /{name}\n{more}")
}

/// `config` and a setting that is a secret.
fn with_secret(name: &str, more: &str) -> String {
    let schema = "config:\n  token: {type: secret, label: Token}\ntoken: hunter2-of-";
    manifest(name, &format!("{schema}{name}\n{more}"))
}

fn add(dir: &Path, name: &str) {
    let plugin = "import { look } from './lib/look.ts';
        const lazy = async () => new Response(await Bun.file(`${import.meta.dir}/word.txt`).text());
        export default { routes: { '/look': { POST: look }, '/word': lazy } };";
    std::fs::create_dir_all(dir.join(name).join("lib")).unwrap();
    for (file, text) in [
        ("manifest.yaml", &*with_secret(name, "")),
        ("plugin.ts", plugin),
        ("lib/look.ts", LOOK),
        ("word.txt", "lazily"),
    ] {
        std::fs::write(dir.join(name).join(file), text).unwrap();
    }
}

fn with(launch: Launch, dir: &Path, spares: &str) -> Launch {
    launch.env("RUNTIME_SPARE_WORKERS", spares).plugins(dir)
}

async fn reload(server: &Server) -> Answer {
    let request = Request::post("/api/plugins/reload").body(Full::default()).unwrap();
    server.admin().await.send(request).await.unwrap()
}

#[tokio::test]
async fn an_app_sees_no_plugin_and_a_plugin_its_own_directory_alone_wherever_it_is() {
    for user in users() {
        for (among_apps, spares) in [(false, "1"), (true, "0")] {
            let (plugins, apps) = (Plugins::new(), Apps::new());
            let dir = match among_apps {
                true => apps.path().join("plugins"),
                false => plugins.path().to_owned(),
            };
            for name in ["one", "two"] {
                add(&dir, name);
            }
            let apps = apps.file("look/index.ts", format!("{LOOK}\nexport default {{ fetch: look }};"));
            let Some(server) = start(with(apps.launch(), &dir, spares), user).await else { continue };
            let files = |name: &str| json!([dir.join(name).join("manifest.yaml"), dir.join(name)]);
            let case = format!("{user:?} {among_apps}");
            let none = json!(["denied: ENOENT", "denied: ENOENT"]);

            assert_eq!(server.get("/one/word").await.text(), "lazily", "{case}");
            let own = server.post("/one/look", files("one").to_string()).await.json();
            assert!(own["read"][0].as_str().unwrap().contains("hunter2-of-one"), "{case}: {own:#}");
            assert_eq!(own["written"][1], "denied: EROFS", "{case}: {own:#}");
            let expected = json!(["lib", "manifest.yaml", "plugin.ts", "word.txt"]);
            assert_eq!(own["listed"][1], expected, "{case}: {own:#}");

            for (asker, whose) in [("/one/look", "two"), ("/look/", "one"), ("/look/", "two")] {
                let told = server.post(asker, files(whose).to_string()).await.json();
                let what = format!("{case} {asker} {whose}: {told:#}");
                assert_eq!(told["read"][0], none[0], "{what}");
                // The place that it is mounted at, where it is.
                assert!(told["listed"][1] == none[0] || told["listed"][1] == json!([]), "{what}");
                let written = &told["written"][1];
                assert!(*written == "denied: EROFS" || *written == none[0], "{what}");
            }
            // One more, which is there from now on.
            add(&dir, "three");
            assert_eq!(reload(&server).await.status(), 200, "{case}");
            assert_eq!(server.get("/three/word").await.text(), "lazily", "{case}");
            let told = server.post("/look/", files("three").to_string()).await.json();
            assert_eq!(told["read"][0], none[0], "{case}: {told:#}");
            let exposed = |line: &Value| line["message"].as_str().unwrap_or("").starts_with("apps can read");
            assert_eq!(server.log(exposed), Vec::<Value>::new(), "{case}");
        }
    }
}

#[tokio::test]
async fn a_plugins_own_app_has_its_directory_and_data_apart_from_an_app_of_the_name() {
    let own = format!(
        "{LOOK}
        export default {{ fetch: (request) => new URL(request.url).search ? look({{ json: () => new URL(request.url).search.slice(1).split(',') }}) : Response.json(process.env.APP_DATA_DIR) }};"
    );
    for user in users() {
        let plugins = Plugins::new();
        let shop = with_secret("shop", "entrypoint: server.ts\n").replace("base: /shop", "base: /window");
        plugins
            .write("shop/manifest.yaml", &shop)
            .write("shop/plugin.ts", "export default {};")
            .write("shop/server.ts", &own)
            .write("other/manifest.yaml", &with_secret("other", ""))
            .write("other/plugin.ts", "export default {};");
        let outside = "export default { fetch: () => Response.json(process.env.APP_DATA_DIR) };";
        let launch = Apps::new().file("shop/index.ts", outside).launch();
        let Some(server) = start(plugins.of(launch), user).await else { continue };
        let file = |name: &str| plugins.path().join(name).join("manifest.yaml");
        let paths = format!("{},{}", file("shop").display(), file("other").display());
        let told = server.get(&format!("/window/?{paths}")).await.json();
        assert!(told["read"][0].to_string().contains("hunter2-of-shop"), "{told:#}");
        assert_eq!(told["read"][1], "denied: ENOENT", "{told:#}");
        let data = server.state_dir().join("data");
        assert_eq!(server.get("/window/").await.json(), json!(data.join("PluginApps/shop")));
        assert_eq!(server.get("/shop/").await.json(), json!(data.join("shop")));
    }
}

#[tokio::test]
async fn a_secret_of_a_plugins_settings_reaches_its_module_and_neither_its_environment_nor_a_log() {
    let plugins = Plugins::new();
    let schema = "config:\n  token: {type: secret, label: Token}\ntoken: ${TOKEN_OF_TEST}\n";
    let plugin = "let ctx;
        export default {
            onInit(context) { ctx = context; console.log('begun'); context.log.info('begun too'); },
            routes: {
                '/length': () => Response.json([ctx.config.token.length, Object.values(process.env).includes(ctx.config.token), process.pid]),
                '/throw': () => { throw new Error('on purpose'); },
            },
        };";
    plugins.write("safe/manifest.yaml", &manifest("safe", schema)).write("safe/plugin.ts", plugin);
    let secret = "hunter2-that-nobody-may-see";
    let launch = plugins.of(Apps::new().launch()).env("TOKEN_OF_TEST", secret);
    let server = launch.start().await;
    let told = server.get("/safe/length").await.json();
    assert_eq!((&told[0], &told[1]), (&json!(secret.len()), &json!(false)));
    if let Ok(environment) = std::fs::read(format!("/proc/{}/environ", told[2])) {
        assert!(!String::from_utf8_lossy(&environment).contains(secret));
    }
    assert!(server.get("/safe/throw").await.status() >= 500);
    eventually("its failure is logged", || {
        !server.log(|line| line.to_string().contains("on purpose")).is_empty()
    })
    .await;
    assert_eq!(server.log(|line| line.to_string().contains(secret)), Vec::<Value>::new());
    assert!(!server.log(|line| line.to_string().contains("begun too")).is_empty());
}

#[tokio::test]
async fn a_pool_without_room_for_all_script_plugins_and_an_app_does_not_start_and_says_why() {
    let plugins = Plugins::new();
    for name in ["one", "two"] {
        add(plugins.path(), name);
    }
    let crowded = plugins.of(Apps::new().lean()).env("RUNTIME_POOL_SIZE", "2").fail().await;
    assert!(crowded.contains("`poolSize`") && crowded.contains("need 3"), "{crowded}");
    let server = plugins.of(Apps::new().lean()).env("RUNTIME_POOL_SIZE", "3").start().await;
    assert_eq!(server.get("/two/word").await.text(), "lazily");
    add(plugins.path(), "three");
    let refused = reload(&server).await;
    assert_eq!(
        (refused.status(), &refused.json()["code"]),
        (422, &json!("plugin_not_loaded")),
        "{refused:?}"
    );
    assert!(refused.text().contains("need 4") && refused.text().contains("RUNTIME_POOL_SIZE"), "{refused:?}");
    assert_eq!(server.get("/two/word").await.text(), "lazily");
}

#[tokio::test]
async fn a_script_plugin_knows_the_owner_of_a_key_and_never_sees_the_key() {
    let plugins = Plugins::new();
    let plugin = "const who = (request, server) => {
            const caller = server.caller(request);
            const shown = [...request.headers].map(([name, value]) => name + '=' + value).join(';');
            if (request.url.includes('?shown')) return new Response(shown);
            return Response.json(caller && [caller.name, caller.may('apps:read'), caller.may('apps:remove'), caller.sees('shop')]);
        };
        export default {
            fetch: (request, server) => new URL(request.url).pathname.startsWith('/anywhere') ? who(request, server) : new Response('', { status: 404 }),
            routes: { '/who': who },
        };";
    plugins
        .write("door/manifest.yaml", &manifest("door", "hooks:\n  fetch: true\n"))
        .write("door/plugin.ts", plugin);
    let root = "0123456789abcdef0123456789abcdef";
    let server = plugins
        .of(Apps::new().file("anywhere/index.html", "").lean())
        .env("RUNTIME_ROOT_KEY", root)
        .start()
        .await;
    let body = json!({ "name": "ci", "role": "viewer", "namespaces": ["@team"] }).to_string();
    let made =
        Request::post("/api/keys").header("x-api-key", root).header("content-type", "application/json");
    let made = server.send(made.body(Full::from(body)).unwrap()).await.json();
    let key = made["secret"].as_str().unwrap().to_owned();
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        let request = Request::get(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        server.send(request.body(Full::default()).unwrap()).await
    };
    let forged = "{\"name\":\"me\",\"permissions\":[\"apps:read\"],\"namespaces\":\"all\"}";
    for path in ["/door/who", "/anywhere"] {
        for nobody in [
            &[][..],
            &[("x-api-key", "nonsense")],
            &[("authorization", "Basic abc")],
            &[("x-buntime-caller", forged)],
        ] {
            assert_eq!(ask(path, nobody).await.json(), Value::Null, "{path} {nobody:?}");
        }
        let told = ask(path, &[("x-api-key", root)]).await.json();
        assert_eq!(told, json!(["root key", true, true, true]), "{path}");
        let bearer = format!("Bearer {key}");
        for (name, value) in [("x-api-key", &*key), ("authorization", &*bearer)] {
            let told = ask(path, &[(name, value)]).await.json();
            assert_eq!(
                (&told[1], &told[2], &told[3]),
                (&json!(true), &json!(false), &json!(false)),
                "{path}: {told}"
            );
            let shown = ask(&format!("{path}?shown"), &[(name, value), ("x-buntime-caller", forged)]).await;
            let text = shown.text();
            assert!(text.contains("host=") && !text.contains(&key) && !text.contains("x-buntime"), "{text}");
        }
    }
    let mut admin = server.admin().await;
    let request = Request::get("/door/who").body(Full::default()).unwrap();
    let told = admin.send(request).await.unwrap();
    assert_eq!(told.json()[0], "admin socket");
}
