//! Apps that keep dying, do not load, or do not come to an end with it.

use super::harness::{Answer, Apps, PATIENCE, Server, get_accepting};
use super::probe::Gate;

/// Asks again until the answer has this status.
async fn until(server: &Server, path: &str, status: u16) -> Answer {
    let asking = async {
        loop {
            let answer = server.get(path).await;
            if answer.status() == status {
                return answer;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} never answered {status}"))
}

fn assert_retry_after(answer: &Answer) {
    let seconds: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=30).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn a_crash_loop_backs_off_with_503_and_retry_after_and_recovers() {
    let healed = Gate::new();
    let app = "import { existsSync } from 'node:fs';
        export default {
            fetch(request: Request) {
                const gate = new URL(request.url).searchParams.get('gate')!;
                if (!existsSync(gate)) process.exit(1);
                return new Response('well');
            },
        };";
    let server = Apps::new().file("ill/index.ts", app).serve().await;
    let path = healed.at("/ill/");
    assert_eq!(server.get(&path).await.problem(), (502, "worker_died".to_owned()));
    let answer = until(&server, &path, 503).await;
    assert_eq!(answer.problem(), (503, "back_off".to_owned()));
    assert_retry_after(&answer);
    healed.open();
    assert_eq!(until(&server, &path, 200).await.text(), "well");
}

#[tokio::test]
async fn what_an_app_says_before_it_throws_is_on_its_page() {
    let app = "console.error('the last words'); throw new Error('and no more');";
    let server = Apps::new().file("ill/index.ts", app).launch().env("NODE_ENV", "development").start().await;
    let page = server.send(get_accepting("/ill/", "text/html")).await;
    assert!(page.text().contains("the last words") && page.text().contains("and no more"), "{}", page.text());
}

#[tokio::test]
async fn an_app_that_does_not_load_is_503_with_what_it_threw_and_is_not_started_for_every_request() {
    let server = Apps::new()
        .file("throws/index.ts", "throw new RangeError('no such luck');")
        .file("exits/index.ts", "console.error('giving up'); process.exit(7);")
        .file("fine/index.ts", "export default { fetch: () => new Response('fine') };")
        .launch()
        .env("NODE_ENV", "development")
        .start()
        .await;
    for (app, detail) in [("throws", "RangeError: no such luck"), ("exits", "exited with code 7")] {
        let path = format!("/{app}/");
        let answer = server.get(&path).await;
        assert_eq!(answer.problem(), (503, "start_failed".to_owned()));
        assert_retry_after(&answer);
        let text = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(text.contains(detail), "{text}");
        let asking = async { while server.get(&path).await.problem().1 != "back_off" {} };
        tokio::time::timeout(PATIENCE, asking).await.expect("it never backed off");
    }
    assert_eq!(server.get("/fine/").await.text(), "fine");
}

#[tokio::test]
async fn an_app_that_does_not_finish_loading_is_503_after_its_start_timeout() {
    for spares in ["0", "1"] {
        let server = Apps::new()
            .file("slow/index.ts", "await new Promise(() => setInterval(() => {}, 1000));")
            .file("slow/manifest.yaml", "startTimeout: 300ms")
            .launch()
            .env("RUNTIME_SPARE_WORKERS", spares)
            .start()
            .await;
        let answer = server.get("/slow/").await;
        assert_eq!(answer.problem(), (503, "start_timeout".to_owned()));
        assert_retry_after(&answer);
        server.transition("slow", "terminated", "start-timeout").await;
    }
}
