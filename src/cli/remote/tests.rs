//! Which runtime is meant, by a map of variables and a file of contexts.

use super::*;
use std::collections::BTreeMap;
use tempfile::TempDir;

/// A home with these contexts, all with keys of their own name.
fn home(current: Option<&str>) -> TempDir {
    let home = TempDir::new().unwrap();
    let context = |name: &str, url: &str| {
        let key = Some(Key::parse(&format!("key-of-{name}")).unwrap());
        (
            name.to_owned(),
            Context { url: url.into(), key, api_prefix: Some("/_ops".into()), insecure_http: false },
        )
    };
    let contexts = Contexts {
        current: current.map(str::to_owned),
        contexts: BTreeMap::from([
            context("prod", "https://prod.example.com"),
            context("open", "http://open.example.com"),
        ]),
        warning: None,
    };
    contexts.write(&home.path().join(".config/buntime/contexts.yaml")).unwrap();
    home
}

fn find(remote: &Remote, home: &TempDir, variables: &[(&str, &str)]) -> Result<Resolved, Failure> {
    let home = ("HOME", home.path().to_str().unwrap());
    let environment = variables.iter().copied().chain([home]).collect();
    resolve(remote, &Surroundings { environment: &environment, working_dir: Path::new("/here") })
}

/// The endpoint in a few words.
fn words(remote: &Remote, home: &TempDir, variables: &[(&str, &str)]) -> String {
    match find(remote, home, variables).map(|found| (found.endpoint, found.prefix)) {
        Ok((Endpoint::Sockets(paths), _)) => {
            paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(" ")
        }
        Ok((Endpoint::Web { address, key }, prefix)) => {
            format!("{address}{prefix} {}", key.map_or("-".into(), |key| key.reveal().to_owned()))
        }
        Err(failure) => {
            assert_eq!(failure.exit, Exit::Usage);
            failure.text(str::to_owned)
        }
    }
}

fn url(url: &str) -> Remote {
    Remote { url: Some(url.into()), ..Remote::default() }
}

#[test]
fn a_flag_wins_over_a_variable_a_variable_over_a_context_and_a_context_over_the_usual_places() {
    let (prod, none) = (home(Some("prod")), home(None));
    let all = [
        ("BUNTIME_URL", "https://v"),
        ("RUNTIME_ADMIN_SOCKET", "/v.sock"),
        ("BUNTIME_KEY", "key-of-variable"),
    ];
    let flag = |remote: Remote, expected: &str| assert_eq!(words(&remote, &prod, &all), expected);
    flag(url("https://f"), "https://f key-of-variable");
    flag(Remote { key: Some("k".into()), ..url("https://f") }, "https://f k");
    flag(Remote { admin_socket: Some("f.sock".into()), ..Remote::default() }, "/here/f.sock");
    flag(Remote { state_dir: Some("/s".into()), ..Remote::default() }, "/s/admin.sock");
    flag(
        Remote { context: Some("prod".into()), ..Remote::default() },
        "https://prod.example.com/_ops key-of-prod",
    );
    flag(
        Remote { context: Some("local".into()), ..Remote::default() },
        "/here/.buntime/admin.sock /run/buntime/admin.sock",
    );

    let remote = Remote::default();
    assert_eq!(words(&remote, &prod, &all), "https://v key-of-variable");
    assert_eq!(words(&remote, &prod, &all[1..]), "/v.sock");
    assert_eq!(words(&remote, &prod, &all[2..]), "https://prod.example.com/_ops key-of-prod");
    assert_eq!(words(&remote, &none, &[]), "/here/.buntime/admin.sock /run/buntime/admin.sock");
}

#[test]
fn the_admin_socket_is_looked_for_where_run_puts_it() {
    let none = home(None);
    let find = |variables: &[(&str, &str)]| words(&Remote::default(), &none, variables);
    let service = " /run/buntime/admin.sock";
    assert_eq!(
        find(&[("RUNTIME_STATE_DIR", "s"), ("STATE_DIRECTORY", "/d")]),
        format!("/here/s/admin.sock{service}")
    );
    assert_eq!(find(&[("STATE_DIRECTORY", "/d:/e")]), format!("/d/admin.sock{service}"));
    let both = [("RUNTIME_DIRECTORY", "/run/x"), ("STATE_DIRECTORY", "/d")];
    assert_eq!(find(&both), format!("/run/x/admin.sock /d/admin.sock{service}"));
}

#[test]
fn a_key_goes_over_http_only_to_this_machine() {
    let none = home(None);
    let key = [("BUNTIME_KEY", "k")];
    for address in ["http://127.0.0.1:8000", "http://localhost", "http://[::1]", "https://example.com"] {
        assert_eq!(words(&url(address), &none, &key), format!("{address} k"));
    }
    insta::assert_snapshot!(words(&url("http://example.com"), &none, &key));
    assert_eq!(words(&url("http://example.com"), &none, &[]), "http://example.com -");
    let open = Remote { insecure_http: true, ..url("http://example.com") };
    assert_eq!(words(&open, &none, &key), "http://example.com k");
    let context = Remote { context: Some("open".into()), ..Remote::default() };
    assert!(words(&context, &none, &[]).contains("others could read it"));
}

#[test]
fn a_key_on_the_command_line_is_warned_of_and_one_in_a_file_is_not() {
    let none = home(None);
    let file = none.path().join("key");
    std::fs::write(&file, "k\n").unwrap();
    let found = find(&Remote { key: Some("k".into()), ..url("https://a") }, &none, &[]).unwrap();
    insta::assert_snapshot!(found.warnings.join("\n"), @"others can read a key on the command line; better is BUNTIME_KEY or --key-file");
    let found = find(&Remote { key_file: Some(file), ..url("https://a") }, &none, &[]).unwrap();
    assert!(found.warnings.is_empty());
    assert_eq!(
        found.endpoint,
        Endpoint::Web { address: Address::parse("https://a").unwrap(), key: Key::parse("k").ok() }
    );
}

#[test]
fn what_contradicts_itself_or_is_not_valid_is_a_wrong_command_line() {
    let none = home(None);
    let say = |remote: Remote, variables: &[(&str, &str)]| words(&remote, &none, variables);
    let key = Remote { key: Some("k".into()), ..Remote::default() };
    let messages = [
        say(key, &[]),
        say(Remote { key: Some("secret key".into()), ..url("https://a") }, &[]),
        say(url("https://a"), &[("BUNTIME_KEY", "secret key")]),
        say(url("a\u{1b}[2J"), &[]),
        say(Remote { key_file: Some("/none".into()), ..url("https://a") }, &[]),
        say(Remote { api_prefix: Some("ops".into()), ..url("https://a") }, &[]),
    ];
    insta::assert_snapshot!(messages.join("\n"));
}

#[test]
fn a_context_that_is_not_there_is_missing_whether_a_flag_or_the_file_names_it() {
    let remote = Remote { context: Some("x\u{7}".into()), ..Remote::default() };
    let failure = find(&remote, &home(None), &[]).unwrap_err();
    assert_eq!(failure.exit, Exit::Missing);
    insta::assert_snapshot!(failure.text(str::to_owned), @r"
    error: there is no context `x\u{7}`

    hint: there are open, prod; `buntime context add NAME --url URL` makes one
    ");
    assert_eq!(find(&Remote::default(), &home(Some("gone")), &[]).unwrap_err().exit, Exit::Missing);
}

#[test]
fn the_prefix_is_behind_the_address() {
    let none = home(None);
    let remote = Remote { api_prefix: Some("/_x/".into()), ..url("https://a/b/") };
    assert_eq!(words(&remote, &none, &[]), "https://a/b/_x -");
    assert_eq!(words(&url("https://a"), &none, &[("RUNTIME_API_PREFIX", "/_y")]), "https://a/_y -");
}
