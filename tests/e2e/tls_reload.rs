//! Other certificates, while requests go on all the time.

use super::authority::{Authority, text, write};
use super::harness::{Apps, Server};
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
