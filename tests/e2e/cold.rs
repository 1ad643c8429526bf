//! The first requests of a version that no worker runs yet.

use super::harness::Apps;
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
