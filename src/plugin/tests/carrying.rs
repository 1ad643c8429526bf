//! Changes beside plugins that would not start now, directories that cannot be read, and the end.

use super::super::Stopped;
use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;
use tokio::time::Instant;

fn state(host: &Host, name: &str) -> State {
    host.find(name).unwrap().state
}

fn serving(host: &Host) -> Vec<String> {
    host.current.load().plugins().iter().map(|plugin| plugin.name.to_string()).collect()
}

async fn refuses(host: &Host) -> bool {
    let set = arc_swap::Guard::into_inner(host.current.load());
    let passed = set.pass(Phase::Permit, &mut request("/watched/x"), &mut || Body::Empty, &mut |_| {}).await;
    matches!(passed, Err(Stopped::Refused(_)))
}

const GUARD: &str = "guards: true\nphases: [permit]\nacts: refuse\ninit: ask\n";

#[tokio::test]
async fn one_of_two_guards_whose_backend_is_down_can_be_turned_off() {
    let place = Place::new();
    place.plugin("a", GUARD).plugin("b", GUARD);
    let host = place.start().await.unwrap();
    place.take_backend();
    let running = Arc::clone(host.current.load().find("b").unwrap());
    place.diary();
    host.set_enabled("a", false).await.unwrap();
    assert_eq!((state(&host, "a"), state(&host, "b")), (State::Disabled, State::Degraded));
    let why = host.find("b").unwrap().error.unwrap();
    assert!(why.contains("the one from before goes on: onInit of b failed"), "{why}");
    assert!(Arc::ptr_eq(host.current.load().find("b").unwrap(), &running));
    assert!(refuses(&host).await);
    while !place.diary().contains(&"a shutdown".to_owned()) {
        tokio::task::yield_now().await;
    }
    assert!(host.reload().await.is_err(), "a reload wants all of them");
    assert_eq!(serving(&host), ["b"]);
    place.give_backend();
    host.reload().await.unwrap();
    assert_eq!(state(&host, "b"), State::Loaded);
}

#[tokio::test]
async fn what_goes_on_is_neither_ended_nor_told_of_the_server_again() {
    let place = Place::new();
    place.plugin("a", "").plugin("b", GUARD);
    let host = place.start().await.unwrap();
    host.server_started(buntime_plugin::Server { url: None, api_base: "/api".to_owned() }).await;
    place.take_backend();
    place.diary();
    host.set_enabled("a", false).await.unwrap();
    host.set_enabled("a", true).await.unwrap();
    host.set_enabled("a", false).await.unwrap();
    let mut done = Vec::new();
    while done.iter().filter(|what| **what == "a shutdown").count() < 2 {
        done.extend(place.diary());
        tokio::task::yield_now().await;
    }
    assert!(!done.iter().any(|what| what == "b shutdown" || what == "b server"), "{done:?}");
    assert!(done.contains(&"a server".to_owned()), "{done:?}");
}

#[tokio::test]
async fn a_broken_manifest_of_another_plugin_vetoes_no_change() {
    let place = Place::new();
    place.plugin("a", "").plugin("b", "phases: [permit]\nacts: refuse\nguards: true\n");
    let host = place.start().await.unwrap();
    for text in ["name: b\nphases: [", "name: b\nunheard: 5\n", "", "na"] {
        place.write("b", text).write("new", "half: [");
        for enabled in [false, true] {
            host.set_enabled("a", enabled).await.unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(refuses(&host).await, "{text}");
        }
        let listed = host.list().into_iter().find(|status| status.name == "b").unwrap();
        assert!(listed.error.is_some(), "{text}: {listed:?}");
        assert!(host.reload().await.is_err(), "{text}");
        assert!(refuses(&host).await, "{text}");
    }
}

#[tokio::test]
async fn those_that_work_together_go_on_together_in_their_order() {
    let place = Place::new();
    place.plugin("a", "dependencies: [c]\n").plugin("b", "").plugin("c", "init: ask\n");
    place.plugin("d", "optionalDependencies: [a]\n");
    let host = place.start().await.unwrap();
    let before = host.current.load().plugins().to_vec();
    place.take_backend();
    host.set_enabled("b", false).await.unwrap();
    assert_eq!(serving(&host), ["c", "a", "d"]);
    for plugin in &before[1..] {
        assert!(Arc::ptr_eq(host.current.load().find(&plugin.name).unwrap(), plugin), "{}", plugin.name);
    }
}

#[tokio::test]
async fn one_that_does_not_start_keeps_what_it_uses() {
    let place = Place::new();
    place.plugin("a", "").plugin("b", "optionalDependencies: [a]\ninit: ask\n");
    let host = place.start().await.unwrap();
    place.take_backend();
    let error = host.set_enabled("a", false).await.unwrap_err().to_string();
    assert!(error.contains("b would not be loaded") && error.contains("disable b first"), "{error}");
    assert_eq!(serving(&host), ["a", "b"]);
    host.set_enabled("b", false).await.unwrap();
    host.set_enabled("a", false).await.unwrap();
}

#[tokio::test]
async fn a_plugin_that_cannot_be_looked_at_does_not_vanish() {
    let place = Place::new();
    place.plugin("a", "").plugin("b", "");
    let host = place.start().await.unwrap();
    // A link that leads to itself can be looked at by nobody, not even by root.
    let dir = path_of(&place).join("plugins/b");
    std::fs::remove_dir_all(&dir).unwrap();
    symlink(&dir, &dir).unwrap();
    assert!(host.reload().await.is_err());
    assert_eq!(serving(&host), ["a", "b"]);
    host.set_enabled("a", false).await.unwrap();
    assert_eq!((serving(&host), state(&host, "b")), (vec!["b".to_owned()], State::Degraded));
    assert!(place.start().await.is_err());
}

#[tokio::test]
async fn a_directory_that_cannot_be_listed_is_not_an_empty_one() {
    let place = Place::new();
    place.plugin("a", "").plugin("b", "");
    let host = place.start().await.unwrap();
    let (dir, aside) = (path_of(&place).join("plugins"), path_of(&place).join("aside"));
    std::fs::rename(&dir, &aside).unwrap();
    let error = host.reload().await.unwrap_err();
    assert!(matches!(error, ChangeError::Unreadable(_)), "{error}");
    symlink(&dir, &dir).unwrap();
    for error in [host.reload().await.unwrap_err(), host.set_enabled("d", true).await.unwrap_err()] {
        assert!(matches!(error, ChangeError::Unreadable(_)), "{error}");
    }
    assert!(matches!(place.start().await, Err(ChangeError::Unreadable(_))));
    assert_eq!(serving(&host), ["a", "b"]);
}

#[tokio::test]
async fn a_plugin_whose_directory_was_removed_goes_with_a_reload_and_with_no_other_change() {
    let place = Place::new();
    place.plugin("a", "").plugin("b", "").plugin("c", "");
    let host = place.start().await.unwrap();
    std::fs::remove_dir_all(path_of(&place).join("plugins/b")).unwrap();
    // It is linked in, and off there: that is not what the operator has said.
    let error = host.set_enabled("a", false).await.unwrap_err().to_string();
    assert!(error.contains("b would not be loaded: it is not where it was"), "{error}");
    assert_eq!(serving(&host), ["a", "b", "c"]);
    host.reload().await.unwrap();
    assert_eq!(serving(&host), ["a", "c"]);
}

#[tokio::test]
async fn guards_stay_when_the_runtime_ends() {
    let place = Place::new();
    place.plugin("a", "phases: [permit]\nacts: refuse\n");
    let host = place.start().await.unwrap();
    host.shut_down(Instant::now() + Duration::from_secs(5)).await;
    assert!(place.diary().contains(&"a shutdown".to_owned()));
    assert!(refuses(&host).await, "a request that comes yet is not let in");
    assert!(matches!(host.reload().await, Err(ChangeError::Ending)));
}

#[tokio::test]
async fn sets_that_linger_end_with_the_runtime() {
    let place = Place::new();
    place.plugin("a", "");
    let host = place.start().await.unwrap();
    let in_flight = arc_swap::Guard::into_inner(host.current.load());
    host.reload().await.unwrap();
    place.diary();
    host.shut_down(Instant::now() + Duration::from_secs(5)).await;
    assert_eq!(place.diary(), ["a shutdown", "a shutdown"]);
    drop(in_flight);
}

#[tokio::test(start_paused = true)]
async fn all_plugins_together_have_until_the_deadline_to_end() {
    let place = Place::new();
    for name in ["a", "b", "c", "d"] {
        place.plugin(name, "init: never-ends\n");
    }
    let host = place.start().await.unwrap();
    place.diary();
    let deadline = Instant::now() + Duration::from_secs(15);
    host.shut_down(deadline).await;
    assert!(Instant::now() < deadline + Duration::from_secs(1));
    assert_eq!(place.diary(), ["d shutdown", "c shutdown", "b shutdown", "a shutdown"], "each has begun");
}

#[tokio::test]
async fn an_optional_dependency_of_another_version_is_none() {
    let place = Place::new();
    place.plugin("a", "optionalDependencies: [c@^2, d@^1]\n");
    place.plugin("c", "version: 1.0.0\n").plugin("d", "version: 1.0.0\n");
    // After both, also where it does without one of them.
    place.plugin("b", "");
    let host = place.start().await.unwrap();
    let set = host.current.load();
    let uses = |name: &str| set.find(name).unwrap().context.identity().dependencies.clone();
    assert_eq!(uses("a"), ["d"]);
}

/// The mode of a plugin's manifest.
fn mode(place: &Place, name: &str) -> u32 {
    let file = path_of(place).join("plugins").join(name).join("manifest.yaml");
    std::fs::metadata(file).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn a_secret_is_written_where_not_everybody_reads_it() {
    for (before, secret, after) in [(0o644, false, 0o644), (0o644, true, 0o600), (0o640, true, 0o640)] {
        let place = Place::new();
        place.plugin("a", "");
        let file = path_of(&place).join("plugins/a/manifest.yaml");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(before)).unwrap();
        let host = place.start().await.unwrap();
        let patch = if secret {
            serde_json::json!({ "key": "hunter2hunter2" })
        } else {
            serde_json::json!({ "acts": "x" })
        };
        host.configure("a", patch.as_object().unwrap()).await.unwrap();
        assert_eq!(mode(&place, "a"), after, "{before:o} {secret}");
        // Likewise where another version takes its place.
        place.plugin("new", "");
        let (old, new) = (path_of(&place).join("plugins/a"), path_of(&place).join("plugins/new"));
        std::fs::write(new.join("manifest.yaml"), ACTORS[0].manifest).unwrap();
        let new_file = new.join("manifest.yaml");
        std::fs::set_permissions(&new_file, std::fs::Permissions::from_mode(0o644)).unwrap();
        host.carry_over(&old, &new).unwrap();
        assert_eq!(mode(&place, "new"), after, "{before:o} {secret}");
    }
}

#[tokio::test]
async fn what_settings_keep_secret_is_known_as_soon_as_plugins_start() {
    let place = Place::new();
    place.plugin("a", "key: 'hunter2hunter2'\n").plugin("b", "enabled: false\nkey: 'of-one-that-is-off'\n");
    place.plugin("c", "key: short\n");
    let workshop = place.workshop();
    let secrets = Arc::clone(&workshop.secrets);
    let host = Host::start(workshop).await.unwrap();
    assert_eq!(secrets.all(), ["hunter2hunter2", "of-one-that-is-off"]);
    host.configure("a", serde_json::json!({ "key": "another-secret" }).as_object().unwrap()).await.unwrap();
    assert_eq!(
        secrets.all(),
        ["another-secret", "hunter2hunter2", "of-one-that-is-off"],
        "old logs may have it"
    );
}
