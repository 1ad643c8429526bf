//! `buntime dev`: what is edited is served, and what does not run is shown.

use super::harness::{Answer, Apps, PATIENCE, Server, eventually, get_accepting};
use super::load::{Load, assert_all_well};
use super::plugins::Plugins;
use std::path::Path;

fn says(word: &str) -> String {
    format!("export default {{ fetch: () => new Response('{word}') }};")
}

/// At once, as editors do it: of a file that is emptied and then written, the empty one may be seen to be an edit of its own.
pub fn edit(server: &Server, file: &str, text: &str) {
    let path = server.apps().path().join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let aside = tempfile::NamedTempFile::with_prefix_in(".edit-", path.parent().unwrap()).unwrap();
    std::fs::write(&aside, text).unwrap();
    std::fs::set_permissions(&aside, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    aside.persist(path).unwrap();
}

/// Asks until the answer is the one that is waited for.
pub async fn until(server: &Server, path: &str, is: impl Fn(&Answer) -> bool) -> Answer {
    let asking = async {
        loop {
            let answer = server.get(path).await;
            if is(&answer) {
                return answer;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} never changed"))
}

/// A page as a browser asks for it.
pub async fn page(server: &Server, path: &str) -> Answer {
    server.send(get_accepting(path, "text/html,*/*;q=0.8")).await
}

#[tokio::test]
async fn an_edit_is_served_without_a_failed_request_whatever_is_asked_meanwhile() {
    let server = Apps::new().file("index.ts", says("0")).launch().dev().start().await;
    assert_eq!(server.get("/").await.text(), "0");
    let load = Load::start(&server, 4, &["/", "/any/path"]).await;
    for turn in 1..=8 {
        let word = turn.to_string();
        edit(&server, "index.ts", &says(&word));
        until(&server, "/", |answer| answer.text() == word).await;
    }
    assert_all_well(&load.end().await);
    // Those before it are gone.
    let workers = || server.log(|line| line["to"] == "terminated" && line["reason"] == "deploy").len();
    eventually("all others ended", || workers() == 8).await;
}

/// Where an edit gave way to the next one before a worker of it was ready, it took the one that still served with it.
#[tokio::test]
async fn an_edit_that_comes_before_the_last_one_is_ready_fails_no_request() {
    let slow = |word: &str| format!("await Bun.sleep(400);\n{}", says(word));
    let server = Apps::new().file("index.ts", slow("0")).launch().dev().start().await;
    assert_eq!(server.get("/").await.text(), "0");
    let load = Load::start(&server, 2, &["/"]).await;
    for round in 0..3 {
        for turn in 0..3 {
            let before = server.log(|line| line["message"] == "replaced").len();
            edit(&server, "index.ts", &slow(&format!("{round}.{turn}")));
            eventually("it is noticed", || server.log(|line| line["message"] == "replaced").len() > before)
                .await;
        }
        let last = format!("{round} done");
        edit(&server, "index.ts", &says(&last));
        until(&server, "/", |answer| answer.text() == last).await;
    }
    assert_all_well(&load.end().await);
}

#[tokio::test]
async fn the_hono_example_is_edited() {
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hono/node_modules/hono").exists() {
        let hint = "examples/hono has no node_modules: run `npm ci` there";
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{hint}");
        return eprintln!("SKIPPED: {hint}");
    }
    let server = Apps::new().all_of("examples/hono").launch().dev().start().await;
    assert!(server.get("/").await.text().contains("<h1>Books</h1>"));
    let load = Load::start(&server, 2, &["/books"]).await;
    let file = server.apps().path().join("src/index.tsx");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("<h1>Books</h1>", "<h1>Edited</h1>")).unwrap();
    until(&server, "/", |answer| answer.text().contains("<h1>Edited</h1>")).await;
    // A module that the entrypoint imports.
    let file = server.apps().path().join("src/books.ts");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("The Art", "The Craft")).unwrap();
    until(&server, "/books", |answer| answer.text().contains("The Craft")).await;
    assert_all_well(&load.end().await);
}

#[tokio::test]
async fn what_does_not_load_is_shown_with_its_place_until_it_is_mended() {
    let server = Apps::new().file("index.ts", says("fine")).launch().dev().start().await;
    assert_eq!(server.get("/").await.text(), "fine");
    edit(&server, "index.ts", "import './lib.ts';\nexport default {{{\n");
    let problem = until(&server, "/", |answer| answer.status() != 200).await;
    assert_eq!(problem.problem(), (500, "start_failed".to_owned()));
    server.logged(|line| line["message"] == "an app failed to start").await;
    let shown = page(&server, "/").await;
    assert_eq!((shown.status(), shown.header("content-type")), (500, "text/html; charset=utf-8"));
    for part in
        ["index.ts:2:17", "2 | export default {{{", "data-problem", "/.well-known/buntime/dev.js", "error: "]
    {
        assert!(shown.text().contains(part), "{part} is not in {}", shown.text());
    }
    let error = "const one = 1;\nfunction start(): never { throw new TypeError('no database') }\nstart();";
    edit(&server, "index.ts", error);
    until(&server, "/", |answer| answer.text().contains("no database")).await;
    let shown = page(&server, "/").await;
    assert!(shown.text().contains("index.ts:2:") && shown.text().contains("no database"), "{}", shown.text());
    edit(&server, "index.ts", &says("mended"));
    until(&server, "/", |answer| answer.status() == 200).await;
    assert_eq!(server.get("/").await.text(), "mended");
}

#[tokio::test]
async fn what_an_app_throws_is_shown_with_its_place() {
    let app = "type Body = string;\nexport default {\n  fetch(): Response {\n    throw new Error('thrown here');\n  },\n};";
    let server = Apps::new().file("index.ts", app).launch().dev().start().await;
    let shown = page(&server, "/").await;
    assert_eq!(shown.status(), 500);
    assert!(shown.text().contains("index.ts:4:") && shown.text().contains("&gt; 4 |"), "{}", shown.text());
    assert_eq!(server.get("/").await.problem(), (500, "app_error".to_owned()));
}

#[tokio::test]
async fn a_manifest_counts_when_it_is_saved_and_a_wrong_one_is_shown() {
    let word = "export default { fetch: () => new Response(process.env.WORD ?? 'none') };";
    let server = Apps::new().file("index.ts", word).launch().dev().start().await;
    assert_eq!(server.get("/").await.text(), "none");
    edit(&server, "manifest.yaml", "env:\n  WORD: stated\n");
    until(&server, "/", |answer| answer.text() == "stated").await;
    edit(&server, ".env", "WORD=from the file");
    until(&server, "/", |answer| answer.text() == "from the file").await;
    edit(&server, "manifest.yaml", "env:\n  WORD: stated\nttl: never\n");
    let problem = until(&server, "/", |answer| answer.status() != 200).await;
    assert_eq!(problem.problem(), (500, "app_unavailable".to_owned()));
    let shown = page(&server, "/").await;
    assert!(
        shown.text().contains("manifest.yaml:3:6") && shown.text().contains("ttl: never"),
        "{}",
        shown.text()
    );
    edit(&server, "manifest.yaml", "env:\n  WORD: stated\nttl: 1m\n");
    until(&server, "/", |answer| answer.text() == "from the file").await;
}

#[tokio::test]
async fn what_nobody_edits_replaces_no_worker() {
    let apps = Apps::new().file("src/index.ts", says("one"));
    let server = apps.launch().dev().arguments(&["--ignore", "cache"]).start().await;
    assert_eq!(server.get("/").await.text(), "one");
    for file in [
        "node_modules/hono/index.js",
        ".git/HEAD",
        ".next/cache",
        "dist/index.js",
        "build/a/b.js",
        "coverage/x",
        "out/y",
        "target/z",
        "src/.index.ts.swp",
        "src/#index.ts#",
        "data.db-wal",
        "server.log",
        "cache/page.json",
    ] {
        edit(&server, file, "x");
    }
    edit(&server, "src/index.ts", &says("two"));
    until(&server, "/", |answer| answer.text() == "two").await;
    server.logged(|line| line["message"] == "replaced").await;
    assert_eq!(server.log(|line| line["message"] == "replaced").len(), 1);
    // Unless it is what is served.
    edit(&server, "package.json", r#"{ "module": "dist/index.js" }"#);
    edit(&server, "dist/index.js", &says("built"));
    until(&server, "/", |answer| answer.text() == "built").await;
    edit(&server, "dist/index.js", &says("built again"));
    until(&server, "/", |answer| answer.text() == "built again").await;
}

/// It was started anew for what it had written at its start, for ever.
#[tokio::test]
async fn an_app_that_writes_beside_its_sources_goes_on_running() {
    let writing = "import { Database } from 'bun:sqlite';\n\
        import { appendFileSync } from 'node:fs';\n\
        const db = new Database(`${import.meta.dir}/app.sqlite`);\n\
        db.run('PRAGMA journal_mode = WAL; CREATE TABLE IF NOT EXISTS starts (at)');\n\
        db.run('INSERT INTO starts VALUES (1)');\n\
        appendFileSync(`${import.meta.dir}/app.log`, 'started\\n');\n\
        const starts = () => db.query('SELECT count(*) AS n FROM starts').get().n;\n\
        export default { fetch: () => new Response(`WORD ${starts()}`) };";
    let apps = Apps::new().file("index.ts", writing.replace("WORD", "one"));
    // Workers may run as another user.
    std::fs::set_permissions(apps.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let server = apps.launch().dev().start().await;
    assert_eq!(server.get("/").await.text(), "one 1");
    edit(&server, "index.ts", &writing.replace("WORD", "two"));
    until(&server, "/", |answer| answer.text() == "two 2").await;
    // Written in two steps.
    std::fs::write(server.apps().path().join("index.ts"), writing.replace("WORD", "three")).unwrap();
    until(&server, "/", |answer| answer.text().starts_with("three")).await;
    let replaced = || server.log(|line| line["message"] == "replaced").len();
    eventually("both are logged", || replaced() >= 2).await;
    assert!(replaced() <= 3, "{}", replaced());
}

/// As a program in the foreground does when its terminal is closed. `buntime run` reloads.
#[tokio::test]
async fn a_hangup_ends_it() {
    let mut server = Apps::new().file("index.ts", says("x")).launch().dev().start().await;
    assert_eq!(server.get("/").await.text(), "x");
    server.signal(nix::sys::signal::Signal::SIGHUP);
    assert!(server.exit().await.success());
}

#[tokio::test]
async fn a_directory_of_apps_has_each_at_its_name_and_new_ones_as_they_come() {
    let apps = Apps::new().file("one/index.ts", says("one")).file("two/index.html", "<h1>two</h1>");
    let server = apps.launch().dev().start().await;
    assert_eq!(server.get("/one/").await.text(), "one");
    assert!(server.get("/two/").await.text().contains("<h1>two</h1>"));
    assert!(page(&server, "/").await.text().contains("data-seen"), "the list of apps is live, too");
    edit(&server, "three/index.ts", &says("three"));
    until(&server, "/three/", |answer| answer.text() == "three").await;
    edit(&server, "one/index.ts", "throw new Error('one only')");
    until(&server, "/one/", |answer| answer.status() == 500).await;
    assert_eq!(server.get("/three/").await.text(), "three");
}

#[tokio::test]
async fn one_app_has_the_whole_site_also_the_path_of_its_own_name() {
    let path = "export default { fetch: (request) => new Response(new URL(request.url).pathname) };";
    let apps = Apps::new().file("shop/index.ts", path);
    let dir = apps.path().join("shop");
    let server = apps.launch().dev().worker_dirs(&dir).start().await;
    for path in ["/", "/shop", "/shop/cart", "/shop@1/", "/other", "/api/books", "/api"] {
        assert_eq!(server.get(path).await.text(), path);
    }
    assert_eq!(server.get("/.well-known/buntime").await.json()["api"], "/_buntime/api");
    assert_eq!(server.get("/_buntime/api/health").await.json()["status"], "ok");
    // Another one in its place.
    std::fs::rename(&dir, server.apps().path().join("old")).unwrap();
    edit(&server, "shop/index.ts", &says("in its place"));
    until(&server, "/", |answer| answer.text() == "in its place").await;
}

#[tokio::test]
async fn a_site_of_files_is_live_and_so_is_the_state_in_its_directory() {
    let apps = Apps::new().file("index.html", "<!doctype html><title>one</title>").file("a.js", "1");
    let server = apps.launch().state_among_apps().dev().start().await;
    let shown = page(&server, "/").await;
    assert!(shown.text().contains("/.well-known/buntime/dev.js") && shown.text().contains("one"));
    assert_eq!(server.get("/a.js").await.text(), "1");
    edit(&server, "index.html", "<!doctype html><title>two</title>");
    until(&server, "/", |answer| answer.text().contains("two")).await;
    server.logged(|line| line["message"] == "replaced").await;
    // A page that is made from now on has seen that, and the state is no change of the site.
    assert!(!page(&server, "/").await.text().contains("data-seen=\"1\""));
    assert_eq!(server.log(|line| line["message"] == "replaced").len(), 1);
}

#[tokio::test]
async fn an_edited_plugin_is_loaded_anew_and_one_that_does_not_start_leaves_what_was() {
    let plugins = Plugins::new();
    let plugin =
        |word: &str| format!("export default {{ routes: {{ '/word': () => new Response('{word}') }} }};");
    let manifest = |base: &str| format!("name: word\nversion: 1.0.0\nbase: {base}\n");
    let write = |file: &str, text: &str| {
        plugins.write(&format!("word/{file}"), text);
    };
    write("manifest.yaml", &manifest("/word"));
    write("plugin.ts", &plugin("one"));
    let apps = Apps::new().file("app/index.ts", says("app"));
    let server = apps.launch().plugins(plugins.path()).dev().start().await;
    assert_eq!(server.get("/word/word").await.text(), "one");
    write("plugin.ts", &plugin("two"));
    until(&server, "/word/word", |answer| answer.text() == "two").await;
    write("lib/word.ts", "export const word = 'three';");
    write(
        "plugin.ts",
        "import { word } from './lib/word.ts';\nexport default { routes: { '/word': () => new Response(word) } };",
    );
    until(&server, "/word/word", |answer| answer.text() == "three").await;
    write("lib/word.ts", "export const word = ");
    server.logged(|line| line["message"] == "the plugins were not loaded anew").await;
    assert_eq!(server.get("/word/word").await.text(), "three");
    write("lib/word.ts", "export const word = 'four';");
    until(&server, "/word/word", |answer| answer.text() == "four").await;
    write("manifest.yaml", &manifest("/words"));
    until(&server, "/words/word", |answer| answer.text() == "four").await;
    assert_eq!(server.get("/app/").await.text(), "app");
}

#[tokio::test]
async fn outside_of_dev_nothing_of_it_is_there() {
    let apps = Apps::new().file("site/index.html", "<!doctype html><title>one</title>");
    let server = apps.launch().env("NODE_ENV", "development").start().await;
    assert_eq!(server.get("/site/").await.text(), "<!doctype html><title>one</title>");
    for path in ["/.well-known/buntime/dev.js", "/.well-known/buntime/dev/events"] {
        assert_eq!(server.get(path).await.status(), 404, "{path}");
    }
    assert!(!page(&server, "/nothing/").await.text().contains("<script"));
}

/// A page of another site whose name means 127.0.0.1 by now read sources, stacks and what apps wrote to stderr.
#[tokio::test]
async fn a_name_that_another_site_may_have_is_told_nothing_of_the_inside() {
    let throwing = "console.error('said to nobody');\nthrow new Error('not for others');";
    let server = Apps::new().file("index.ts", throwing).launch().dev().start().await;
    let ask = async |path: &str, host: &str| {
        let mut request = get_accepting(path, "text/html,*/*;q=0.8");
        request.headers_mut().insert("host", host.parse().unwrap());
        server.send(request).await
    };
    for host in ["localhost:1", "shop.localhost", "shop.test", "127.0.0.1"] {
        let shown = ask("/", host).await;
        assert!(shown.text().contains("not for others") && shown.text().contains("data-seen"), "{host}");
        assert_eq!(ask("/.well-known/buntime/dev.js", host).await.status(), 200, "{host}");
    }
    let shown = ask("/", "evil.example").await;
    assert_ne!(shown.status(), 200);
    for part in ["not for others", "said to nobody", "index.ts", "<script"] {
        assert!(!shown.text().contains(part), "{part} is in {}", shown.text());
    }
    for path in ["/.well-known/buntime/dev.js", "/.well-known/buntime/dev/events?app=x"] {
        assert_eq!(ask(path, "evil.example").await.status(), 403, "{path}");
    }
    edit(
        &server,
        "index.ts",
        "export default { fetch: () => new Response('<!doctype html><h1>x', { headers: { 'content-type': 'text/html' } }) };",
    );
    until(&server, "/", |answer| answer.status() == 200).await;
    assert_eq!(ask("/", "evil.example").await.text(), "<!doctype html><h1>x");
    assert!(ask("/", "localhost").await.text().contains("data-seen"));
}

#[tokio::test]
async fn what_cannot_be_developed_is_refused() {
    let sole = || Apps::new().file("index.ts", says("x")).launch().dev();
    assert!(sole().env("RUNTIME_HOME_APP", "other").fail().await.contains("is served at /"));
    let (mut command, _apps, _state) = sole().into_command();
    let output = command.args(["--env", "production"]).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("`buntime dev` is for development"), "{said}");
    assert_eq!(output.status.code(), Some(2));
    let (mut command, _apps, _state) = sole().into_command();
    let output = command.args(["--worker-dirs", "/tmp"]).output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot be used with"), "{said}");
    let nowhere = sole().worker_dirs(Path::new("/nowhere/at/all")).fail().await;
    assert!(nowhere.contains("/nowhere/at/all is not a directory"), "{nowhere}");
}
