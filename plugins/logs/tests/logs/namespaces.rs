//! A key of a namespace sees its apps, on every route.

use crate::support::*;
use buntime_plugin::Level;
use serde_json::json;

fn fill(stage: &buntime_plugin::testkit::Stage) {
    for app in [Some("shop"), Some("@team/shop"), None, Some("@teams/shop"), Some("@team/blog")] {
        stage.log(&line(app, app.unwrap_or("nobody")));
    }
}

#[tokio::test]
async fn a_page_has_only_what_its_reader_may_see() {
    let stage = stage();
    let plugin = load(&stage).await;
    fill(&stage);
    assert_eq!(messages(&plugin, TEAM, "/api").await, ["@team/blog", "@team/shop"]);
    assert_eq!(messages(&plugin, TEAM, "/api?app=@team/shop").await, ["@team/shop"]);
    assert_eq!(messages(&plugin, ALL, "/api").await.len(), 5);
    // Whether they are there makes no difference.
    for app in ["shop", "@teams/shop", "nothing"] {
        let response = get(&plugin, TEAM, &format!("/api?app={app}")).await;
        assert_eq!(response.status(), 403, "{app}");
    }
    // Nor does `next` say what is there besides.
    let page = read(get(&plugin, TEAM, "/api?limit=2").await).await;
    assert_eq!(page["next"], json!(null));
}

#[tokio::test]
async fn a_stream_has_only_what_its_reader_may_see() {
    let stage = stage();
    let plugin = load(&stage).await;
    let mut stream = Stream::open(&plugin, TEAM, "", None).await;
    fill(&stage);
    let shown: Vec<_> = stream.ready().into_iter().filter(|event| event.kind == "message").collect();
    let apps: Vec<_> = shown.iter().map(|event| event.data["app"].as_str().unwrap()).collect();
    assert_eq!(apps, ["@team/shop", "@team/blog"]);
    let mut stream = Stream::open(&plugin, TEAM, "?after=0", None).await;
    let shown: Vec<_> = stream.ready().into_iter().filter(|event| event.kind == "message").collect();
    assert_eq!(shown.len(), 2);
    let mut stream = Stream::open(&plugin, TEAM, "?limit=1", None).await;
    let shown: Vec<_> = stream.ready().into_iter().filter(|event| event.kind == "message").collect();
    assert_eq!(shown[0].data["app"], "@team/blog");
    assert_eq!(get(&plugin, TEAM, "/api/sse?app=shop").await.status(), 403);
}

#[tokio::test]
async fn stats_count_only_what_their_reader_may_see() {
    let stage = stage();
    let plugin = load(&stage).await;
    fill(&stage);
    let stats = read(get(&plugin, TEAM, "/api/stats").await).await;
    assert_eq!((&stats["entries"], &stats["levels"][Level::Info.as_str()]), (&json!(2), &json!(2)));
    let apps: Vec<_> = stats["apps"].as_array().unwrap().iter().map(|app| &app["app"]).collect();
    assert_eq!(apps, ["@team/blog", "@team/shop"]);
    let all = read(get(&plugin, ALL, "/api/stats").await).await;
    assert!(stats["bytes"].as_u64().unwrap() < all["bytes"].as_u64().unwrap());
    assert!(stats.get("last").is_none() && stats.get("followers").is_none(), "{stats}");
}
