use crate::support::*;
use serde_json::json;

#[tokio::test]
async fn a_reload_takes_nothing_twice_and_numbers_go_on() {
    let stage = stage();
    let old = load(&stage).await;
    stage.log(&line(None, "before"));
    let mut stream = Stream::open(&old, ALL, "", None).await;
    let run = stream.next().await.unwrap().data["run"].clone();
    // Both are there for a while.
    let new = load(&stage).await;
    stage.log(&line(None, "meanwhile"));
    old.shut_down().await.unwrap();
    stage.log(&line(None, "after"));
    assert_eq!(stream.next().await.unwrap().data["message"], "meanwhile", "what there was is still told");
    assert_eq!(stream.next().await, None, "the old set's streams end");
    assert_eq!(messages(&new, ALL, "/api").await, ["after", "meanwhile", "before"]);
    let mut stream = Stream::open(&new, ALL, "", stream.last).await;
    assert_eq!(stream.next().await.unwrap().data["run"], run);
    assert_eq!(stream.next().await.unwrap().data["message"], "after");
    assert_eq!(stage.sinks(), 1);
    new.shut_down().await.unwrap();
    assert_eq!(stage.sinks(), 0, "who is not there takes nothing");
}

#[tokio::test]
async fn settings_that_changed_apply() {
    let mut stage = stage();
    let old = load(&stage).await;
    (0..500).for_each(|n| stage.log(&line(None, &format!("{n}"))));
    let mut settings = settings();
    settings["maxEntries"] = json!(100);
    stage = stage.settings(settings);
    let new = load(&stage).await;
    old.shut_down().await.unwrap();
    let stats = read(get(&new, ALL, "/api/stats").await).await;
    assert_eq!((&stats["entries"], &stats["maxEntries"]), (&json!(100), &json!(100)));
    assert_eq!(messages(&new, ALL, "/api?limit=1").await, ["499"]);
}

/// As the settings of a plugin that was loaded later.
#[tokio::test(start_paused = true)]
async fn what_became_secret_after_the_load_is_redacted() {
    let stage = stage();
    let plugin = load(&stage).await;
    stage.tell_secret("a-secret-of-later");
    tokio::time::sleep(std::time::Duration::from_secs(31)).await;
    stage.log(&line(None, "it is a-secret-of-later"));
    assert_eq!(messages(&plugin, ALL, "/api?limit=1").await, ["it is [redacted]"]);
    stage.tell_secret("and-one-of-the-reload");
    let new = load(&stage).await;
    stage.log(&line(None, "it is and-one-of-the-reload"));
    assert_eq!(messages(&new, ALL, "/api?limit=1").await, ["it is [redacted]"]);
}
