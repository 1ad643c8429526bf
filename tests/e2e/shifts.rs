//! Weights that an operator shifts: who is where, who moves, and what survives the end of the process.

use super::harness::{Apps, Client, Launch, Server};
use super::operator::{Operator, tgz};
use http::Request;
use http_body_util::Full;
use serde_json::{Value, json};
use std::collections::HashMap;

const STEPS: [u8; 6] = [0, 5, 25, 50, 75, 100];

/// Versions that answer with their number.
async fn deployed(operator: &Operator, versions: &[&str]) {
    for version in versions {
        let index = format!("export default {{ fetch: () => new Response('{version}') }};");
        operator.deploy("shop", version, tgz(&[("index.ts", &index)]), "&alias=").await;
    }
}

/// With an operator, and clients whose addresses the tests say.
fn behind_a_proxy(launch: Launch) -> Launch {
    launch.operated().env("RUNTIME_TRUSTED_PROXIES", "127.0.0.0/8")
}

/// So much of the clients to 2.0.0.
fn weights(second: u8, sticky: &str) -> Value {
    json!({ "weights": { "1.0.0": 100 - second, "2.0.0": second }, "sticky": sticky })
}

/// The version that answers, and the cookie that the answer sets.
async fn ask(client: &mut Client, headers: &[(&str, &str)]) -> (String, Option<String>) {
    let request =
        headers.iter().fold(Request::get("/shop/"), |request, (name, value)| request.header(*name, *value));
    let answer = client.send(request.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200, "{answer:?}");
    let cookie = answer.header("set-cookie").split(';').next().filter(|cookie| !cookie.is_empty());
    (answer.text().to_owned(), cookie.map(str::to_owned))
}

/// Panics where so many of so many is not within six standard deviations of what the weight says.
#[track_caller]
fn assert_share(hits: usize, of: usize, weight: u8) {
    let (of, share) = (of as f64, f64::from(weight) / 100.0);
    let (mean, deviation) = (of * share, (of * share * (1.0 - share)).sqrt());
    assert!((hits as f64 - mean).abs() <= 6.0 * deviation, "{hits} of {of} at {weight} %");
}

#[tokio::test]
async fn clients_without_a_cookie_are_divided_by_the_weights_of_each_step() {
    const REQUESTS: usize = 2000;
    let server = Apps::new().operated().start().await;
    let operator = server.operator();
    deployed(&operator, &["1.0.0", "2.0.0"]).await;
    let mut client = server.connect().await;
    for weight in STEPS {
        operator.alias("shop", "latest", weights(weight, "cookie")).await;
        let mut hits = 0;
        // All or nothing needs no statistics.
        let requests = if [0, 100].contains(&weight) { 100 } else { REQUESTS };
        for _ in 0..requests {
            hits += usize::from(ask(&mut client, &[]).await.0 == "2.0.0");
        }
        assert_share(hits, requests, weight);
    }
}

#[tokio::test]
async fn a_weight_that_grows_moves_only_whom_it_must_and_nobody_comes_back() {
    const CLIENTS: usize = 400;
    let server = Apps::new().operated().start().await;
    let operator = server.operator();
    deployed(&operator, &["1.0.0", "2.0.0"]).await;
    let mut connection = server.connect().await;
    let mut cookies: Vec<Option<String>> = vec![None; CLIENTS];
    let mut at: Vec<String> = vec!["1.0.0".into(); CLIENTS];
    for weight in STEPS {
        operator.alias("shop", "latest", weights(weight, "cookie")).await;
        for (cookie, at) in cookies.iter_mut().zip(&mut at) {
            for _ in 0..2 {
                let sent: Vec<_> = cookie.iter().map(|cookie| ("cookie", cookie.as_str())).collect();
                let (version, told) = ask(&mut connection, &sent).await;
                assert!(told.is_none() || cookie.is_none(), "told again");
                let first_time = told.is_some();
                *cookie = cookie.take().or(told);
                let bucket: Option<u8> =
                    cookie.as_ref().map(|cookie| cookie.split_once('=').unwrap().1.parse().unwrap());
                let expected = match (weight, bucket) {
                    (0, _) => "1.0.0",
                    (100, _) => "2.0.0",
                    (_, bucket) if bucket.unwrap() >= 100 - weight => "2.0.0",
                    _ => "1.0.0",
                };
                assert_eq!(version, expected, "{cookie:?} at {weight}");
                assert!(first_time || !(*at == "2.0.0" && version == "1.0.0"), "came back: {cookie:?}");
                *at = version;
            }
        }
        let there = at.iter().filter(|at| *at == "2.0.0").count();
        assert_share(there, CLIENTS, weight);
    }
    // A step back takes back exactly those that the step had moved.
    operator.post(200, "/apps/shop/rollback").await;
    for cookie in cookies.iter().flatten() {
        let bucket: u8 = cookie.split_once('=').unwrap().1.parse().unwrap();
        let (version, _) = ask(&mut connection, &[("cookie", cookie)]).await;
        assert_eq!(version, if bucket >= 25 { "2.0.0" } else { "1.0.0" });
    }
}

async fn by_address(server: &Server) -> HashMap<String, String> {
    let mut connection = server.connect().await;
    let mut found = HashMap::new();
    for n in 0..1000 {
        let address = format!("203.{}.{}.{}", n % 7, n / 250, n % 250);
        let (version, told) = ask(&mut connection, &[("x-forwarded-for", &address)]).await;
        assert_eq!(told, None, "an address needs no cookie");
        found.insert(address, version);
    }
    found
}

#[tokio::test]
async fn an_address_keeps_its_version_over_steps_and_restarts() {
    let mut server = behind_a_proxy(Apps::new().launch()).start().await;
    deployed(&server.operator(), &["1.0.0", "2.0.0"]).await;
    let mut before: Option<HashMap<String, String>> = None;
    for weight in STEPS {
        server.operator().alias("shop", "latest", weights(weight, "address")).await;
        let now = by_address(&server).await;
        assert_eq!(by_address(&server).await, now, "each keeps its own");
        assert_share(now.values().filter(|version| *version == "2.0.0").count(), now.len(), weight);
        if let Some(before) = before {
            let back = before.iter().filter(|(address, was)| *was == "2.0.0" && now[*address] == "1.0.0");
            assert_eq!(back.count(), 0, "at {weight}");
        }
        if weight == 50 {
            server = behind_a_proxy(server.killed().await).start().await;
            assert_eq!(by_address(&server).await, now, "after a kill");
        }
        before = Some(now);
    }
}

#[tokio::test]
async fn aliases_and_disabled_versions_survive_an_end_and_a_kill() {
    let mut server = behind_a_proxy(Apps::new().launch()).start().await;
    let operator = server.operator();
    deployed(&operator, &["1.0.0", "2.0.0", "3.0.0", "4.0.0"]).await;
    for kill in [false, true, true] {
        let operator = server.operator();
        operator.alias("shop", "latest", weights(30, "address")).await;
        operator.alias("shop", "stable", json!({ "version": "3.0.0" })).await;
        operator.alias("shop", "beta", json!({ "version": "1.0.0" })).await;
        operator.alias("shop", "beta", json!({ "version": "2.0.0" })).await;
        operator.alias("shop", "gone", json!({ "version": "2.0.0" })).await;
        operator.delete(204, "/apps/shop/aliases/gone").await;
        operator.post(200, "/apps/shop/versions/4.0.0/disable").await;
        operator.post(200, "/apps/shop/versions/3.0.0/disable").await;
        operator.post(200, "/apps/shop/versions/3.0.0/enable").await;
        let (aliases, by) = (operator.get("/apps/shop/aliases").await, by_address(&server).await);
        let launch: Launch = if kill { server.killed().await } else { server.stop().await };
        server = behind_a_proxy(launch).start().await;
        let operator = server.operator();
        assert_eq!(operator.get("/apps/shop/aliases").await, aliases);
        assert_eq!(by_address(&server).await, by);
        for (path, expected) in [
            ("/shop@stable/", "3.0.0"),
            ("/shop@beta/", "2.0.0"),
            ("/shop@3/", "3.0.0"),
            ("/shop@2.0.0/", "2.0.0"),
        ] {
            assert_eq!(server.get(path).await.text(), expected, "{path}");
        }
        for path in ["/shop@gone/", "/shop@4/", "/shop@4.0.0/"] {
            assert_eq!(server.get(path).await.problem(), (404, "unknown_version".to_owned()), "{path}");
        }
        let disabled = operator.get("/apps/shop/versions/4.0.0").await;
        assert_eq!(disabled["state"], "disabled");
        // What an alias stood for before has survived as well.
        let back = operator.must(
            200,
            http::Method::POST,
            "/apps/shop/rollback",
            json!({ "alias": "beta" }).to_string(),
        );
        assert_eq!(back.await["weights"], json!({ "1.0.0": 100 }));
    }
}
