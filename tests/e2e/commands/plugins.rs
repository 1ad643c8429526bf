//! Plugins on the command line.

use super::{Person, row};
use crate::harness::{Apps, PATIENCE, Server};
use serde_json::json;

async fn server() -> Server {
    let apps = Apps::new();
    let plugins = apps.path().join(".plugins");
    std::fs::create_dir(&plugins).unwrap();
    apps.lean().plugins(&plugins).start().await
}

#[tokio::test]
async fn a_plugin_that_is_off_is_installed_configured_shown_and_deleted() {
    let server = server().await;
    let person = Person::beside(&server);
    let made = person.runs(&["plugins", "new", "@team/hello"]).await;
    assert!(made.stderr.contains("buntime plugins install hello"), "{}", made.stderr);
    super::replace(&person.path("hello/manifest.yaml"), "enabled: true", "enabled: false");
    let installed = person.types("plugins install hello").await;
    installed.ok();
    assert!(installed.stderr.contains("installed @team/hello@0.1.0 (4 files, "), "{}", installed.stderr);
    assert!(installed.stderr.contains("buntime plugins enable @team/hello"), "{}", installed.stderr);
    assert!(person.types("plugins install hello").await.failed(6).contains("hint: say --replace"));

    let list = person.types("plugins").await;
    assert_eq!(row(list.ok(), "@team/hello"), ["@team/hello", "0.1.0", "disabled", "script", "/hello", "-"]);
    assert_eq!(person.types("plugins list --json").await.json(), person.types("plugins --json").await.json());
    assert!(person.types("plugins show @team/hello").await.ok().contains("state      disabled\n"));

    person.types("plugins config @team/hello greeting=hi blocked=[\"/a\"]").await.ok();
    let config = person.types("plugins config @team/hello --json").await.json();
    assert_eq!(config["settings"], json!({ "greeting": "hi", "blocked": ["/a"] }));
    person.types("plugins config @team/hello --unset greeting").await.ok();
    let table = person.types("plugins config @team/hello").await;
    assert_eq!(row(table.ok(), "greeting")[..3], ["greeting", "string", "hello"]);
    let refused = person.types("plugins config @team/hello greetin=hi").await;
    assert!(refused.failed(1).contains("greetin"), "{}", refused.stderr);

    person.types("plugins install hello --replace").await.ok();
    person.types("plugins reload").await.ok();
    person.types("plugins rm @team/hello").await.failed(2);
    person.types("plugins rm @team/hello --yes").await.ok();
    person.types("plugins show @team/hello").await.failed(5);
    person.types("plugins enable @team/hello").await.failed(5);
}

/// The template, as it is made.
#[tokio::test]
async fn what_is_begun_works_when_it_is_installed() {
    let server = server().await;
    let person = Person::beside(&server);
    person.runs(&["plugins", "new", "hello"]).await.ok();
    person.types("plugins install hello").await.ok();
    assert_eq!(row(person.types("plugins").await.ok(), "hello")[2], "loaded");
    assert_eq!(server.get("/hello/").await.text(), "hello, world\n");
    person.types("plugins config hello greeting=hi").await.ok();
    assert_eq!(server.get("/hello/you").await.json(), json!({ "says": "hi, you" }));
    person.types("plugins config hello blocked=[\"/hello/you\"]").await.ok();
    assert_eq!(server.get("/hello/you").await.status(), 403);
    person.types("plugins disable hello").await.ok();
    assert_eq!(server.get("/hello/you").await.status(), 404);
    person.types("plugins enable hello").await.ok();
}

#[tokio::test]
async fn a_plugin_that_does_not_start_has_an_exit_code_of_its_own() {
    let server = server().await;
    let person = Person::beside(&server);
    person.runs(&["plugins", "new", "hello"]).await.ok();
    super::replace(&person.path("hello/manifest.yaml"), "version:", "dependencies: [nobody]\nversion:");
    let failed = person.types("plugins install hello").await;
    assert!(failed.failed(7).contains("nobody"), "{}", failed.stderr);
    assert!(!person.types("plugins").await.ok().contains("hello"));
}

/// What `docs/plugins.md` types in its blocks for the console, and what comes.
#[tokio::test]
async fn the_tutorial_is_what_happens() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let hello = std::fs::read(root.join("examples/hello/index.ts")).unwrap();
    let apps = Apps::new().file("hello/index.ts", hello);
    let plugins = apps.path().join(".plugins");
    std::fs::create_dir(&plugins).unwrap();
    let server = apps.lean().plugins(&plugins).start().await;
    let person = Person::beside(&server);
    let link = |to: &std::path::Path, name| std::os::unix::fs::symlink(to, person.path(name)).unwrap();
    link(&root.join("plugins"), "plugins");
    std::fs::create_dir(person.path("bin")).unwrap();
    link(env!("CARGO_BIN_EXE_buntime").as_ref(), "bin/buntime");
    let path = format!("{}:{}", person.path("bin").display(), std::env::var("PATH").unwrap());

    let text = std::fs::read_to_string(root.join("docs/plugins.md")).unwrap();
    let blocks: Vec<_> =
        text.split("```console\n$ ").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 1);
    for step in blocks.iter().flat_map(|block| block.split("\n$ ")) {
        let (line, expected) = step.split_once('\n').unwrap_or((step, ""));
        let typed = line.replace("127.0.0.1:8000", &server.address.to_string());
        let mut command = tokio::process::Command::new("/bin/bash");
        command
            .args(["-c", &format!("exec 2>&1; {typed}")])
            .current_dir(person.path(""))
            .env_clear()
            .env("HOME", person.path(""))
            .env("PATH", &path)
            .env("RUNTIME_STATE_DIR", server.state_dir());
        let done = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        // Sizes change with the files.
        let shape = |text: &str| {
            let sizes = |line: &str| line.split_once(" files, ").map_or(line, |(line, _)| line).to_owned();
            text.trim_end().lines().map(sizes).collect::<Vec<_>>()
        };
        assert_eq!(shape(&said), shape(expected), "{line}\n{said}");
        assert!(done.status.success(), "{line}\n{said}");
    }
}
