//! Replacing, recycling and evicting workers loses no request.

use super::harness::{Apps, Server};
use super::load::{Load, assert_all_well};
use std::collections::BTreeSet;
use std::path::Path;

const TOTAL: usize = 10_000;
const CONNECTIONS: usize = 6;

fn app(release: u32) -> String {
    format!(
        "export default {{
            async fetch(request) {{
                await Bun.sleep(Math.random() * 2);
                return new Response('{release} ' + process.pid);
            }},
        }};"
    )
}

/// Replaces the app's directory by another one, by rename.
fn redeploy(server: &Server, release: u32, manifest: &str) {
    let dirs = server.apps().path();
    let (staged, live, old) = (dirs.join(".staged"), dirs.join("shop"), dirs.join(format!(".old{release}")));
    write(&staged, "index.ts", &app(release));
    write(&staged, "manifest.yaml", manifest);
    std::fs::rename(&live, old).unwrap();
    std::fs::rename(&staged, &live).unwrap();
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::create_dir_all(dir).unwrap();
    std::fs::write(dir.join(name), text).unwrap();
}

async fn until_release_serves(server: &Server, load: &Load, release: u32) {
    let prefix = format!("{release} ");
    while !server.get("/shop/").await.text().starts_with(&prefix) {
        load.answers(20).await;
    }
}

#[tokio::test]
async fn ten_thousand_requests_survive_redeploys_recycling_and_eviction() {
    let server = Apps::new()
        .file("shop/index.ts", app(1))
        .file("blog/index.ts", app(1))
        .file("wiki/index.ts", app(1))
        .launch()
        .env("RUNTIME_POOL_SIZE", "2")
        .env("RUNTIME_SPARE_WORKERS", "1")
        .start()
        .await;
    let load = Load::start(&server, CONNECTIONS, &["/shop/"]).await;

    for release in 2..=4 {
        load.answers(500).await;
        redeploy(&server, release, "");
        until_release_serves(&server, &load, release).await;
    }
    redeploy(&server, 5, "maxRequests: 50");
    until_release_serves(&server, &load, 5).await;
    load.answers(2_000).await;
    redeploy(&server, 6, "");
    until_release_serves(&server, &load, 6).await;
    let recycled =
        server.transitions("shop").await.iter().filter(|found| found.reason == "max-requests").count();
    // Twenty requests to each app in turn: three apps, room for two workers.
    let turns: Vec<&str> = ["/shop/", "/blog/", "/wiki/"].into_iter().flat_map(|path| [path; 20]).collect();
    load.turn_to(&turns);
    let left = TOTAL.saturating_sub(load.answered()).max(2_000);
    load.answers(left).await;

    let outcomes = load.end().await;
    assert_all_well(&outcomes);
    assert!(outcomes.len() >= TOTAL);
    let releases: BTreeSet<&str> = outcomes
        .iter()
        .filter(|outcome| outcome.path == "/shop/")
        .map(|outcome| outcome.answer.as_ref().unwrap().text().split_once(' ').unwrap().0)
        .collect();
    assert_eq!(releases.len(), 6, "{releases:?}");
    assert!(recycled >= 15, "{recycled} workers were recycled after 50 requests");
    for name in ["shop", "blog", "wiki"] {
        let evicted = server.transitions(name).await.iter().filter(|found| found.reason == "evicted").count();
        assert!(evicted > 0, "no worker of {name} was evicted");
    }
}
