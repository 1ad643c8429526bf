//! Sets that take each other's place.

use super::*;

fn states(host: &Host) -> Vec<(String, State)> {
    host.list().into_iter().map(|status| (status.name, status.state)).collect()
}

fn reason(host: &Host, name: &str) -> String {
    host.find(name).unwrap().error.unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn what_keeps_a_plugin_out_is_said_and_the_rest_starts() {
    let place = Place::new();
    for (name, settings, why) in [
        ("a", "init: fail\n", "onInit of a failed: it does not want to"),
        ("a", "init: panic\n", "onInit of a panicked: it does not like to start"),
        ("a", "init: panic-made\n", "it panicked when it was made"),
        ("a", "init: hang\n", "onInit of a took longer than 30s"),
        ("a", "dependencies: [nowhere]\n", "nowhere, which is not there"),
        ("a", "dependencies: [c]\n", "c, which is disabled"),
        ("a", "dependencies: [d@^2]\n", "d@^2, and version 1.2.3 is there"),
        ("a", "phases: 5\n", "manifest.yaml:"),
        ("a", "unheard: 5\n", "unheard"),
    ] {
        place.plugin(name, settings).plugin("b", "dependencies: [a]\n");
        place.plugin("c", "enabled: false\n").plugin("d", "version: 1.2.3\n");
        let host = place.start().await.unwrap();
        let expected = [State::Out, State::Out, State::Disabled, State::Loaded];
        let found: Vec<_> = states(&host).into_iter().map(|(_, state)| state).collect();
        assert_eq!(found, expected, "{settings}");
        assert!(reason(&host, "a").contains(why), "{settings}: {}", reason(&host, "a"));
        assert!(reason(&host, "b").contains("it needs a, which is out"), "{}", reason(&host, "b"));
    }
}

#[tokio::test]
async fn a_circle_is_told_whole() {
    let place = Place::new();
    place.plugin("a", "dependencies: [b]\n").plugin("b", "dependencies: [c]\n");
    place.plugin("c", "dependencies: [a]\n").plugin("d", "");
    let host = place.start().await.unwrap();
    assert!(reason(&host, "a").contains("a → b → c → a"), "{}", reason(&host, "a"));
    assert_eq!(states(&host)[3], ("d".to_owned(), State::Loaded));
}

#[tokio::test]
async fn without_a_plugin_that_is_required_the_runtime_does_not_start() {
    for (settings, starts) in [
        ("init: fail\n", true),
        ("init: fail\nrequired: true\n", false),
        ("init: fail\nguards: true\n", false),
        ("init: fail\nguards: true\nrequired: false\n", true),
    ] {
        let place = Place::new();
        place.plugin("a", settings).plugin("b", "");
        match place.start().await {
            Ok(_) => assert!(starts, "{settings}"),
            Err(error) => {
                assert!(!starts, "{settings}: {error}");
                assert!(error.to_string().contains("a would not be loaded: onInit of a failed"), "{error}");
                assert!(place.diary().contains(&"b shutdown".to_owned()), "what had started was ended");
            }
        }
    }
}

#[tokio::test]
async fn a_reload_swaps_the_set_and_ends_the_old_one_when_its_requests_have_ended() {
    let place = Place::new();
    place.plugin("a", "phases: [permit]\nacts: refuse\n");
    let host = place.start().await.unwrap();
    let in_flight = arc_swap::Guard::into_inner(host.current.load());
    place.plugin("b", "");
    place.diary();
    host.reload().await.unwrap();
    assert_eq!(place.diary(), ["a init", "b init"], "the old one is still in use");
    drop(in_flight);
    while !place.diary().contains(&"a shutdown".to_owned()) {
        tokio::task::yield_now().await;
    }
    assert_eq!(host.current.load().plugins().len(), 2);
}

#[tokio::test]
async fn a_set_that_does_not_start_leaves_the_old_one_serving() {
    let place = Place::new();
    place.plugin("a", "").plugin("b", "");
    let host = place.start().await.unwrap();
    place.plugin("b", "init: fail\n");
    place.diary();
    let error = host.reload().await.unwrap_err().to_string();
    assert!(error.contains("b would not be loaded: onInit of b failed: it does not want to"), "{error}");
    assert_eq!(place.diary(), ["a init", "b init", "a shutdown"], "what was built is ended");
    assert_eq!(states(&host), [("a".into(), State::Loaded), ("b".into(), State::Loaded), off("c"), off("d")]);
    // One that was out before may stay out.
    place.plugin("b", "").plugin("c", "init: fail\n");
    host.reload().await.unwrap();
    host.reload().await.unwrap();
}

fn off(name: &str) -> (String, State) {
    (name.to_owned(), State::Disabled)
}

#[tokio::test]
async fn turning_a_plugin_on_and_off_edits_its_manifest_and_keeps_its_comments() {
    let place = Place::new();
    place.plugin("a", "# why it is on\nenabled: true # for now\n");
    let host = place.start().await.unwrap();
    host.set_enabled("a", false).await.unwrap();
    assert_eq!(host.find("a").unwrap().state, State::Disabled);
    assert!(
        place.manifest("a").contains("# why it is on\nenabled: false # for now\n"),
        "{}",
        place.manifest("a")
    );
    host.set_enabled("a", true).await.unwrap();
    assert!(place.manifest("a").contains("enabled: true # for now\n"));
    // One that is in no directory is changed in the state directory.
    host.set_enabled("d", true).await.unwrap();
    assert_eq!(host.find("d").unwrap().state, State::Loaded);
    let file = path_of(&place).join("state/plugins/d.yaml");
    assert_eq!(std::fs::read_to_string(file).unwrap().trim(), "enabled: true");
    assert!(matches!(host.set_enabled("x", true).await, Err(ChangeError::Unknown(_))));
}

#[tokio::test]
async fn a_change_that_does_not_start_is_not_written() {
    let place = Place::new();
    place.plugin("a", "enabled: false\ninit: fail\n").plugin("b", "").plugin("c", "dependencies: [b]\n");
    let host = place.start().await.unwrap();
    let before = place.manifest("a");
    assert!(matches!(host.set_enabled("a", true).await, Err(ChangeError::NotLoaded { .. })));
    assert_eq!(place.manifest("a"), before);
    // `c` needs it.
    let error = host.set_enabled("b", false).await.unwrap_err().to_string();
    assert!(error.contains("b is needed by c"), "{error}");
    assert_eq!(host.find("b").unwrap().state, State::Loaded);
}

#[tokio::test]
async fn settings_are_changed_one_by_one_and_must_be_valid() {
    let place = Place::new();
    place.plugin("a", "# what it does\nacts: refuse # always\n");
    let host = place.start().await.unwrap();
    let patch = |json: serde_json::Value| json.as_object().unwrap().clone();
    host.configure("a", &patch(serde_json::json!({ "acts": "fail", "readsBody": true }))).await.unwrap();
    let text = place.manifest("a");
    assert!(
        text.contains("# what it does\nacts: fail # always\n") && text.contains("readsBody: true"),
        "{text}"
    );
    host.configure("a", &patch(serde_json::json!({ "readsBody": null }))).await.unwrap();
    assert!(!place.manifest("a").contains("readsBody: true"));
    for wrong in [
        serde_json::json!({ "acts": 5 }),
        serde_json::json!({ "unheard": "x" }),
        serde_json::json!({ "enabled": false }),
        serde_json::json!({ "acts": "********" }),
    ] {
        let before = place.manifest("a");
        let error = host.configure("a", &patch(wrong.clone())).await.unwrap_err();
        assert!(matches!(error, ChangeError::Invalid(_) | ChangeError::NotLoaded { .. }), "{wrong}: {error}");
        assert_eq!(place.manifest("a"), before, "{wrong}");
    }
}
