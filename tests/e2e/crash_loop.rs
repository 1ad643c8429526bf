//! Apps that keep dying, do not load, or do not come to an end with it.

use super::harness::{Answer, Apps, PATIENCE, Server, eventually, get_accepting};
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

/// Removing it level by level takes a stack frame and a descriptor for each: it must cost the app's worker alone.
#[tokio::test]
async fn a_tree_of_20000_levels_that_an_app_leaves_behind_harms_neither_the_supervisor_nor_the_next_one() {
    let app = "import { mkdirSync, renameSync } from 'node:fs';
        const { HOME } = process.env;
        export default {
            fetch(request) {
                mkdirSync(`${HOME}/0`);
                for (let n = 1; n <= 200; n++) {
                    let deep = `${HOME}/${n}`;
                    for (let level = 1; level < 100; level++, deep += '/d') mkdirSync(deep);
                    renameSync(`${HOME}/${n - 1}`, deep);
                }
                if (request.url.endsWith('/exit')) process.exit(1);
                return new Response('dug');
            },
        };";
    // In memory: a disk may take a minute for it.
    let state = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let server = Apps::new().file("mole/index.js", app).lean().state_in(state).start().await;
    assert_eq!(server.get("/mole/exit").await.problem(), (502, "worker_died".to_owned()));
    let run = |server: &Server| server.state_dir().join(format!("run/{}", server.pid));
    let left = |dir: &std::path::Path| std::fs::read_dir(dir).map_or(0, Iterator::count);
    let workers = run(&server).join("workers");
    eventually("it is removed", || left(&workers) == 0).await;
    assert_eq!(until(&server, "/mole/stay", 200).await.text(), "dug");
    let old = run(&server);
    assert_eq!(left(&workers), 1);
    let server = server.killed().await.start().await;
    assert!(!old.exists());
    assert_eq!(server.get("/mole/stay").await.text(), "dug");
    server.stop().await;
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
