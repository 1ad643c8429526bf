//! Other certificates, while requests go on all the time.

use super::authority::{Authority, text, write};
use super::harness::{Apps, Server};
use super::hidden::{As, start, users};
use super::steady::Steady;

const AGAIN: &str = "the certificates were read again";
const STAY: &str = "the certificates stay as they were";

/// Waits until so many lines say it.
async fn logged(server: &Server, message: &str, times: usize) {
    let is = |line: &serde_json::Value| line["message"] == message;
    super::harness::eventually(message, || server.log(is).len() >= times).await;
}

fn app() -> Apps {
    Apps::new().file("app/index.ts", "export default { fetch: () => new Response('app') }")
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_exchanged_under_load_without_a_failed_request() {
    let authority = Authority::new();
    let server = authority.of(app().lean()).start().await;
    let mut before = authority.shown(&server, "a.test").await;
    let load = Steady::over(authority.connector(&server, "a.test"), "/app/", 4);
    load.answers(50).await;
    let (cert, key) = (authority.path("a.crt"), authority.path("a.key"));
    for turn in 1..=4 {
        let issued = authority.issue(&["a.test"]);
        if turn % 2 == 0 {
            // In place, one after the other.
            write(&key, &issued.key);
            load.answers(50).await;
            write(&cert, &issued.cert);
        } else {
            for (path, pem) in [(&cert, &issued.cert), (&key, &issued.key)] {
                let new = path.with_extension("new");
                write(&new, pem);
                std::fs::rename(&new, path).unwrap();
            }
        }
        logged(&server, AGAIN, turn).await;
        let now = authority.shown(&server, "a.test").await;
        assert_ne!(now, before, "{turn}");
        before = now;
        load.answers(50).await;
    }
    load.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pair_that_cannot_be_used_leaves_the_old_one_serving() {
    let authority = Authority::new();
    authority.lay("certificates/b", &["b.test"]);
    let launch = authority.of(app().lean()).env("RUNTIME_TLS_DIR", text(&authority.path("certificates")));
    let server = launch.start().await;
    let (a, b) = (authority.shown(&server, "a.test").await, authority.shown(&server, "b.test").await);
    let load = Steady::over(authority.connector(&server, "a.test"), "/app/", 4);
    // The first pair is a new one, and fit. The key of the other one is not its own.
    authority.lay("a", &["a.test"]);
    write(&authority.path("certificates/b.key"), &authority.issue(&["b.test"]).key);
    let refused = server.logged(|line| line["message"] == STAY).await;
    assert!(refused["error"].as_str().unwrap().contains("certificates/b.key is not that of"), "{refused}");
    assert_eq!(refused["level"], "ERROR");
    assert_eq!(authority.shown(&server, "a.test").await, a, "all or nothing");
    assert_eq!(authority.shown(&server, "b.test").await, b);
    load.answers(50).await;
    std::fs::remove_file(authority.path("certificates/b.crt")).unwrap();
    logged(&server, STAY, 2).await;
    assert_eq!(authority.shown(&server, "b.test").await, b);
    authority.lay("certificates/b", &["b.test"]);
    authority.lay("certificates/c", &["c.test"]);
    logged(&server, AGAIN, 1).await;
    assert_ne!(authority.shown(&server, "a.test").await, a);
    assert_ne!(authority.shown(&server, "b.test").await, b);
    authority.shown(&server, "c.test").await;
    load.end().await;
}

/// As certbot renews: a link is made to lead elsewhere.
#[tokio::test]
async fn links_that_lead_to_other_files_are_followed() {
    let authority = Authority::new();
    let link = |version: u8| {
        authority.lay("archive/pair", &["a.test"]);
        for (name, file) in [("fullchain.pem", "pair.crt"), ("privkey.pem", "pair.key")] {
            let kept = authority.path(&format!("archive/{version}-{name}"));
            std::fs::rename(authority.path(&format!("archive/{file}")), &kept).unwrap();
            let (new, link) = (authority.path("new"), authority.path(&format!("live/a.test/{name}")));
            std::fs::create_dir_all(link.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(&kept, &new).unwrap();
            std::fs::rename(&new, &link).unwrap();
        }
    };
    link(1);
    let launch = app().lean().env("RUNTIME_TLS_DIR", text(&authority.path("live")));
    let server = launch.start().await;
    let before = authority.shown(&server, "a.test").await;
    link(2);
    logged(&server, AGAIN, 1).await;
    assert_ne!(authority.shown(&server, "a.test").await, before);
}

/// Without a wait for the next look at the files, and from other places.
#[tokio::test]
async fn a_hangup_reads_the_certificates_that_the_configuration_names_now() {
    let authority = Authority::new();
    authority.lay("b", &["b.test"]);
    let configure = |name: &str| {
        let [cert, key] = ["crt", "key"].map(|kind| authority.path(&format!("{name}.{kind}")));
        let file = authority.path("buntime.yaml");
        write(&file, &format!("tlsCert: {}\ntlsKey: {}\n", text(&cert), text(&key)));
        file
    };
    authority.lay("a", &["a.test"]);
    let file = configure("a");
    let server = app().lean().env("RUNTIME_CONFIG", text(&file)).start().await;
    let before = authority.shown(&server, "a.test").await;
    configure("b");
    server.signal(nix::sys::signal::Signal::SIGHUP);
    logged(&server, "reloaded", 1).await;
    assert_ne!(authority.shown(&server, "b.test").await, before);
    // What is not fit changes nothing.
    configure("gone");
    server.signal(nix::sys::signal::Signal::SIGHUP);
    let failed = server.logged(|line| line["message"] == "the reload failed").await;
    assert!(failed["error"].as_str().unwrap().contains("gone.crt cannot be read"), "{failed}");
    authority.shown(&server, "b.test").await;
}

/// Level and limits held already, and manifests and plugins were not read again.
#[tokio::test]
async fn a_certificate_that_is_refused_leaves_the_configuration_as_it_was() {
    let authority = Authority::new();
    authority.lay("a", &["a.test"]);
    let file = authority.path("buntime.yaml");
    let configure = |home: &str| {
        let [cert, key] = ["a.crt", "a.key"].map(|file| authority.path(file));
        write(&file, &format!("tlsCert: {}\ntlsKey: {}\nhome: {home}\n", text(&cert), text(&key)));
    };
    configure("one");
    let apps = Apps::new().file("one/index.html", "one").file("two/index.html", "two");
    let server = apps.lean().env("RUNTIME_CONFIG", text(&file)).start().await;
    let home = async || {
        let request = http::Request::get("/").body(http_body_util::Full::default()).unwrap();
        authority.connect(&server, "a.test").await.send(request).await.unwrap().text().to_owned()
    };
    assert_eq!(home().await, "one");
    let expired =
        authority.issue_with(&["a.test"], |params| params.not_after = rcgen::date_time_ymd(2001, 1, 1));
    write(&authority.path("a.crt"), &expired.cert);
    write(&authority.path("a.key"), &expired.key);
    configure("two");
    server.signal(nix::sys::signal::Signal::SIGHUP);
    let failed = server.logged(|line| line["message"] == "the reload failed").await;
    assert!(failed["error"].as_str().unwrap().contains("a.crt has expired"), "{failed}");
    assert_eq!(home().await, "one");
    authority.lay("a", &["a.test"]);
    server.signal(nix::sys::signal::Signal::SIGHUP);
    logged(&server, "reloaded", 1).await;
    assert_eq!(home().await, "two");
}

/// What is hidden is settled when a process starts.
#[tokio::test]
async fn a_hangup_that_brings_in_a_key_that_apps_can_read_says_so() {
    if !users().contains(&As::User) {
        return;
    }
    let authority = Authority::new();
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let keys = dir.path().join("keys");
    let place = |pair: &str, kind: &str| keys.join(format!("{pair}.{kind}"));
    for pair in ["a", "b"] {
        let issued = authority.issue(&["a.test"]);
        write(&place(pair, "crt"), &issued.cert);
        write(&place(pair, "key"), &issued.key);
    }
    let file = dir.path().join("buntime.yaml");
    let configure = |pair: &str| {
        let [cert, key] = ["crt", "key"].map(|kind| place(pair, kind));
        // In place: it is another user's.
        std::fs::write(&file, format!("tlsCert: {}\ntlsKey: {}\n", text(&cert), text(&key))).unwrap();
    };
    configure("a");
    let [first, second] = ["a", "b"].map(|pair| place(pair, "key"));
    let reader = "import { readFileSync } from 'node:fs';
        export default { fetch: async (request) => new Response(readFileSync(await request.text())) };";
    let launch = Apps::new().file("read/index.js", reader).lean().env("RUNTIME_CONFIG", text(&file));
    let Some(server) = start(launch.state_in(dir), As::User).await else { return };
    let read = async |path: &std::path::Path| {
        let request = http::Request::post("/read/").body(text(path).to_owned().into()).unwrap();
        authority.connect(&server, "a.test").await.send(request).await.unwrap().text().to_owned()
    };
    let is_warning = |line: &serde_json::Value| line["message"] == "apps can read the key of a certificate";
    assert_eq!(read(&first).await, "");
    for turn in 1..=2 {
        configure("b");
        server.signal(nix::sys::signal::Signal::SIGHUP);
        logged(&server, "reloaded", turn).await;
        let warnings = server.log(is_warning);
        assert_eq!(warnings.len(), 1, "once for each key: {warnings:?}");
        assert_eq!(
            (warnings[0]["level"].as_str(), warnings[0]["file"].as_str()),
            (Some("WARN"), second.to_str())
        );
        assert!(warnings[0]["hint"].as_str().unwrap().contains("SIGUSR2"), "{warnings:?}");
    }
    assert!(read(&second).await.contains("PRIVATE KEY"), "or there is nothing to warn of");
}
