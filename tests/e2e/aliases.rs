//! What aliases mean, how a split divides clients, and how they stay with what they got.

use super::harness::{Answer, Apps, Client, Launch, PATIENCE, Server};
use buntime::access::{Actor, UnixTime};
use buntime::model::{Route, Split, Sticky};
use http::Request;
use http_body_util::Full;
use std::collections::HashSet;

/// An alias: of which app, its name, and the versions with their weights that it stands for.
type Alias<'a> = (&'a str, &'a str, &'a [(&'a str, u8)]);

/// A worker that answers with its version.
fn says(version: &str) -> String {
    format!("export default {{ fetch: () => new Response('{version}') }};")
}

/// Three versions of `shop`, and two of the static site `spa`.
fn shop() -> Apps {
    let apps = ["1.0.0", "2.0.0", "3.0.0"]
        .iter()
        .fold(Apps::new(), |apps, version| apps.file(&format!("shop@{version}/index.ts"), says(version)));
    ["1.0.0", "2.0.0"].iter().fold(apps, |apps, version| {
        apps.file(&format!("spa@{version}/index.html"), version)
            .file(&format!("spa@{version}/app.3f9c2a1b.js"), "1")
    })
}

/// The operator has set these aliases.
fn with(apps: Apps, sticky: Sticky, aliases: &[Alias<'_>]) -> Launch {
    let routes = aliases.iter().map(|(app, alias, parts)| {
        let parts = parts.iter().map(|(version, weight)| (version.parse().unwrap(), *weight));
        let route = Route { split: Split::new(parts.collect()).unwrap(), sticky };
        (app.parse().unwrap(), alias.parse().unwrap(), route)
    });
    let routes: Vec<_> = routes.collect();
    apps.lean().decided(move |store| {
        for (app, alias, route) in &routes {
            store.set_alias(app, alias, route, &Actor::AdminSocket, UnixTime::new(0)).unwrap();
        }
    })
}

async fn ask(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request =
        headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    client.send(request.body(Full::default()).unwrap()).await.unwrap()
}

/// Asks until this is the answer.
async fn until(client: &mut Client, path: &str, headers: &[(&str, &str)], text: &str) {
    let asking = async { while ask(client, path, headers).await.text() != text {} };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("{path} never became {text}"));
}

async fn text(server: &Server, path: &str) -> String {
    server.get(path).await.text().to_owned()
}

/// The name and the bucket in the cookie that an answer sets.
fn told(answer: &Answer) -> Option<(String, u8)> {
    let (name, rest) = answer.header("set-cookie").split_once('=')?;
    Some((name.to_owned(), rest.split(';').next()?.parse().ok()?))
}

/// Whether so many of so many is what such a share comes to: six standard deviations would be off once in 500 million.
fn is_share(hits: usize, of: usize, share: f64) -> bool {
    let (mean, deviation) = (of as f64 * share, (of as f64 * share * (1.0 - share)).sqrt());
    (hits as f64 - mean).abs() < 6.0 * deviation
}

#[tokio::test]
async fn an_alias_is_what_it_was_set_to_and_latest_is_what_the_name_means() {
    let aliases: &[Alias<'_>] = &[
        ("shop", "latest", &[("1.0.0", 100)]),
        ("shop", "beta", &[("3.0.0", 100)]),
        ("spa", "latest", &[("1.0.0", 100)]),
    ];
    let server = with(shop(), Sticky::Cookie, aliases).env("RUNTIME_HOME_APP", "shop").start().await;
    for (path, expected) in [
        ("/shop/", "1.0.0"),
        ("/shop", "1.0.0"),
        ("/shop@latest/", "1.0.0"),
        ("/", "1.0.0"),
        ("/shop@beta/", "3.0.0"),
        ("/shop@2/", "2.0.0"),
        ("/shop@^3.0/", "3.0.0"),
        ("/shop@3.0.0/", "3.0.0"),
        ("/spa/", "1.0.0"),
        ("/spa@2/", "2.0.0"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.text(), answer.header("set-cookie")), (expected, ""), "{path}");
    }
    assert_eq!(server.get("/shop@stable/").await.problem(), (404, "unknown_version".to_owned()));
    // What is copied by hand does not move the alias.
    let dir = server.apps().path().join("shop@4.0.0");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("index.ts"), says("4.0.0")).unwrap();
    let mut client = server.connect().await;
    until(&mut client, "/shop@4/", &[], "4.0.0").await;
    assert_eq!(text(&server, "/shop/").await, "1.0.0");
}

#[tokio::test]
async fn clients_are_divided_by_weight_and_the_cookie_keeps_each_where_it_was() {
    let aliases: &[Alias<'_>] = &[
        ("shop", "latest", &[("1.0.0", 80), ("3.0.0", 20)]),
        ("spa", "latest", &[("1.0.0", 50), ("2.0.0", 50)]),
    ];
    let server = with(shop(), Sticky::Cookie, aliases).start().await;
    for (path, requests, first, versions) in
        [("/shop/", 2000, 80, ["1.0.0", "3.0.0"]), ("/spa/", 400, 50, ["1.0.0", "2.0.0"])]
    {
        let of = |bucket: u8| versions[usize::from(bucket >= first)];
        let mut client = server.connect().await;
        let mut hits = 0;
        let mut names = HashSet::new();
        for _ in 0..requests {
            let answer = ask(&mut client, path, &[]).await;
            let (name, bucket) = told(&answer).expect("a client without a cookie is told its bucket");
            assert_eq!(answer.text(), of(bucket), "{path} {bucket}");
            hits += usize::from(bucket >= first);
            names.insert(name);
        }
        let share = f64::from(100 - first) / 100.0;
        assert!(is_share(hits, requests, share), "{path}: {hits} of {requests}");
        assert_eq!(names.len(), 1);
        let name = names.into_iter().next().unwrap();
        for bucket in 0..100 {
            let answer = ask(&mut client, path, &[("cookie", &format!("a=b; {name}={bucket}"))]).await;
            assert_eq!((answer.text(), answer.header("set-cookie")), (of(bucket), ""), "{path} {bucket}");
        }
        let malformed = ask(&mut client, path, &[("cookie", &format!("{name}=100"))]).await;
        assert!(told(&malformed).is_some());
    }
}

#[tokio::test]
async fn the_cookie_is_for_its_split_alone() {
    let aliases: &[Alias<'_>] = &[
        ("shop", "latest", &[("1.0.0", 50), ("2.0.0", 50)]),
        ("shop", "beta", &[("2.0.0", 50), ("3.0.0", 50)]),
        ("spa", "latest", &[("1.0.0", 50), ("2.0.0", 50)]),
    ];
    let server = with(shop().file("plain/index.ts", says("plain")), Sticky::Cookie, aliases)
        .env("RUNTIME_HOME_APP", "shop")
        .env("RUNTIME_TRUSTED_PROXIES", "127.0.0.0/8")
        .start()
        .await;
    let mut client = server.connect().await;
    let mut names = Vec::new();
    for (path, mount) in [
        ("/shop/a", "/shop"),
        ("/shop", "/shop"),
        ("/shop@beta/", "/shop@beta"),
        ("/spa/", "/spa"),
        ("/x", "/"),
    ] {
        for (proto, secure) in [("http", ""), ("https", "; Secure")] {
            let answer = ask(&mut client, path, &[("x-forwarded-proto", proto)]).await;
            let (name, bucket) = told(&answer).unwrap();
            assert_eq!(
                answer.header("set-cookie"),
                format!("{name}={bucket}; Path={mount}; Max-Age=2592000; HttpOnly; SameSite=Lax{secure}"),
            );
            names.push(name);
        }
    }
    let distinct: HashSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), 3, "shop@latest, shop@beta and spa@latest: {names:?}");
    // Where no split has answered, there is no cookie.
    for path in ["/shop@1/", "/plain/", "/shop@9/", "/spa/missing.js", "/api/health"] {
        let answer = ask(&mut client, path, &[]).await;
        assert_eq!(answer.header("set-cookie"), "", "{path}");
    }
    let redirect = ask(&mut client, "/spa", &[("accept", "text/html")]).await;
    assert_eq!((redirect.status(), redirect.header("set-cookie")), (308, ""));
}

#[tokio::test]
async fn no_shared_cache_keeps_what_one_client_got() {
    let aliases: &[Alias<'_>] = &[
        ("spa", "latest", &[("1.0.0", 50), ("2.0.0", 50)]),
        ("shop", "latest", &[("1.0.0", 50), ("2.0.0", 50)]),
    ];
    let server = with(shop(), Sticky::Cookie, aliases).start().await;
    let mut client = server.connect().await;
    let page = ask(&mut client, "/spa/", &[]).await;
    assert_eq!(page.header("cache-control"), "private, no-cache");
    let (name, bucket) = told(&page).unwrap();
    let cookie = format!("{name}={bucket}");
    let asset = "/spa/app.3f9c2a1b.js";
    let told = ask(&mut client, asset, &[]).await;
    assert_eq!(told.header("cache-control"), "private, max-age=31536000, immutable");
    let known = ask(&mut client, asset, &[("cookie", &cookie)]).await;
    assert_eq!(known.header("cache-control"), "public, max-age=31536000, immutable");
    assert_eq!(ask(&mut client, "/shop/", &[]).await.header("cache-control"), "private");
    // A page is found unchanged by the client that has it, and by no client of the other version.
    let etag = page.header("etag");
    let again = ask(&mut client, "/spa/", &[("cookie", &cookie), ("if-none-match", etag)]).await;
    assert_eq!((again.status(), again.header("cache-control")), (304, "private, no-cache"));
    let other = format!("{name}={}", (bucket + 50) % 100);
    let moved = ask(&mut client, "/spa/", &[("cookie", &other), ("if-none-match", etag)]).await;
    assert_eq!(moved.status(), 200);
    // What is no split is as it was.
    assert_eq!(ask(&mut client, "/spa@1/", &[]).await.header("cache-control"), "no-cache");
}

#[tokio::test]
async fn an_address_decides_where_the_split_says_so() {
    let aliases: &[Alias<'_>] = &[("shop", "latest", &[("1.0.0", 70), ("3.0.0", 30)])];
    let server =
        with(shop(), Sticky::Address, aliases).env("RUNTIME_TRUSTED_PROXIES", "127.0.0.0/8").start().await;
    let mut client = server.connect().await;
    let (addresses, mut hits) = (1000, 0);
    for n in 0..addresses {
        let address = format!("198.51.{}.{}", n / 250, n % 250);
        let header = [("x-forwarded-for", &*address)];
        let first = ask(&mut client, "/shop/", &header).await;
        assert_eq!((first.header("set-cookie"), first.header("cache-control")), ("", "private"));
        let second = ask(&mut client, "/shop@latest/x", &header).await;
        assert_eq!(first.text(), second.text(), "{address}");
        hits += usize::from(first.text() == "3.0.0");
    }
    assert!(is_share(hits, addresses, 0.3), "{hits} of {addresses}");
}

#[tokio::test]
async fn an_alias_whose_version_is_missing_is_404_with_its_name_and_one_that_is_broken_503() {
    let aliases: &[Alias<'_>] = &[
        ("shop", "latest", &[("9.0.0", 100)]),
        ("shop", "canary", &[("8.0.0", 90), ("9.0.0", 10)]),
        ("shop", "bad", &[("0.1.0", 100)]),
        ("nobody", "latest", &[("1.0.0", 100)]),
    ];
    let apps = shop().file("shop@0.1.0/manifest.yaml", "ttl: never").file("shop@0.1.0/index.ts", "");
    let server = with(apps, Sticky::Cookie, aliases).start().await;
    for (path, detail) in [
        ("/shop/", "the alias `latest` of this app stands for 9.0.0, which is not there"),
        ("/shop@canary/", "the alias `canary` of this app stands for 8.0.0, 9.0.0, none of which is there"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.problem(), (404, "unknown_version".to_owned()), "{path}");
        assert_eq!(answer.json()["detail"], detail);
    }
    assert_eq!(server.get("/shop@bad/").await.problem(), (503, "app_unavailable".to_owned()));
    assert_eq!(server.get("/nobody/").await.problem(), (404, "unknown_app".to_owned()));
    assert_eq!(text(&server, "/shop@2/").await, "2.0.0");
}

#[tokio::test]
async fn the_share_of_a_version_that_goes_is_the_others() {
    let aliases: &[Alias<'_>] = &[("shop", "latest", &[("1.0.0", 50), ("3.0.0", 50)])];
    let server = with(shop(), Sticky::Cookie, aliases).start().await;
    let mut client = server.connect().await;
    let (name, _) = told(&ask(&mut client, "/shop/", &[]).await).unwrap();
    let cookie = [("cookie", &*format!("{name}=99"))];
    assert_eq!(ask(&mut client, "/shop/", &cookie).await.text(), "3.0.0");
    let (there, away) = (server.apps().path().join("shop@3.0.0"), server.apps().path().join(".away"));
    std::fs::rename(&there, &away).unwrap();
    until(&mut client, "/shop/", &cookie, "1.0.0").await;
    for _ in 0..50 {
        let answer = ask(&mut client, "/shop/", &[]).await;
        assert_eq!(answer.text(), "1.0.0");
        assert!(told(&answer).is_some(), "clients go on to be given buckets");
    }
    std::fs::rename(&away, &there).unwrap();
    until(&mut client, "/shop/", &cookie, "3.0.0").await;
}

#[tokio::test]
async fn a_disabled_version_does_not_resolve() {
    let launch = shop().lean().decided(|store| {
        let (app, by) = ("shop".parse().unwrap(), Actor::AdminSocket);
        for version in ["3.0.0", "1.0.0"] {
            store.set_disabled(&app, &version.parse().unwrap(), true, &by, UnixTime::new(0)).unwrap();
        }
        let beta = "beta".parse().unwrap();
        let route = Route::one("3.0.0".parse().unwrap());
        store.set_alias(&app, &beta, &route, &by, UnixTime::new(0)).unwrap();
    });
    let server = launch.start().await;
    assert_eq!(text(&server, "/shop/").await, "2.0.0");
    for path in ["/shop@3/", "/shop@3.0.0/", "/shop@1/", "/shop@beta/"] {
        assert_eq!(server.get(path).await.problem(), (404, "unknown_version".to_owned()), "{path}");
    }
}
