//! The first requests of a version that no worker runs yet.

use super::harness::{Apps, eventually};
use super::probe::Gate;
use http::Request;
use http_body_util::Full;
use std::collections::BTreeSet;

const APP: &str = "await Bun.sleep(1);
export default { fetch: () => new Response(process.env.WORKER_ID) };";

#[tokio::test]
async fn two_hundred_requests_at_once_for_a_cold_version_start_one_worker() {
    for spares in ["0", "2"] {
        let server = Apps::new()
            .file("cold/index.ts", APP)
            .launch()
            .env("RUNTIME_SPARE_WORKERS", spares)
            .start()
            .await;
        let mut clients = Vec::new();
        for _ in 0..200 {
            clients.push(server.connect().await);
        }
        let answers = clients.into_iter().map(|mut client| {
            tokio::spawn(async move {
                let request = http::Request::get("/cold/").body(Default::default()).unwrap();
                let answer = client.send(request).await.unwrap();
                (answer.status(), answer.text().to_owned())
            })
        });
        let mut given = BTreeSet::new();
        for answer in answers.collect::<Vec<_>>() {
            given.insert(answer.await.unwrap());
        }
        assert_eq!(given.len(), 1, "{given:?}");
        assert_eq!(given.first().unwrap().0, 200);
        assert_eq!(server.count("cold", "ready").await, 1);
        let started = server.count("cold", "creating").await;
        assert_eq!(started, if spares == "0" { 1 } else { 0 }, "with {spares} spares");
    }
}

#[tokio::test]
async fn a_request_whose_client_leaves_while_the_app_loads_never_reaches_it() {
    let (loading, loaded) = (Gate::new(), Gate::new());
    let app = format!(
        "import {{ existsSync, writeFileSync }} from 'node:fs';
        writeFileSync('{0}/open', '');
        while (!existsSync('{1}/open')) await Bun.sleep(5);
        let calls = 0;
        export default {{ fetch: () => new Response(String(++calls)) }};",
        loading.path().display(),
        loaded.path().display()
    );
    for spares in ["0", "2"] {
        let server = Apps::new()
            .file("slow/index.ts", &app)
            .launch()
            .env("RUNTIME_SPARE_WORKERS", spares)
            .start()
            .await;
        let mut client = server.connect().await;
        let asking = client.begin(Request::get("/slow/").body(Full::default()).unwrap());
        let opened = eventually("it loads", || loading.path().join("open").exists());
        tokio::select! {
            answer = asking => panic!("{answer:?}"),
            () = opened => {}
        }
        drop(client);
        // What comes on another connection after that is seen after that.
        let second = server.connect().await;
        let answer = tokio::spawn(async move {
            let mut second = second;
            second.send(Request::get("/slow/").body(Full::default()).unwrap()).await.unwrap()
        });
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        loaded.open();
        assert_eq!(answer.await.unwrap().text(), "1");
        std::fs::remove_file(loading.path().join("open")).unwrap();
        std::fs::remove_file(loaded.path().join("open")).unwrap();
    }
}

#[tokio::test]
async fn a_request_that_was_sent_to_a_spare_which_dies_is_answered_by_another_worker() {
    let gate = Gate::new();
    let app = format!(
        "import {{ existsSync, writeFileSync }} from 'node:fs';
        if (!existsSync('{0}')) {{ writeFileSync('{0}', ''); process.kill(process.pid, 'SIGKILL'); }}
        export default {{ fetch: () => new Response('well') }};",
        gate.path().join("died").display()
    );
    let server =
        Apps::new().file("ill/index.ts", app).launch().env("RUNTIME_SPARE_WORKERS", "1").start().await;
    server.logged(|line| line["message"] == "worker" && line["reason"] == "spare").await;
    assert_eq!(server.get("/ill/").await.text(), "well");
    assert!(gate.path().join("died").exists());
}
